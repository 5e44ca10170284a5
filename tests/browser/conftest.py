"""A real Chromium in front of a real platform."""

from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.people import Console
from tests.processes import Platform, running

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ENVIRONMENT = {
    "GRIDHOOK_SWEEP_INTERVAL_S": "1",
    #: Three attempts, a second apart.
    "GRIDHOOK_RETRY_SCHEDULE_S": "1,1",
}


def _need_chromium() -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"There is no {CHROMIUM}: browser journeys are not run.")


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Debian's Chromium; closed with the module, for it holds the thread's loop."""
    _need_chromium()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def platform() -> Generator[Platform]:
    """
    The whole platform, which all journeys share: sweeping fast, and giving up soon.

    Each module has tenants of its own, so they see nothing of each other.
    """
    _need_chromium()
    with running(environment=ENVIRONMENT) as started:
        yield started


@pytest.fixture(scope="module")
def console(platform: Platform, browser: Browser) -> Console:
    """The console of a new utility."""
    return Console(platform, browser, f"t{uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def strangers_console(platform: Platform, browser: Browser) -> Console:
    """The console of another utility."""
    return Console(platform, browser, f"t{uuid4().hex[:12]}")
