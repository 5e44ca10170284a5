"""People, keys and the audit trail in the console."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from tenants.database import acting_for
from tenants.models import ApiKey, AuditEntry, Membership, Role, Tenant
from tenants.queries import identity_of_key
from tests.visitors import visitor


def actions(tenant: Tenant) -> set[str]:
    with acting_for(tenant):
        entries = AuditEntry.objects.filter(tenant=tenant)
        return set(entries.values_list("action", flat=True))


def add_key(browser: Client, name: str = "meter loader") -> Any:
    return browser.post(
        reverse("admin:tenants_apikey_add"), {"name": name, "role": "clerk"}
    )


def test_a_key_is_shown_once_and_works(tenant: Tenant) -> None:
    browser = visitor(tenant)
    key_page = add_key(browser)["Location"]
    shown = browser.get(key_page).content.decode()
    found = re.search(r"ghk_[\w-]{20,}", shown)
    assert found is not None
    identity = identity_of_key(found[0])
    assert identity is not None
    assert identity.role == Role.CLERK
    assert found[0] not in browser.get(key_page).content.decode()


def test_a_secret_that_waits_to_be_shown_is_sealed_in_the_session(
    tenant: Tenant,
) -> None:
    browser = visitor(tenant)
    add_key(browser)
    assert "ghk_" not in str(dict(browser.session.items()))


def test_a_revoked_key_stands_for_nobody(tenant: Tenant) -> None:
    browser = visitor(tenant)
    key_page = add_key(browser)["Location"]
    token = re.search(r"ghk_[\w-]{20,}", browser.get(key_page).content.decode())
    assert token is not None
    with acting_for(tenant):
        key = ApiKey.objects.get(tenant=tenant, name="meter loader")
    browser.post(reverse("admin:tenants_apikey_do", args=[key.pk, "revoke"]))
    assert identity_of_key(token[0]) is None
    assert {"api_key.created", "api_key.revoked"} <= actions(tenant)
    again = browser.post(
        reverse("admin:tenants_apikey_do", args=[key.pk, "revoke"]), follow=True
    )
    assert "cannot be done" in again.content.decode()


def test_an_added_person_signs_in_with_their_role(tenant: Tenant) -> None:
    email, password = f"{uuid4().hex}@x.example", uuid4().hex
    asked = {"email": email, "role": "auditor", "password": password}
    visitor(tenant).post(reverse("admin:tenants_membership_add"), asked)
    with acting_for(tenant):
        person = Membership.objects.get(tenant=tenant, user__email=email)
    assert person.role == Role.AUDITOR
    assert Client().login(username=email, password=password)
    assert "person.added" in actions(tenant)


def test_an_easy_password_and_a_taken_address_are_refused(tenant: Tenant) -> None:
    browser = visitor(tenant)
    add = reverse("admin:tenants_membership_add")
    email = f"{uuid4().hex}@x.example"
    easy = browser.post(add, {"email": email, "role": "clerk", "password": "1234"})
    assert "too short" in easy.content.decode()
    asked = {"email": email, "role": "clerk", "password": uuid4().hex}
    assert browser.post(add, asked).status_code == 302
    assert "in use already" in browser.post(add, asked).content.decode()


def test_the_trail_is_shown_and_has_no_form(tenant: Tenant) -> None:
    browser = visitor(tenant)
    listed = browser.get(reverse("admin:tenants_auditentry_changelist"))
    assert "tenant.created" in listed.content.decode()
    assert browser.get(reverse("admin:tenants_auditentry_add")).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "subscriptions_endpoint_changelist?sealed_headers__startswith=1",
        "subscriptions_endpoint_changelist?oauth2_client_id__startswith=a",
        "subscriptions_endpoint_changelist?url__regex=(((",
        "subscriptions_delivery_changelist?created_at__year=99999999999",
        "subscriptions_signingkey_changelist?sealed__startswith=1",
        "tenants_apikey_changelist?digest__startswith=a",
        "tenants_membership_changelist?user__password__startswith=p",
    ],
)
def test_a_list_is_narrowed_by_what_it_offers_alone(tenant: Tenant, query: str) -> None:
    name, _, lookup = query.partition("?")
    browser = visitor(tenant, Role.AUDITOR)
    assert browser.get(f"{reverse(f'admin:{name}')}?{lookup}").status_code == 400


def test_a_list_is_narrowed_by_its_filters_and_its_links(tenant: Tenant) -> None:
    browser = visitor(tenant)
    for name, query in (
        ("ingest_channel", "watch=silent"),
        ("ingest_channel", "kind__exact=interval"),
        ("subscriptions_endpoint", "breaker__exact=open&status__exact=active"),
        ("subscriptions_delivery", f"status__exact=dead&endpoint__id__exact={uuid4()}"),
    ):
        listed = browser.get(f"{reverse(f'admin:{name}_changelist')}?{query}")
        assert listed.status_code == 200, query
