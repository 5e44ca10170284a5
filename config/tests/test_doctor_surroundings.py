"""The doctor: broker, listener, console, keys and the machine itself."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from psycopg import Connection
from redis import Redis

from config.doctor import broker, database, listeners, machine
from config.doctor.findings import Finding, Level
from ingest.services.sources import create_source
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Tenant
from tests.certificates import self_signed
from tests.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lane() -> Iterator[Connection[Any]]:
    """The doctor's own connection, in the pipeline's role."""
    with database.connection(settings.PIPELINE_ROLE) as opened:
        yield opened


def level(finding: Finding) -> Level:
    assert finding.seen
    assert bool(finding.advice) is (finding.level != Level.OK)
    return finding.level


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {one.code: one for one in findings}


# --- The broker ----------------------------------------------------------------
def test_a_broker_that_answers_is_well_and_its_memory_is_judged() -> None:
    found = by_code(broker.check_broker())
    assert {level(one) for one in found.values()} == {Level.OK}
    assert set(found) == {"broker.reachable", "broker.memory"}


def test_a_broker_that_throws_things_away_is_a_warning() -> None:
    client = Redis(unix_socket_path=settings.BROKER_URL.partition("://")[2])
    before = client.config_get("maxmemory*")
    client.config_set("maxmemory", "1gb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert level(by_code(broker.check_broker())["broker.memory"]) == Level.WARN
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            client.config_set(name, str(before[name]))
        client.close()


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "amqp://guest:guest@127.0.0.1:1//", "carrier://x"]
)
def test_a_broker_that_is_not_there_is_a_failure_in_words(url: str) -> None:
    started_s = monotonic()
    with override_settings(BROKER_URL=url):
        (found,) = broker.check_broker()
    assert level(found) == Level.FAIL
    assert monotonic() - started_s < 8


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (["ingest", "ingest", "deliver", "upkeep", "billing"], Level.OK),
        (["ingest"], Level.WARN),
        ([], Level.FAIL),
    ],
)
def test_a_queue_without_a_worker_is_named(served: list[str], expected: Level) -> None:
    assert level(broker.judge_workers(served)) == expected


# --- Listener and console ------------------------------------------------------
def test_ports_that_nobody_answers_are_failures() -> None:
    first, second = free_ports(2)
    with override_settings(LISTENER_PORT=first, CONSOLE_PORT=second):
        (alive,) = listeners.check_listener()
        assert level(alive) == Level.FAIL
        assert level(listeners.check_console()) == Level.FAIL
    assert str(first) in alive.seen


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ("gridhook_listener_rate_limiter_local 0.0\n", Level.OK),
        ('gridhook_listener_rate_limiter_local{worker="1"} 1.0\n', Level.WARN),
        ("", Level.OK),
    ],
)
def test_a_limiter_on_its_own_is_a_warning(figures: str, expected: Level) -> None:
    assert level(listeners.judge_limiter(figures)) == expected


def test_old_tls_is_a_warning() -> None:
    assert level(listeners.judge_tls("TLSv1.3")) == Level.OK
    assert level(listeners.judge_tls("TLSv1.2")) == Level.WARN


def test_a_certificate_that_runs_out_is_noticed_in_time(tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path)
    now = datetime.now(UTC)
    with override_settings(TLS_CERT=str(certificate)):
        assert level(listeners.check_certificate(now)) == Level.WARN
        assert level(listeners.check_certificate(now + timedelta(2))) == Level.FAIL
        assert level(listeners.check_certificate(now - timedelta(60))) == Level.OK
        certificate.write_text("no certificate")
        assert level(listeners.check_certificate(now)) == Level.FAIL


@pytest.mark.parametrize(
    ("bind", "expected"),
    [("127.0.0.1", Level.OK), ("::1", Level.OK), ("0.0.0.0", Level.WARN)],  # noqa: S104 (judged, not bound)
)
def test_clear_text_is_for_loopback(bind: str, expected: Level) -> None:
    assert level(listeners.judge_clear_text(bind)) == expected


# --- Keys and machine ----------------------------------------------------------
def test_keys_that_open_nothing_are_a_failure(
    tenant: Tenant, actor: Actor, lane: Connection[Any]
) -> None:
    with acting_for(tenant):
        create_source(tenant=tenant, actor=actor, name="North", scheme="hub")
    assert level(machine.check_secrets(lane)) == Level.OK
    other = "1:" + "A" * 43 + "="
    with override_settings(ENCRYPTION_KEYS=other):
        assert level(machine.check_secrets(lane)) == Level.FAIL
        assert {level(one) for one in machine.check_keys()} == {Level.OK}


def test_keys_that_are_missing_are_failures() -> None:
    with override_settings(SECRET_KEY="", ENCRYPTION_KEYS="1:short"):
        assert {level(one) for one in machine.check_keys()} == {Level.FAIL}
        codes = {one.code for one in machine.check_configuration()}
    assert codes == {"settings.checks"}


def test_a_wrong_setting_has_its_checks_id() -> None:
    with override_settings(TLS_CERT="/etc/hostname"):
        (found,) = machine.check_configuration()
    assert (level(found), found.code) == (Level.FAIL, "settings.E005")


@pytest.mark.parametrize(
    ("text", "expected"), [("128\n", Level.WARN), ("4096\n", Level.OK)]
)
def test_a_short_queue_of_the_kernel_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: Level
) -> None:
    place = tmp_path / "somaxconn"
    place.write_text(text)
    monkeypatch.setattr(machine, "SOMAXCONN", place)
    assert level(machine.check_backlog()) == expected


def test_the_machine_of_this_run_is_looked_at(lane: Connection[Any]) -> None:
    found = [machine.check_files(), machine.check_own_disk()]
    assert all(level(one) in {Level.OK, Level.WARN} for one in found)
    # The pipeline's role may not ask where the data is, and is told nothing.
    assert "not to be seen" in machine.check_data_disk(lane).seen
    with database.connection() as owner:
        assert "GiB free" in machine.check_data_disk(owner).seen
