"""Usage over the API: local hours, days and months with their shares."""

from typing import Any

import pytest

from conftest import make_tenant
from ingest.tests.accepting import Inlet, inlet, interval, register
from subscriptions.tests.calling import Caller, code
from tenants.services import NewTenant


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


def ask(owner: Caller, query: str) -> list[dict[str, Any]]:
    reply = owner.get(f"/usage/?device=WM-1&{query}")
    assert reply.status_code == 200, reply.content
    rows: list[dict[str, Any]] = reply.json()["results"]
    return rows


def test_a_day_shows_its_local_bounds_exact_value_and_shares(
    lane: Inlet, owner: Caller
) -> None:
    lane.settle(
        [
            interval("2016-03-27T00:00:00+01:00", "107.53", unit="Wh"),
            interval("2016-03-27T03:00:00+02:00", "0.1", quality="E"),
        ]
    )
    assert ask(owner, "from=2016-03-27&to=2016-03-28&interval=day") == [
        {
            "start_at": "2016-03-27T00:00:00+01:00",
            "end_at": "2016-03-28T00:00:00+02:00",
            "value": "0.20753",
            "unit": "kWh",
            "actual": 0.043478,
            "estimated": 0.043478,
            "missing": 0.913043,
        }
    ]


def test_a_day_that_the_zone_leaves_out_has_no_share() -> None:
    new = make_tenant("Pacific/Apia")
    two_days = interval("2011-12-29T00:00:00-10:00", "48", duration_s=172_800)
    inlet(new.tenant).settle([two_days])
    rows = ask(Caller(new.api_key), "from=2011-12-29&to=2012-01-01&interval=day")
    assert {row["start_at"][:10]: row["value"] for row in rows}["2011-12-29"] == "24"
    assert [row["actual"] for row in rows if row["start_at"] == row["end_at"]] == [0]


def test_a_month_counts_its_absent_days_as_missing(lane: Inlet, owner: Caller) -> None:
    lane.settle([interval("2016-04-10T00:00:00+02:00", "24", duration_s=86_400 * 3)])
    (month,) = ask(owner, "interval=month&from=2016-04-01&to=2016-05-01")
    assert (month["value"], month["actual"], month["missing"]) == ("24", 0.1, 0.9)
    assert month["start_at"] == "2016-04-01T00:00:00+02:00"
    assert month["end_at"] == "2016-05-01T00:00:00+02:00"
    # Without a period, what is known: here three days that lack nothing.
    (known,) = ask(owner, "interval=month")
    assert (known["value"], known["missing"]) == ("24", 0.0)


def test_hours_follow_the_local_clock_over_the_change(
    lane: Inlet, owner: Caller
) -> None:
    lane.settle(
        [interval(f"2016-10-30T{hour:02}:00:00Z", str(hour + 1)) for hour in range(3)]
    )
    hours = ask(owner, "interval=hour&from=2016-10-30&to=2016-10-31")
    assert [hour["start_at"] for hour in hours] == [
        "2016-10-30T02:00:00+02:00",
        "2016-10-30T02:00:00+01:00",
        "2016-10-30T03:00:00+01:00",
    ]
    assert [hour["value"] for hour in hours] == ["1", "2", "3"]
    assert {hour["actual"] for hour in hours} == {1.0}


def test_of_an_interval_and_a_register_the_interval_is_shown(
    lane: Inlet, owner: Caller
) -> None:
    lane.settle(
        [
            interval("2016-06-01T00:00:00+02:00", "5"),
            register("2016-06-01T00:00:00+02:00", "100"),
            register("2016-06-02T00:00:00+02:00", "107"),
        ]
    )
    (shown,) = ask(owner, "from=2016-06-01&to=2016-06-02")
    assert shown["value"] == "5"
    (other,) = ask(owner, "from=2016-06-01&to=2016-06-02&kind=register")
    assert (other["value"], other["actual"]) == ("7", 1.0)


def test_every_hour_of_a_register_gets_its_part(lane: Inlet, owner: Caller) -> None:
    lane.settle(
        [
            register("2016-06-01T00:30:00+02:00", "0"),
            register("2016-06-01T02:00:00+02:00", "3"),
        ]
    )
    hours = ask(owner, "interval=hour&from=2016-06-01&to=2016-06-02")
    assert [(hour["value"], hour["actual"]) for hour in hours] == [
        ("1", 0.5),
        ("2", 1.0),
        ("0", 0.0),
    ]


def test_a_period_may_be_given_by_times_and_shows_the_days_it_touches(
    lane: Inlet, owner: Caller
) -> None:
    lane.settle(
        [interval(f"2016-06-0{day}T12:00:00+02:00", str(day)) for day in range(1, 5)]
    )
    days = ask(owner, "from=2016-06-01T22:00:00Z&to=2016-06-03T00:00:00Z")
    assert [day["value"] for day in days] == ["2", "3"]
    assert ask(owner, "from=2016-06-03&to=2016-06-01") == []


@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        ("", 400, "parameter_invalid"),
        ("device=WM-1&interval=week", 400, "parameter_invalid"),
        ("device=WM-1&kind=x", 400, "parameter_invalid"),
        ("device=WM-1&from=1", 400, "parameter_invalid"),
        ("device=WM-1&from=0001-01-01", 400, "parameter_invalid"),
        ("device=WM-1&to=9999-12-31T23:59:59Z", 400, "parameter_invalid"),
        ("device=WM-2", 404, "channel_unknown"),
        ("device=WM-1&channel=x", 404, "channel_unknown"),
        ("device=WM-1&kind=register", 404, "channel_unknown"),
        (
            "device=WM-1&interval=hour&from=2000-01-01&to=2016-01-01",
            400,
            "period_too_long",
        ),
        ("device=WM-1&from=1900-01-02&to=2016-01-01", 400, "period_too_long"),
    ],
)
def test_a_question_without_an_answer_says_why(
    lane: Inlet, owner: Caller, query: str, status: int, problem: str
) -> None:
    lane.settle([interval("2016-06-01T00:00:00Z")])
    assert code(owner.get(f"/usage/?{query}")) == (status, problem)


def test_a_channel_without_usage_has_an_empty_answer(
    lane: Inlet, owner: Caller
) -> None:
    lane.settle([interval("2016-06-01T00:00:00Z", "20", unit="Cel")])
    for interval_name in ("hour", "day", "month"):
        assert ask(owner, f"interval={interval_name}") == []
        assert (
            ask(owner, f"interval={interval_name}&from=2016-06-01&to=2016-06-02") == []
        )
