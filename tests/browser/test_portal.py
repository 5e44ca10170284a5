"""Journey: a subscriber's engineer, who has a link and no account."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.people import PATIENCE_MS, Console, subscriber
from tests.processes import free_ports, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def register(console: Console, port: int) -> tuple[str, str]:
    """Register a callback URL; return its id and its secret."""
    wanted = {"url": f"http://127.0.0.1:{port}/hook", "event_types": ["*"]}
    status, made = console.platform.api(console.api_key, "POST", "/endpoints/", wanted)
    assert status == 201, made
    return made["id"], made["secret"]


def is_active(console: Console, endpoint: str) -> bool:
    path = f"/endpoints/{endpoint}/"
    _, shown = console.platform.api(console.api_key, "GET", path)
    return bool(shown["status"] == "active")


def link_to(console: Console, endpoint: str) -> tuple[str, str]:
    """Make a portal link; return its id and its address."""
    status, made = console.platform.api(
        console.api_key,
        "POST",
        f"/endpoints/{endpoint}/portal-links/",
        {"note": "Ines", "lifetime_s": 900},
    )
    assert status == 201, made
    return made["id"], made["url"]


def test_an_engineer_finds_out_why_nothing_comes_and_mends_it(
    console: Console, browser: Browser
) -> None:
    (port,) = free_ports(1)
    endpoint, secret = register(console, port)
    link, url = link_to(console, endpoint)
    with subscriber(console.platform, port, secret):
        path = f"/endpoints/{endpoint}/verify/"
        console.platform.api(console.api_key, "POST", path)
        assert wait_until(lambda: is_active(console, endpoint), timeout_s=20)
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(url)
    assert "ghl_" not in page.url
    expect(page.locator("#url")).to_have_text(f"http://127.0.0.1:{port}/hook")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    see_a_test_fail(page)
    new = make_a_secret(page)
    with subscriber(console.platform, port, new):
        page.locator("#deliveries").get_by_role("link", name="endpoint.test").click()
        page.get_by_role("button", name="Send again now").click()
        expect(page.locator("#status")).to_have_text("Delivered", timeout=PATIENCE_MS)
    # The schedule may have sent it as well, a moment before.
    expect(page.locator(".gh-timeline li.is-good").first).to_be_visible()
    assert said == []
    console.platform.api(
        console.api_key, "DELETE", f"/endpoints/{endpoint}/portal-links/{link}/"
    )
    page.get_by_role("link", name="All messages").click()
    expect(page.get_by_role("heading", name="This link has ended")).to_be_visible()
    page.context.close()


def see_a_test_fail(page: Page) -> None:
    """Send a test while nothing listens; the page says so, by itself, in words."""
    page.get_by_role("button", name="Send a test").click()
    failed = page.locator(".gh-timeline li.is-bad").first
    expect(failed).to_contain_text("Nothing listens there", timeout=PATIENCE_MS)
    page.get_by_role("link", name="All messages").click()


def make_a_secret(page: Page) -> str:
    """Make a new secret; it is shown once."""
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_label("The old one signs too for").select_option("no longer")
    page.get_by_role("button", name="New secret").click()
    secret = page.locator("#secret").inner_text()
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)
    return secret
