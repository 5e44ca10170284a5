"""
What a person decides about callbacks that were set aside.

Whoever decides holds the callback's row in the ledger until the decision is committed;
of many, those that somebody else holds are left to them. So no two decisions, and no
decision and no worker, have an effect on the same callback at once.
Source: docs/how-to/deal-with-rejected-callbacks.md
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from ingest.models import (
    Callback,
    CallbackBody,
    CallbackRejection,
    CallbackState,
    PendingCallback,
    ProcessingProgress,
)
from ingest.queries.rejections import Choice, body_of, rejections
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.identifiers import public_id
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import record_audit, record_audits

#: Callbacks that one step of a decision about many settles, in one transaction.
STEP = 2_000


class CallbackUnknown(NotFound):
    """The tenant has no such callback."""

    code = "callback_unknown"


class BodyGone(Conflict):
    """The raw body is past its retention, so nothing can be processed again."""

    code = "body_gone"


class BodyForgotten(Problem):
    """The raw body is past its retention, so it cannot be shown."""

    status = 410
    code = "body_gone"
    title = "The body is gone"


class NotRejected(Conflict):
    """The callback was not set aside, or somebody decided already."""

    code = "callback_not_rejected"


@dataclass(frozen=True)
class Step:
    """What one step of a decision about many did."""

    count: int
    #: Left as they were: the body is gone, or somebody else decides them just now.
    left: int
    #: Where the next step begins; None: this was the last one.
    after: UUID | None


@transaction.atomic
def reprocess(*, tenant: Tenant, actor: Actor, callback_ids: Sequence[UUID]) -> int:
    """
    Put callbacks back into the queue; return how many.

    One that waits there still is left alone.
    Raises: CallbackUnknown, NotRejected, BodyGone: nothing was put back.
    """
    _check_known(tenant, callback_ids)
    settled = list(_hold(tenant, callback_ids))
    for one in settled:
        if one.state == CallbackState.PROCESSED:
            raise NotRejected(f"{one.public_id} was processed; none of it was refused.")
    if gone := len(settled) - len(_with_bodies(tenant, settled)):
        raise BodyGone(f"The bodies of {gone} callbacks are past their retention.")
    _put_back(tenant, actor, settled)
    return len(settled)


@transaction.atomic
def discard(
    *,
    tenant: Tenant,
    actor: Actor,
    callback_ids: Sequence[UUID],
    reason: str,
    now: datetime,
) -> int:
    """
    Decide that rejected callbacks stay rejected; return how many.

    Their receipts and bodies stay as they are.
    Raises: CallbackUnknown, NotRejected: nothing was discarded.
    """
    _check_known(tenant, callback_ids)
    ids = [one.id for one in _hold(tenant, callback_ids)]
    if _discard(tenant, actor, ids, reason, now) != len(set(callback_ids)):
        raise NotRejected("Only callbacks that were set aside can be discarded, once.")
    return len(ids)


@transaction.atomic
def reopen(*, tenant: Tenant, actor: Actor, callback_ids: Sequence[UUID]) -> int:
    """
    Undo a discard: the callbacks wait for a decision again; return how many.

    Raises: CallbackUnknown, NotRejected: nothing was reopened.
    """
    _check_known(tenant, callback_ids)
    ids = [one.id for one in _hold(tenant, callback_ids)]
    count = CallbackRejection.objects.filter(
        tenant=tenant, callback_id__in=ids, discarded_at__isnull=False
    ).update(discarded_at=None, discard_reason=None)
    if count != len(set(callback_ids)):
        raise NotRejected("Only callbacks that were discarded can be reopened.")
    record_audits(actor=actor, action="callback.reopened", subjects=_receipts(ids))
    return count


@transaction.atomic
def reprocess_many(*, tenant: Tenant, actor: Actor, choice: Choice) -> Step:
    """
    Put the oldest callbacks that wait for a decision back into the queue.

    Bounds: STEP at once, in one transaction; what is interrupted goes on from `after`.
    """
    ids = _oldest(tenant, choice)
    held = _with_bodies(tenant, list(_hold(tenant, ids, is_patient=False)))
    still_open = set(_open(tenant, [one.id for one in held]))
    held = [one for one in held if one.id in still_open]
    _put_back(tenant, actor, held)
    return _end_step(actor, "rejections.reprocessed", choice, ids, len(held))


@transaction.atomic
def discard_many(
    *, tenant: Tenant, actor: Actor, choice: Choice, reason: str, now: datetime
) -> Step:
    """
    Decide that the oldest callbacks that wait for a decision stay rejected.

    Bounds: STEP at once, in one transaction; what is interrupted goes on from `after`.
    """
    ids = _oldest(tenant, choice)
    held = [one.id for one in _hold(tenant, ids, is_patient=False)]
    count = _discard(tenant, actor, held, reason, now)
    return _end_step(
        actor, "rejections.discarded", choice, ids, count, {"reason": reason}
    )


@transaction.atomic
def take_body(*, tenant: Tenant, actor: Actor, callback: Callback) -> CallbackBody:
    """
    Return a whole body for somebody to keep; the audit trail says who.

    Raises: BodyForgotten: it is past its retention.
    """
    body = body_of(tenant=tenant, callback=callback)
    if body is None:
        raise BodyForgotten("The ledger keeps its digest alone.")
    record_audit(
        actor=actor, action="callback.body_downloaded", subject=callback.public_id
    )
    return body


def _check_known(tenant: Tenant, callback_ids: Sequence[UUID]) -> None:
    wanted = set(callback_ids)
    if Callback.objects.filter(tenant=tenant, id__in=wanted).count() != len(wanted):
        raise CallbackUnknown("There is no such callback.")


def _hold(
    tenant: Tenant, callback_ids: Iterable[UUID], *, is_patient: bool = True
) -> QuerySet[Callback]:
    """
    Lock those that no worker has to settle still.

    A worker holds none of them, for they are not in the queue; impatiently, those that
    somebody else decides just now are passed over.
    """
    return (
        Callback.objects.filter(tenant=tenant, id__in=list(callback_ids))
        .exclude(state=CallbackState.ACCEPTED)
        .order_by("id")
        .select_for_update(no_key=True, skip_locked=not is_patient)
    )


def _oldest(tenant: Tenant, choice: Choice) -> list[UUID]:
    rows = rejections(tenant=tenant, choice=choice).order_by("callback_id")
    return list(rows.values_list("callback_id", flat=True)[:STEP])


def _open(tenant: Tenant, ids: Iterable[UUID]) -> list[UUID]:
    """Return those that wait for a decision."""
    rows = rejections(tenant=tenant, choice=Choice(ids=tuple(ids)))
    return list(rows.values_list("callback_id", flat=True))


def _put_back(tenant: Tenant, actor: Actor, callbacks: Sequence[Callback]) -> None:
    ids = [one.id for one in callbacks]
    if not ids:
        return
    Callback.objects.filter(tenant=tenant, id__in=ids).update(
        state=CallbackState.ACCEPTED,
        processed_at=None,
        stored=0,
        unchanged=0,
        corrected=0,
        rejected=0,
        errors=None,
    )
    CallbackRejection.objects.filter(tenant=tenant, callback_id__in=ids).delete()
    # A large one begins at its first reading again: what is stored is then unchanged.
    ProcessingProgress.objects.filter(tenant=tenant, callback_id__in=ids).delete()
    PendingCallback.objects.bulk_create(
        (
            PendingCallback(
                callback_id=one.id,
                tenant_id=one.tenant_id,
                source_id=one.source_id,
                received_at=one.received_at,
            )
            for one in callbacks
        ),
        ignore_conflicts=True,
    )
    record_audits(actor=actor, action="callback.reprocessed", subjects=_receipts(ids))
    ring_after_commit("ingest.process")


def _discard(
    tenant: Tenant, actor: Actor, ids: Sequence[UUID], reason: str, now: datetime
) -> int:
    """Discard those that are open; return how many."""
    found = _open(tenant, ids)
    CallbackRejection.objects.filter(tenant=tenant, callback_id__in=found).update(
        discarded_at=now, discard_reason=reason
    )
    record_audits(
        actor=actor,
        action="callback.discarded",
        subjects=_receipts(found),
        detail={"reason": reason},
    )
    return len(found)


def _end_step(
    actor: Actor,
    action: str,
    choice: Choice,
    ids: Sequence[UUID],
    count: int,
    detail: dict[str, Any] | None = None,
) -> Step:
    if count:
        record_audit(
            actor=actor,
            action=action,
            subject=choice.code or "all",
            detail={**choice.described(), **(detail or {}), "count": count},
        )
    after = ids[-1] if len(ids) == STEP else None
    return Step(count=count, left=len(ids) - count, after=after)


def _receipts(ids: Iterable[UUID]) -> list[str]:
    return [public_id("rcp", one) for one in ids]


def _with_bodies(tenant: Tenant, callbacks: Sequence[Callback]) -> list[Callback]:
    """Return those whose raw bodies are kept still."""
    if not callbacks:
        return []
    times = [one.received_at for one in callbacks]
    # The bounds let Postgres leave other days' partitions alone.
    kept = set(
        CallbackBody.objects.filter(
            tenant=tenant,
            callback_id__in=[one.id for one in callbacks],
            received_at__range=(min(times), max(times)),
        ).values_list("callback_id", flat=True)
    )
    return [one for one in callbacks if one.id in kept]
