"""What one worker's memory lets it send: pure, with a clock that is passed in."""

from dataclasses import replace
from uuid import UUID, uuid4

from subscriptions.services.delivering.pacing import (
    COSTLY_WEIGHT,
    EVIDENCE_S,
    EVIDENCE_WEIGHT,
    FAILING_LIMIT,
    FAILING_STREAK,
    FIRST_LIMIT,
    LATE_SLOTS,
    QUICK_SLOTS,
    SLOTS,
    SLOTS_AT_MOST,
    SLOTS_IN_ALL,
    SLOW_SLOTS,
    Opening,
    Pacing,
)


def opening(endpoint_id: UUID | None = None) -> Opening:
    return Opening(
        tenant_id=1,
        endpoint_id=endpoint_id or uuid4(),
        max_concurrency=32,
        batch_size=1,
        is_failing=False,
        is_limited=False,
        is_ripe=True,
        has_urgent=False,
        has_late=False,
    )


def begin(pacing: Pacing, one: Opening, now: float, count: int = 1) -> list[object]:
    requests = [object() for _ in range(count)]
    for request in requests:
        pacing.begin(one.endpoint_id, request, now)
    return requests


def answer(
    pacing: Pacing, one: Opening, now: float, verdict: bool | None, took_s: float = 0.01
) -> None:
    (request,) = begin(pacing, one, now - took_s)
    pacing.end(one.endpoint_id, request, now, verdict=verdict)


def share(pacing: Pacing, one: Opening, now: float, *, is_careful: bool = False) -> int:
    room = pacing.room(now)
    room = room._replace(is_for_quick=is_careful or room.is_for_quick)
    found = pacing.shares([one], room, now)
    return found[0][1] if found else 0


def limit_of(pacing: Pacing, one: Opening, now: float) -> int:
    """Return what may be on its way to a quick endpoint: as many again may wait."""
    both = share(pacing, one, now)
    assert both % 2 == 0
    return both // 2


def test_unknown_endpoint_has_a_few_and_a_failing_one_fewer() -> None:
    pacing = Pacing()
    assert share(pacing, opening(), 0.0) == FIRST_LIMIT
    assert share(pacing, replace(opening(), is_failing=True), 0.0) == FAILING_LIMIT


def test_limit_grows_with_success_up_to_what_the_endpoint_may_have() -> None:
    pacing, one = Pacing(), opening()
    for now in range(400):
        requests = begin(pacing, one, now, share(pacing, one, now))
        for request in requests:
            pacing.end(one.endpoint_id, request, now + 0.01, verdict=True)
    assert limit_of(pacing, one, 500.0) == one.max_concurrency


def test_limit_that_is_not_made_use_of_does_not_grow() -> None:
    pacing, one = Pacing(), opening()
    for now in range(400):
        answer(pacing, one, now, True)
    assert limit_of(pacing, one, 500.0) == FIRST_LIMIT


def test_refusals_of_one_flight_halve_the_limit_once() -> None:
    pacing, one = Pacing(), opening()
    requests = begin(pacing, one, 1.0, FIRST_LIMIT)
    for request in requests:
        pacing.end(one.endpoint_id, request, 1.1, verdict=None)
    answer(pacing, one, 1.2, True)
    assert limit_of(pacing, one, 1.3) == FIRST_LIMIT // 2
    answer(pacing, one, 1.4, None)
    answer(pacing, one, 1.5, True)
    assert limit_of(pacing, one, 1.6) == FIRST_LIMIT // 4


def test_endpoint_that_always_refuses_still_has_one() -> None:
    pacing, one = Pacing(), opening()
    for now in range(10):
        answer(pacing, one, now, None)
    assert share(pacing, one, 20.0) == 1


def test_failures_in_a_row_leave_two_and_a_success_gives_the_rest_back() -> None:
    pacing, one = Pacing(), opening()
    for now in range(FAILING_STREAK):
        answer(pacing, one, now, False)
    assert share(pacing, one, 5.0) == FAILING_LIMIT
    answer(pacing, one, 6.0, True)
    assert limit_of(pacing, one, 7.0) == FIRST_LIMIT


