"""
Beginnings of statements that walk an index from one key to the next.

Each key costs one descent, however many rows it has.
"""

#: `waiting`: the endpoints with waiting deliveries, by index delivery_due.
WAITING = """
WITH RECURSIVE waiting AS (
    (SELECT tenant_id, endpoint_id FROM subscriptions_delivery
    WHERE status = 'pending' ORDER BY tenant_id, endpoint_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, next.endpoint_id FROM waiting w CROSS JOIN LATERAL (
        SELECT d.tenant_id, d.endpoint_id FROM subscriptions_delivery d
        WHERE d.status = 'pending'
            AND (d.tenant_id, d.endpoint_id) > (w.tenant_id, w.endpoint_id)
        ORDER BY d.tenant_id, d.endpoint_id LIMIT 1) next
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
