"""Signing keys in the console."""

from django.urls import reverse

from subscriptions.models import SigningKey
from subscriptions.queries.signing_keys import public_keys
from subscriptions.services.signing_keys import ensure_key
from tenants.database import acting_for
from tenants.models import Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

LIST = reverse("admin:subscriptions_signingkey_changelist")
ADD = reverse("admin:subscriptions_signingkey_add")


def address(key: SigningKey) -> str:
    return reverse("admin:subscriptions_signingkey_change", args=[key.pk])


def test_a_key_is_shown_as_it_is_published_and_rotated_with_an_overlap(
    tenant: Tenant,
) -> None:
    browser = visitor(tenant)
    assert "No signing key yet" in browser.get(LIST).content.decode()
    with acting_for(tenant):
        old = ensure_key(tenant)
    made = browser.post(ADD, {"overlap_s": "3600"}, follow=True).content.decode()
    new, ending = public_keys(tenant.slug)
    assert (ending.public, new.expires_at) == (old.public, None)
    assert new.public in made
    assert new.id in made
    assert f"/.well-known/gridhook/{tenant.slug}/keys.json" in made
    listed = browser.get(LIST).content.decode()
    assert old.public in listed
    assert "it is replaced" in listed


def test_an_eleventh_key_is_said_above_the_form(tenant: Tenant) -> None:
    browser = visitor(tenant)
    for _ in range(10):
        browser.post(ADD, {"overlap_s": "86400"})
    refused = browser.post(ADD, {"overlap_s": "86400"}).content.decode()
    assert "10 keys sign at once already" in refused
    assert len(public_keys(tenant.slug)) == 10


def test_strangers_clerks_and_auditors_make_no_key(
    tenant: Tenant, stranger: NewTenant
) -> None:
    with acting_for(tenant):
        key = ensure_key(tenant)
    assert visitor(stranger.tenant).get(address(key)).status_code == 404
    auditor = visitor(tenant, Role.AUDITOR)
    assert auditor.get(address(key)).status_code == 200
    assert auditor.post(ADD, {"overlap_s": "0"}).status_code == 403
    clerk = visitor(tenant, Role.CLERK)
    assert clerk.get(address(key)).status_code == 403
    assert clerk.post(ADD, {"overlap_s": "0"}).status_code == 403
    assert [one.public for one in public_keys(tenant.slug)] == [key.public]
