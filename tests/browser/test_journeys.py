"""Journeys through the console, in a real browser, on a real platform."""

import re
import subprocess

import pytest
from playwright.sync_api import Page, expect

from tests.browser.people import (
    PATIENCE_MS,
    Console,
    subscriber,
)
from tests.processes import free_ports

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def create_source(page: Page) -> str:
    """Create a source from the dashboard's first step; return the page's example."""
    page.get_by_role("link", name="Create a source").click()
    page.get_by_label("Name").fill("Head-end North")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    return page.locator("#curl").inner_text()


def register_endpoint(page: Page, url: str) -> str:
    """Register a callback URL; return its secret."""
    page.get_by_role("link", name="Endpoints").click()
    page.get_by_role("link", name="Add endpoint").click()
    page.get_by_label("Callback URL").fill(url)
    page.get_by_label("callback.processed").check()
    page.get_by_label("invoice.issued").check()
    page.get_by_role("button", name="Save").click()
    return page.locator("#secret").inner_text()


def test_an_admin_registers_a_callback_url_and_sees_its_first_deliveries(
    console: Console,
) -> None:
    (port,) = free_ports(1)
    with console.signed_in(console.admin) as page:
        example = create_source(page)
        secret = register_endpoint(page, f"http://127.0.0.1:{port}/hook")
        expect(page.locator("#status")).to_have_text("Pending")
        page.reload()
        expect(page.locator("#secret")).to_have_count(0)
        with subscriber(console.platform, port, secret):
            page.get_by_role("button", name="Ask for consent").click()
            expect(page.locator("#status")).to_have_text("Active", timeout=PATIENCE_MS)
            page.get_by_role("button", name="Send a test").click()
            test = page.locator("[data-event='endpoint.test'][data-status='delivered']")
            expect(test).to_be_visible(timeout=PATIENCE_MS)
            reply = subprocess.run(
                ["/bin/bash", "-c", example], capture_output=True, text=True, check=True
            )
            assert '"status":"accepted"' in reply.stdout.replace(" ", "")
            told = page.locator("[data-event='callback.processed']")
            expect(told).to_have_attribute(
                "data-status", "delivered", timeout=PATIENCE_MS
            )
            told.get_by_role("link", name="callback.processed").click()
            expect(page.locator(".gh-timeline li.is-good")).to_be_visible()
            page.get_by_role("link", name="Dashboard").first.click()
            for tile in ("accepted", "processed"):
                expect(page.locator(f"[data-tile='{tile}'] b")).to_have_text("1")
            expect(page.locator("canvas[data-chart='live-series']")).to_be_visible()


def bill_january(console: Console) -> None:
    """Prepare what a clerk needs through the API: the meter has posted already."""
    api = console.platform.api
    for path, body in (
        ("/accounts/", {"number": "A-17", "name": "Eline Peeters"}),
        (
            "/tariffs/",
            {
                "code": "home",
                "name": "Home",
                "versions": [
                    {
                        "valid_from_date": "2025-01-01",
                        "charges": [
                            {
                                "type": "consumption",
                                "unit_price": "0.25",
                                "unit": "kWh",
                            },
                            {"type": "standing", "price_per_day": "0.10"},
                        ],
                    }
                ],
            },
        ),
        (
            "/agreements/",
            {
                "account": "A-17",
                "device": "WM-1001",
                "tariff": "home",
                "start_date": "2026-01-01",
            },
        ),
    ):
        status, reply = api(console.api_key, "POST", path, body)
        assert status == 201, reply


def test_a_clerk_bills_a_month_and_reads_the_invoice_and_the_report(
    console: Console,
) -> None:
    bill_january(console)
    console.add_clerk()
    with console.signed_in(console.clerk) as page:
        page.get_by_role("link", name="Bill runs").click()
        page.get_by_role("link", name="Add bill run").click()
        page.get_by_label("Month").select_option("other")
        page.get_by_label("Or from").fill("2026-01-01")
        page.get_by_label("Until").fill("2026-02-01")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#status")).to_have_text("Completed", timeout=PATIENCE_MS)
        page.get_by_role("link", name=re.compile("INV-")).click()
        # 1.25 kWh at 0.25 is 0.31, and 31 days at 0.10 are 3.10.
        expect(page.locator("#total")).to_have_text("3.41 EUR")
        invoice = page.locator("#invoice")
        expect(invoice).to_contain_text("1.25 kWh")
        expect(invoice).to_contain_text("Eline Peeters")
        expect(invoice.locator("canvas").first).to_be_visible()
        page.get_by_role("link", name="Reports").click()
        page.get_by_label("From").fill("2026-01-01")
        page.get_by_label("Until").fill("2026-02-01")
        page.get_by_role("button", name="Show").click()
        row = page.locator("#report tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("1.25 kWh")
        expect(row).to_contain_text("3.41 EUR")
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        assert "3.41" in download.value.path().read_text()


def test_another_utilitys_pages_are_not_found_and_a_clerk_opens_no_sources(
    console: Console, strangers_console: Console
) -> None:
    with console.signed_in(console.admin) as page:
        page.get_by_role("link", name="Sources").click()
        page.locator("#result_list").get_by_role("link", name="Head-end North").click()
        expect(page.locator("#source-url")).to_be_visible()
        source = page.url
    with strangers_console.signed_in(strangers_console.admin) as page:
        reply = page.goto(source)
        assert reply is not None
        assert reply.status == 404
    with console.signed_in(console.clerk) as page:
        expect(page.get_by_role("link", name="Sources")).to_have_count(0)
        reply = page.goto(source)
        assert reply is not None
        assert reply.status == 403
