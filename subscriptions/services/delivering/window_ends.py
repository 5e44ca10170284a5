"""Noticing that maintenance windows are over."""

from tenants.database import Cursor


def close_over(cursor: Cursor) -> None:
    """
    Close the windows that are over; what waited is worked off at a bounded rate.

    An endpoint is held while a window that has begun is not closed, so nothing flows
    between a window's end and the moment from which the bound applies. A time without
    attempts is none of failures: that count begins anew. Whoever holds one of the rows
    is passed over until the next look: no claim waits for an admin. Costs one look at
    the windows that are not closed, by index window_open.
    """
    cursor.execute(
        """WITH over AS MATERIALIZED (
            SELECT m.id, m.endpoint_id FROM subscriptions_maintenancewindow m
            JOIN subscriptions_endpoint e ON e.id = m.endpoint_id
            WHERE m.closed_at IS NULL AND m.end_at <= now()
            FOR UPDATE SKIP LOCKED
        ), closed AS (
            UPDATE subscriptions_maintenancewindow m SET closed_at = now()
            FROM over WHERE m.id = over.id
        )
        UPDATE subscriptions_endpoint e SET draining_since = now(),
            failing_since = NULL, failing_warned = 0
        FROM over WHERE e.id = over.endpoint_id"""
    )
