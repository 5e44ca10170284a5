"""Journey: a subscriber that fails a third of the time gets every message once."""

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import waiting
from tests.processes import (
    ROOT,
    Platform,
    Source,
    free_ports,
    listens,
    running,
    wait_until,
)

pytestmark = pytest.mark.processes

CALLBACKS = 200
_SETTINGS = {
    "GRIDHOOK_SWEEP_INTERVAL_S": "1",
    "GRIDHOOK_DELIVERY_LEASE_S": "3",
    # Long enough that a third refused, and two kills, never use it up.
    "GRIDHOOK_RETRY_SCHEDULE_S": ",".join(["1"] * 15),
}


@contextmanager
def subscriber(
    platform: Platform, port: int, secret: str, record: Path
) -> Generator[None]:
    """Run the sample subscriber, which refuses a third of what it gets."""
    server = subprocess.Popen(
        [
            sys.executable, "manage.py", "listen", "--port", str(port),
            "--secret", secret, "--fail-rate", "0.33", "--json-lines", str(record),
        ],
        cwd=ROOT,
        env=platform.environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(lambda: listens(port), timeout_s=20)
        yield
    finally:
        server.terminate()
        server.wait(20)


def endpoint_status(platform: Platform, source: Source, endpoint: str) -> str:
    _, reply = platform.api(source.api_key, "GET", f"/endpoints/{endpoint}/")
    return str(reply["status"])


def undelivered(platform: Platform, source: Source) -> int:
    ((count,),) = platform.rows(
        """
        SELECT count(*) FROM subscriptions_delivery d
        JOIN tenants_tenant t ON t.id = d.tenant_id
        WHERE t.slug = %s AND d.status <> 'delivered'
        """,
        source.tenant,
    )
    return int(count)


def receipts(platform: Platform, source: Source) -> set[str]:
    rows = platform.rows(
        """
        SELECT 'rcp_' || replace(c.id::text, '-', '') FROM ingest_callback c
        JOIN tenants_tenant t ON t.id = c.tenant_id WHERE t.slug = %s
        """,
        source.tenant,
    )
    return {row[0] for row in rows}


def test_each_callback_is_one_verified_message_though_the_subscriber_fails(
    tmp_path: Path,
) -> None:
    record = tmp_path / "record"
    with running(environment=_SETTINGS) as platform:
        source = platform.new_source()
        (port,) = free_ports(1)
        status, endpoint = platform.api(
            source.api_key,
            "POST",
            "/endpoints/",
            {
                "url": f"http://127.0.0.1:{port}/",
                "event_types": ["callback.processed"],
                "description": "journey",
            },
        )
        assert status == 201, endpoint
        with subscriber(platform, port, endpoint["secret"], record):
            consent(platform, source, endpoint["id"])
            simulate(platform, source)
            for _ in range(2):
                platform.kill("deliver-1")
                time.sleep(2)
            assert wait_until(lambda: waiting(platform, source) == 0, timeout_s=30)
            assert wait_until(lambda: undelivered(platform, source) == 0, timeout_s=60)
        expected = receipts(platform, source)
        sent = messages(platform, source)

    got = [json.loads(line) for line in record.read_text().splitlines()]
    taken = [line["id"] for line in got if line["outcome"] == "accepted"]
    assert len(expected) >= CALLBACKS * 0.9
    assert set(sent.values()) == expected
    assert sorted(taken) == sorted(sent)
    assert any(line["outcome"] == "failed" for line in got), "it did fail at times"


def consent(platform: Platform, source: Source, endpoint: str) -> None:
    """Ask for consent, which the subscriber gives."""
    platform.api(source.api_key, "POST", f"/endpoints/{endpoint}/verify/")
    assert wait_until(
        lambda: endpoint_status(platform, source, endpoint) == "active", timeout_s=45
    )


def simulate(platform: Platform, source: Source) -> None:
    """Send a day of a fleet."""
    done = platform.run(
        "simulate", "--devices", str(CALLBACKS), "--rate", "max", "--days", "1",
        "--history-only", "--url", source.url, "--secret", source.secret,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def messages(platform: Platform, source: Source) -> dict[str, Any]:
    """Return the message ids, and the receipt that each is about."""
    status, page = platform.api(
        source.api_key, "GET", "/messages/?event_type=callback.processed"
    )
    assert status == 200
    rows = platform.rows(
        """
        SELECT convert_from(m.body, 'UTF8') FROM subscriptions_message m
        JOIN tenants_tenant t ON t.id = m.tenant_id WHERE t.slug = %s
        """,
        source.tenant,
    )
    bodies = [json.loads(row[0]) for row in rows]
    assert page["results"], "the API lists them too"
    return {
        body["id"]: body["data"]["receipt"]
        for body in bodies
        if body["type"] == "callback.processed"
    }
