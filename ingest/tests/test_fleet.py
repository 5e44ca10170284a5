import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from ingest.replaying.fleet import Fleet, live_start, live_step_s

FIRST = date(2016, 3, 1)


def test_equal_seeds_send_equal_bytes_and_others_do_not() -> None:
    one, same, other = (
        list(Fleet(devices=10, seed=seed).history(first=FIRST, days=2))
        for seed in (1, 1, 2)
    )

    assert one == same
    assert not {item.body for item in one} & {item.body for item in other}


def test_a_long_history_has_lost_repeated_and_late_callbacks() -> None:
    sent = list(Fleet(devices=50, seed=3).history(first=FIRST, days=40))

    counts = Counter(item.transaction_id for item in sent)
    bodies = {(item.transaction_id, item.body) for item in sent}
    days = [item.transaction_id.split("/")[2] for item in sent]
    assert len(counts) < 50 * 40, "some are lost"
    assert 2 in counts.values(), "some are repeated"
    assert len(bodies) == len(counts), "repeated with the same bytes"
    assert days != sorted(days), "some are late"


def test_a_day_is_covered_by_intervals_of_a_known_channel_and_some_are_missing() -> (
    None
):
    sent = Fleet(devices=10, seed=1).history(first=FIRST, days=30)
    qualities: Counter[str] = Counter()

    for item in sent:
        readings = json.loads(item.body)["readings"]
        assert sum(reading["duration_s"] for reading in readings) == 86_400
        assert readings[0]["channel"] in {"1-0:1.8.0", "8-0:1.0.0", "7-0:3.0.0"}
        assert all(("value" in r) == (r["quality"] != "N") for r in readings)
        qualities.update(reading["quality"] for reading in readings)

    assert set(qualities) == {"A", "E", "N"}
    assert qualities["A"] > 0.9 * qualities.total()


def test_a_live_fleet_reports_each_interval_when_it_has_ended() -> None:
    now = datetime(2016, 3, 1, 12, 0, 3, tzinfo=UTC)
    start_at = live_start(now, 5)
    clock = [now]
    live = Fleet(devices=4, seed=1).live(
        start_at=start_at, step_s=5, clock=lambda: clock[0]
    )

    assert next(live) is None, "the interval is under way"
    clock[0] += timedelta(seconds=2)
    first = next(live)

    assert first is not None
    assert json.loads(first.body)["readings"][0]["at"] == "2016-03-01T12:00:00Z"
    clock[0] += timedelta(days=1)
    later = [item for item in islice(live, 40) if item is not None]
    assert json.loads(later[-1].body)["readings"][0]["at"] >= "2016-03-02T11:59:00Z"


@pytest.mark.parametrize(
    ("devices", "rate", "step_s"),
    [(24, 5.0, 5), (100, 1000.0, 1), (1_000_000, 0.1, 3600), (70, 10.0, 6)],
)
def test_a_live_step_divides_the_hour(devices: int, rate: float, step_s: int) -> None:
    assert live_step_s(devices=devices, rate=rate) == step_s
