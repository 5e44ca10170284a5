"""Usage by local day: exact, by the tenant's clocks, and never counted twice."""

import csv
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import make_tenant
from ingest.buckets import day_start, hours
from ingest.models import UsageMark
from ingest.processing.batch import process_batch
from ingest.queries import daily_usage, find_channel, usage
from ingest.services.usage import recompute
from ingest.tests.accepting import Inlet, drain, inlet, interval, register
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

OPENGRID = Path(__file__).resolve().parents[3] / "shared" / "data" / "opengrid"
DAY_S = 86_400
#: kWh by local month of 2016, as the data's own description has them.
MONTHS_OF_9AFA = [
    Decimal(thousandths) / 1000
    for thousandths in (
        *(364_295, 316_152, 310_762, 301_878, 282_636, 239_242),
        *(248_882, 231_833, 252_774, 336_630, 365_381, 362_472),
    )
]


def days(lane: Inlet, **names: str) -> dict[str, Decimal]:
    return {str(row.day): row.value for row in lane.usage(**names)}


def hourly(first: str, count: int) -> list[dict[str, Any]]:
    start = datetime.fromisoformat(first)
    return [
        interval((start + timedelta(hours=n)).isoformat(), "1") for n in range(count)
    ]


@pytest.mark.parametrize(
    ("day", "start", "length_h"),
    [
        ("2016-03-27", "2016-03-26T23:00:00+00:00", 23),
        ("2016-10-30", "2016-10-29T22:00:00+00:00", 25),
        ("2016-06-01", "2016-05-31T22:00:00+00:00", 24),
    ],
)
def test_a_local_day_has_the_hours_that_its_clocks_give_it(
    lane: Inlet, day: str, start: str, length_h: int
) -> None:
    lane.settle(hourly(start, length_h))
    (row,) = lane.usage()
    assert str(row.day) == day
    assert row.value == row.reading_count == length_h
    assert row.expected_s == row.actual_s == length_h * 3600


def test_an_interval_over_midnight_is_split_by_seconds(lane: Inlet) -> None:
    # 20 minutes before midnight in Brussels, 40 after.
    lane.settle([interval("2016-05-31T21:40:00Z", "1")])
    assert days(lane) == {
        "2016-05-31": Decimal("0.333333"),
        "2016-06-01": Decimal("0.666667"),
    }
    assert [row.actual_s for row in lane.usage()] == [1200, 2400]


def test_an_interval_of_a_month_reaches_all_its_days(lane: Inlet) -> None:
    lane.settle([interval("2016-02-29T23:00:00Z", "743", duration_s=31 * DAY_S - 3600)])
    found = days(lane)
    assert len(found) == 31
    assert sum(found.values()) == 743
    # An hour a unit: the night of the change has one less.
    assert found["2016-03-27"] == 23
    assert found["2016-03-26"] == 24


def test_a_short_reading_inside_a_longer_one_counts_its_seconds_once(
    lane: Inlet,
) -> None:
    lane.settle(
        [
            interval("2016-05-31T22:00:00Z", "24", duration_s=DAY_S),
            interval("2016-06-01T10:00:00Z", "1", quality="E"),
        ]
    )
    (row,) = lane.usage()
    assert (row.actual_s, row.estimated_s) == (DAY_S, 0)


def test_qualities_become_shares_of_the_day(lane: Inlet) -> None:
    lane.settle(
        [
            interval("2016-06-01T00:00:00Z", "1"),
            interval("2016-06-01T01:00:00Z", "1", quality="E"),
            interval("2016-06-01T02:00:00Z", "1", quality="S"),
            interval("2016-06-01T03:00:00Z", "1", quality="F"),
            {"at": "2016-06-01T04:00:00Z", "duration_s": 3600, "quality": "N"},
        ]
    )
    (row,) = lane.usage()
    assert (row.value, row.actual_s, row.estimated_s) == (Decimal(4), 3600, 3 * 3600)
    assert row.reading_count == 5


def test_a_shortened_interval_empties_the_day_that_it_leaves(lane: Inlet) -> None:
    lane.settle([interval("2016-05-31T21:00:00Z", "2", duration_s=7200)])
    assert days(lane) == {"2016-05-31": 1, "2016-06-01": 1}
    lane.settle([interval("2016-05-31T21:00:00Z", "2")])
    assert days(lane) == {"2016-05-31": 2}


