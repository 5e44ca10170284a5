"""The doctor: each check, made to fail on the run's own servers where that can be."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from config.doctor import catalogue, database, listeners, work
from config.doctor.examination import examine
from config.doctor.findings import Finding, Level
from ingest.tests.accepting import Inlet, drain, inlet
from subscriptions.models import Delivery, DeliveryStatus, Endpoint, EndpointStatus
from tenants.database import acting_for
from tenants.identifiers import new_id
from tenants.mail import mail_admins
from tenants.models import Tenant
from tests.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lane() -> Iterator[Connection[Any]]:
    """The doctor's own connection, in the pipeline's role."""
    with database.connection(settings.PIPELINE_ROLE) as opened:
        yield opened


@contextmanager
def changed(change: str, back: str) -> Iterator[None]:
    """Let the owner change something for the length of the block."""
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as owner:
        owner.execute(change.encode())
        try:
            yield
        finally:
            owner.execute(back.encode())


def level(finding: Finding) -> Level:
    assert finding.seen
    assert bool(finding.advice) is (finding.level != Level.OK)
    return finding.level


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {one.code: one for one in findings}


# --- The database --------------------------------------------------------------
def test_a_database_that_answers_says_its_version() -> None:
    found = database.check_reachable()
    assert level(found) == Level.OK
    assert "PostgreSQL 1" in found.seen


@pytest.mark.parametrize(
    "url", ["", "postgresql://127.0.0.1:1/gridhook", "nonsense://x", "postgresql://%"]
)
def test_a_database_that_is_not_there_is_a_failure_in_words(url: str) -> None:
    with override_settings(DATABASE_URL=url):
        found = database.check_reachable()
    assert level(found) == Level.FAIL
    assert "Traceback" not in found.seen


def test_commits_that_a_crash_can_lose_are_a_failure(lane: Connection[Any]) -> None:
    assert level(database.check_durable(lane)) == Level.OK
    unsafe = make_conninfo(settings.DATABASE_URL, options="-c synchronous_commit=off")
    with (
        override_settings(DATABASE_URL=unsafe),
        database.connection(settings.PIPELINE_ROLE) as other,
    ):
        found = database.check_durable(other)
    assert level(found) == Level.FAIL
    assert "synchronous_commit=off" in found.seen


def test_commits_are_timed_and_leave_nothing_behind(lane: Connection[Any]) -> None:
    written = "SELECT pg_current_wal_lsn() - '0/0'"
    before = database.one(lane, written)
    assert level(database.check_commit(lane)) in {Level.OK, Level.WARN}
    assert database.one(lane, written) > before


@pytest.mark.parametrize(
    ("took_ms", "expected"), [(5, Level.OK), (80, Level.WARN), (1500, Level.FAIL)]
)
def test_slow_commits_are_judged(took_ms: float, expected: Level) -> None:
    assert level(database.judge_commit(took_ms)) == expected


def test_the_clocks_are_compared(lane: Connection[Any]) -> None:
    assert level(database.check_clock(lane)) == Level.OK


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("offset_s", "expected"), [(0.2, Level.OK), (3, Level.WARN), (90, Level.FAIL)]
)
def test_clocks_that_are_apart_are_judged_either_way(
    offset_s: float, expected: Level, sign: int
) -> None:
    assert level(database.judge_clock(sign * offset_s)) == expected


# --- The schema ----------------------------------------------------------------
def test_a_schema_that_is_not_the_codes_is_a_failure(lane: Connection[Any]) -> None:
    assert level(catalogue.check_migrations(lane)) == Level.OK
    with changed(
        "UPDATE django_migrations SET name = 'x' || name WHERE app = 'billing'",
        "UPDATE django_migrations SET name = substr(name, 2) WHERE app = 'billing'",
    ):
        found = catalogue.check_migrations(lane)
    assert level(found) == Level.FAIL
    assert "billing.0001_initial" in found.seen


def test_a_database_newer_than_the_code_is_a_warning() -> None:
    known = {("ingest", "0001")}
    found = catalogue.judge_migrations(known, known | {("ingest", "0099_x")})
    assert level(found) == Level.WARN
    assert "ingest.0099_x" in found.seen


def test_a_role_that_passes_by_walls_is_a_failure(lane: Connection[Any]) -> None:
    assert level(catalogue.check_roles(lane)) == Level.OK
    with changed(
        "ALTER ROLE gridhook_app BYPASSRLS", "ALTER ROLE gridhook_app NOBYPASSRLS"
    ):
        found = catalogue.check_roles(lane)
    assert level(found) == Level.FAIL
    assert found.seen == "gridhook_app has BYPASSRLS"
    with override_settings(PIPELINE_ROLE="nobody"):
        assert catalogue.check_roles(lane).seen == "there is no nobody"


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (
            "CREATE TABLE doctors_table (tenant_id bigint)",
            "DROP TABLE doctors_table",
        ),
        (
            "ALTER TABLE ingest_device NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE ingest_device FORCE ROW LEVEL SECURITY",
        ),
    ],
)
def test_a_table_without_its_wall_is_a_failure(
    lane: Connection[Any], change: str, back: str
) -> None:
    assert level(catalogue.check_walls(lane)) == Level.OK
    with changed(change, back):
        found = catalogue.check_walls(lane)
    assert level(found) == Level.FAIL
    assert change.split()[2] in found.seen


# --- The work ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("age", "expected"),
    [("1 second", Level.OK), ("40 seconds", Level.WARN), ("1 hour", Level.FAIL)],
)
def test_sweeps_that_are_overdue_are_noticed(
    lane: Connection[Any], age: str, expected: Level
) -> None:
    with changed(
        f"UPDATE ingest_silencesweep SET swept_at = now() - interval '{age}'",  # noqa: S608 (the lines above)
        "UPDATE ingest_silencesweep SET swept_at = now()",
    ):
        assert level(work.check_sweeps(lane)) == expected


def test_a_callback_that_nobody_processes_is_noticed(
    tenant: Tenant, lane: Connection[Any]
) -> None:
    drain()
    assert level(work.check_callbacks(lane)) == Level.OK
    source: Inlet = inlet(tenant)
    callback_id = source.accept(b"{}")
    aged = "UPDATE ingest_pendingcallback SET received_at = received_at - interval '{}'"
    for age, expected in (("2 minutes", Level.WARN), ("1 hour", Level.FAIL)):
        lane.execute(aged.format(age).encode())
        assert level(work.check_callbacks(lane)) == expected
    # Where it was when it was received, for its body is looked for there.
    lane.execute(aged.format("-1 hour -2 minutes").encode())
    drain()
    assert source.callback(callback_id).processed_at is not None


def test_a_message_that_nobody_sends_is_noticed(
    tenant: Tenant, lane: Connection[Any]
) -> None:
    with acting_for(tenant):
        endpoint = Endpoint.objects.create(
            tenant=tenant,
            url="https://x.example/",
            event_types=["*"],
            status=EndpointStatus.ACTIVE,
        )
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as owner:
        owner.execute(
            """INSERT INTO subscriptions_delivery (tenant_id, id, message_id,
                endpoint_id, event_type, next_attempt_at)
            VALUES (%s, uuidv7(), uuidv7(), %s, 'x', now() - interval '2 minutes')""",
            [tenant.pk, endpoint.pk],
        )
        try:
            assert level(work.check_messages(lane)) in {Level.WARN, Level.FAIL}
        finally:
            owner.execute(
                "DELETE FROM subscriptions_delivery WHERE tenant_id = %s", [tenant.pk]
            )
            owner.execute(
                "DELETE FROM subscriptions_endpoint WHERE tenant_id = %s", [tenant.pk]
            )


def test_messages_that_were_given_up_are_told_until_somebody_deals_with_them(
    tenant: Tenant, lane: Connection[Any]
) -> None:
    with acting_for(tenant):
        endpoint = Endpoint.objects.create(
            tenant=tenant, url="https://x.example/", event_types=["*"]
        )
        Delivery.objects.create(
            tenant=tenant,
            endpoint=endpoint,
            message_id=new_id(),
            event_type="x",
            status=DeliveryStatus.DEAD,
            finished_at=datetime.now(tz=UTC) - timedelta(days=3),
        )
    assert level(work.check_dead(lane)) == Level.WARN
    with lane.transaction(force_rollback=True):
        lane.execute(
            b"UPDATE subscriptions_delivery SET status = 'cancelled' "
            b"WHERE status = 'dead'"
        )
        assert level(work.check_dead(lane)) == Level.OK


@pytest.mark.parametrize(
    ("url", "change", "expected"),
    [
        ("", "", Level.WARN),
        ("smtp://localhost", "", Level.OK),
        ("smtp://localhost", "SET created_at = now() - interval '2 h'", Level.WARN),
        ("smtp://localhost", "SET status = 'failed', finished_at = now()", Level.WARN),
        ("smtp://localhost", "SET status = 'sent', finished_at = now()", Level.OK),
    ],
)
def test_mails_that_do_not_go_out_are_noticed(
    tenant: Tenant, lane: Connection[Any], url: str, change: str, expected: Level
) -> None:
    with lane.transaction(force_rollback=True), override_settings(SMTP_URL=url):
        lane.execute(b"DELETE FROM tenants_mail")
        mail_admins(lane.cursor(), tenant_id=tenant.pk, subject="s", text="t")
        lane.execute(b"UPDATE tenants_mail %s" % (change or "SET text = ''").encode())
        assert level(work.check_mails(lane)) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3.0 s"), (600, "10 min"), (90_000, "25 h"), (1e6, "12 days")],
)
def test_durations_are_in_the_unit_that_says_most(seconds: float, text: str) -> None:
    assert work.duration(seconds) == text


# --- The whole -----------------------------------------------------------------
def test_a_subject_that_stands_still_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience_s = 0.5
    monkeypatch.setattr(listeners, "check_console", lambda: sleep(5))
    monkeypatch.setattr(listeners, "check_listener", lambda: 1 / 0)
    found = by_code(examine(patience_s))
    assert level(found["console.unanswered"]) == Level.FAIL
    assert level(found["listener.unexpected"]) == Level.FAIL
    assert "ZeroDivisionError" in found["listener.unexpected"].seen


def test_with_nothing_running_it_says_so_in_one_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = free_ports(2)
    nothing = override_settings(
        DATABASE_URL="",
        BROKER_URL="redis://127.0.0.1:1/0",
        LISTENER_PORT=first,
        CONSOLE_PORT=second,
    )
    output = StringIO()
    started_s = monotonic()
    with nothing, pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json", stdout=output)
    assert ended.value.code == 1
    assert monotonic() - started_s < 10
    report = json.loads(output.getvalue())
    assert report["ok"] is False
    failed = {one["code"] for one in report["checks"] if one["level"] == "fail"}
    assert failed == {
        "database.reachable",
        "broker.reachable",
        "listener.alive",
        "console.alive",
    }


def test_every_code_has_a_line_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "doctor.md").read_text()
    codes = {one.code for one in examine()} | {
        "listener.ready",
        "listener.rate_limiter",
        "listener.tls",
        "broker.workers",
        "database.pipeline",
    }
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in page} == set()
