"""What receivers, subscribers and devices say is text on every page, never markup."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.tests.test_page_policy import scripts_in
from subscriptions.models import (
    Attempt,
    ConsentStep,
    Delivery,
    DeviceGroup,
    Endpoint,
    MaintenanceWindow,
    MessageDevice,
    Redelivery,
)
from subscriptions.tests.visiting import followed, make_link
from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.services import record_audit
from tests.test_console import Furnished, page
from tests.visitors import visitor

MARK = "\"'><u onclick=alert(1)>&"
SHOWN = "&lt;u onclick"


@pytest.fixture(scope="module")
def written() -> Furnished:
    """A tenant whose every text is markup."""
    furnished = Furnished()
    endpoint, delivery = furnished.things[Endpoint], furnished.things[Delivery]
    mine = {"tenant": furnished.tenant, "endpoint": endpoint}
    now = timezone.now()
    hour = timedelta(hours=1)
    with acting_for(furnished.tenant):
        Endpoint.objects.filter(pk=endpoint.pk).update(
            description=MARK,
            status="disabled",
            status_detail=MARK,
            breaker="open",
            hold_until=now + hour,
            hold_reason=MARK,
            header_names=[MARK],
            filters={"devices": [MARK]},
            certificate_subject=MARK,
            certificate_expires_at=now,
            oauth2_token_url=MARK,
            oauth2_client_id=MARK,
            oauth2_scope=MARK,
            oauth2_error=MARK,
        )
        ConsentStep.objects.create(**mine, url=MARK, step="refused", detail=MARK)
        MaintenanceWindow.objects.create(
            **mine, start_at=now - hour, end_at=now + hour, reason=MARK
        )
        group = furnished.things[DeviceGroup]
        DeviceGroup.objects.filter(pk=group.pk).update(name=MARK, devices=[MARK])
        Redelivery.objects.filter(**mine).update(device=MARK, created_by=MARK)
        Delivery.objects.filter(pk=delivery.pk).update(
            status="dead", last_error=MARK, cancel_reason=MARK, finished_at=now
        )
        record_audit(
            actor=operator(furnished.tenant),
            action=MARK[:64],
            subject=delivery.public_id,
            detail={"reason": MARK},
        )
        MessageDevice.objects.create(
            tenant=furnished.tenant, device=MARK, message_id=delivery.message_id
        )
    an_attempt(delivery)
    return furnished


def an_attempt(delivery: Delivery) -> None:
    """Write an attempt down, as a worker would, with a hostile answer."""
    told = dict.fromkeys(("error", "error_detail", "url", "address"), MARK)
    row = Attempt(
        id=new_id(),
        tenant_id=delivery.tenant_id,
        delivery=delivery,
        endpoint_id=delivery.endpoint_id,
        number=1,
        started_at=timezone.now(),
        duration_ms=1,
        status_code=500,
        signed_at_s=1,
        http_version="1.1",
        response_headers=f"HTTP/1.1 500 No\nX-A: {MARK}",
        response_excerpt=MARK.encode(),
        **told,
    )
    names = [str(field.column) for field in Attempt._meta.fields]
    holes = ", ".join(["%s"] * len(names))
    with pipeline() as lane:
        lane.execute(
            f"INSERT INTO subscriptions_attempt ({', '.join(names)})"  # noqa: S608 (own names)
            f" VALUES ({holes})",
            [getattr(row, field.attname) for field in Attempt._meta.fields],
        )


def pages(written: Furnished) -> Iterator[tuple[str, bool]]:
    """Return each address, and whether a text of theirs is surely on its page."""
    sure: set[Any] = {Endpoint, Delivery, DeviceGroup, Redelivery}
    for model, address in written.pages():
        yield address, model in sure
        yield page(model, "changelist"), model in {Endpoint, DeviceGroup}
    endpoint, group = written.things[Endpoint], written.things[DeviceGroup]
    for name in ("edit", "credentials"):
        yield page(Endpoint, name, endpoint.pk), True
    yield page(DeviceGroup, "edit", group.pk), True
    yield reverse("admin:subscriptions_delivery_undelivered"), True
    yield reverse("admin:index"), False


def test_the_consoles_pages_show_it_as_it_is(written: Furnished) -> None:
    browser = visitor(written.tenant)
    for address, is_sure in pages(written):
        shown = browser.get(address)
        assert shown.status_code == 200, address
        assert scripts_in(shown.text) == [], address
        assert SHOWN in shown.text or not is_sure, address


def test_so_do_the_portals(written: Furnished) -> None:
    endpoint, delivery = written.things[Endpoint], written.things[Delivery]
    actor = operator(written.tenant)
    _, token = make_link(written.tenant, actor, endpoint, note=MARK)
    browser: Client
    browser, home = followed(token)
    for address in (home, f"{home}deliveries/{delivery.public_id}/"):
        shown = browser.get(address)
        assert shown.status_code == 200
        assert scripts_in(shown.text) == [], address
        assert SHOWN in shown.text
