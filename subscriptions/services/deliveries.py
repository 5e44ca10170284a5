"""Sending one message to one endpoint again, and giving messages up for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from subscriptions.models import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointStatus,
    Lane,
)
from subscriptions.services.endpoints.rows import existing, locked
from subscriptions.services.ordering import release
from subscriptions.services.requeueing import requeue
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.identifiers import public_id
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import record_audit

#: Dead messages that one call discards, and that one statement does.
DISCARD_LIMIT = 50_000
_DISCARD_STEP = 5_000
#: Messages that one call sends again by their ids.
RESEND_LIMIT = 1_000
RESEND_RATE_PER_S = 100
REASON_LIMIT = 500


class DeliveryUnknown(NotFound):
    """There is no such delivery."""

    code = "delivery_unknown"


class DeliveryRefused(Conflict):
    """The message cannot be sent again as things stand."""

    code = "delivery_not_retryable"
    title = "The message cannot be sent again"


class DeliveryEnded(Conflict):
    """The delivery has ended: nothing is left to discard."""

    code = "delivery_ended"


class ReasonInvalid(Problem):
    """No reason was given, or a very long one."""

    code = "reason_invalid"


class MessagesInvalid(Problem):
    """No message was named, or too many."""

    code = "messages_invalid"


@transaction.atomic
def retry_delivery(
    *, tenant: Tenant, actor: Actor, delivery: Delivery, now: datetime
) -> Delivery:
    """
    Send the message again at once, under the same id; its schedule begins anew.

    Raises: DeliveryRefused: cancelled, being sent, waiting for others in its order, or
    its endpoint is disabled or deleted. DeliveryUnknown.
    """
    current = _locked(tenant, delivery)
    reason = _why_not(current, now)
    if reason:
        raise DeliveryRefused(reason)
    # A lease that is over stays, with its step: the claim to come tells of the attempt
    # that was lost with its worker.
    is_lost = current.leased_until is not None
    Delivery.objects.filter(tenant=tenant, pk=current.pk).update(
        status=DeliveryStatus.PENDING,
        schedule_step=int(is_lost),
        lane=min(current.lane, Lane.FRESH),
        claim_id=None,
        finished_at=None,
        next_attempt_at=Now(),
    )
    record_audit(actor=actor, action="delivery.retried", subject=current.public_id)
    ring_after_commit("subscriptions.deliver")
    current.refresh_from_db()
    return current


def _locked(tenant: Tenant, delivery: Delivery) -> Delivery:
    current = (
        Delivery.objects.select_for_update(of=["self"])
        .select_related("endpoint")
        .filter(tenant=tenant, pk=delivery.pk)
        .first()
    )
    if current is None:
        raise DeliveryUnknown("There is no such delivery.")
    return current


def _why_not(delivery: Delivery, now: datetime) -> str:
    """Return why the message cannot be sent again; empty: it can."""
    if delivery.endpoint.deleted_at is not None:
        return "The endpoint was deleted."
    if delivery.status == DeliveryStatus.CANCELLED:
        return "The delivery was cancelled."
    if delivery.endpoint.status == EndpointStatus.DISABLED:
        return "The endpoint is disabled: resume it first."
    if delivery.leased_until is not None and delivery.leased_until > now:
        return "The message is being sent right now."
    if delivery.status == DeliveryStatus.PENDING and delivery.next_attempt_at is None:
        return "The message waits for those before it about its devices."
    return ""


@transaction.atomic
def discard_delivery(
    *, tenant: Tenant, actor: Actor, delivery: Delivery, reason: str, now: datetime
) -> Delivery:
    """
    Give up a message that waits or is dead, for good; what waited behind it may go.

    A request that is on its way is not called back: its attempt is still written down.
    Raises: ReasonInvalid, DeliveryEnded, DeliveryUnknown.
    """
    words = _reason(reason)
    current = _locked(tenant, delivery)
    if current.status not in {DeliveryStatus.PENDING, DeliveryStatus.DEAD}:
        raise DeliveryEnded(f"The delivery is {current.status} already.")
    Delivery.objects.filter(tenant=tenant, pk=current.pk).update(
        status=DeliveryStatus.CANCELLED,
        cancel_reason=words,
        claim_id=None,
        leased_until=None,
        finished_at=now,
    )
    with connection.cursor() as cursor:
        release(cursor, [(tenant.pk, current.pk)])
    record_audit(
        actor=actor,
        action="delivery.discarded",
        subject=current.public_id,
        detail={"reason": words, "was": current.status},
    )
    ring_after_commit("subscriptions.deliver")
    current.refresh_from_db()
    return current


def _reason(reason: str) -> str:
    words = reason.strip()
    if not words or len(words) > REASON_LIMIT or "\0" in words:
        raise ReasonInvalid(f"Say why, in at most {REASON_LIMIT} characters.")
    return words


# By index delivery_dead, the oldest first; locked by id, as all who write several do. A
# dead delivery has no place in a device lane.
_DISCARD = """
WITH oldest AS MATERIALIZED (
    SELECT id FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s AND status = 'dead'
    ORDER BY finished_at LIMIT %(limit)s
), dead AS MATERIALIZED (
    SELECT id FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND id = ANY(ARRAY(SELECT id FROM oldest))
        AND status = 'dead'
    ORDER BY id FOR UPDATE
)
UPDATE subscriptions_delivery d
SET status = 'cancelled', cancel_reason = %(reason)s, finished_at = %(now)s
FROM dead WHERE d.tenant_id = %(tenant)s AND d.id = dead.id
"""


@transaction.atomic
def discard_all(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, reason: str, now: datetime
) -> int:
    """
    Give up the endpoint's dead messages for good; return how many there were.

    At most DISCARD_LIMIT, oldest first: call again until it returns less.
    Raises: ReasonInvalid, EndpointUnknown.
    """
    words = _reason(reason)
    # Not locked: recorders wait for that row. Dead deliveries are nobody's meanwhile.
    current = existing(tenant, endpoint)
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "endpoint": current.pk,
        "limit": _DISCARD_STEP,
        "reason": words,
        "now": now,
    }
    discarded, step = 0, _DISCARD_STEP
    with connection.cursor() as cursor:
        while step == _DISCARD_STEP and discarded < DISCARD_LIMIT:
            cursor.execute(_DISCARD, values)
            step = cursor.rowcount
            discarded += step
    record_audit(
        actor=actor,
        action="endpoint.dead_discarded",
        subject=current.public_id,
        detail={"reason": words, "messages": discarded},
    )
    return discarded


@dataclass(frozen=True)
class Resent:
    """What became of the messages that were asked for by their ids."""

    requeued: int
    #: Those that were not sent again, and why.
    waiting: list[str]
    cancelled: list[str]
    unknown: list[str]


@transaction.atomic
def resend_messages(
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    message_ids: Sequence[UUID],
) -> Resent:
    """
    Send these messages again, exactly as then; a subscriber that misses them asks so.

    Raises: MessagesInvalid, EndpointUnknown.
    """
    wanted = set(message_ids)
    if not 1 <= len(wanted) <= RESEND_LIMIT:
        raise MessagesInvalid(f"Name from 1 to {RESEND_LIMIT} messages.")
    current = locked(tenant, endpoint)
    rows = Delivery.objects.filter(
        tenant=tenant, endpoint=current, message_id__in=wanted
    ).values_list("message_id", "status", "pk")
    found = {message_id: (status, pk) for message_id, status, pk in rows}

    def are(*statuses: DeliveryStatus) -> list[UUID]:
        return [one for one, (status, _) in found.items() if status in statuses]

    ended = are(DeliveryStatus.DELIVERED, DeliveryStatus.DEAD)
    with connection.cursor() as cursor:
        requeued = requeue(
            cursor,
            tenant_id=tenant.pk,
            delivery_ids=[found[one][1] for one in ended],
            starts_at=None,
            rate_per_s=RESEND_RATE_PER_S,
        )
    record_audit(
        actor=actor,
        action="endpoint.messages_resent",
        subject=current.public_id,
        detail={"messages": requeued},
    )
    ring_after_commit("subscriptions.deliver")
    return Resent(
        requeued,
        waiting=_ids(are(DeliveryStatus.PENDING)),
        cancelled=_ids(are(DeliveryStatus.CANCELLED)),
        unknown=_ids(wanted - found.keys()),
    )


def _ids(messages: Sequence[UUID] | set[UUID]) -> list[str]:
    return sorted(public_id("msg", one) for one in messages)
