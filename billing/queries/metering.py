"""Reading what was metered: the channel of an agreement, its days, its readings."""

from datetime import date, datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Q

from billing.evidence import ReadingsDigest
from billing.local_days import day_length_s
from billing.models import Agreement
from billing.rating import DayUsage, Period, UsageSeries
from ingest.buckets import day_start
from ingest.models import Channel, PendingCallback, Usage, UsageMark
from tenants.models import Tenant

_ZERO = Decimal(0)

#: Set-based, for a month of quarter hours is 3,000 readings: one row comes back. It
#: takes the readings that usage is shared out from (ingest/shares.py): intervals that
#: touch the period, and a register's readings within, at, or next to its ends.
_DIGEST = """
WITH span AS (
    SELECT c.kind, c.longest_s * interval '1 second' AS longest,
        coalesce((
            SELECT max(start_at) FROM ingest_reading
            WHERE tenant_id = %(tenant)s AND channel_id = %(channel)s
                AND start_at <= %(start)s AND c.kind = 'register'), %(start)s) AS since,
        coalesce((
            SELECT min(start_at) FROM ingest_reading
            WHERE tenant_id = %(tenant)s AND channel_id = %(channel)s
                AND start_at >= %(end)s AND c.kind = 'register'), %(end)s) AS until
    FROM ingest_channel c WHERE c.tenant_id = %(tenant)s AND c.id = %(channel)s
)
SELECT count(*), encode(sha256(convert_to(coalesce(string_agg(
    to_char(r.start_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '|' || coalesce(trim_scale(r.value)::text, '')
        || '|' || r.quality::text
        || '|rcp_' || replace(r.callback_id::text, '-', ''),
    E'\\n' ORDER BY r.start_at), ''), 'UTF8')), 'hex')
FROM span, ingest_reading r
WHERE r.tenant_id = %(tenant)s AND r.channel_id = %(channel)s
    AND CASE span.kind WHEN 'register'
        THEN r.start_at BETWEEN span.since AND span.until
        ELSE r.start_at >= %(start)s - span.longest AND r.start_at < %(end)s
            AND r.start_at + r.duration_s * interval '1 second' > %(start)s
        END
    -- For the partitions and the index, which no CASE can use.
    AND r.start_at >= span.since - span.longest AND r.start_at <= span.until
"""


def channel_of(*, tenant: Tenant, agreement: Agreement) -> Channel | None:
    """
    Return the channel that the agreement bills; None: it has sent nothing yet.

    Where a code has intervals and a register, the intervals are billed.
    """
    return (
        Channel.objects.filter(
            tenant=tenant,
            device_id=agreement.device_id,
            code=agreement.channel_code,
        )
        .order_by("kind")
        .first()
    )


def usage_series(*, tenant: Tenant, channel: Channel, period: Period) -> UsageSeries:
    """Return the usage of every day of the period; days without any are all missing."""
    rows = {
        usage.day: usage
        for usage in Usage.objects.filter(
            tenant=tenant,
            channel=channel,
            day__gte=period.start,
            day__lt=period.end,
        )
    }
    days = tuple(
        _day(rows[day]) if day in rows else _missing(tenant, day)
        for day in period.days()
    )
    return UsageSeries(channel.unit, days)


def _day(usage: Usage) -> DayUsage:
    return DayUsage(
        day=usage.day,
        value=usage.value,
        expected_s=usage.expected_s,
        actual_s=usage.actual_s,
        estimated_s=usage.estimated_s,
        reading_count=usage.reading_count,
    )


def _missing(tenant: Tenant, day: date) -> DayUsage:
    return DayUsage(day, _ZERO, day_length_s(tenant.zone, day))


def readings_digest(
    *, tenant: Tenant, channel: Channel, period: Period
) -> ReadingsDigest:
    """
    Return the SHA-256 over the readings that the period's usage comes from.

    One line for each, oldest first, joined by line feeds:
    `start_at|value|quality|receipt`; UTC to the microsecond, the value without trailing
    zeros. A register's period takes the readings at or around both ends too.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _DIGEST,
            {
                "tenant": tenant.pk,
                "channel": channel.pk,
                "start": day_start(period.start, tenant.zone),
                "end": day_start(period.end, tenant.zone),
            },
        )
        count, sha256 = cursor.fetchone()
    return ReadingsDigest(count, sha256)


def has_pending_usage(
    *, tenant: Tenant, agreements: list[Agreement], period: Period
) -> bool:
    """Tell whether readings have come whose days are not computed yet."""
    billed = Q(pk__in=[])
    for agreement in agreements:
        billed |= Q(device_id=agreement.device_id, code=agreement.channel_code)
    channels = Channel.objects.filter(billed, tenant=tenant).values("pk")
    return UsageMark.objects.filter(
        tenant=tenant,
        channel__in=channels,
        day__gte=period.start,
        day__lt=period.end,
    ).exists()


def has_pending_callbacks(*, tenant: Tenant, until: datetime) -> bool:
    """Tell whether callbacks that came until then are still to be processed."""
    return PendingCallback.objects.filter(
        tenant=tenant, received_at__lte=until
    ).exists()