def test_slow_endpoints_together_hold_half_and_quick_ones_have_all_the_rest() -> None:
    pacing = Pacing()
    hanging = [opening() for _ in range(SLOTS // FIRST_LIMIT)]
    for one in hanging:
        begin(pacing, one, 0.0, FIRST_LIMIT)
    assert share(pacing, opening(), 0.5) == 0
    room = pacing.room(1.5)
    assert (room.slow, room.is_for_quick) == (0, False)
    assert room.of_all == SLOTS - SLOW_SLOTS
    assert pacing.shares([replace(hanging[0], max_concurrency=99)], room, 1.5) == []
    # Of the others each is tried with one, to see whether it hangs too.
    assert share(pacing, opening(), 1.5) == 1


def let_hang(pacing: Pacing, herd: list[Opening], now: float) -> int:
    """Send to the herd what there is room for; return how much that is."""
    room = pacing.room(now)
    left = room.of_all
    for one, most in pacing.shares(herd, room, now):
        left -= len(begin(pacing, one, now, min(most, left)))
    return room.of_all - left


def let_many_hang(pacing: Pacing) -> int:
    """Send to unknown ones that do not answer, for 40 s; return how much flies."""
    herds = [[opening() for _ in range(SLOTS)] for _ in range(20)]
    return sum(let_hang(pacing, herd, 2.0 * n) for n, herd in enumerate(herds))


def test_what_is_on_its_way_has_a_bound_however_much_of_it_hangs() -> None:
    assert let_many_hang(Pacing()) == SLOTS_IN_ALL


def test_herd_that_hangs_keeps_nobody_out_who_has_shown_to_be_quick() -> None:
    pacing, quick = Pacing(), opening()
    answer(pacing, quick, 0.0, True)
    flying = let_many_hang(pacing)
    room = pacing.room(50.0)
    assert (room.of_all, room.is_for_quick) == (QUICK_SLOTS, True)
    assert share(pacing, opening(), 50.0) == 0
    assert share(pacing, quick, 50.0) == 2 * FIRST_LIMIT
    # If those hang now, too, there is an end all the same.
    for now in range(51, 90, 2):
        others = [opening() for _ in range(QUICK_SLOTS)]
        for one in others:
            answer(pacing, one, now, True)
        flying += let_hang(pacing, others, now)
    assert flying == SLOTS_AT_MOST


def test_mean_latency_makes_slow_and_quick_again() -> None:
    pacing, one = Pacing(), opening()
    answer(pacing, one, 10.0, True, took_s=5.0)
    assert pacing.shares([one], pacing.room(10.0)._replace(slow=1), 10.0) == [(one, 1)]
    for now in range(11, 25):
        answer(pacing, one, now, True)
    assert limit_of(pacing, one, 25.0) == FIRST_LIMIT


def test_careful_turn_is_for_those_that_have_shown_to_be_quick() -> None:
    pacing, quick, slow, new = Pacing(), opening(), opening(), opening()
    answer(pacing, quick, 1.0, True)
    begin(pacing, slow, 1.0)
    given = [share(pacing, one, 3.0, is_careful=True) for one in (quick, slow, new)]
    assert given == [2 * FIRST_LIMIT, 0, 0]
    assert pacing.has_slow(3.0)
    assert not pacing.has_slow(1.5)


def test_alarms_have_the_first_turn_and_the_rest_any() -> None:
    pacing = Pacing()
    alarmed = replace(opening(), has_urgent=True)
    others = [opening() for _ in range(20)]
    orders = set()
    for _ in range(20):
        turns = [one for one, _ in pacing.shares([*others, alarmed], pacing.room(0), 0)]
        assert turns[0] == alarmed
        orders.add(turns[1].endpoint_id)
    assert len(orders) > 3


def test_batch_that_is_not_ripe_has_no_turn() -> None:
    assert share(Pacing(), replace(opening(), is_ripe=False), 0.0) == 0


def test_late_retries_have_a_quarter() -> None:
    pacing, one = Pacing(), opening()
    requests = [object() for _ in range(LATE_SLOTS)]
    for request in requests:
        pacing.begin(one.endpoint_id, request, 0.0, is_late=True)
    assert pacing.room(0.1).late == 0
    pacing.end(one.endpoint_id, requests[0], 0.1, verdict=True)
    assert pacing.room(0.1).late == 1


def test_evidence_is_a_minutes_share_of_failures_and_used_once() -> None:
    pacing, one = Pacing(), opening()
    for _ in range(EVIDENCE_WEIGHT - 1):
        answer(pacing, one, 1.0, False, took_s=0)
    assert pacing.evidence_s(one.endpoint_id, 9.0) is None
    answer(pacing, one, 9.0, False, took_s=0)
    assert pacing.evidence_s(one.endpoint_id, 11.0) == 10.0
    assert pacing.evidence_s(one.endpoint_id, 11.0) is None


def test_a_few_that_get_no_answer_are_as_much_evidence() -> None:
    pacing, one = Pacing(), opening()
    for _ in range(EVIDENCE_WEIGHT // COSTLY_WEIGHT - 1):
        answer(pacing, one, 1.0, None, took_s=0)
    assert pacing.evidence_s(one.endpoint_id, 2.0) is None
    answer(pacing, one, 1.0, None, took_s=0)
    assert pacing.evidence_s(one.endpoint_id, 2.0) == 1.0


def test_one_place_held_in_vain_for_most_of_a_minute_is_as_much_evidence() -> None:
    pacing, one = Pacing(), opening()
    found = []
    for now in (15.0, 30.0, 45.0, 60.0):
        answer(pacing, one, now, None, took_s=15)
        found.append(pacing.evidence_s(one.endpoint_id, now))
    assert found == [None, None, None, 60.0]


def test_evidence_is_nothing_old_and_nothing_mixed() -> None:
    pacing, one = Pacing(), opening()
    for _ in range(EVIDENCE_WEIGHT):
        answer(pacing, one, 1.0, False, took_s=0)
    assert pacing.evidence_s(one.endpoint_id, EVIDENCE_S + 2.0) is None
    mixed = opening()
    for number in range(100):
        answer(pacing, mixed, 1.0, number % 10 < 4, took_s=0)
    assert pacing.evidence_s(mixed.endpoint_id, 2.0) is None


def test_what_waits_counts_and_is_hopeless_for_who_hangs_fails_or_throttles() -> None:
    pacing, one = Pacing(), opening()
    answer(pacing, one, 1.0, True)
    share(pacing, one, 1.0)
    begin(pacing, one, 1.0, FIRST_LIMIT)
    assert not pacing.may_begin(one.endpoint_id)
    pacing.wait(one.endpoint_id, FIRST_LIMIT)
    assert share(pacing, one, 1.1) == 0
    assert not pacing.is_stuck(one.endpoint_id, 1.1)
    assert pacing.is_stuck(one.endpoint_id, 2.5)
    throttled, failing = opening(), opening()
    answer(pacing, throttled, 1.0, None)
    assert pacing.is_stuck(throttled.endpoint_id, 1.1)
    for _ in range(FAILING_STREAK):
        assert not pacing.is_stuck(failing.endpoint_id, 1.1)
        answer(pacing, failing, 1.0, False)
    assert pacing.is_stuck(failing.endpoint_id, 1.1)
