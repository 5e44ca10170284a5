"""The console's walls: every page, for every role, and for the wrong tenant."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import Account, Agreement, BillRun, Invoice, InvoiceLine, Tariff
from billing.services.accounts import create_account
from billing.services.agreements import Terms, create_agreement
from billing.services.bill_runs import request_bill_run
from billing.services.tariffs import NewVersion, create_tariff
from config.console.activity import Activity
from conftest import make_tenant
from ingest.models import (
    Callback,
    CallbackRejection,
    Channel,
    Device,
    Source,
)
from ingest.services.sources import create_source
from subscriptions.events import Event
from subscriptions.models import (
    Delivery,
    DeviceGroup,
    Endpoint,
    Message,
    Redelivery,
    SigningKey,
)
from subscriptions.services.endpoints import create_endpoint, send_test
from subscriptions.services.publishing import publish
from subscriptions.services.signing_keys import ensure_key
from tenants.actors import operator
from tenants.console.pages import TenantAdmin
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import ApiKey, AuditEntry, Membership, Role, Tenant, User
from tests.visitors import visitor

FORMS_NOT_FOR_CLERKS = {
    Source,
    Callback,
    CallbackRejection,
    Endpoint,
    Delivery,
    Message,
    DeviceGroup,
    Redelivery,
    SigningKey,
    Membership,
    ApiKey,
    AuditEntry,
}
FOR_ALL = {Device, Channel, Account, Tariff, Agreement, BillRun, Invoice}


def a_callback(tenant: Tenant, source: Source) -> Callback:
    """Write what the listener and a worker would: rejected for a unit."""
    found = new_id()
    now = timezone.now()
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id,
                digest, received_at, state, processed_at, rejected, errors)
            VALUES (%s, %s, %s, 'north/1', 'x', %s, 3, %s, 1,
                '[{"index": 0, "code": "unit_unknown", "detail": "<b>furlong</b>"}]')
            """,
            [tenant.pk, found, source.pk, now, now],
        )
        lane.execute(
            """INSERT INTO ingest_callbackbody
            VALUES (%s, %s, %s, 'application/json', '{"unit": "<script>"}')""",
            [tenant.pk, found, now],
        )
        lane.execute(
            """INSERT INTO ingest_callbackrejection (tenant_id, callback_id, code,
                detail) VALUES (%s, %s, 'unit_unknown', '<b>furlong</b>')""",
            [tenant.pk, found],
        )
    with acting_for(tenant):
        return Callback.objects.get(tenant=tenant, pk=found)


class Furnished:
    """A tenant with one of each thing that has a page."""

    def __init__(self) -> None:
        self.tenant = make_tenant().tenant
        who: dict[str, Any] = {
            "tenant": self.tenant,
            "actor": operator(self.tenant),
        }
        with acting_for(self.tenant):
            source, _ = create_source(**who, name="North", scheme="hub")
            endpoint, _ = create_endpoint(
                **who, url="http://127.0.0.1:9/hook", event_types=["*"]
            )
            delivery = send_test(**who, endpoint=endpoint, now=timezone.now())
            device = Device.objects.create(tenant=self.tenant, name="WM-1")
            channel = Channel.objects.create(
                tenant=self.tenant, device=device, code="main", kind="interval"
            )
            account = create_account(**who, number="A-1", name="Eline")
            prices = [{"type": "standing", "price_per_day": "0.10"}]
            tariff = create_tariff(
                **who,
                code="home",
                name="Home",
                versions=[NewVersion(date(2026, 1, 1), prices)],
            )
            terms = Terms(device, tariff, date(2026, 1, 1))
            agreement = create_agreement(**who, account=account, terms=terms)
            run = request_bill_run(
                **who, period_start=date(2026, 1, 1), period_end=date(2026, 2, 1)
            )
            invoice = an_invoice(run, account)
            self.things: dict[type[Any], Any] = {
                Source: source,
                Device: device,
                Channel: channel,
                Endpoint: endpoint,
                Delivery: delivery,
                Message: delivery.message,
                DeviceGroup: DeviceGroup.objects.create(
                    tenant=self.tenant, name="North", devices=["WM-1"]
                ),
                SigningKey: ensure_key(self.tenant),
                Redelivery: Redelivery.objects.create(
                    tenant=self.tenant,
                    endpoint=endpoint,
                    kind="recover",
                    since=timezone.now(),
                    until=timezone.now(),
                ),
                Account: account,
                Tariff: tariff,
                Agreement: agreement,
                BillRun: run,
                Invoice: invoice,
                Membership: Membership.objects.get(tenant=self.tenant),
                ApiKey: ApiKey.objects.get(tenant=self.tenant),
                AuditEntry: AuditEntry.objects.filter(tenant=self.tenant).first(),
            }
        callback = a_callback(self.tenant, source)
        with acting_for(self.tenant):
            self.things[Callback] = callback
            self.things[CallbackRejection] = CallbackRejection.objects.get(
                tenant=self.tenant, pk=callback.pk
            )

    def pages(self) -> Iterator[tuple[type[Any], str]]:
        """Return every page about one thing."""
        for model, thing in self.things.items():
            yield model, page(model, "change", thing.pk)


