"""Metered data for tests, written as the pipeline writes it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from billing.local_days import day_length_s
from billing.models import Account, Agreement, Tariff
from billing.services.accounts import create_account
from billing.services.agreements import Terms, create_agreement
from billing.services.tariffs import NewVersion, create_tariff
from ingest.buckets import day_start
from ingest.models import Channel, Device
from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

CHARGES = [
    {"type": "consumption", "unit_price": "0.25", "unit": "kWh"},
    {"type": "standing", "price_per_day": "0.10"},
]
CALLBACK = UUID("0193589d-1e0c-7cc0-b1f4-c2c5a1f0d9ab")


@dataclass(frozen=True)
class Customer:
    """An account with a metered device and what ties them together."""

    tenant: Tenant
    account: Account
    device: Device
    channel: Channel
    tariff: Tariff
    agreement: Agreement


def new_tariff(tenant: Tenant, *, valid_from: date = date(2015, 1, 1)) -> Tariff:
    """Create a tariff of 0.25 a kWh and 0.10 a day."""
    with acting_for(tenant):
        return create_tariff(
            tenant=tenant,
            actor=operator(tenant),
            code=f"home-{uuid4().hex[:8]}",
            name="Home",
            versions=[NewVersion(valid_from, CHARGES)],
        )


def new_customer(
    tenant: Tenant,
    *,
    tariff: Tariff | None = None,
    unit: str = "kWh",
    start_date: date = date(2015, 1, 1),
    end_date: date | None = None,
) -> Customer:
    """Create an account whose device has an interval channel `main`."""
    tariff = tariff or new_tariff(tenant)
    name = uuid4().hex[:8]
    with acting_for(tenant):
        device = Device.objects.create(tenant=tenant, name=f"WM-{name}")
        channel = Channel.objects.create(
            tenant=tenant,
            device=device,
            code="main",
            kind="interval",
            unit=unit,
            longest_s=90_000,
        )
        account = create_account(
            tenant=tenant, actor=operator(tenant), number=f"A-{name}", name="Ann"
        )
        agreement = create_agreement(
            tenant=tenant,
            actor=operator(tenant),
            account=account,
            terms=Terms(device, tariff, start_date, end_date),
        )
    return Customer(tenant, account, device, channel, tariff, agreement)


def meter_days(
    customer: Customer, start: date, values: list[str], *, quality: str = "A"
) -> None:
    """Store one reading of the whole local day, and its usage, for each value."""
    tenant, channel = customer.tenant, customer.channel
    for offset, value in enumerate(values):
        day = start + timedelta(days=offset)
        at = day_start(day, tenant.zone)
        _store_reading(tenant, channel, (at, value, quality))
        _store_usage(tenant, channel, (day, value, quality))


def mark_pending(customer: Customer, day: date) -> None:
    """Say that the day's usage must be computed anew."""
    with pipeline() as lane:
        lane.execute(
            "INSERT INTO ingest_usagemark (tenant_id, channel_id, day)"
            " VALUES (%s, %s, %s)",
            [customer.tenant.pk, customer.channel.pk, day],
        )


def _store_reading(
    tenant: Tenant, channel: Channel, reading: tuple[datetime, str, str]
) -> None:
    at, value, quality = reading
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = (month + timedelta(days=32)).replace(day=1)
    local = tenant.zone
    duration_s = day_length_s(local, at.astimezone(local).date())
    with pipeline() as lane:
        lane.execute(
            "SELECT ingest_make_partition('ingest_reading', %s, %s, %s)",
            [f"{month:%Y%m}", month, after],
        )
        lane.execute(
            """INSERT INTO ingest_reading (tenant_id, channel_id, start_at, value,
                duration_s, quality, callback_id) VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (tenant_id, channel_id, start_at)
            DO UPDATE SET value = excluded.value""",
            [tenant.pk, channel.pk, at, Decimal(value), duration_s, quality, CALLBACK],
        )


def _store_usage(
    tenant: Tenant, channel: Channel, usage: tuple[date, str, str]
) -> None:
    day, value, quality = usage
    length_s = day_length_s(tenant.zone, day)
    actual_s = length_s if quality == "A" else 0
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO ingest_usage (tenant_id, channel_id, day, value, expected_s,
                actual_s, estimated_s, reading_count)
            VALUES (%s, %s, %s, %s, %s, %s, %s, 1)
            ON CONFLICT (tenant_id, channel_id, day)
            DO UPDATE SET value = excluded.value""",
            [
                tenant.pk,
                channel.pk,
                day,
                Decimal(value),
                length_s,
                actual_s,
                length_s - actual_s,
            ],
        )
