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


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Debian's Chromium; closed with the module, for it holds the thread's loop."""
    if not CHROMIUM.exists():
        pytest.skip(f"There is no {CHROMIUM}: browser journeys are not run.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def platform(browser: Browser) -> Generator[Platform]:
    """The whole platform, sweeping fast; started when there is a browser to use it."""
    with running(environment={"GRIDHOOK_SWEEP_INTERVAL_S": "1"}) as started:
        yield started


@pytest.fixture(scope="module")
def console(platform: Platform, browser: Browser) -> Console:
    """The console of a new utility."""
    return Console(platform, browser, f"t{uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def strangers_console(platform: Platform, browser: Browser) -> Console:
    """The console of another utility."""
    return Console(platform, browser, f"t{uuid4().hex[:12]}")
