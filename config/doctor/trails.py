"""The audit trails: nothing of them stays without a seal for long."""

from typing import Any

import psycopg
from django.conf import settings
from psycopg import Connection

from config.doctor.database import Unreachable, connection
from config.doctor.findings import Finding, fail, ok, reason
from tenants.audit_seals import ENTRY_BYTES, LATE, SETTLED

_CODE = "audit.sealed"
_NAMED = 3

# How many old entries there are, less those in seals of old entries alone, less the old
# ones in the seals since: no old seal is read, it is only measured.
_UNSEALED = """
SELECT (SELECT count(*) FROM tenants_auditentry
        WHERE tenant_id = %(tenant)s AND at < now() - %(late)s)
    - (SELECT coalesce(sum(length(entries)), 0)::bigint / %(bytes)s
        FROM tenants_auditseal
        WHERE tenant_id = %(tenant)s AND until_at < now() - %(late)s)
    - (SELECT count(*) FROM tenants_auditseal s
        CROSS JOIN generate_series(0, length(s.entries) / %(bytes)s - 1) AS n (place)
        JOIN tenants_auditentry e ON e.tenant_id = s.tenant_id
            AND e.id = encode(
                substr(s.entries, 1 + %(bytes)s * n.place, 16), 'hex')::uuid
        WHERE s.tenant_id = %(tenant)s AND s.until_at >= now() - %(late)s
            AND e.at < now() - %(late)s)
"""


def check_trails() -> list[Finding]:
    """Tell whether old entries have no seal; nothing, where there is no database."""
    try:
        with connection(settings.PIPELINE_ROLE) as lane:
            rows = lane.execute("SELECT id, slug FROM tenants_tenant").fetchall()
        with connection(settings.APP_ROLE) as lane:
            counts = {slug: count_unsealed(lane, tenant) for tenant, slug in rows}
    except Unreachable:
        return []
    except psycopg.Error as error:
        advice = "See `database.migrations` and the roles."
        return [fail(_CODE, reason(error), advice)]
    return [judge_trails(counts)]


def count_unsealed(lane: Connection[Any], tenant_id: int) -> int:
    """Return how many of the tenant's old entries no seal has."""
    lane.execute("SELECT set_config('app.tenant', %s, false)", [str(tenant_id)])
    values = {"tenant": tenant_id, "late": LATE + SETTLED, "bytes": ENTRY_BYTES}
    row = lane.execute(_UNSEALED, values).fetchone()
    return int(row[0]) if row else 0


def judge_trails(counts: dict[str, int]) -> Finding:
    """Judge how many old entries of each tenant no seal has; below 0: some are gone."""
    flawed = sorted(slug for slug, count in counts.items() if count)
    if not flawed:
        return ok(_CODE, f"{len(counts)} trails have no old entry without a seal")
    return fail(
        _CODE,
        f"{len(flawed)} of {len(counts)} trails do not fit their seals: "
        f"{', '.join(flawed[:_NAMED])}",
        "No worker sealed them for a day, or seals or entries were taken out: "
        "`manage.py verify_audit` names them, `--accept` seals what was never sealed.",
    )
