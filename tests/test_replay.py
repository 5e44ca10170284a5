"""Journey: a real year of meter data, replayed, is worked off and adds up exactly."""

import csv
import json
from collections import defaultdict
from collections.abc import Generator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.oracle import waiting
from tests.processes import ROOT, Platform, Source, running, wait_until

DATA = ROOT.parent / "shared" / "data" / "opengrid"
ELECTRICITY = DATA / "electricity_2016_hour.csv"
OTHERS = (
    DATA / "gas_2016_hour.csv",
    DATA / "water_2016_hour.csv",
    DATA / "water_2015-03-28_to_31_min.csv",
)
ZONE = ZoneInfo("Europe/Brussels")
SENSORS = ("9afa", "3aa4", "8520", "0668")
#: 2015-12-31 and the 366 days of 2016, in UTC.
DAYS = 367
HOURS = 8_785

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not there"),
]


@pytest.fixture(scope="module")
def platform() -> Generator[Platform]:
    with running(environment={"GRIDHOOK_SWEEP_INTERVAL_S": "1"}) as platform:
        yield platform


@pytest.fixture(scope="module")
def replayed(platform: Platform) -> tuple[Source, dict[str, Any]]:
    """The electricity file, sent once and worked off."""
    source = platform.new_source()
    return source, replay(platform, source, [ELECTRICITY])


def replay(
    platform: Platform, source: Source, paths: list[Path], *options: str
) -> dict[str, Any]:
    """Send files with the command; wait until they are worked off."""
    done = platform.run(
        "replay", *map(str, paths), "--url", source.url, "--secret", source.secret,
        "--json", *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: waiting(platform, source) == 0, timeout_s=60)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def local_sums(path: Path, column: int, form: str) -> dict[str, Decimal]:
    """Add the file up by local month, day or year, without the product's code."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    with path.open() as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            local = datetime.fromisoformat(row[0]).astimezone(ZONE)
            sums[local.strftime(form)] += Decimal(row[column] or "0")
    return sums


def usage(
    platform: Platform, source: Source, device: str, interval: str, *days: str
) -> list[dict[str, Any]]:
    """Ask the API for a device's usage."""
    first, last = days
    query = f"device={device}&channel=main&interval={interval}&from={first}&to={last}"
    status, reply = platform.api(source.api_key, "GET", f"/usage/?{query}")
    assert status == 200, reply
    results: list[dict[str, Any]] = reply["results"]
    return results


def test_everything_is_accepted_then_processed(
    platform: Platform, replayed: tuple[Source, dict[str, Any]]
) -> None:
    source, summary = replayed

    assert summary["accepted"] == summary["total"] == len(SENSORS) * DAYS
    status, reply = platform.api(
        source.api_key,
        "GET",
        f"/callbacks/?transaction_id={ELECTRICITY.name}/9afa/2016-03-27",
    )
    assert status == 200
    (callback,) = reply["results"]
    assert callback["status"] == "processed"
    assert callback["readings"] == {
        "stored": 24,
        "unchanged": 0,
        "corrected": 0,
        "rejected": 0,
    }


@pytest.mark.parametrize("column", range(1, len(SENSORS) + 1))
def test_months_and_the_year_add_up_exactly(
    platform: Platform, replayed: tuple[Source, dict[str, Any]], column: int
) -> None:
    months = local_sums(ELECTRICITY, column, "%Y-%m")

    found = usage(
        platform, replayed[0], SENSORS[column - 1], "month", "2016-01-01", "2017-01-01"
    )

    assert {row["start_at"][:7]: Decimal(row["value"]) for row in found} == {
        month: watt_hours / 1000
        for month, watt_hours in months.items()
        if month.startswith("2016")
    }
    assert {row["unit"] for row in found} == {"kWh"}
    assert {row["actual"] for row in found} == {1}


def test_the_year_of_a_sensor_is_what_the_data_says_it_is(
    platform: Platform, replayed: tuple[Source, dict[str, Any]]
) -> None:
    found = usage(platform, replayed[0], "9afa", "month", "2016-01-01", "2017-01-01")

    values = [Decimal(row["value"]) for row in found]
    rounded = [value.quantize(Decimal("0.001")) for value in values]
    assert sum(values, Decimal(0)).quantize(Decimal("0.001")) == Decimal("3612.936")
    assert [str(value) for value in rounded] == [
        "364.295", "316.152", "310.762", "301.878", "282.636", "239.242",
        "248.882", "231.833", "252.774", "336.630", "365.381", "362.472",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "after", "hours"),
    [("2016-03-27", "2016-03-28", 23), ("2016-10-30", "2016-10-31", 25)],
)
def test_the_days_on_which_clocks_change_have_their_hours(
    platform: Platform,
    replayed: tuple[Source, dict[str, Any]],
    day: str,
    after: str,
    hours: int,
) -> None:
    rows = usage(platform, replayed[0], "9afa", "hour", day, after)
    (whole,) = usage(platform, replayed[0], "9afa", "day", day, after)

    assert len(rows) == hours
    total = local_sums(ELECTRICITY, 1, "%Y-%m-%d")[day] / 1000
    assert sum(Decimal(row["value"]) for row in rows) == total
    assert (Decimal(whole["value"]), whole["missing"]) == (total, 0)


