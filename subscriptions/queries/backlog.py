"""What waits to be delivered in all tenants."""

from dataclasses import dataclass
from datetime import timedelta

from tenants.database import pipeline


@dataclass(frozen=True)
class Backlog:
    """What waits to be delivered in all tenants, as the operator sees it."""

    #: How long the oldest due delivery of an active endpoint has been due.
    oldest_due: timedelta
    due: int
    #: Endpoints of which every recent attempt failed.
    failing_endpoints: int


def backlog() -> Backlog:
    """Return what waits to be delivered, by the database's clock."""
    with pipeline() as lane:
        row = lane.execute(
            """SELECT coalesce(max(now() - d.next_attempt_at), interval '0'), count(*),
                (SELECT count(*) FROM subscriptions_endpoint
                 WHERE failing_since IS NOT NULL AND status = 'active'
                    AND deleted_at IS NULL)
            FROM subscriptions_endpoint e
            JOIN subscriptions_delivery d ON d.tenant_id = e.tenant_id
                AND d.endpoint_id = e.id AND d.status = 'pending'
                AND d.next_attempt_at <= now()
            WHERE e.status = 'active' AND e.deleted_at IS NULL
                AND e.failing_since IS NULL"""
        ).fetchone()
    oldest, due, failing = row or (timedelta(), 0, 0)
    return Backlog(oldest_due=oldest, due=due, failing_endpoints=failing)
