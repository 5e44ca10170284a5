"""Rejected callbacks in a real browser: found, read, processed again, discarded."""

import hashlib
import hmac
import json
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.people import PATIENCE_MS, Console

pytestmark = [pytest.mark.browser, pytest.mark.processes]

#: A device's name that would run, if a page took it for markup.
DEVICE = "WM-<script>window.ran=1</script>"
#: More than two steps' worth.
MANY = 4_100

_SET_ASIDE = """
WITH many AS (
    SELECT t.id AS tenant_id, uuidv7() AS id, s.id AS source_id, n
    FROM tenants_tenant t JOIN ingest_source s ON s.tenant_id = t.id,
        generate_series(1, %s) AS n
    WHERE t.slug = %s
), ledger AS (
    INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id, digest,
        received_at, state, rejected)
    SELECT tenant_id, id, source_id, 'bench/' || n, '', now(), 3, 1 FROM many
)
INSERT INTO ingest_callbackrejection (tenant_id, callback_id, code, detail)
SELECT tenant_id, id, 'value_invalid', 'value: a decimal.' FROM many
"""


class Sender:
    """A head-end of a source that takes known devices only."""

    def __init__(self, console: Console) -> None:
        wanted = {"name": "North", "scheme": "hub", "register_devices": "known_only"}
        api = console.platform.api
        status, made = api(console.api_key, "POST", "/sources/", wanted)
        assert status == 201, made
        self._url, self._secret = made["url"], made["secret"]

    def post(self, transaction_id: str, **reading: Any) -> None:
        """Post one reading of the device, and be told that it is kept."""
        asked = {
            "transaction_id": transaction_id,
            "device": DEVICE,
            "readings": [{"duration_s": 3600, "unit": "kWh", "value": "1", **reading}],
        }
        body = json.dumps(asked).encode()
        mac = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": f"sha256={mac}",
        }
        with urlopen(Request(self._url, body, headers), timeout=10) as reply:  # noqa: S310  # the platform's own URL
            assert reply.status == 202


def reason(page: Page, code: str) -> Any:
    """Return the summary's row of a reason."""
    return page.locator(f"#rejected-summary [data-code='{code}']")


def wait_for(page: Page, code: str, count: str) -> None:
    """Open the list again until the workers have come so far."""
    for _ in range(60):
        page.get_by_role("link", name="Rejected").first.click()
        row = reason(page, code)
        if row.count() and row.locator("td").nth(1).inner_text() == count:
            return
        page.wait_for_timeout(500)
    expect(reason(page, code).locator("td").nth(1)).to_have_text(count)


def post_three(console: Console) -> None:
    sender = Sender(console)
    for hour in (1, 2):
        sender.post(f"north/{hour}", at=f"2026-01-01T0{hour}:00:00Z")
    sender.post("north/never", at="never")


def test_rejected_callbacks_are_read_and_count_once_the_device_is_approved(
    console: Console,
) -> None:
    post_three(console)
    with console.signed_in(console.admin) as page:
        wait_for(page, "device_unknown", "2")
        page.get_by_role("link", name="device_unknown", exact=True).first.click()
        expect(page.locator("#result_list")).to_contain_text(DEVICE)
        page.locator("#result_list tbody a").first.click()
        expect(page.locator("#body")).to_contain_text(f'"device": "{DEVICE}"')
        expect(page.locator("#errors")).to_contain_text("approve the device")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert json.loads(download.value.path().read_bytes())["device"] == DEVICE
        assert page.evaluate("window.ran") is None

        page.get_by_role("link", name="Devices").click()
        page.locator("#result_list").get_by_role("link", name=DEVICE).click()
        page.get_by_role("button", name="Approve").click()
        assert page.evaluate("window.ran") is None

        page.get_by_role("link", name="Rejected").first.click()
        reason(page, "device_unknown").get_by_role("link", name="Process again").click()
        expect(page.locator("#total")).to_have_text("2")
        page.get_by_role("button", name="Process again").click()
        expect(page.get_by_text("2 callbacks put back into the queue")).to_be_visible()
        expect(reason(page, "device_unknown")).to_have_count(0)
        page.get_by_role("link", name="Callbacks").click()
        for _ in range(60):
            if page.get_by_text("Processed", exact=True).count() == 2:
                break
            page.reload()
        expect(page.get_by_text("Processed", exact=True)).to_have_count(2)


def test_one_is_discarded_with_a_reason_and_opened_again(console: Console) -> None:
    with console.signed_in(console.admin) as page:
        wait_for(page, "time_invalid", "1")
        page.locator("#result_list tbody a").first.click()
        page.get_by_role("link", name="Discard").click()
        page.get_by_label("Reason").fill("a test bench")
        page.get_by_role("button", name="Discard").click()
        expect(page.get_by_text("Nothing waits for a decision")).to_be_visible()
        page.goto(console.address("/admin/ingest/callbackrejection/?status=discarded"))
        page.locator("#result_list tbody a").first.click()
        expect(page.locator("#rejection")).to_contain_text("a test bench")
        page.get_by_role("button", name="Undo the discard").click()
        expect(page.locator("#rejection")).to_contain_text("Waits for a decision")


def test_many_are_decided_in_steps_that_follow_by_themselves(console: Console) -> None:
    with console.platform.database() as owner:
        owner.execute(_SET_ASIDE, (MANY, console.slug))
    with console.signed_in(console.admin) as page:
        page.get_by_role("link", name="Rejected").first.click()
        row = reason(page, "value_invalid")
        expect(row).to_contain_text("4,100")
        row.get_by_role("link", name="Discard").click()
        page.get_by_label("Reason").fill("a broken bench")
        page.get_by_role("button", name="Discard").click()
        expect(page.get_by_text("4,100 callbacks discarded.")).to_be_visible(
            timeout=PATIENCE_MS
        )
        expect(reason(page, "value_invalid")).to_have_count(0)