def test_a_second_replay_is_all_duplicate_and_changes_nothing(
    platform: Platform, replayed: tuple[Source, dict[str, Any]]
) -> None:
    source, _ = replayed
    before = state(platform, source)

    summary = replay(platform, source, [ELECTRICITY])

    assert summary["duplicate"] == len(SENSORS) * DAYS
    assert summary["accepted"] == 0
    assert state(platform, source) == before


def test_the_same_readings_under_other_ids_are_unchanged(
    platform: Platform, replayed: tuple[Source, dict[str, Any]]
) -> None:
    source, _ = replayed
    before = state(platform, source)

    summary = replay(platform, source, [ELECTRICITY], "--prefix", "again")

    assert summary["accepted"] == len(SENSORS) * DAYS
    after = state(platform, source)
    assert after["readings"] == before["readings"]
    assert after["usage"] == before["usage"]
    assert after["callbacks"]["unchanged"] == len(SENSORS) * HOURS
    assert after["callbacks"]["corrected"] == 0


def test_a_stranger_sees_none_of_it(
    platform: Platform, replayed: tuple[Source, dict[str, Any]]
) -> None:
    stranger = platform.new_source()
    path = (
        "/usage/?device=9afa&channel=main&interval=month&from=2016-01-01&to=2017-01-01"
    )

    status, _ = platform.api(stranger.api_key, "GET", path)
    _, callbacks = platform.api(stranger.api_key, "GET", "/callbacks/")

    assert status == 404
    assert callbacks["results"] == []


def test_gas_and_water_add_up_and_what_is_missing_is_told(platform: Platform) -> None:
    source = platform.new_source()
    gas, water, minutes = OTHERS

    replay(platform, source, list(OTHERS))

    (year,) = usage_sums(platform, source, "ba14", "2016-01-01", "2017-01-01")
    assert year == local_sums(gas, 1, "%Y")["2016"] / 1000
    (year,) = usage_sums(platform, source, "a805", "2016-01-01", "2017-01-01")
    assert year == local_sums(water, 1, "%Y")["2016"] * 60 / 1000
    (day,) = usage(platform, source, "6616", "day", "2015-03-29", "2015-03-30")
    litres = local_sums(minutes, 2, "%Y-%m-%d")
    assert Decimal(day["value"]) == litres["2015-03-29"] / 1000
    (last,) = usage(platform, source, "6616", "day", "2015-03-31", "2015-04-01")
    assert last["missing"] == pytest.approx(45 / 1440, abs=1e-6)
    assert minute_readings(platform, source, "2015-03-29") == 1_380


def usage_sums(
    platform: Platform, source: Source, device: str, *days: str
) -> list[Decimal]:
    rows = usage(platform, source, device, "month", *days)
    return [sum((Decimal(row["value"]) for row in rows), Decimal(0))]


def minute_readings(platform: Platform, source: Source, day: str) -> int:
    start = datetime.combine(date.fromisoformat(day), datetime.min.time(), ZONE)
    end = start.replace(day=start.day + 1)
    ((count,),) = platform.rows(
        """
        SELECT count(*) FROM ingest_reading r
        JOIN tenants_tenant t ON t.id = r.tenant_id
        JOIN ingest_channel c ON c.id = r.channel_id
        JOIN ingest_device d ON d.id = c.device_id
        WHERE t.slug = %s AND d.name = '6616' AND r.start_at >= %s AND r.start_at < %s
        """,
        source.tenant,
        start,
        end,
    )
    return int(count)


def state(platform: Platform, source: Source) -> dict[str, Any]:
    """Return what a replay could change."""
    ((readings,),) = platform.rows(
        """
        SELECT md5(string_agg((to_jsonb(r) - 'confirmed_by')::text, ','
            ORDER BY channel_id, start_at))
        FROM ingest_reading r JOIN tenants_tenant t ON t.id = r.tenant_id
        WHERE t.slug = %s
        """,
        source.tenant,
    )
    ((usage_hash,),) = platform.rows(
        """
        SELECT md5(string_agg(concat_ws(' ', channel_id, day, value, actual_s,
            estimated_s, reading_count), ',' ORDER BY channel_id, day))
        FROM ingest_usage u JOIN tenants_tenant t ON t.id = u.tenant_id
        WHERE t.slug = %s
        """,
        source.tenant,
    )
    ((count, stored, unchanged, corrected),) = platform.rows(
        """
        SELECT count(*), sum(stored), sum(unchanged), sum(corrected)
        FROM ingest_callback c JOIN tenants_tenant t ON t.id = c.tenant_id
        WHERE t.slug = %s AND c.state = 1
        """,
        source.tenant,
    )
    return {
        "readings": readings,
        "usage": usage_hash,
        "callbacks": {
            "count": count,
            "stored": stored,
            "unchanged": unchanged,
            "corrected": corrected,
        },
    }
