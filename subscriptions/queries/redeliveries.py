"""Reading redeliveries: what one has to do, how far it is, when it will be done."""

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import QuerySet

from subscriptions.models import Redelivery, RedeliveryKind, RedeliveryStatus
from tenants.identifiers import first_id
from tenants.models import Tenant

#: Ids are of the workers' clocks, periods of the database's: so far apart at most.
CLOCK_MARGIN = timedelta(hours=2)
#: Messages that are counted at most before one begins.
COUNT_LIMIT = 1_000_000

# By index delivery_dead.
_DEAD = """
SELECT count(*) FROM (
    SELECT FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s AND status = 'dead'
        AND finished_at >= %(since)s AND finished_at < %(until)s
    LIMIT %(limit)s) AS found
"""
# By index delivery_once.
_ENDED = """
SELECT count(*) FROM (
    SELECT FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s
        AND message_id >= %(first)s AND message_id < %(last)s
        AND created_at >= %(since)s AND created_at < %(until)s
        AND status IN ('delivered', 'dead')
    LIMIT %(limit)s) AS found
"""
# By the key of messagedevice, then by index delivery_once.
_ABOUT_DEVICE = """
SELECT count(*) FROM (
    SELECT FROM subscriptions_messagedevice m
    JOIN subscriptions_delivery d ON d.tenant_id = m.tenant_id
        AND d.endpoint_id = %(endpoint)s AND d.message_id = m.message_id
    WHERE m.tenant_id = %(tenant)s AND m.device = %(device)s
        AND m.message_id >= %(first)s AND m.message_id < %(last)s
        AND d.created_at >= %(since)s AND d.created_at < %(until)s
        AND d.status IN ('delivered', 'dead')
    LIMIT %(limit)s) AS found
"""


def redeliveries_of(tenant: Tenant) -> QuerySet[Redelivery]:
    """Return the tenant's redeliveries."""
    return Redelivery.objects.filter(tenant=tenant)


def count_to_redeliver(redelivery: Redelivery) -> int:
    """Return how many messages it has to send, COUNT_LIMIT at most."""
    statement = _ABOUT_DEVICE if redelivery.device else _ENDED
    if redelivery.kind == RedeliveryKind.RECOVER:
        statement = _DEAD
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "tenant": redelivery.tenant_id,
                "endpoint": redelivery.endpoint_id,
                "device": redelivery.device,
                "since": redelivery.since,
                "until": redelivery.until,
                "first": first_id(redelivery.since - CLOCK_MARGIN),
                "last": first_id(redelivery.until + CLOCK_MARGIN),
                "limit": COUNT_LIMIT,
            },
        )
        return int(cursor.fetchone()[0])


def caught_up_at(redelivery: Redelivery, now: datetime) -> datetime | None:
    """Return when its last message will be due, at its rate; None: it has ended."""
    if redelivery.status != RedeliveryStatus.RUNNING:
        return None
    left = max(redelivery.total - redelivery.done, 0)
    return max(now, redelivery.rate_used_until) + timedelta(
        seconds=left / redelivery.rate_per_s
    )
