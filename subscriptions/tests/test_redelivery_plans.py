"""How the database finds the messages of a recovery or a replay."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from subscriptions.queries import redeliveries
from subscriptions.services import redelivering
from subscriptions.tests.delivering import make_endpoint
from subscriptions.tests.history import by_message, write_history
from tenants.database import acting_for
from tenants.models import Tenant
from tests.plans import analyse


def test_every_step_and_count_reads_by_an_index(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook")
    now = datetime.now(tz=UTC)
    yesterday = now - timedelta(days=1)
    write_history(endpoint, yesterday, count=3_000, status="delivered", devices=["a"])
    write_history(endpoint, yesterday, count=500)
    analyse("subscriptions_delivery", "subscriptions_messagedevice")
    values: dict[str, Any] = {
        "tenant": endpoint.tenant_id,
        "endpoint": endpoint.pk,
        "device": "a",
        "since": yesterday,
        "until": now,
        "limit": 100,
    }
    ids = dict.fromkeys(("first", "after"), endpoint.pk)
    last = {key: by_message(endpoint).popitem()[0] for key in ("last", "before")}
    for statement, index in (
        (redelivering._PICK["recover"], "delivery_dead"),
        (redelivering._PICK["replay"], "delivery_once"),
        (redelivering._PICK["replay of a device"], "delivery_once"),
        (redeliveries._DEAD, "delivery_dead"),
        (redeliveries._ENDED, "delivery_once"),
        (redeliveries._ABOUT_DEVICE, "delivery_once"),
    ):
        with acting_for(endpoint.tenant_id), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {statement}", {**values, **ids, **last})
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert index in plan, plan
        assert "Seq Scan on subscriptions_" not in plan, plan
