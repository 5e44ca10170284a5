"""What a handshake's answers mean for an endpoint, case by case."""

from collections.abc import Mapping

import pytest

from subscriptions.consent import Answer, Verdict
from subscriptions.consent_rules import (
    RENEWAL_PAUSE_S,
    SCHEDULE_S,
    Decision,
    Lease,
    Question,
    Standing,
    decide,
)

FIRST = Standing(has_consented=False, has_proposed_url=False, step=1)
ACTIVE = Standing(has_consented=True, has_proposed_url=False, step=1)
RENEWING = Standing(
    has_consented=True, has_proposed_url=False, step=1, is_renewal_due=True
)
OVER = Standing(
    has_consented=True,
    has_proposed_url=False,
    step=9,
    is_renewal_due=True,
    is_lease_over=True,
)
MOVING = Standing(has_consented=True, has_proposed_url=True, step=2)
MOVING_LATE = Standing(
    has_consented=True, has_proposed_url=True, step=2, is_renewal_due=True
)


def said(verdict: Verdict, rate: int | None = None) -> Answer:
    return Answer(verdict, rate, f"It {verdict}.")


def decided(
    standing: Standing, consent: Verdict | None = None, move: Verdict | None = None
) -> Decision:
    given: Mapping[Question, Verdict | None] = {
        Question.CONSENT: consent,
        Question.MOVE: move,
    }
    answers = {one: said(verdict) for one, verdict in given.items() if verdict}
    assert set(answers) == set(standing.questions())
    return decide(standing, answers)


def test_both_urls_are_asked_only_when_the_old_ones_lease_runs_out() -> None:
    assert MOVING.questions() == [Question.MOVE]
    assert MOVING_LATE.questions() == [Question.MOVE, Question.CONSENT]
    assert ACTIVE.questions() == FIRST.questions() == [Question.CONSENT]


@pytest.mark.parametrize("standing", [FIRST, ACTIVE, RENEWING, OVER])
def test_yes_begins_a_lease(standing: Standing) -> None:
    decision = decide(standing, {Question.CONSENT: said(Verdict.GRANTED, 120)})
    assert (decision.lease, decision.step) == (Lease.NEW, "granted")
    assert (decision.rate_per_min, decision.pause_s) == (120, None)
    assert decision.is_active


def test_rate_that_could_not_be_asked_for_is_kept_for_the_same_url_alone() -> None:
    yes = Answer(Verdict.GRANTED, None, "Echoed.", is_rate_kept=True)
    assert decide(RENEWING, {Question.CONSENT: yes}).is_rate_kept
    assert not decide(MOVING, {Question.MOVE: yes}).is_rate_kept
    both = {Question.CONSENT: yes, Question.MOVE: said(Verdict.UNANSWERED)}
    assert decide(MOVING_LATE, both).is_rate_kept


@pytest.mark.parametrize("verdict", [Verdict.REFUSED, Verdict.GONE])
@pytest.mark.parametrize("standing", [ACTIVE, RENEWING, OVER])
def test_no_at_a_renewal_withdraws(standing: Standing, verdict: Verdict) -> None:
    decision = decided(standing, verdict)
    assert (decision.lease, decision.step) == (Lease.NONE, "withdrawn")
    assert not decision.is_active
    # Who is gone is not asked again; who refused may have been mended.
    gone = verdict == Verdict.GONE
    assert decision.pause_s == (None if gone else SCHEDULE_S[0])


def test_trouble_keeps_the_consent_until_its_lease_is_over() -> None:
    kept = decided(RENEWING, Verdict.UNANSWERED)
    assert (kept.lease, kept.step, kept.pause_s) == (Lease.KEPT, "", SCHEDULE_S[0])
    lapsed = decided(OVER, Verdict.UNANSWERED)
    assert (lapsed.lease, lapsed.step) == (Lease.NONE, "lapsed")
    assert lapsed.pause_s == SCHEDULE_S[0]


