"""An installation of 0.1.0 becomes one of today, with its rows; and goes back."""

from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql
from psycopg.conninfo import make_conninfo

from subscriptions import migrations
from subscriptions.services.delivering.openings import look

BEFORE = "0002_fact_tables"
ENDPOINT = uuid4()
ROWS = f"""
INSERT INTO tenants_tenant (id, slug, name, timezone, currency)
VALUES (1, 'old', 'Old', 'Europe/Brussels', 'EUR');
INSERT INTO subscriptions_endpoint (tenant_id, id, url, description, event_types,
    status, status_detail, consent_due_at, consent_step, consented_at)
VALUES (1, '{ENDPOINT}', 'https://old.example/', '', '{{*}}', 'active', '', NULL, 1,
    now() - interval '90 d');
INSERT INTO subscriptions_message (tenant_id, id, event_type, body)
VALUES (1, gen_random_uuid(), 'callback.processed', '{{}}');
INSERT INTO subscriptions_delivery (tenant_id, id, message_id, endpoint_id, event_type)
SELECT 1, gen_random_uuid(), id, '{ENDPOINT}', event_type FROM subscriptions_message;
INSERT INTO subscriptions_attempt (tenant_id, id, delivery_id, number, started_at,
    duration_ms, error)
SELECT 1, gen_random_uuid(), id, 1, now(), 15000, 'timeout' FROM subscriptions_delivery;
"""  # noqa: S608 (own text)


@pytest.fixture
def old() -> Generator[str]:
    """A database of its own, as 0.1.0 left it; its alias."""
    alias = f"old{uuid4().hex[:8]}"
    name = sql.Identifier(alias)
    with closing(psycopg.connect(settings.DATABASE_URL, autocommit=True)) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        connections.settings[alias] = {**connections.settings["owner"], "NAME": alias}
        try:
            migrate(alias, BEFORE)
            ask(alias, ROWS)
            yield alias
        finally:
            connections[alias].close()
            del connections[alias], connections.settings[alias]
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def migrate(alias: str, target: str) -> None:
    MigrationExecutor(connections[alias]).migrate([("subscriptions", target)])


def ask(alias: str, statements: str) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statements)
        return cursor.fetchall() if cursor.description else []


def latest() -> str:
    names = [path.stem for path in Path(migrations.__path__[0]).glob("[0-9]*.py")]
    return max(names)


def found_due(alias: str) -> list[Any]:
    """What a worker finds there, in its own role."""
    conninfo = make_conninfo(settings.DATABASE_URL, dbname=alias)
    with psycopg.connect(conninfo) as lane:
        lane.execute("SET ROLE gridhook_pipeline")
        return [opening.endpoint_id for opening in look(lane.cursor())]


def test_rows_of_0_1_0_come_over_and_go_back_and_come_again(old: str) -> None:
    migrate(old, latest())
    assert found_due(old) == [ENDPOINT]
    ((lease, renewal),) = ask(
        old,
        "SELECT consent_expires_at - now(), consent_due_at - now() "
        "FROM subscriptions_endpoint",
    )
    assert timedelta(days=29) < lease <= timedelta(days=30)
    assert timedelta(days=23) < renewal <= timedelta(days=24)

    # It waits for another one about its device, which 0.1.0 knows nothing of.
    ask(old, "UPDATE subscriptions_delivery SET next_attempt_at = NULL")
    migrate(old, BEFORE)
    due = ask(old, "SELECT next_attempt_at <= now() FROM subscriptions_delivery")
    assert due == [(True,)]

    migrate(old, latest())
    assert found_due(old) == [ENDPOINT]
    assert ask(old, "SELECT error, url FROM subscriptions_attempt") == [("timeout", "")]
