"""Tenants' Ed25519 keys: made once, rotated with an overlap, published, walled."""

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.core.cache import cache
from django.db import connections
from django.test import Client

from subscriptions.models import SigningKey
from subscriptions.queries.signing_keys import private_keys, public_keys
from subscriptions.services.signing_keys import (
    KEY_LIMIT,
    SigningKeyLimitReached,
    SigningKeyOverlapInvalid,
    ensure_key,
    rotate_key,
)
from subscriptions.views import well_known
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant
from tenants.signing import ed25519_public, parse_public, public_text


def signing_now(*tenants: Tenant) -> dict[int, list[str]]:
    """Return the public halves of what signs for each tenant."""
    with pipeline() as lane, lane.cursor() as cursor:
        found = private_keys(cursor, [tenant.pk for tenant in tenants])
    return {
        pk: [public_text(ed25519_public(key)) for key in keys]
        for pk, keys in found.items()
    }


def rotate(tenant: Tenant, actor: Actor, overlap_s: int) -> SigningKey:
    with acting_for(tenant):
        return rotate_key(
            tenant=tenant, actor=actor, now=datetime.now(tz=UTC), overlap_s=overlap_s
        )


def test_the_first_need_makes_a_key_and_the_next_finds_it(tenant: Tenant) -> None:
    assert public_keys(tenant.slug) == []
    assert signing_now(tenant) == {}
    with acting_for(tenant):
        first = ensure_key(tenant)
        assert ensure_key(tenant).public == first.public
        entry = AuditEntry.objects.get(tenant=tenant, action="signing_key.created")
    assert entry.subject == first.public
    assert signing_now(tenant) == {tenant.pk: [first.public]}


def test_two_who_need_it_at_once_make_one(tenant: Tenant) -> None:
    def need(_: int) -> str:
        try:
            with acting_for(tenant):
                return ensure_key(tenant).public
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(need, range(4)))) == 1


def test_old_and_new_sign_and_are_published_during_the_overlap(
    tenant: Tenant, actor: Actor
) -> None:
    with acting_for(tenant):
        old = ensure_key(tenant)
    new = rotate(tenant, actor, 3600)
    assert signing_now(tenant) == {tenant.pk: [new.public, old.public]}
    first, second = public_keys(tenant.slug)
    assert (first.public, first.expires_at) == (new.public, None)
    assert second.expires_at is not None
    left = second.expires_at - datetime.now(tz=UTC)
    assert timedelta(seconds=3500) < left <= timedelta(seconds=3600)


def test_an_ended_key_signs_no_more_and_a_later_rotation_never_prolongs_it(
    tenant: Tenant, actor: Actor
) -> None:
    with acting_for(tenant):
        ensure_key(tenant)
    middle = rotate(tenant, actor, 0)
    assert signing_now(tenant) == {tenant.pk: [middle.public]}
    now = datetime.now(tz=UTC)
    new = rotate(tenant, actor, 60)
    newest = rotate(tenant, actor, 604_800)
    ends = [key.expires_at for key in public_keys(tenant.slug)]
    assert ends[0] is None
    assert ends[2] is not None
    assert ends[2] < now + timedelta(seconds=120)
    only = rotate(tenant, actor, 0)
    assert signing_now(tenant) == {tenant.pk: [only.public]}
    with acting_for(tenant):
        left = set(SigningKey.objects.filter(tenant=tenant).values_list("public"))
    assert left == {(only.public,)}
    assert len({middle.public, new.public, newest.public, only.public}) == 4


@pytest.mark.parametrize("overlap_s", [-1, 604_801])
def test_an_overlap_is_from_none_to_a_week(
    tenant: Tenant, actor: Actor, overlap_s: int
) -> None:
    with pytest.raises(SigningKeyOverlapInvalid):
        rotate(tenant, actor, overlap_s)


def test_the_eleventh_key_is_refused_and_a_rotation_without_overlap_helps(
    tenant: Tenant, actor: Actor
) -> None:
    for _ in range(KEY_LIMIT):
        rotate(tenant, actor, 604_800)
    with pytest.raises(SigningKeyLimitReached):
        rotate(tenant, actor, 604_800)
    assert len(signing_now(tenant)[tenant.pk]) == KEY_LIMIT
    newest = rotate(tenant, actor, 0)
    assert signing_now(tenant) == {tenant.pk: [newest.public]}


def test_no_tenant_sees_or_signs_with_anothers_key(
    tenant: Tenant, stranger: NewTenant
) -> None:
    with acting_for(tenant):
        mine = ensure_key(tenant)
    with acting_for(stranger.tenant):
        assert not SigningKey.objects.exists()
        theirs = ensure_key(stranger.tenant)
    assert signing_now(tenant, stranger.tenant) == {
        tenant.pk: [mine.public],
        stranger.tenant.pk: [theirs.public],
    }


def test_a_key_of_another_row_does_not_open_and_is_left_out(
    tenant: Tenant, actor: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    with acting_for(tenant):
        old = ensure_key(tenant)
    new = rotate(tenant, actor, 3600)
    with acting_for(tenant):
        SigningKey.objects.filter(pk=new.pk).update(sealed=old.sealed)
    assert signing_now(tenant) == {tenant.pk: [old.public]}
    assert "does not open" in caplog.text


def page(slug: str, method: str = "get", **headers: str) -> Any:
    ask = getattr(Client(headers=headers), method)
    return ask(f"/.well-known/gridhook/{slug}/keys.json")


def test_the_page_shows_keys_to_anyone_in_two_forms(
    tenant: Tenant, actor: Actor
) -> None:
    with acting_for(tenant):
        old = ensure_key(tenant)
    new = rotate(tenant, actor, 60)
    reply = page(tenant.slug)
    assert reply.status_code == 200
    assert reply["Content-Type"] == "application/jwk-set+json"
    assert reply["Cache-Control"] == "public, max-age=300"
    first, second = reply.json()["keys"]
    assert [first["public"], second["public"]] == [new.public, old.public]
    assert first["expires_at"] is None
    assert datetime.fromisoformat(second["expires_at"]) > datetime.now(tz=UTC)
    assert base64.urlsafe_b64decode(first["x"] + "=") == parse_public(new.public)
    members = json.dumps(
        {name: first[name] for name in ("crv", "kty", "x")}, separators=(",", ":")
    )
    digest = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest())
    assert first["kid"] == first["id"] == digest.decode().rstrip("=")
    assert "sealed" not in reply.content.decode()


def test_a_tenant_without_keys_is_answered_as_one_that_is_none(
    tenant: Tenant,
) -> None:
    replies = [page(slug) for slug in (tenant.slug, "nobody-here")]
    assert [reply.status_code for reply in replies] == [404, 404]
    assert replies[0].content == replies[1].content
    assert page(tenant.slug, "post").status_code == 405


def test_too_many_questions_of_one_address_are_refused(tenant: Tenant) -> None:
    cache.clear()
    with acting_for(tenant):
        ensure_key(tenant)
    with patch.object(well_known, "RATE", "2/d"):
        codes = [page(tenant.slug).status_code for _ in range(3)]
        refused = page(tenant.slug)
    assert codes == [200, 200, 429]
    assert refused["Retry-After"] == "60"
    assert refused.json()["code"] == "rate_limited"
    cache.clear()