def an_invoice(run: BillRun, account: Account) -> Invoice:
    """Return an issued invoice of 3.10 for 31 days."""
    invoice = Invoice.objects.create(
        tenant=run.tenant,
        number="INV-000001",
        bill_run=run,
        account=account,
        period_start=run.period_start,
        period_end=run.period_end,
        currency="EUR",
        total="3.10",
        parties={
            "tenant": {"name": "<i>Utility</i>"},
            "account": {"number": "A-1", "name": "Eline", "address": ""},
        },
    )
    InvoiceLine.objects.create(
        tenant=run.tenant,
        invoice=invoice,
        position=1,
        description="Standing charge (WM-1)",
        period_start=run.period_start,
        period_end=run.period_end,
        quantity=31,
        unit="day",
        unit_price="0.10",
        amount="3.10",
        evidence={
            "device": "WM-1",
            "channel": "main",
            "tariff": {"code": "home", "valid_from_date": "2026-01-01"},
            "day_count": 31,
        },
    )
    return invoice


def activity_shown(reply: Any) -> Activity:
    seen = reply.context_data["seen"]
    assert isinstance(seen, Activity)
    return seen


def page(model: type[Any], name: str, *arguments: Any) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{name}", args=arguments)


@pytest.fixture(scope="module")
def furnished() -> Furnished:
    return Furnished()


@pytest.fixture(scope="module")
def visitors(furnished: Furnished) -> dict[Role, Client]:
    return {role: visitor(furnished.tenant, role) for role in Role}


def test_every_page_of_the_console_is_in_these_tests(furnished: Furnished) -> None:
    assert set(admin.site._registry) == set(furnished.things)
    assert set(furnished.things) == FORMS_NOT_FOR_CLERKS | FOR_ALL


@pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR])
def test_admins_and_auditors_open_every_list_and_page(
    furnished: Furnished, visitors: dict[Role, Client], role: Role
) -> None:
    for model, address in furnished.pages():
        assert visitors[role].get(page(model, "changelist")).status_code == 200
        assert visitors[role].get(address).status_code == 200, model


