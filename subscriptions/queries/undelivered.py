"""What is undelivered, and whether somebody must act on it: one answer for a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from subscriptions.models import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointStatus,
    MaintenanceWindow,
)
from subscriptions.queries.hindrances import Hindrance, hindrances
from subscriptions.queries.outcome_words import outcome_words
from tenants.models import Mail, MailStatus, Tenant

#: Deliveries of an endpoint that are counted: what is more is "more than".
COUNT_LIMIT = 1_000
#: The newest dead deliveries of an endpoint by which its commonest reason is told.
_SAMPLE = 200


@dataclass(frozen=True)
class Dead:
    """Messages to an endpoint that were given up."""

    endpoint: Endpoint
    #: COUNT_LIMIT at most; then there may be more.
    count: int
    oldest_at: datetime
    #: The commonest, in words.
    reason: str


@dataclass(frozen=True)
class Held:
    """Messages that wait for an endpoint to which nothing, or little, is sent."""

    endpoint: Endpoint
    count: int
    #: Where more wait than are counted, another one may be older.
    oldest_at: datetime | None
    #: Why they wait and what to do about it, the worst first.
    why: list[Hindrance]

    @property
    def may_wait_longer(self) -> bool:
        """Whether more wait than are counted, so that one of them may be older."""
        return self.count >= COUNT_LIMIT

    @property
    def needs_action(self) -> bool:
        """Whether they wait for a person, not for a time or for the receiver alone."""
        is_stopped = self.endpoint.status != EndpointStatus.ACTIVE
        return is_stopped or bool(self.endpoint.oauth2_error)


@dataclass(frozen=True)
class Undelivered:
    """All that has not arrived and will not by itself, or not soon."""

    #: Those with the oldest first.
    dead: list[Dead]
    held: list[Held]
    #: Mails to the admins that did not go out.
    unsent_mails: int

    @property
    def needs_action(self) -> bool:
        """Whether something stays undelivered unless a person acts."""
        return bool(self.dead) or any(one.needs_action for one in self.held)


# For each endpoint of a tenant two short ranges of index delivery_dead and some of
# delivery_due: what was delivered is not touched, however much that is. Of a queue
# beyond the bound any part is counted: the oldest is then looked for among what falls
# due first in each lane too, which it is unless it was tried before.
_COUNTS = """
SELECT e.id, dead.count, dead.oldest, common.reason, waiting.count,
    least(waiting.oldest, h.oldest)
FROM subscriptions_endpoint e
CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(finished_at) AS oldest
    FROM (SELECT finished_at FROM subscriptions_delivery
        WHERE tenant_id = e.tenant_id AND endpoint_id = e.id AND status = 'dead'
        ORDER BY finished_at LIMIT %(limit)s) AS oldest_first) AS dead
CROSS JOIN LATERAL (
    SELECT mode() WITHIN GROUP (ORDER BY last_error || ' ' ||
        coalesce(last_status_code::text, '')) AS reason
    FROM (SELECT last_error, last_status_code FROM subscriptions_delivery
        WHERE tenant_id = e.tenant_id AND endpoint_id = e.id AND status = 'dead'
        ORDER BY finished_at DESC LIMIT %(sample)s) AS newest) AS common
CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(created_at) AS oldest
    FROM (SELECT created_at FROM subscriptions_delivery
        WHERE tenant_id = e.tenant_id AND endpoint_id = e.id AND status = 'pending'
        LIMIT %(limit)s) AS some_waiting) AS waiting
CROSS JOIN LATERAL (
    SELECT min(first_due.created_at) AS oldest
    FROM generate_series(0, 2) AS l (lane)
    CROSS JOIN LATERAL (
        SELECT created_at FROM subscriptions_delivery d
        WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
            AND d.status = 'pending' AND d.lane = l.lane::smallint
        ORDER BY next_attempt_at LIMIT 1) AS first_due
) AS h
WHERE e.tenant_id = %(tenant)s AND e.deleted_at IS NULL
    AND (dead.count > 0 OR waiting.count > 0 OR e.status = 'disabled')
"""

# By index delivery_dead, and of each endpoint as many as are counted in all.
_COUNT_DEAD = """
SELECT count(*) FROM (
    SELECT FROM subscriptions_endpoint e
    CROSS JOIN LATERAL (
        SELECT FROM subscriptions_delivery
        WHERE tenant_id = e.tenant_id AND endpoint_id = e.id AND status = 'dead'
        LIMIT %(limit)s) AS of_one
    WHERE e.tenant_id = %(tenant)s AND e.deleted_at IS NULL
    LIMIT %(limit)s) AS some_dead
"""


def undelivered(tenant: Tenant, now: datetime | None = None) -> Undelivered:
    """Return what is undelivered in the tenant, by endpoint."""
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNTS, {"tenant": tenant.pk, "limit": COUNT_LIMIT, "sample": _SAMPLE}
        )
        counted = {row[0]: row[1:] for row in cursor.fetchall()}
    found = Endpoint.objects.filter(tenant=tenant).in_bulk(list(counted))
    mails = Mail.objects.filter(tenant=tenant).exclude(status=MailStatus.SENT)
    return Undelivered(
        dead=_dead(found, counted),
        held=_held(tenant, found, counted, now),
        unsent_mails=mails.count(),
    )


def count_dead(tenant: Tenant, limit: int) -> int:
    """
    Return how many messages were given up and can be dealt with, `limit` at most.

    Those to a deleted endpoint are history.
    """
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_DEAD, {"tenant": tenant.pk, "limit": limit})
        ((count,),) = cursor.fetchall()
    return int(count)


def oldest_dead_at(tenant: Tenant, endpoint: Endpoint) -> datetime | None:
    """Return when the endpoint's oldest dead message was given up, by delivery_dead."""
    dead = Delivery.objects.filter(
        tenant=tenant, endpoint=endpoint, status=DeliveryStatus.DEAD
    )
    ended = dead.order_by("finished_at").values_list("finished_at", flat=True)
    return ended.first()


def _dead(
    endpoints: dict[UUID, Endpoint], counted: dict[UUID, Sequence[Any]]
) -> list[Dead]:
    dead = [
        Dead(endpoints[one], count, oldest_at, _words(reason))
        for one, (count, oldest_at, reason, *_) in counted.items()
        if count
    ]
    return sorted(dead, key=lambda one: one.oldest_at)


def _words(reason: str) -> str:
    error, _, status = reason.rpartition(" ")
    return outcome_words(int(status) if status else None, error) or "No reason is known"


def _held(
    tenant: Tenant,
    endpoints: dict[UUID, Endpoint],
    counted: dict[UUID, Sequence[Any]],
    now: datetime,
) -> list[Held]:
    windows: dict[UUID, list[MaintenanceWindow]] = {}
    for window in MaintenanceWindow.objects.filter(
        tenant=tenant, closed_at=None, start_at__lte=Now()
    ):
        windows.setdefault(window.endpoint_id, []).append(window)
    held = []
    for one, (*_, waiting, oldest_at) in counted.items():
        endpoint = endpoints[one]
        why = hindrances(endpoint, windows.get(one, ()), now)
        if why and (waiting or endpoint.status == EndpointStatus.DISABLED):
            held.append(Held(endpoint, waiting, oldest_at, why))
    return sorted(held, key=lambda one: (not one.needs_action, one.oldest_at or now))