def test_a_register_is_shared_out_between_its_stands(lane: Inlet) -> None:
    lane.settle(
        [
            register("2016-05-31T22:00:00Z", "00100"),
            register("2016-06-03T22:00:00Z", "103"),
        ]
    )
    assert days(lane) == {
        "2016-06-01": 1,
        "2016-06-02": 1,
        "2016-06-03": 1,
        # The day of the closing stand has a reading and no time of its own yet.
        "2016-06-04": 0,
    }
    # A stand between the two changes both halves, whenever it comes.
    lane.settle([register("2016-06-01T22:00:00Z", "103")])
    assert days(lane) == {
        "2016-06-01": 3,
        "2016-06-02": 0,
        "2016-06-03": 0,
        "2016-06-04": 0,
    }


def test_a_register_that_goes_back_adds_nothing_and_its_time_is_missing(
    lane: Inlet,
) -> None:
    lane.settle(
        [
            register("2016-05-31T22:00:00Z", "99990"),
            register("2016-06-01T22:00:00Z", "5"),
            register("2016-06-02T22:00:00Z", "8", quality="E"),
        ]
    )
    first, second, third = lane.usage()
    assert (first.value, first.actual_s, first.estimated_s) == (Decimal(0), 0, 0)
    assert (second.value, second.actual_s, second.estimated_s) == (Decimal(3), 0, DAY_S)
    assert third.value == 0


def test_temperatures_and_powers_are_not_added_up(lane: Inlet) -> None:
    lane.settle([interval("2016-06-01T00:00:00Z", "21.5", unit="Cel")])
    lane.settle([interval("2016-06-01T00:00:00Z", "2", unit="W", channel="p")])
    assert lane.usage() == lane.usage(channel="p") == []


def test_a_reading_that_commits_during_a_computation_is_in_the_next(
    tenant: Tenant, lane: Inlet
) -> None:
    first = lane.settle([interval("2016-06-01T00:00:00Z", "1")])
    with acting_for(tenant):
        channel = find_channel(tenant=tenant, device="WM-1")
    with pipeline() as slow:
        slow.execute(
            """WITH late AS (
                INSERT INTO ingest_reading VALUES
                    (%(tenant)s, %(channel)s, '2016-06-01T01:00:00Z', 2, 3600, 'A',
                     %(callback)s))
            INSERT INTO ingest_usagemark (tenant_id, channel_id, day)
            VALUES (%(tenant)s, %(channel)s, '2016-06-01')""",
            {"tenant": tenant.pk, "channel": channel.pk, "callback": first.id},
        )
        lane.settle([interval("2016-06-01T02:00:00Z", "4")])
        assert days(lane) == {"2016-06-01": 5}
    drain()
    assert days(lane) == {"2016-06-01": 7}
    with acting_for(tenant):
        assert not UsageMark.objects.filter(tenant=tenant).exists()


def test_one_worker_computes_at_a_time(lane: Inlet) -> None:
    lane.settle([interval("2016-06-01T00:00:00Z", "1")])
    lane.accept([interval("2016-06-01T01:00:00Z", "1")])
    process_batch(500)
    with pipeline() as other:
        other.execute(
            "SELECT pg_advisory_xact_lock(hashtext('ingest.recompute_usage'))"
        )
        assert recompute(100) == 0
    assert days(lane) == {"2016-06-01": 1}
    assert recompute(100) > 0
    assert days(lane) == {"2016-06-01": 2}


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/Brussels",
        "Atlantic/Azores",
        "America/Havana",
        "America/Sao_Paulo",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
    ],
)
def test_python_and_postgres_agree_where_every_day_begins(zone: str) -> None:
    tenant = make_tenant(timezone=zone).tenant
    first = date(2010, 1, 1)
    wanted = [
        day_start(first + timedelta(days=n), tenant.zone) for n in range(366 * 10)
    ]
    with pipeline() as lane:
        found = lane.execute(
            "SELECT ingest_day_start(%s::date + n, %s) "
            "FROM generate_series(0, %s::int) AS n",
            [first, zone, len(wanted) - 1],
        ).fetchall()
    assert [row[0] for row in found] == wanted


@pytest.mark.parametrize(
    ("zone", "day", "start", "length_h"),
    [
        # Two midnights: the day begins at the first one.
        ("Atlantic/Azores", "2016-10-30", "2016-10-30T00:00:00+00:00", 25),
        # No midnight: the day begins at one.
        ("America/Sao_Paulo", "2016-10-16", "2016-10-16T03:00:00+00:00", 23),
    ],
)
def test_a_night_that_changes_at_midnight_belongs_to_one_day(
    zone: str, day: str, start: str, length_h: int
) -> None:
    lane = inlet(make_tenant(timezone=zone).tenant)
    lane.settle(hourly(start, length_h))
    (row,) = lane.usage()
    assert str(row.day) == day
    assert row.value == length_h
    assert row.expected_s == row.actual_s == length_h * 3600


