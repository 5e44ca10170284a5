"""Saying which channels' silence is news: over the API, and in the console."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ingest.models import Channel, ChannelWatch, Device
from ingest.services.watches import LEAST_S, MOST_S
from subscriptions.tests.calling import Caller, code, in_role
from tenants.database import acting_for, database_clock, pipeline
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

HOUR_S = 3600


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def channels(tenant: Tenant) -> list[Channel]:
    """Two of one meter, one of another."""
    with acting_for(tenant):
        first, second = (
            Device.objects.create(tenant=tenant, name=name) for name in ("A-1", "B-1")
        )
        return [
            Channel.objects.create(
                tenant=tenant, device=device, code=name, kind="interval", **more
            )
            for device, name, more in (
                (first, "main", {"commodity": "water"}),
                (first, "temperature", {}),
                (second, "main", {"commodity": "water"}),
            )
        ]


def watched(tenant: Tenant) -> dict[int, int | None]:
    """The expected intervals of the channels that have a watch."""
    with acting_for(tenant):
        rows = ChannelWatch.objects.filter(tenant=tenant).select_related("channel")
        return {row.channel_id: row.channel.expected_interval_s for row in rows}


def silence(channel: Channel) -> None:
    with pipeline() as lane:
        lane.execute(
            """UPDATE ingest_channelwatch SET silent_since = due_at
            WHERE tenant_id = %s AND channel_id = %s""",
            [channel.tenant_id, channel.pk],
        )


def listed(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    reply = caller.get(f"/channels/{query}")
    assert reply.status_code == 200, reply.content
    rows: list[dict[str, Any]] = reply.json()["results"]
    return rows


def test_a_channel_is_watched_changed_and_left_alone_again(
    tenant: Tenant, owner: Caller, channels: list[Channel]
) -> None:
    path = f"/channels/{channels[0].pk}/"
    assert owner.get(path).json()["expected_interval_s"] is None
    shown = owner.ask("PATCH", path, {"expected_interval_s": HOUR_S}).json()
    assert (shown["expected_interval_s"], shown["last_heard_at"]) == (HOUR_S, None)
    with acting_for(tenant):
        watch = ChannelWatch.objects.get(tenant=tenant)
    left = watch.due_at - database_clock()
    assert timedelta(seconds=HOUR_S) < left <= timedelta(seconds=HOUR_S * 1.05)
    assert shown["due_at"] == watch.due_at.isoformat().replace("+00:00", "Z")
    changed = owner.ask("PATCH", path, {"expected_interval_s": 60}).json()
    assert changed["due_at"] < shown["due_at"]
    ended = owner.ask("PATCH", path, {"expected_interval_s": None}).json()
    assert (ended["expected_interval_s"], ended["due_at"]) == (None, None)
    assert watched(tenant) == {}
    with acting_for(tenant):
        trail = AuditEntry.objects.filter(action__startswith="channel.").order_by("id")
        assert [entry.action for entry in trail] == [
            "channel.watched",
            "channel.watched",
            "channel.unwatched",
        ]
        assert trail[0].subject == "A-1"
        assert trail[0].detail == {
            "channel": "main",
            "kind": "interval",
            "channels": 1,
            "expected_interval_s": HOUR_S,
        }


def test_what_is_so_already_changes_nothing(
    tenant: Tenant, owner: Caller, channels: list[Channel]
) -> None:
    path = f"/channels/{channels[0].pk}/"
    first = owner.ask("PATCH", path, {"expected_interval_s": HOUR_S}).json()
    again = owner.ask("PATCH", path, {"expected_interval_s": HOUR_S}).json()
    assert again == first
    with acting_for(tenant):
        assert AuditEntry.objects.filter(action="channel.watched").count() == 1


def test_another_interval_does_not_end_a_silence(
    owner: Caller, channels: list[Channel]
) -> None:
    path = f"/channels/{channels[0].pk}/"
    owner.ask("PATCH", path, {"expected_interval_s": HOUR_S})
    silence(channels[0])
    shown = owner.ask("PATCH", path, {"expected_interval_s": HOUR_S * 2}).json()
    assert shown["silent_since"] is not None


@pytest.mark.parametrize("seconds", [0, -1, LEAST_S - 1, MOST_S + 1, 10**30])
def test_an_interval_that_nobody_can_expect_is_refused(
    tenant: Tenant, owner: Caller, channels: list[Channel], seconds: int
) -> None:
    for path in (f"/channels/{channels[0].pk}/", f"/devices/{channels[0].device_id}/"):
        reply = owner.ask("PATCH", path, {"expected_interval_s": seconds})
        assert code(reply) == (400, "expected_interval_invalid")
    assert watched(tenant) == {}


def test_a_change_that_is_refused_in_part_changes_nothing(
    owner: Caller, channels: list[Channel]
) -> None:
    path = f"/channels/{channels[0].pk}/"
    before = owner.get(path).json()
    wanted = {"commodity": "heat", "expected_interval_s": 1}
    assert code(owner.ask("PATCH", path, wanted))[0] == 400
    assert owner.get(path).json() == before


@pytest.mark.parametrize("body", [{}, {"expected_interval_s": "soon"}, {"unit": "l"}])
def test_a_change_of_nothing_is_refused(
    owner: Caller, channels: list[Channel], body: dict[str, Any]
) -> None:
    for path in (f"/channels/{channels[0].pk}/", f"/devices/{channels[0].device_id}/"):
        assert code(owner.ask("PATCH", path, body)) == (400, "invalid")


def test_a_device_is_watched_with_all_its_channels(
    tenant: Tenant, owner: Caller, channels: list[Channel]
) -> None:
    path = f"/devices/{channels[0].device_id}/"
    reply = owner.ask("PATCH", path, {"expected_interval_s": HOUR_S})
    assert (reply.status_code, reply.json()["name"]) == (200, "A-1")
    assert watched(tenant) == {one.pk: HOUR_S for one in channels[:2]}
    owner.ask("PATCH", path, {"expected_interval_s": None})
    assert watched(tenant) == {}


def test_silent_and_watched_channels_are_listed(
    owner: Caller, channels: list[Channel]
) -> None:
    for one in channels[:2]:
        path = f"/channels/{one.pk}/"
        owner.ask("PATCH", path, {"expected_interval_s": HOUR_S})
    silence(channels[0])
    assert [row["id"] for row in listed(owner, "?silent=true")] == [channels[0].pk]
    assert len(listed(owner, "?silent=false")) == 2
    assert len(listed(owner, "?watched=true")) == 2
    assert [row["id"] for row in listed(owner, "?watched=false")] == [channels[2].pk]
    (silent,) = listed(owner, "?silent=true")
    assert silent["silent_since"] == silent["due_at"]


def test_others_watch_nothing_here(
    tenant: Tenant, stranger: NewTenant, channels: list[Channel]
) -> None:
    outsider = Caller(stranger.api_key)
    wanted = {"expected_interval_s": HOUR_S}
    for path in (f"/channels/{channels[0].pk}/", f"/devices/{channels[0].device_id}/"):
        assert outsider.ask("PATCH", path, wanted).status_code == 404
        for role in (Role.CLERK, Role.AUDITOR):
            assert in_role(tenant, role).ask("PATCH", path, wanted).status_code == 403
    assert listed(outsider, "?silent=false") == []
    assert watched(tenant) == {}


# --- The console -------------------------------------------------------------
def many() -> str:
    return reverse("admin:ingest_channel_watch_many")


def test_the_console_watches_one_channel(
    tenant: Tenant, channels: list[Channel]
) -> None:
    browser = visitor(tenant)
    form = reverse("admin:ingest_channel_watch", args=[channels[0].pk])
    refused = browser.post(form, {"expected_interval_s": "5"})
    assert "greater than or equal to 60" in refused.content.decode()
    browser.post(form, {"expected_interval_s": "5400"})
    assert watched(tenant) == {channels[0].pk: 5400}
    page = reverse("admin:ingest_channel_change", args=[channels[0].pk])
    assert "90 min" in browser.get(page).content.decode()
    assert 'value="5400"' in browser.get(form).content.decode()
    browser.post(form, {"expected_interval_s": ""})
    assert watched(tenant) == {}


def test_the_console_watches_many_by_name_and_commodity(
    tenant: Tenant, channels: list[Channel]
) -> None:
    browser = visitor(tenant)
    asked = {"device_prefix": "A", "commodity": "water", "expected_interval_s": "3600"}
    shown = browser.post(many(), asked, follow=True).content.decode()
    assert "1 channels changed" in shown
    assert watched(tenant) == {channels[0].pk: HOUR_S}
    browser.post(many(), {"device_prefix": "B", "expected_interval_s": "3600"})
    assert set(watched(tenant)) == {channels[0].pk, channels[2].pk}
    browser.post(many(), {"expected_interval_s": ""})
    assert watched(tenant) == {}
    with acting_for(tenant):
        trail = AuditEntry.objects.filter(action__startswith="channel.").order_by("id")
        assert [(one.subject, one.detail["channels"]) for one in trail] == [
            ("A*", 1),
            ("B*", 1),
            ("*", 2),
        ]


def test_the_console_watches_those_that_are_ticked(
    tenant: Tenant, channels: list[Channel]
) -> None:
    browser = visitor(tenant)
    ticked = {
        "action": "watch_ticked",
        "_selected_action": [channels[1].pk, channels[2].pk],
    }
    listing = reverse("admin:ingest_channel_changelist")
    form = browser.post(listing, ticked)["Location"]
    assert "2 selected channels" in browser.get(form).content.decode()
    browser.post(form, {"expected_interval_s": "86400"})
    assert watched(tenant) == {one.pk: 86_400 for one in channels[1:]}


def test_the_list_shows_who_is_silent_and_the_dashboard_counts_them(
    tenant: Tenant, channels: list[Channel]
) -> None:
    browser = visitor(tenant)
    assert 'data-tile="silent"' not in home(browser)
    browser.post(many(), {"device_prefix": "A", "expected_interval_s": "3600"})
    assert 'data-tile="silent"' in home(browser)
    silence(channels[0])
    listing = reverse("admin:ingest_channel_changelist")
    shown = browser.get(listing, {"watch": "silent"}).content.decode()
    assert ("A-1" in shown, "B-1" in shown) == (True, False)
    others = browser.get(listing, {"watch": "no"}).content.decode()
    assert ("A-1" in others, "B-1" in others) == (False, True)
    found = browser.get(listing, {"q": "A-", "watch": "yes"}).content.decode()
    assert ("A-1" in found, "B-1" in found) == (True, False)


def home(browser: Client) -> str:
    return browser.get(reverse("admin:index")).content.decode()


def test_nobody_else_watches_many_in_the_console(
    tenant: Tenant, stranger: NewTenant, channels: list[Channel]
) -> None:
    wanted = {"expected_interval_s": "3600"}
    for role in (Role.CLERK, Role.AUDITOR):
        browser = visitor(tenant, role)
        assert browser.get(many()).status_code == 403
        assert browser.post(many(), wanted).status_code == 403
        listing = browser.get(reverse("admin:ingest_channel_changelist"))
        assert b"watch_ticked" not in listing.content
        assert b"watch-many" not in listing.content
    ids = ",".join(str(one.pk) for one in channels)
    visitor(stranger.tenant).post(f"{many()}?ids={ids}", wanted)
    visitor(stranger.tenant).post(many(), wanted)
    assert watched(tenant) == {}
