"""A source's secrets, limits and devices in the console."""

import os
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingest.models import RevokedDevice, Source, SourceSecret
from ingest.services.sources import create_source, revoke_device, rotate_secret
from ingest.tests.listening import Running
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


@pytest.fixture
def source(tenant: Tenant, actor: Actor) -> Source:
    with acting_for(tenant):
        made, _ = create_source(
            tenant=tenant, actor=actor, name="North", scheme="hub", device_keys=True
        )
    return made


def page(source: Source) -> str:
    return reverse("admin:ingest_source_change", args=[source.pk])


def revoked(tenant: Tenant) -> list[str]:
    with acting_for(tenant):
        rows = RevokedDevice.objects.filter(tenant=tenant).order_by("pk")
        return list(rows.values_list("device", flat=True))


def secrets(tenant: Tenant) -> int:
    with acting_for(tenant):
        return SourceSecret.objects.filter(tenant=tenant).count()


def test_the_form_sets_who_may_post_how_often_and_with_which_keys(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    edit = reverse("admin:ingest_source_edit", args=[source.pk])
    form = browser.get(edit).content.decode()
    assert 'name="device_keys"' in form
    assert "checked" in form
    assert "enforced" not in form
    sent = {"name": "N", "register_devices": "auto", "rate_limit_per_s": "7"}
    browser.post(edit, {**sent, "allowed_cidrs": "192.0.2.0/24"})
    with acting_for(tenant):
        source.refresh_from_db()
    assert (source.device_keys, source.rate_limit_per_s) == (False, 7)
    assert source.allowed_cidrs == ["192.0.2.0/24"]


def test_the_old_secrets_are_ended_by_a_button_that_is_there_when_needed(
    browser: Client, tenant: Tenant, actor: Actor, source: Source
) -> None:
    assert "End the old secrets" not in browser.get(page(source)).content.decode()
    with acting_for(tenant):
        rotate_secret(
            tenant=tenant, actor=actor, source=source, overlap_s=60, now=timezone.now()
        )
    shown = browser.get(page(source)).content.decode()
    assert "End the old secrets" in shown
    assert "the next one is made" in shown
    assert "whsec_" not in shown
    browser.post(reverse("admin:ingest_source_do", args=[source.pk, "end_overlap"]))
    assert secrets(tenant) == 1
    assert "End the old secrets" not in browser.get(page(source)).content.decode()


def test_a_device_is_revoked_and_restored_on_its_sources_page(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    revoke = reverse("admin:ingest_source_revoke_device", args=[source.pk])
    restore = reverse("admin:ingest_source_restore_device", args=[source.pk])
    assert browser.get(revoke).status_code == 200
    device = " <b>WM/1</b>"
    assert browser.post(revoke, {"device": device})["Location"] == page(source)
    assert revoked(tenant) == [device]
    shown = browser.get(page(source)).content.decode()
    assert "&lt;b&gt;WM/1&lt;/b&gt;" in shown
    assert device not in shown
    assert browser.get(restore).status_code == 405
    for _ in range(2):
        assert browser.post(restore, {"device": device})["Location"] == page(source)
    assert revoked(tenant) == []
    assert "not revoked" in browser.get(page(source)).content.decode()
    with acting_for(tenant):
        trail = AuditEntry.objects.filter(action__startswith="source.device").count()
    assert trail == 2


def test_an_empty_device_is_refused_in_the_form(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    revoke = reverse("admin:ingest_source_revoke_device", args=[source.pk])
    for device in ("", "x" * 256):
        assert browser.post(revoke, {"device": device}).status_code == 200
    assert revoked(tenant) == []


def test_the_wrong_role_and_the_wrong_tenant_change_nothing(
    tenant: Tenant, actor: Actor, source: Source, stranger: NewTenant
) -> None:
    with acting_for(tenant):
        revoke_device(
            tenant=tenant,
            actor=actor,
            source=source,
            device="WM-1",
            now=timezone.now(),
        )
        rotate_secret(
            tenant=tenant, actor=actor, source=source, overlap_s=60, now=timezone.now()
        )
    for who, status in (
        (visitor(tenant, Role.AUDITOR), 403),
        (visitor(tenant, Role.CLERK), 403),
        (visitor(stranger.tenant), 404),
    ):
        for name in ("revoke_device", "restore_device"):
            path = reverse(f"admin:ingest_source_{name}", args=[source.pk])
            assert who.post(path, {"device": "WM-1"}).status_code == status
        path = reverse("admin:ingest_source_do", args=[source.pk, "end_overlap"])
        assert who.post(path).status_code == status
    assert revoked(tenant) == ["WM-1"]
    assert secrets(tenant) == 2
    shown = visitor(tenant, Role.AUDITOR).get(page(source)).content.decode()
    assert "WM-1" in shown
    assert "Restore" not in shown


@pytest.mark.processes
@pytest.mark.parametrize("scheme", ["hub", "standard"])
@pytest.mark.parametrize("device_keys", [False, True])
def test_the_example_on_the_page_of_a_new_source_is_accepted(
    browser: Client,
    tenant: Tenant,
    listener: Running,
    tmp_path: Path,
    scheme: str,
    device_keys: bool,
) -> None:
    asked = {"name": "N", "scheme": scheme, "register_devices": "auto"}
    if device_keys:
        asked["device_keys"] = "on"
    created = browser.post(reverse("admin:ingest_source_add"), asked)["Location"]
    shown = browser.get(created).content.decode()
    example = re.search(r'<pre id="curl">(.*?)</pre>', shown, re.DOTALL)
    assert example
    script = re.sub(
        r"http://\S+(/v1/callbacks/)",
        rf"http://127.0.0.1:{listener.port}\1",
        unescape(example[1]),
    )
    done = subprocess.run(
        ["/bin/sh", "-e"],
        input=script,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert '"status":"accepted"' in done.stdout
