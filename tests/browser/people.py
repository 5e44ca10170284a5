"""What people do with the console, in their words."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from uuid import uuid4

from playwright.sync_api import Browser, Page, expect

from tests.processes import ROOT, Platform, PlatformFailed

#: A sweep, a handshake, a delivery and the page's own refresh, on a busy machine.
PATIENCE_MS = 30_000


class Console:
    """A utility's console, as its people open it."""

    def __init__(self, platform: Platform, browser: Browser, slug: str) -> None:
        self.platform = platform
        self.slug = slug
        self._browser = browser
        done = platform.run(
            "create_tenant", slug, "--timezone", "Europe/Brussels", "--currency", "EUR",
            "--admin-email", f"admin@{slug}.example", "--json",
        )  # fmt: skip
        if done.returncode != 0:
            raise PlatformFailed(done.stderr)
        made = json.loads(done.stdout)
        self.admin = (made["admin_email"], made["admin_password"])
        self.clerk = (f"clerk@{slug}.example", uuid4().hex)
        self.api_key: str = made["api_key"]

    def address(self, path: str) -> str:
        """Return a page's address."""
        return f"http://127.0.0.1:{self.platform.console_port}{path}"

    @contextmanager
    def signed_in(self, person: tuple[str, str]) -> Generator[Page]:
        """Open a window of its own, and sign in."""
        context = self._browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(self.address("/admin/"))
        page.get_by_label("Email").fill(person[0])
        page.get_by_label("Password").fill(person[1])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="Dashboard").first).to_be_visible()
        yield page
        context.close()
        assert errors == []

    def add_clerk(self) -> None:
        """Let the admin add a clerk under People."""
        with self.signed_in(self.admin) as page:
            page.get_by_role("link", name="People").click()
            page.get_by_title("Add membership").click()
            page.get_by_label("E-mail address").fill(self.clerk[0])
            page.get_by_label("Role").select_option("clerk")
            page.get_by_label("Password").fill(self.clerk[1])
            page.get_by_role("button", name="Save").click()
            expect(page.get_by_text("can sign in now")).to_be_visible()


@contextmanager
def subscriber(platform: Platform, port: int, secret: str) -> Generator[None]:
    """Run the sample subscriber, from when it says that it listens."""
    command = [sys.executable, "manage.py", "listen", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--secret", secret],
        cwd=ROOT,
        env=platform.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Listening")
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)
