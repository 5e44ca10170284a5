"""Signing in, and guessing."""

from uuid import uuid4

import pytest
from django.core.cache import cache
from django.test import Client, RequestFactory

from tenants.callers import caller
from tenants.console import sign_in as bounds
from tenants.console.sign_in import is_guessing
from tenants.services import NewTenant


@pytest.fixture(autouse=True)
def _counted_by_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts begin anew each minute; no test is to meet one's turn."""
    for name in ("TRIES_OF_CALLER", "TRIES_OF_ADDRESS"):
        rate = getattr(bounds, name)
        monkeypatch.setattr(bounds, name, rate.replace("/m", "/d"))


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


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_one_network_of_ipv6_is_one_caller(address: str, counted: str) -> None:
    assert caller("", RequestFactory().get("/", REMOTE_ADDR=address)) == counted


def test_no_crowd_of_callers_has_a_count_forgotten() -> None:
    cache.clear()
    cache.set("count", 7)
    for number in range(1_000):
        is_guessing(RequestFactory().post("/", REMOTE_ADDR=f"2001:db8:0:{number:x}::1"))
    assert cache.get("count") == 7
    cache.clear()
