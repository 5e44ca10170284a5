"""Noticing that maintenance windows are over."""

from tenants.database import Cursor


def close_over(cursor: Cursor) -> None:
    """
    Close the windows that are over; what waited is worked off at a bounded rate.

    An endpoint is held while a window that has begun is not closed, so nothing flows
    between a window's end and the moment from which the bound applies. A time without
    attempts is none of failures: that count begins anew. Costs one look at the windows
    that are not closed, by index window_open.
    """
    cursor.execute(
        """WITH closed AS (
            UPDATE subscriptions_maintenancewindow
            SET closed_at = now()
            WHERE id IN (SELECT id FROM subscriptions_maintenancewindow
                WHERE closed_at IS NULL AND end_at <= now() FOR UPDATE SKIP LOCKED)
            RETURNING endpoint_id
        ), freed AS (
            SELECT e.id FROM subscriptions_endpoint e
            WHERE e.id IN (SELECT endpoint_id FROM closed)
            ORDER BY e.id FOR UPDATE
        )
        UPDATE subscriptions_endpoint e SET draining_since = now(),
            failing_since = NULL, failing_warned = 0
        FROM freed WHERE e.id = freed.id"""
    )
