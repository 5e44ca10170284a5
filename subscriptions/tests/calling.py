"""Callers of the API, by key."""

from dataclasses import dataclass
from typing import Any

import msgspec
from django.test import Client

from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Role, Tenant
from tenants.services import create_api_key

URL = "https://subscriber.example/hook"


@dataclass(frozen=True)
class Caller:
    """Someone with an API key."""

    key: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        client = Client(headers={"Authorization": f"Bearer {self.key}", **headers})
        return client.generic(
            method,
            path if path.startswith("http") else f"/api/v1{path}",
            data="" if body is None else msgspec.json.encode(body),
            content_type="application/json",
        )

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.ask("POST", path, body)


def in_role(tenant: Tenant, role: Role) -> Caller:
    with acting_for(tenant):
        _, token = create_api_key(
            tenant=tenant, actor=operator(tenant), name=role, role=role
        )
    return Caller(token)


def register(owner: Caller, url: str = URL, *event_types: str) -> Any:
    reply = owner.post(
        "/endpoints/",
        {"url": url, "event_types": event_types or ["*"], "description": "ours"},
    )
    assert reply.status_code == 201, reply.content
    return reply.json()


def code(reply: Any) -> tuple[int, str]:
    assert reply["Content-Type"] == "application/problem+json"
    return reply.status_code, reply.json()["code"]