def test_a_clerk_opens_billing_and_devices_and_nothing_else(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    clerk = visitors[Role.CLERK]
    for model, address in furnished.pages():
        expected = 200 if model in FOR_ALL else 403
        assert clerk.get(page(model, "changelist")).status_code == expected, model
        assert clerk.get(address).status_code == expected, model


def test_an_auditor_is_offered_no_form_and_no_button(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    auditor = visitors[Role.AUDITOR]
    for model, address in furnished.pages():
        assert auditor.get(page(model, "add")).status_code == 403, model
        shown = auditor.get(address).content
        assert b"/do/" not in shown, model
        for button in ("retry", "verify", "rotate", "revoke", "approve", "reprocess"):
            done = auditor.post(page(model, "do", furnished.things[model].pk, button))
            assert done.status_code == 403, (model, button)


def test_another_tenants_page_is_not_found_and_its_list_is_empty(
    furnished: Furnished,
) -> None:
    stranger = visitor(make_tenant().tenant)
    for model, address in furnished.pages():
        assert stranger.get(address).status_code == 404, model
        thing = furnished.things[model]
        pressed = stranger.post(page(model, "do", thing.pk, "retry"))
        assert pressed.status_code == 404, model
        listed = stranger.get(page(model, "changelist")).content.decode()
        assert str(thing.pk) not in listed or isinstance(thing.pk, int), model
        assert address not in listed, model


def forms(furnished: Furnished) -> Iterator[tuple[type[Any], str]]:
    """Return whatever else is done with one thing, on pages of its own."""
    for model, thing in furnished.things.items():
        shown = admin.site._registry[model]
        assert isinstance(shown, TenantAdmin)
        for route, name, _ in shown.more_pages():
            if route.count("<") == 1:
                yield model, page(model, name, thing.pk)


def test_forms_about_another_tenants_thing_are_not_found(furnished: Furnished) -> None:
    stranger = visitor(make_tenant().tenant)
    found = list(forms(furnished))
    assert len(found) > 15
    for _, address in found:
        assert stranger.get(address).status_code == 404, address
        assert stranger.post(address, {"reason": "x"}).status_code == 404, address


def test_forms_are_refused_to_who_may_not_write(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    for model, address in forms(furnished):
        if model in FORMS_NOT_FOR_CLERKS and not address.endswith("/body/"):
            for role in (Role.AUDITOR, Role.CLERK):
                assert visitors[role].get(address).status_code == 403, address
                assert visitors[role].post(address).status_code == 403, address


def test_a_button_is_pressed_by_post_alone(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    address = page(Source, "do", furnished.things[Source].pk, "rotate")
    assert visitors[Role.ADMIN].get(address).status_code == 405


def test_a_button_without_a_token_is_refused(furnished: Furnished) -> None:
    careful = Client(enforce_csrf_checks=True)
    with acting_for(furnished.tenant):
        people = Membership.objects.filter(tenant=furnished.tenant, role=Role.ADMIN)
        admin_user = people.select_related("user")[0].user
    careful.force_login(admin_user)
    address = page(Source, "do", furnished.things[Source].pk, "disable")
    assert careful.post(address).status_code == 403
    with acting_for(furnished.tenant):
        assert Source.objects.get(pk=furnished.things[Source].pk).enabled


def test_nothing_that_a_sender_wrote_is_markup(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    for model, address in furnished.pages():
        shown = visitors[Role.ADMIN].get(address).content.decode()
        for markup in ("<b>furlong", '"<script>"', "<i>Utility"):
            assert markup not in shown, model


def test_whoever_works_for_no_tenant_is_told_so() -> None:
    nobody = User.objects.create(email=f"{new_id().hex}@nowhere.example", is_staff=True)
    browser = Client()
    browser.force_login(nobody)
    shown = browser.get(reverse("admin:index"), follow=True)
    assert "You belong to no tenant" in shown.content.decode()
    assert shown.request["PATH_INFO"] == reverse("admin:login")


def test_a_person_signs_in_with_address_and_password() -> None:
    new = make_tenant()
    browser = Client()
    asked = {"username": new.admin_email, "password": new.admin_password}
    reply = browser.post(
        reverse("admin:login") + "?next=" + reverse("admin:index"), asked, follow=True
    )
    assert "What to do next" in reply.content.decode()
    wrong = Client().post(reverse("admin:login"), {**asked, "password": "no"})
    assert "Please enter the correct" in wrong.content.decode()


def test_the_sidebar_shows_what_the_role_may_open(
    visitors: dict[Role, Client],
) -> None:
    sources = page(Source, "changelist")
    reports = reverse("admin:billing_invoice_reports")
    for role, sees_sources in ((Role.ADMIN, True), (Role.CLERK, False)):
        shown = visitors[role].get(reverse("admin:index")).content.decode()
        assert (sources in shown) is sees_sources
        assert reports in shown


def test_the_dashboard_counts_the_last_hour(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    shown = visitors[Role.ADMIN].get(reverse("admin:index"))
    seen = activity_shown(shown)
    assert (seen.total("accepted"), seen.total("processed"), seen.waiting) == (1, 1, 0)
    assert "unit_unknown" in shown.content.decode()
    stranger = visitor(make_tenant().tenant).get(reverse("admin:index"))
    assert activity_shown(stranger).total("accepted") == 0
    assert "unit_unknown" not in stranger.content.decode()


def test_deliveries_are_found_by_the_transaction_id_of_their_callback(
    furnished: Furnished, visitors: dict[Role, Client]
) -> None:
    callback = furnished.things[Callback]
    event = Event(
        furnished.tenant.pk,
        furnished.tenant.slug,
        "callback.processed",
        {"transaction_id": callback.transaction_id},
        timezone.now(),
        receipt_id=callback.pk,
    )
    with pipeline() as lane, lane.cursor() as cursor:
        publish(cursor, [event])
    listed: Any = visitors[Role.ADMIN].get(page(Delivery, "changelist") + "?q=north/1")
    (found,) = listed.context_data["cl"].result_list
    assert found.event_type == "callback.processed"
    shown = visitors[Role.ADMIN].get(page(Delivery, "change", found.pk)).content
    assert page(Callback, "change", callback.pk).encode() in shown
