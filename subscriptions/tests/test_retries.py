"""The schedule's arithmetic."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.retries import JITTER, RETRY_AFTER_LIMIT_S, pause_s, retry_after_s

NOW = datetime(2026, 11, 23, 18, 21, tzinfo=UTC)


def test_default_schedule_is_ten_attempts_over_75_h_35_min_5_s() -> None:
    schedule = settings.RETRY_SCHEDULE_S
    assert schedule == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert sum(schedule) == 272_105
    assert timedelta(seconds=sum(schedule)) == timedelta(
        hours=75, minutes=35, seconds=5
    )
    pauses = [pause_s(step, schedule) for step in range(1, 12)]
    assert [pause is None for pause in pauses] == [False] * 9 + [True] * 2


@given(st.integers(1, 9))
def test_pause_is_never_shorter_and_at_most_a_tenth_longer(step: int) -> None:
    schedule = settings.RETRY_SCHEDULE_S
    for _ in range(100):
        pause = pause_s(step, schedule)
        assert pause is not None
        assert schedule[step - 1] <= pause <= schedule[step - 1] * (1 + JITTER)


def test_pauses_spread_out() -> None:
    assert len({pause_s(9, settings.RETRY_SCHEDULE_S) for _ in range(100)}) > 90


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("0", 0),
        ("99999999999999999999", RETRY_AFTER_LIMIT_S),
        ("9" * 31, 0),
        ("-5", 0),
        ("1e9", 0),
        ("inf", 0),
        ("nan", 0),
        ("", 0),
        ("soon", 0),
        ("١٢٠", 0),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), RETRY_AFTER_LIMIT_S),
        ("Mon, 23 Nov 2026 18:22:00", 60),
        ("Mon, 99 Nov 2026 18:22:00 GMT", 0),
        ("Mon, 23 Nov 99999999 18:22:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_a_day(
    header: str, expected: float
) -> None:
    assert retry_after_s(header, now_s=NOW.timestamp()) == expected


@given(st.text())
def test_any_header_at_all_is_a_wait_of_a_day_at_most(header: str) -> None:
    assert 0 <= retry_after_s(header, now_s=NOW.timestamp()) <= RETRY_AFTER_LIMIT_S
