"""Device groups: made, changed, used, and not pulled from under an endpoint."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connections, transaction

from subscriptions.filtering import FiltersInvalid, Subject
from subscriptions.models import Delivery, DeviceGroup, Endpoint
from subscriptions.services.device_groups import (
    DeviceGroupInUse,
    DeviceGroupInvalid,
    DeviceGroupNameTaken,
    DeviceGroupUnknown,
    delete_group,
    hold_groups,
    save_group,
)
from subscriptions.services.publishing import Event, publish
from subscriptions.tests.delivering import make_endpoint
from tenants.actors import Actor, operator
from tenants.database import acting_for, enter_tenant, pipeline
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant

URL = "https://subscriber.example/hook"


def save(
    tenant: Tenant, name: str, *devices: str, group: DeviceGroup | None = None
) -> DeviceGroup:
    with acting_for(tenant):
        return save_group(
            tenant=tenant,
            actor=operator(tenant),
            name=name,
            devices=devices,
            group=group,
        )


def delete(tenant: Tenant, group: DeviceGroup) -> None:
    with acting_for(tenant):
        delete_group(tenant=tenant, actor=operator(tenant), group=group)


def filtering(tenant: Tenant, group: str) -> Endpoint:
    return make_endpoint(tenant, URL, filters={"device_groups": [group]})[0]


def hears(endpoint: Endpoint, device: str) -> bool:
    tenant = endpoint.tenant
    event = Event(
        tenant.pk,
        tenant.slug,
        "callback.processed",
        {},
        datetime.now(tz=UTC),
        subjects=lambda: [Subject(device)],
    )
    with pipeline() as lane, lane.cursor() as cursor:
        publish(cursor, [event])
        cursor.execute(
            "SELECT count(*) FROM subscriptions_delivery d "
            "JOIN subscriptions_messagedevice m ON m.message_id = d.message_id "
            "WHERE d.endpoint_id = %s AND m.device = %s",
            [endpoint.pk, device],
        )
        (count,) = cursor.fetchone() or (0,)
    return bool(count)


def test_group_is_kept_sorted_once_each_and_audited(
    tenant: Tenant, actor: Actor
) -> None:
    group = save(tenant, "pilot", "b", "a*", "b")
    assert (group.name, group.devices) == ("pilot", ["a*", "b"])
    delete(tenant, group)
    with acting_for(tenant):
        assert not DeviceGroup.objects.filter(tenant=tenant).exists()
        trail = AuditEntry.objects.filter(action__startswith="device_group.")
        rows = trail.order_by("id").values_list("action", "subject")
        assert list(rows) == [
            ("device_group.saved", group.public_id),
            ("device_group.deleted", group.public_id),
        ]


def test_endpoint_hears_by_a_changed_group_at_once(tenant: Tenant) -> None:
    group = save(tenant, "pilot", "A", "north/*")
    endpoint = filtering(tenant, "pilot")
    assert [hears(endpoint, name) for name in ("A", "north/7", "B")] == [
        True,
        True,
        False,
    ]
    save(tenant, "pilot", "B", group=group)
    assert [hears(endpoint, name) for name in ("B", "north/8")] == [True, False]


def test_group_of_100_000_names_is_no_burden(tenant: Tenant) -> None:
    save(tenant, "all", *(f"WM-{number:06}" for number in range(100_000)))
    endpoint = filtering(tenant, "all")
    assert hears(endpoint, "WM-099999")
    assert not hears(endpoint, "WM-100000")


@pytest.mark.parametrize(
    ("name", "devices", "said"),
    [
        ("", ["a"], "name: 1 to 255"),
        ("a" * 101, ["a"], "name: 1 to 100"),
        ("a\0", ["a"], "name: a character"),
        ("a", [""], "devices[0]: 1 to 255"),
        ("a", ["b", 7], "devices[1]: a text"),
        ("a", ["b"] * 100_001, "more than 100,000"),
        ("a", "abc", "devices: a list"),
    ],
)
def test_group_that_cannot_be_is_refused(
    tenant: Tenant, actor: Actor, name: str, devices: Any, said: str
) -> None:
    with acting_for(tenant), pytest.raises(DeviceGroupInvalid) as refused:
        save_group(tenant=tenant, actor=actor, name=name, devices=devices)
    assert said in str(refused.value)


def test_two_groups_have_two_names(tenant: Tenant) -> None:
    first, second = save(tenant, "one"), save(tenant, "two")
    with pytest.raises(DeviceGroupNameTaken):
        save(tenant, "one")
    with pytest.raises(DeviceGroupNameTaken):
        save(tenant, "one", group=second)
    assert save(tenant, "one", "a", group=first).devices == ["a"]


def test_group_in_use_keeps_its_name_and_stays(tenant: Tenant) -> None:
    group = save(tenant, "pilot", "A")
    endpoint = filtering(tenant, "pilot")
    with pytest.raises(DeviceGroupInUse):
        save(tenant, "renamed", "A", group=group)
    with pytest.raises(DeviceGroupInUse):
        delete(tenant, group)
    with acting_for(tenant):
        Endpoint.objects.filter(pk=endpoint.pk).update(deleted_at=datetime.now(tz=UTC))
    delete(tenant, group)


def test_another_tenants_group_is_not_there(
    tenant: Tenant, stranger: NewTenant
) -> None:
    group = save(tenant, "pilot", "A")
    with pytest.raises(DeviceGroupUnknown):
        save(stranger.tenant, "mine", "B", group=group)
    with pytest.raises(DeviceGroupUnknown):
        delete(stranger.tenant, group)
    theirs = filtering(stranger.tenant, "pilot")
    assert not hears(theirs, "A"), "a group of this name, but not its own"


def test_endpoint_that_is_about_to_name_a_group_is_waited_for(tenant: Tenant) -> None:
    group = save(tenant, "pilot", "A")
    refused: list[Exception] = []

    def remove() -> None:
        try:
            delete(tenant, group)
        except DeviceGroupInUse as error:
            refused.append(error)
        finally:
            connections.close_all()

    remover = threading.Thread(target=remove)
    with transaction.atomic():
        enter_tenant(tenant.pk)
        hold_groups(tenant, ["pilot"])
        remover.start()
        remover.join(0.3)
        assert remover.is_alive(), "it waits for the group"
        make_endpoint(tenant, URL, filters={"device_groups": ["pilot"]})
    remover.join()
    assert len(refused) == 1
    with acting_for(tenant):
        assert DeviceGroup.objects.filter(tenant=tenant).count() == 1
        assert not Delivery.objects.filter(tenant=tenant).exists()


def test_group_that_went_first_is_unknown_to_the_endpoint(tenant: Tenant) -> None:
    delete(tenant, save(tenant, "pilot", "A"))
    with acting_for(tenant), pytest.raises(FiltersInvalid, match="no group 'pilot'"):
        hold_groups(tenant, ["pilot"])


def test_groups_of_another_tenant_are_not_there(
    tenant: Tenant, stranger: NewTenant
) -> None:
    save(tenant, "mine")
    save(stranger.tenant, "theirs")
    with acting_for(tenant):
        hold_groups(tenant, ["mine"])
        with pytest.raises(FiltersInvalid, match="no group 'theirs'"):
            hold_groups(tenant, ["theirs"])
