"""Signing in, and guessing."""

from uuid import uuid4

from django.core.cache import cache
from django.test import Client

from tenants.services import NewTenant


def sign_in(email: str, password: str) -> int:
    reply = Client().post(
        "/admin/login/?next=/admin/", {"username": email, "password": password}
    )
    return reply.status_code


def test_a_person_signs_in(new_tenant: NewTenant) -> None:
    cache.clear()
    assert sign_in(new_tenant.admin_email, new_tenant.admin_password) == 302


def test_one_address_cannot_be_guessed_for_long(new_tenant: NewTenant) -> None:
    cache.clear()
    tries = [sign_in(new_tenant.admin_email, uuid4().hex) for _ in range(8)]
    assert tries[:6] == [200] * 6
    assert tries[6:] == [429] * 2
    assert sign_in(new_tenant.admin_email, new_tenant.admin_password) == 429


def test_one_caller_cannot_try_many_addresses() -> None:
    cache.clear()
    tries = [sign_in(f"{uuid4().hex}@x.example", "x") for _ in range(22)]
    assert set(tries[:20]) == {200}
    assert tries[20:] == [429] * 2
    cache.clear()
