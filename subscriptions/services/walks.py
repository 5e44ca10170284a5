"""
Beginnings of statements that walk an index from one key to the next.

Each key costs one descent, however many rows it has.
"""

#: `waiting`: the lanes of endpoints in which deliveries wait, and what is due first in
#: each, by index delivery_due.
WAITING = """
WITH RECURSIVE waiting AS (
    (SELECT tenant_id, endpoint_id, lane, next_attempt_at FROM subscriptions_delivery
    WHERE status = 'pending'
    ORDER BY tenant_id, endpoint_id, lane, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT next.* FROM waiting w CROSS JOIN LATERAL (
        SELECT d.tenant_id, d.endpoint_id, d.lane, d.next_attempt_at
        FROM subscriptions_delivery d
        WHERE d.status = 'pending' AND (d.tenant_id, d.endpoint_id, d.lane)
            > (w.tenant_id, w.endpoint_id, w.lane)
        ORDER BY d.tenant_id, d.endpoint_id, d.lane, d.next_attempt_at LIMIT 1) next
)"""

#: `device`: the devices of a tenant's messages, after one of them, by the table's key.
DEVICES = """
WITH RECURSIVE device AS (
    (SELECT device FROM subscriptions_messagedevice
    WHERE tenant_id = %(tenant)s AND device > %(after)s ORDER BY device LIMIT 1)
    UNION ALL
    SELECT next.device FROM device d CROSS JOIN LATERAL (
        SELECT m.device FROM subscriptions_messagedevice m
        WHERE m.tenant_id = %(tenant)s AND m.device > d.device
        ORDER BY m.device LIMIT 1) next
)"""