def test_renewal_is_asked_for_hourly_when_the_schedule_is_over() -> None:
    tired = Standing(
        has_consented=True, has_proposed_url=False, step=99, is_renewal_due=True
    )
    assert decided(tired, Verdict.UNANSWERED).pause_s == RENEWAL_PAUSE_S


def test_first_question_is_repeated_by_the_schedule_and_then_by_hand() -> None:
    pauses = [
        decided(
            Standing(has_consented=False, has_proposed_url=False, step=step), verdict
        ).pause_s
        for step in range(1, len(SCHEDULE_S) + 2)
        for verdict in (Verdict.REFUSED, Verdict.UNANSWERED)
    ]
    assert pauses[::2] == pauses[1::2] == [*SCHEDULE_S, None]
    assert decided(FIRST, Verdict.GONE).pause_s is None


def test_refusal_is_a_step_and_trouble_is_none() -> None:
    assert decided(FIRST, Verdict.REFUSED).step == "refused"
    assert decided(FIRST, Verdict.UNANSWERED).step == ""


@pytest.mark.parametrize("standing", [MOVING, MOVING_LATE])
def test_new_url_that_consents_takes_the_others_place(standing: Standing) -> None:
    answers = {one: said(Verdict.REFUSED) for one in standing.questions()}
    answers[Question.MOVE] = said(Verdict.GRANTED, 60)
    decision = decide(standing, answers)
    assert (decision.lease, decision.is_moved) == (Lease.NEW, True)
    assert decision.rate_per_min == 60


@pytest.mark.parametrize("verdict", [Verdict.REFUSED, Verdict.UNANSWERED])
def test_new_url_that_does_not_consent_leaves_the_old_one_in_force(
    verdict: Verdict,
) -> None:
    decision = decided(MOVING, move=verdict)
    assert (decision.lease, decision.is_moved) == (Lease.KEPT, False)
    assert decision.is_active
    assert not decision.is_renewal_asked
    assert decision.pause_s == SCHEDULE_S[1]
    assert "The new URL" in decision.detail


def test_new_url_that_is_gone_is_given_up() -> None:
    decision = decided(MOVING, move=Verdict.GONE)
    assert (decision.lease, decision.pause_s) == (Lease.KEPT, None)
    assert (decision.is_proposal_over, decision.is_anew) == (True, True)
    assert not decided(MOVING, move=Verdict.REFUSED).is_proposal_over


def test_new_url_that_is_gone_takes_no_place_when_the_old_one_withdraws() -> None:
    decision = decided(MOVING_LATE, Verdict.REFUSED, Verdict.GONE)
    assert (decision.lease, decision.step) == (Lease.NONE, "withdrawn")
    assert (decision.is_moved, decision.is_proposal_over) == (False, True)
    assert decision.pause_s == SCHEDULE_S[0]


def test_new_url_that_is_gone_ends_no_try_for_the_old_ones_renewal() -> None:
    decision = decided(MOVING_LATE, Verdict.UNANSWERED, Verdict.GONE)
    assert (decision.lease, decision.pause_s) == (Lease.KEPT, SCHEDULE_S[1])
    assert not decision.is_anew


def test_old_url_is_renewed_while_the_new_one_is_asked() -> None:
    decision = decided(MOVING_LATE, Verdict.GRANTED, Verdict.UNANSWERED)
    assert (decision.lease, decision.is_moved) == (Lease.NEW, False)
    # The schedule of questions to the new URL goes on.
    assert (decision.is_anew, decision.pause_s) == (False, SCHEDULE_S[1])


def test_old_url_that_withdraws_leaves_the_new_one_to_be_asked() -> None:
    decision = decided(MOVING_LATE, Verdict.GONE, Verdict.UNANSWERED)
    assert (decision.lease, decision.step) == (Lease.NONE, "withdrawn")
    assert decision.is_moved
    assert decision.pause_s == SCHEDULE_S[0]
