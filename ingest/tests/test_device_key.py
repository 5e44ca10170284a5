"""`manage.py device_key`."""

import hmac
import json
import os
import subprocess
import sys
from base64 import b64decode
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 (of the tests)


def derived(path: Path, *arguments: str) -> dict[str, str]:
    output = StringIO()
    call_command(
        "device_key", *arguments, "--secret-file", str(path), "--json", stdout=output
    )
    keys: dict[str, str] = json.loads(output.getvalue())
    return keys


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.parametrize(
    ("scheme", "key"),
    [("hub", SECRET.encode()), ("standard", b64decode(SECRET.removeprefix("whsec_")))],
    ids=["hub", "standard"],
)
def test_each_device_gets_the_key_that_the_standard_library_derives(
    secret: Path, scheme: str, key: bytes
) -> None:
    devices = ["WM-1", "Z\u00e4hler 7/\u6c34"]
    assert derived(secret, "--scheme", scheme, *devices) == {
        device: hmac.new(
            key, b"gridhook/device/v1\0" + device.encode(), sha256
        ).hexdigest()
        for device in devices
    }


def test_it_needs_neither_a_database_nor_keys_of_the_platform(secret: Path) -> None:
    names = ("DATABASE_URL", "BROKER_URL", "GRIDHOOK_SECRET_KEY")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [sys.executable, "manage.py", "device_key", "--secret-file", secret, "WM-1"],
        cwd=Path(__file__).resolve().parents[2],
        env={**environment, "GRIDHOOK_VAR": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{derived(secret, 'WM-1')['WM-1']}  WM-1\n", done.stderr


def test_what_is_printed_has_a_line_for_each_device(secret: Path) -> None:
    output = StringIO()
    call_command("device_key", "a", "b", "--secret-file", str(secret), stdout=output)
    lines = output.getvalue().splitlines()
    assert [line.split("  ") for line in lines] == [
        [key, device] for device, key in derived(secret, "a", "b").items()
    ]


@pytest.mark.parametrize(("text", "says"), [("", "empty"), ("whsec_%", "base64")])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(CommandError, match=says):
        derived(tmp_path / "x", "--scheme", "standard", "WM-1")
