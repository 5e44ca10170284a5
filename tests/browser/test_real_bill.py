"""Journey: a real July, replayed, billed, and read where a clerk would read it."""

import csv
import io
import json
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from http.client import HTTPConnection
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.browser.people import Console
from tests.processes import ROOT, wait_until

FILE = ROOT.parent / "shared" / "data" / "opengrid" / "electricity_2016_hour.csv"
ZONE = ZoneInfo("Europe/Brussels")
CENT = Decimal("0.01")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.processes,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not there"),
]


def by_hand() -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Return kWh, energy, standing charge and total of 9afa's July, from the file."""
    watt_hours = Decimal(0)
    with FILE.open() as file:
        for row in csv.DictReader(file):
            local = datetime.fromisoformat(row["ts_utc"]).astimezone(ZONE)
            if (local.year, local.month) == (2016, 7):
                watt_hours += Decimal(row["9afa_mean_w"])
    kwh = watt_hours / 1000
    energy = (kwh * Decimal("0.25")).quantize(CENT, ROUND_HALF_UP)
    standing = (31 * Decimal("0.10")).quantize(CENT, ROUND_HALF_UP)
    return kwh, energy, standing, energy + standing


def api(console: Console, method: str, path: str, body: Any = None) -> Any:
    status, reply = console.platform.api(console.api_key, method, path, body)
    assert status < 300, reply
    return reply


def report_of(console: Console) -> list[dict[str, str]]:
    page = HTTPConnection("127.0.0.1", console.platform.console_port, timeout=30)
    page.request(
        "GET",
        "/api/v1/reports/usage.csv?from=2016-07-01&to=2016-08-01",
        headers={"Authorization": f"Bearer {console.api_key}"},
    )
    text = page.getresponse().read().decode("utf-8-sig")
    page.close()
    return list(csv.DictReader(io.StringIO(text)))


def replay(console: Console) -> None:
    source = api(console, "POST", "/sources/", {"name": "meters", "scheme": "hub"})
    done = console.platform.run(
        "replay", str(FILE), "--url", source["url"], "--secret", source["secret"],
        "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["accepted"] == 4 * 367, done.stderr


def bill_july(console: Console) -> dict[str, Any]:
    """Sign an agreement, run the bills, and return the invoice."""
    charges = [
        {"type": "consumption", "unit_price": "0.25", "unit": "kWh"},
        {"type": "standing", "price_per_day": "0.10"},
    ]
    version = {"valid_from_date": "2016-01-01", "charges": charges}
    api(console, "POST", "/accounts/", {"number": "A-1", "name": "Ada"})
    api(
        console,
        "POST",
        "/tariffs/",
        {"code": "house", "name": "Household", "versions": [version]},
    )
    assert wait_until(lambda: is_known(console), timeout_s=60)
    agreement = {"account": "A-1", "device": "9afa", "tariff": "house"}
    api(console, "POST", "/agreements/", {**agreement, "start_date": "2016-01-01"})
    period = {"period_start": "2016-07-01", "period_end": "2016-08-01"}
    run = api(console, "POST", "/bill-runs/", period)
    path = f"/bill-runs/{run['id']}/"
    assert wait_until(
        lambda: api(console, "GET", path)["status"] == "completed", timeout_s=60
    )
    (number,) = api(console, "GET", path)["invoices"]
    invoice: dict[str, Any] = api(console, "GET", f"/invoices/{number}/")
    return invoice


def is_known(console: Console) -> bool:
    """Tell whether a worker has seen the device."""
    devices = api(console, "GET", "/devices/")["results"]
    return "9afa" in {device["name"] for device in devices}


def test_the_bill_of_a_real_july_is_the_hand_calculation(console: Console) -> None:
    kwh, energy, standing, total = by_hand()
    replay(console)

    invoice = bill_july(console)

    amounts = [Decimal(line["amount"]) for line in invoice["lines"]]
    assert Decimal(invoice["lines"][0]["quantity"]) == kwh
    assert amounts == [energy, standing]
    assert Decimal(invoice["total"]) == total == Decimal("65.32")

    (row,) = report_of(console)
    assert Decimal(row["usage"]) == kwh
    assert Decimal(row["billed"]) == total

    console.add_clerk()
    with console.signed_in(console.clerk) as page:
        page.get_by_role("link", name="Invoices").click()
        page.get_by_role("link", name=invoice["number"]).click()
        for shown in (f"{kwh.normalize():f} kWh", f"{energy} EUR", f"{total} EUR"):
            expect(page.get_by_text(shown).first).to_be_visible()
