"""
What a consent handshake's answers mean for an endpoint: pure rules.

A consent holds for a lease and is renewed from four fifths of it on. An endpoint that
consented keeps its URL until another one consents. A refusal takes the consent back at
once; trouble takes it back only when the lease is over.
Source: docs/explanation/delivery.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from subscriptions.consent import Answer, Verdict

#: From this share of the lease on it is renewed.
RENEWED_AT = 0.8
#: Pauses after an answer that is no consent; then only by hand.
SCHEDULE_S = (30, 120, 600, *[3600] * 24)
#: Between the questions for a renewal once the schedule is over.
RENEWAL_PAUSE_S = 3600


class Question(StrEnum):
    """Which URL is asked, and what for."""

    #: The URL in force, or the first one.
    CONSENT = "consent"
    #: The URL that is to take the place of the one in force.
    MOVE = "move"


class Lease(StrEnum):
    """What becomes of the consent in force."""

    NEW = "new"
    KEPT = "kept"
    NONE = "none"


@dataclass(frozen=True)
class Standing:
    """How an endpoint stands when its receiver is asked."""

    has_consented: bool
    has_proposed_url: bool
    #: Handshakes asked for since the last yes.
    step: int
    is_renewal_due: bool = False
    is_lease_over: bool = False

    def questions(self) -> list[Question]:
        """Return what is to be asked."""
        if not self.has_consented or not self.has_proposed_url:
            return [Question.CONSENT]
        if self.is_renewal_due:
            return [Question.MOVE, Question.CONSENT]
        return [Question.MOVE]


@dataclass(frozen=True)
class Decision:
    """What is written down of it."""

    lease: Lease
    detail: str
    rate_per_min: int | None = None
    #: Not that rate, but the one granted before.
    is_rate_kept: bool = False
    #: The proposed URL takes the place of the one in force.
    is_moved: bool = False
    #: The proposed URL wants no messages: it is given up.
    is_proposal_over: bool = False
    #: The schedule of questions begins anew.
    is_anew: bool = False
    #: Seconds until the next question; None: at the renewal, if there is a lease.
    pause_s: int | None = None
    #: `refused`, `withdrawn`, `lapsed`, `granted`; empty: it stays as it was.
    step: str = ""
    is_renewal_asked: bool = True

    @property
    def is_active(self) -> bool:
        """Whether messages flow."""
        return self.lease != Lease.NONE


def decide(standing: Standing, answers: Mapping[Question, Answer]) -> Decision:
    """Return what the answers to the endpoint's questions mean."""
    moved = answers.get(Question.MOVE)
    if moved is not None and moved.has_consented:
        return _granted(moved, is_moved=True)
    if moved is not None and moved.verdict == Verdict.GONE:
        standing = replace(standing, has_proposed_url=False)
    asked = answers.get(Question.CONSENT)
    if asked is None:
        decision = Decision(Lease.KEPT, "", is_renewal_asked=False)
    elif asked.has_consented:
        decision = _granted(asked)
    elif standing.has_consented:
        decision = _not_renewed(standing, asked)
    else:
        decision = _not_yet(standing, asked)
    return decision if moved is None else _with_move(standing, decision, moved)


def _granted(answer: Answer, *, is_moved: bool = False) -> Decision:
    return Decision(
        Lease.NEW,
        answer.detail,
        rate_per_min=answer.rate_per_min,
        is_rate_kept=answer.is_rate_kept and not is_moved,
        is_moved=is_moved,
        is_anew=True,
        step="granted",
    )


def _not_renewed(standing: Standing, answer: Answer) -> Decision:
    is_refused = answer.verdict in {Verdict.REFUSED, Verdict.GONE}
    if is_refused or standing.is_lease_over:
        words = "The consent was withdrawn" if is_refused else "The lease is over"
        return Decision(
            Lease.NONE,
            f"{words}. {answer.detail}",
            # The proposed URL, if there is one, is asked by the schedule.
            is_moved=standing.has_proposed_url,
            is_anew=True,
            pause_s=_pause_after_loss(standing, answer),
            step="withdrawn" if is_refused else "lapsed",
        )
    pause_s = _pause_s(standing.step) or RENEWAL_PAUSE_S
    return Decision(
        Lease.KEPT, f"The lease is not renewed yet. {answer.detail}", pause_s=pause_s
    )


def _pause_after_loss(standing: Standing, answer: Answer) -> int | None:
    if answer.verdict == Verdict.GONE and not standing.has_proposed_url:
        return None
    return SCHEDULE_S[0]


def _not_yet(standing: Standing, answer: Answer) -> Decision:
    is_refused = answer.verdict in {Verdict.REFUSED, Verdict.GONE}
    is_gone = answer.verdict == Verdict.GONE
    return Decision(
        Lease.NONE,
        answer.detail,
        pause_s=None if is_gone else _pause_s(standing.step),
        step="refused" if is_refused else "",
    )


def _with_move(standing: Standing, current: Decision, moved: Answer) -> Decision:
    """Return the decision on the URL in force, with the next question to the other."""
    is_over = moved.verdict == Verdict.GONE
    if not current.is_active:
        return replace(current, is_proposal_over=is_over)
    pause_s = None if is_over else _pause_s(standing.step)
    pauses = [pause for pause in (pause_s, current.pause_s) if pause is not None]
    is_refused = moved.verdict in {Verdict.REFUSED, Verdict.GONE}
    return Decision(
        current.lease,
        f"The new URL{' is given up' if is_over else ''}: {moved.detail}",
        rate_per_min=current.rate_per_min,
        is_rate_kept=current.is_rate_kept,
        is_proposal_over=is_over,
        is_anew=is_over and current.pause_s is None,
        pause_s=min(pauses, default=None),
        step=current.step or ("refused" if is_refused else ""),
        is_renewal_asked=current.is_renewal_asked,
    )


def _pause_s(step: int) -> int | None:
    """Return the pause after the n-th question; None: it was the last."""
    return SCHEDULE_S[step - 1] if step <= len(SCHEDULE_S) else None