def test_hours_days_and_months_add_up_to_each_other(
    tenant: Tenant, lane: Inlet
) -> None:
    lane.settle(
        [
            register(f"2016-{month:02}-11T07:{month:02}:03.25Z", str(month * month * 7))
            for month in range(1, 8)
        ]
    )
    zone = tenant.zone
    from_at, to_at = (
        day_start(date(2016, 1, 1), zone),
        day_start(date(2017, 1, 1), zone),
    )
    with acting_for(tenant):
        channel = find_channel(tenant=tenant, device="WM-1")
        totals = {
            name: sum(
                row.value
                for row in usage(
                    tenant=tenant,
                    channel=channel,
                    from_at=from_at,
                    to_at=to_at,
                    interval=name,
                )
            )
            for name in ("hour", "day", "month")
        }
    assert totals == dict.fromkeys(("hour", "day", "month"), Decimal(7 * 48))


STANDS = st.lists(
    st.tuples(
        st.integers(0, 120 * DAY_S * 1_000_000),
        st.decimals(0, 10**9, allow_nan=False, places=6),
    ),
    min_size=2,
    max_size=6,
    unique_by=lambda stand: stand[0],
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stands=STANDS, order=st.randoms(use_true_random=False))
def test_the_days_of_a_register_add_up_exactly(
    lane: Inlet, stands: list[tuple[int, Decimal]], order: Any
) -> None:
    epoch = datetime(2016, 2, 1, tzinfo=UTC)
    stands = sorted(stands)
    # A name of its own for every example.
    device = f"D-{hash(tuple(stands))}-{order.random()}"
    readings = [
        register((epoch + timedelta(microseconds=at)).isoformat(), str(value))
        for at, value in stands
    ]
    order.shuffle(readings)
    half = len(readings) // 2
    lane.settle(readings[:half], device=device)
    lane.settle(readings[half:], device=device)
    wanted = sum(
        later - earlier
        for (_, earlier), (_, later) in pairwise(stands)
        if later >= earlier
    )
    assert sum(days(lane, device=device).values()) == wanted


def test_local_hours_of_a_day_never_pass_its_end() -> None:
    tenant = make_tenant(timezone="Australia/Lord_Howe").tenant
    start = day_start(date(2016, 4, 3), tenant.zone)
    end = day_start(date(2016, 4, 4), tenant.zone)
    found = list(hours(start, end, tenant.zone))
    assert end - start == timedelta(hours=24.5)
    assert (found[0][0], found[-1][1]) == (start, end)
    assert all(before[1] == after[0] for before, after in pairwise(found))


@pytest.mark.skipif(
    not OPENGRID.exists(), reason="The real meter files (../shared/data) are absent."
)
def test_the_real_year_of_sensor_9afa_adds_up_to_the_milliwatt_hour(
    tenant: Tenant, lane: Inlet
) -> None:
    watts: dict[datetime, Decimal] = {}
    with (OPENGRID / "electricity_2016_hour.csv").open() as file:
        for row in csv.DictReader(file):
            if row["9afa_mean_w"]:
                at = datetime.fromisoformat(row["ts_utc"])
                watts[at] = Decimal(row["9afa_mean_w"])
    by_day: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for at, value in watts.items():
        by_day[at.date()].append(interval(at.isoformat(), str(value), unit="Wh"))
    for readings in by_day.values():
        lane.accept(readings, device="9afa")
    drain()
    local: dict[date, Decimal] = defaultdict(Decimal)
    for at, value in watts.items():
        local[at.astimezone(tenant.zone).date()] += value / 1000
    with acting_for(tenant):
        channel = find_channel(tenant=tenant, device="9afa")
        rows = daily_usage(
            tenant=tenant,
            channel=channel,
            from_day=date(2016, 1, 1),
            to_day=date(2017, 1, 1),
        )
        months = usage(
            tenant=tenant,
            channel=channel,
            from_at=day_start(date(2016, 1, 1), tenant.zone),
            to_at=day_start(date(2017, 1, 1), tenant.zone),
            interval="month",
        )
    assert len(rows) == 366
    assert {row.day: row.value for row in rows} == {
        day: value for day, value in local.items() if day.year == 2016
    }
    assert round(sum(row.value for row in rows), 3) == Decimal("3612.936")
    assert [round(month.value, 3) for month in months] == MONTHS_OF_9AFA
    by_date = {str(row.day): row for row in rows}
    assert by_date["2016-03-27"].expected_s == 23 * 3600
    assert by_date["2016-10-30"].reading_count == 25
    assert {str(day.day) for day in lane.usage(device="9afa")} >= {"2017-01-01"}
