"""What a person decides about callbacks that were set aside."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from ingest.models import (
    Callback,
    CallbackBody,
    CallbackRejection,
    CallbackState,
    PendingCallback,
)
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound
from tenants.services import record_audit


class CallbackUnknown(NotFound):
    """The tenant has no such callback."""

    code = "callback_unknown"


class BodyGone(Conflict):
    """The raw body is past its retention, so nothing can be processed again."""

    code = "body_gone"


class NotRejected(Conflict):
    """The callback was not set aside, or somebody decided already."""

    code = "callback_not_rejected"


@transaction.atomic
def reprocess(*, tenant: Tenant, actor: Actor, callback_ids: Sequence[UUID]) -> int:
    """
    Put callbacks back into the queue; return how many.

    One that waits there still is left alone.
    Raises: CallbackUnknown, NotRejected, BodyGone: nothing was put back.
    """
    callbacks = _callbacks(tenant, callback_ids)
    settled = [one for one in callbacks if one.state != CallbackState.ACCEPTED]
    for one in settled:
        if one.state == CallbackState.PROCESSED:
            raise NotRejected(f"{one.public_id} was processed; none of it was refused.")
    _check_bodies(tenant, settled)
    ids = [one.id for one in settled]
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
    _queue(settled)
    for one in settled:
        record_audit(actor=actor, action="callback.reprocessed", subject=one.public_id)
    ring_after_commit("ingest.process")
    return len(settled)


@transaction.atomic
def discard(
    *, tenant: Tenant, actor: Actor, callback_ids: Sequence[UUID], reason: str
) -> int:
    """
    Decide that rejected callbacks stay rejected; return how many.

    Their receipts keep the errors; the audit trail keeps the reason.
    Raises: CallbackUnknown, NotRejected: nothing was discarded.
    """
    callbacks = _callbacks(tenant, callback_ids)
    ids = [one.id for one in callbacks]
    count, _ = CallbackRejection.objects.filter(
        tenant=tenant, callback_id__in=ids
    ).delete()
    if count != len(ids):
        raise NotRejected("Only callbacks that were set aside can be discarded.")
    for one in callbacks:
        record_audit(
            actor=actor,
            action="callback.discarded",
            subject=one.public_id,
            detail={"reason": reason},
        )
    return count


def _callbacks(tenant: Tenant, callback_ids: Sequence[UUID]) -> list[Callback]:
    wanted = set(callback_ids)
    found = list(Callback.objects.filter(tenant=tenant, id__in=wanted).order_by("id"))
    if len(found) != len(wanted):
        raise CallbackUnknown("There is no such callback.")
    return found


def _queue(callbacks: Sequence[Callback]) -> None:
    waiting = [
        PendingCallback(
            callback_id=one.id,
            tenant_id=one.tenant_id,
            source_id=one.source_id,
            received_at=one.received_at,
        )
        for one in callbacks
    ]
    PendingCallback.objects.bulk_create(waiting, ignore_conflicts=True)


def _check_bodies(tenant: Tenant, callbacks: Sequence[Callback]) -> None:
    if not callbacks:
        return
    times = [one.received_at for one in callbacks]
    # The bounds let Postgres leave other days' partitions alone.
    kept = CallbackBody.objects.filter(
        tenant=tenant,
        callback_id__in=[one.id for one in callbacks],
        received_at__range=(min(times), max(times)),
    ).values_list("callback_id", flat=True)
    gone = {one.id for one in callbacks} - set(kept)
    if gone:
        raise BodyGone(f"The bodies of {len(gone)} callbacks are past their retention.")
