"""
The demo utility: a tenant, its people, a fleet of meters, a subscriber, and a bill.

Everything in it is made through the services that the console uses; what is shown once
is kept in `var/demo.json`, readable by the owner alone, so that a restart finds it.
"""

import json
import os
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]
FLEET_SIZE = 24
HISTORY_DAYS = 62


def _file() -> Path:
    return Path(settings.VAR) / "demo.json"


@dataclass(frozen=True)
class Demo:
    """What the demo's processes and its visitor need to know."""

    source_url: str
    source_secret: str
    endpoint_id: str
    endpoint_secret: str
    api_key: str
    #: Role to e-mail address.
    people: dict[str, str]
    password: str

    @classmethod
    def load(cls) -> "Demo":
        """Return the demo as it was prepared."""
        return cls(**json.loads(_file().read_text(encoding="utf-8")))

    @classmethod
    def exists(cls) -> bool:
        """Tell whether a demo was prepared in this folder."""
        return _file().exists()

    def save(self) -> None:
        """Keep the demo for the next start."""
        descriptor = os.open(_file(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=2)

    def subscriber(self, port: str) -> tuple[list[str], dict[str, str]]:
        """Return the command of the sample subscriber, and its environment."""
        command = [*MANAGE, "listen", "--port", port]
        return command, {"GRIDHOOK_SECRET": self.endpoint_secret}

    def history(self) -> list[str]:
        """Return the command that sends the fleet's past, as fast as it goes."""
        past = ["--days", str(HISTORY_DAYS), "--history-only", "--rate", "max"]
        return [*self._simulate(), *past]

    def fleet(self) -> list[str]:
        """Return the command that sends what the fleet measures from now on."""
        return [*self._simulate(), "--rate", "2"]

    def _simulate(self) -> list[str]:
        # It finds the source in `demo.json`: arguments are for all to read.
        return [*MANAGE, "simulate", "--devices", str(FLEET_SIZE), "--seed", "1"]

    def banner(self) -> list[str]:
        """Return what a visitor is told."""
        return [
            *(
                f"  {role.capitalize():<9} {email}  {self.password}"
                for role, email in self.people.items()
            ),
            f"  API key   {self.api_key}",
            f"  Source    {self.source_url}",
        ]


def new_password() -> str:
    """Return a password that can be read aloud."""
    return "-".join(secrets.token_hex(2) for _ in range(3))
