"""`manage.py demo`: the demo utility, made in the steps that `up --demo` needs."""

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing.models import Account, BillRun, BillRunStatus
from billing.services import accounts, agreements, bill_runs, tariffs
from config.demo import HISTORY_DAYS, Demo, new_password
from ingest.models import Channel, PendingCallback, Usage
from ingest.queries import source_url
from ingest.services.sources import create_source
from subscriptions.models import Endpoint, EndpointStatus
from subscriptions.services.endpoints import (
    create_endpoint,
    request_verification,
    update_endpoint,
)
from tenants.actors import Actor, operator
from tenants.database import acting_for
from tenants.identifiers import parse_public_id
from tenants.models import Role, Tenant
from tenants.queries import identity_of_key
from tenants.services import add_person, create_tenant

BILLED_ACCOUNTS = 8
PATIENCE_S = 60


class Command(BaseCommand):
    """Prepare the demo utility, and bill its last month."""

    help = "Make the demo utility (prepare PORT) and bill its last month (bill)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        steps = parser.add_subparsers(dest="step", required=True)
        prepare = steps.add_parser("prepare", help="tenant, people, source, endpoint")
        prepare.add_argument("port", type=int, help="where the sample subscriber is")
        steps.add_parser(
            "bill",
            help="the subscriber's consent, accounts, a tariff, last month's bill run",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Carry out the step; each is safe to repeat."""
        if options["step"] == "bill":
            demo = Demo.load()
            tenant = _tenant(demo)
            _ask_consent_again(tenant, demo)
            _bill_last_month(tenant)
            return
        url = f"http://127.0.0.1:{options['port']}/"
        if Demo.exists():
            _move_subscriber(Demo.load(), url)
        else:
            _create(url).save()


def _tenant(demo: Demo) -> Tenant:
    identity = identity_of_key(demo.api_key)
    if identity is None:
        raise CommandError(
            "var/demo.json is of another database. Remove it to make a new demo."
        )
    with acting_for(identity.tenant_id):
        return Tenant.objects.get(pk=identity.tenant_id)


def _create(url: str) -> Demo:
    people = {role.value: f"{role.value}@demo.example" for role in Role}
    new = create_tenant(
        slug="demo",
        name="Demo Utilities",
        timezone="Europe/Brussels",
        currency="EUR",
        admin_email="operator@demo.example",
    )
    actor = operator(new.tenant)
    password = new_password()
    with acting_for(new.tenant):
        for role, email in people.items():
            add_person(
                tenant=new.tenant,
                actor=actor,
                email=email,
                password=password,
                role=Role(role),
            )
        source, source_secret = create_source(
            tenant=new.tenant, actor=actor, name="Demo head-end", scheme="hub"
        )
        endpoint, endpoint_secret = create_endpoint(
            tenant=new.tenant,
            actor=actor,
            url=url,
            event_types=["*"],
            description="Sample subscriber",
        )
        return Demo(
            source_url=source_url(source),
            source_secret=source_secret,
            endpoint_id=endpoint.public_id,
            endpoint_secret=endpoint_secret,
            api_key=new.api_key,
            people=people,
            password=password,
        )


def _move_subscriber(demo: Demo, url: str) -> None:
    """Point the endpoint at today's port, when it is another one."""
    tenant = _tenant(demo)
    with acting_for(tenant):
        endpoint = Endpoint.objects.get(
            tenant=tenant, pk=parse_public_id("ep", demo.endpoint_id)
        )
        if endpoint.url != url:
            update_endpoint(
                tenant=tenant,
                actor=operator(tenant),
                endpoint=endpoint,
                changes={"url": url},
            )


def _ask_consent_again(tenant: Tenant, demo: Demo) -> None:
    """Ask the subscriber, which came up after it was asked first, at once."""
    with acting_for(tenant):
        endpoint = Endpoint.objects.get(
            tenant=tenant, pk=parse_public_id("ep", demo.endpoint_id)
        )
        if endpoint.status == EndpointStatus.PENDING or endpoint.proposed_url:
            request_verification(
                tenant=tenant, actor=operator(tenant), endpoint=endpoint
            )


def _bill_last_month(tenant: Tenant) -> None:
    today = timezone.now().astimezone(tenant.zone).date()
    period_end = today.replace(day=1)
    period_start = (period_end - timedelta(days=1)).replace(day=1)
    actor = operator(tenant)
    with acting_for(tenant):
        if Account.objects.filter(tenant=tenant).exists():
            return
    channels = _wait_for_history(tenant, period_start, period_end)
    with acting_for(tenant):
        _sign_agreements(tenant, actor, channels, today - timedelta(days=HISTORY_DAYS))
        run = bill_runs.request_bill_run(
            tenant=tenant,
            actor=actor,
            period_start=period_start,
            period_end=period_end,
        )
    _wait_for_run(tenant, run.pk)


def _wait_for_history(tenant: Tenant, start: date, end: date) -> list[Channel]:
    """Return channels whose usage of the month is there."""
    days = (end - start).days
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with acting_for(tenant):
            waiting = PendingCallback.objects.filter(tenant=tenant).count()
            channels = [
                channel
                for channel in Channel.objects.filter(
                    tenant=tenant, kind="interval", unit="kWh"
                )
                .select_related("device")
                .order_by("device__name")[: BILLED_ACCOUNTS * 2]
                if Usage.objects.filter(
                    tenant=tenant, channel=channel, day__gte=start, day__lt=end
                ).count()
                >= days
            ]
        if len(channels) >= BILLED_ACCOUNTS and waiting < BILLED_ACCOUNTS * days:
            return channels[:BILLED_ACCOUNTS]
        time.sleep(0.5)
    raise CommandError("The demo fleet's history was not processed in time.")


def _sign_agreements(
    tenant: Tenant, actor: Actor, channels: list[Channel], start_date: date
) -> None:
    tariff = tariffs.create_tariff(
        tenant=tenant, actor=actor, code="household", name="Household electricity"
    )
    tariffs.add_tariff_version(
        tenant=tenant,
        actor=actor,
        tariff=tariff,
        version=tariffs.NewVersion(
            valid_from_date=date(2020, 1, 1),
            charges=[
                {"type": "consumption", "unit_price": "0.25", "unit": "kWh"},
                {"type": "standing", "price_per_day": "0.10"},
            ],
        ),
    )
    names = ("Ada", "Alan", "Barbara", "Dennis", "Edsger", "Frances", "Grace", "Ken")
    for number, (name, channel) in enumerate(zip(names, channels, strict=False), 1):
        account = accounts.create_account(
            tenant=tenant, actor=actor, number=f"A-{number:04}", name=f"{name} Example"
        )
        agreements.create_agreement(
            tenant=tenant,
            actor=actor,
            account=account,
            terms=agreements.Terms(
                device=channel.device,
                channel_code=channel.code,
                tariff=tariff,
                start_date=start_date,
            ),
        )


def _wait_for_run(tenant: Tenant, run_id: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with acting_for(tenant):
            run = BillRun.objects.get(tenant=tenant, pk=run_id)
        if run.status == BillRunStatus.COMPLETED:
            return
        if run.status == BillRunStatus.FAILED:
            raise CommandError(f"The demo's bill run failed: {run.errors}")
        time.sleep(0.5)
    raise CommandError(f"The bill run {run_id} did not end by {datetime.now(UTC)}.")
