"""What the browser is told of a page: where it may load from, and send to."""

import re
from contextlib import closing
from html.parser import HTMLParser

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from tenants.middleware import PAGE_POLICY
from tenants.models import Tenant
from tests.visitors import visitor


class Scripts(HTMLParser):
    """Finds what a browser would run although no file of ours holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_data = given.get("type") == "application/json"
        if tag == "script" and not is_data and "src" not in given:
            self.found.append(tag)
        self.found += [name for name in given if name.startswith("on")]


def scripts_in(page: str) -> list[str]:
    scripts = Scripts()
    scripts.feed(page)
    return scripts.found


def test_no_page_runs_what_was_written_into_it() -> None:
    policies = dict(part.strip().split(" ", 1) for part in PAGE_POLICY.split(";"))
    assert "'unsafe-inline'" not in policies["script-src"]
    for name in ("default-src", "script-src", "style-src", "img-src", "form-action"):
        allowed = set(policies[name].split())
        assert allowed <= {"'self'", "'unsafe-eval'", "'unsafe-inline'", "data:"}
    for name in ("object-src", "base-uri", "frame-ancestors"):
        assert policies[name] == "'none'"


@pytest.mark.parametrize(
    "name",
    [
        "admin:index",
        "admin:subscriptions_endpoint_changelist",
        "admin:subscriptions_endpoint_add",
        "admin:subscriptions_delivery_undelivered",
        "admin:subscriptions_message_event_types",
        "admin:billing_invoice_reports",
    ],
)
def test_pages_of_the_console_have_the_policy_and_keep_it(
    tenant: Tenant, name: str
) -> None:
    page = visitor(tenant).get(reverse(name))
    assert page.status_code == 200
    assert page["Content-Security-Policy"] == PAGE_POLICY
    assert page["X-Frame-Options"] == "DENY"
    assert scripts_in(page.text) == []


@pytest.mark.parametrize(
    "path", ["/admin/login/", "/api/v1/docs/", "/admin/none/", "/none/"]
)
def test_pages_for_anybody_have_it_too(path: str) -> None:
    page = Client().get(path, follow=True)
    assert page["Content-Security-Policy"] == PAGE_POLICY
    assert scripts_in(page.text) == []


def test_what_draws_the_apis_page_is_a_file_of_its_own() -> None:
    page = Client().get("/api/v1/docs/").text
    (source,) = re.findall(r'src="(/api/v1/docs/[^"]+)"', page)
    script = Client().get(source)
    assert script["Content-Type"] == "application/javascript"
    assert "SwaggerUIBundle" in script.text


@pytest.mark.parametrize(
    ("is_behind_tls", "seconds", "said"),
    [(True, 300, "max-age=300"), (True, 0, None), (False, 300, None)],
)
@pytest.mark.parametrize(
    "path", ["/admin/login/", "/api/v1/sources/", "/static/console/console.css"]
)
def test_browsers_are_told_to_come_by_tls_alone_where_there_is_tls(
    path: str, is_behind_tls: bool, seconds: int, said: str | None
) -> None:
    with (
        override_settings(HSTS_S=seconds, IS_CONSOLE_BEHIND_TLS=is_behind_tls),
        closing(Client().get(path)) as reply,
    ):
        assert reply.headers.get("Strict-Transport-Security") == said


def test_what_is_no_page_has_none() -> None:
    assert "Content-Security-Policy" not in Client().get("/api/v1/schema/").headers
