"""What a person decides about channels whose silence is news."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from ingest.models import Channel, Device
from ingest.processing.silence import DUE
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Problem
from tenants.services import record_audit

#: Seconds that can be expected at least (workers remember channels for ten), and at
#: most (a year).
LEAST_S = 60
MOST_S = 366 * 86_400

#: A channel that is silent stays so until it is heard.
_WATCH = f"""
INSERT INTO ingest_channelwatch (tenant_id, channel_id, expected_s, due_at)
SELECT %(tenant)s, k.channel_id, %(expected_s)s, now() + %(expected_s)s * {DUE}
FROM unnest(%(channels)s::bigint[]) AS k (channel_id) ORDER BY k.channel_id
ON CONFLICT (tenant_id, channel_id) DO UPDATE
SET expected_s = excluded.expected_s, due_at = excluded.due_at
"""  # noqa: S608
_UNWATCH = """
DELETE FROM ingest_channelwatch
WHERE tenant_id = %(tenant)s AND channel_id = ANY(%(channels)s::bigint[])
"""


class ExpectedIntervalInvalid(Problem):
    """No channel can be expected so often, or so rarely."""

    code = "expected_interval_invalid"
    title = "The interval cannot be expected"


@transaction.atomic
def watch_channel(
    *, tenant: Tenant, actor: Actor, channel: Channel, expected_interval_s: int | None
) -> int:
    """
    Say within which time the channel's next reading is expected; None: at any time.

    It is due that long from now, and a twentieth. Returns the channels changed.
    Raises: ExpectedIntervalInvalid.
    """
    one = Channel.objects.filter(tenant=tenant, pk=channel.pk)
    about = {"channel": channel.code, "kind": channel.kind}
    subject = channel.device.name
    return _expect(tenant, actor, one, expected_interval_s, (subject, about))


@transaction.atomic
def watch_device(
    *, tenant: Tenant, actor: Actor, device: Device, expected_interval_s: int | None
) -> int:
    """
    Say it of all channels that the device has now; return how many changed.

    Raises: ExpectedIntervalInvalid.
    """
    its = Channel.objects.filter(tenant=tenant, device=device)
    return _expect(tenant, actor, its, expected_interval_s, (device.name, {}))


@dataclass(frozen=True)
class Which:
    """Which channels are meant: these ids, or all that are named and measure so."""

    ids: Sequence[int] = ()
    #: What their devices' names begin with; empty: anything.
    device_prefix: str = ""
    #: Empty: any.
    commodity: str = ""


@transaction.atomic
def watch_many(
    *, tenant: Tenant, actor: Actor, which: Which, expected_interval_s: int | None
) -> int:
    """
    Say it of many channels; return how many changed.

    Raises: ExpectedIntervalInvalid.
    """
    channels = Channel.objects.filter(tenant=tenant)
    if which.ids:
        channels = channels.filter(pk__in=which.ids)
    if which.device_prefix:
        channels = channels.filter(device__name__startswith=which.device_prefix)
    if which.commodity:
        channels = channels.filter(commodity=which.commodity)
    subject = "selected channels" if which.ids else f"{which.device_prefix}*"
    about = {"commodity": which.commodity} if which.commodity else {}
    return _expect(tenant, actor, channels, expected_interval_s, (subject, about))


def _expect(
    tenant: Tenant,
    actor: Actor,
    channels: QuerySet[Channel],
    expected_s: int | None,
    audit: tuple[str, dict[str, Any]],
) -> int:
    _check(expected_s)
    # Workers lock channels in this order too.
    held = channels.select_for_update(of=("self",)).order_by("tenant_id", "pk")
    ids = [
        pk
        for pk, before in held.values_list("pk", "expected_interval_s")
        if before != expected_s
    ]
    if not ids:
        return 0
    Channel.objects.filter(tenant=tenant, pk__in=ids).update(
        expected_interval_s=expected_s
    )
    with connection.cursor() as cursor:
        cursor.execute(
            _UNWATCH if expected_s is None else _WATCH,
            {"tenant": tenant.pk, "channels": ids, "expected_s": expected_s},
        )
    subject, about = audit
    record_audit(
        actor=actor,
        action="channel.watched" if expected_s else "channel.unwatched",
        subject=subject,
        detail={**about, "channels": len(ids), "expected_interval_s": expected_s},
    )
    return len(ids)


def _check(expected_s: int | None) -> None:
    if expected_s is not None and not LEAST_S <= expected_s <= MOST_S:
        raise ExpectedIntervalInvalid(
            f"expected_interval_s: from {LEAST_S} to {MOST_S:,} seconds, or null."
        )
