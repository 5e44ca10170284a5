"""From endpoint to endpoint of those with waiting deliveries, however many wait."""

#: The beginning of a statement: `waiting` has these endpoints, found by one descent of
#: index delivery_due each, whatever idle endpoints there are.
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
