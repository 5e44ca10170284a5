"""
The usual way to deliver: one Celery task per delivery, with `requests`.

One worker process, the same Postgres and Redis, the same signatures and log rows. The
worker: `celery -A bench.baseline.deliveries worker --pool solo`.
"""

import base64
import hmac
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import requests
from celery import Celery
from psycopg.conninfo import make_conninfo

from bench import measure
from bench.subscribers import receiver
from tests.processes import ROOT, Platform, kill_tree, wait_until

#: Deliveries of a round.
COUNT = 2_000
_TABLES = """
CREATE TABLE delivery (id uuid PRIMARY KEY, url text NOT NULL, secret text NOT NULL,
    body bytea NOT NULL, status text NOT NULL DEFAULT 'pending',
    attempts int NOT NULL DEFAULT 0, finished_at timestamptz);
CREATE TABLE attempt (id bigserial PRIMARY KEY, delivery_id uuid NOT NULL
    REFERENCES delivery (id), at timestamptz NOT NULL DEFAULT now(),
    status_code int, response text);
"""
_BODY = b'{"id": "msg_1", "type": "callback.processed", "data": {"pad": "%s"}}'
_OK = range(200, 300)

app = Celery("baseline")
app.conf.update(
    broker_url=os.environ.get("BASELINE_BROKER_URL", ""),
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue="baseline",
    worker_prefetch_multiplier=4,
)


@app.task(name="baseline.deliver")
def deliver(delivery_id: str) -> None:
    """Load the delivery, sign it, POST it, write down what came of it."""
    with _database() as database:
        row = database.execute(
            "SELECT url, secret, body FROM delivery WHERE id = %s", [delivery_id]
        ).fetchone()
        if row is None:
            return
        url, secret, body = row
        reply = requests.post(
            url, data=body, headers=_headers(delivery_id, secret, body), timeout=15
        )
        status = "delivered" if reply.status_code in _OK else "pending"
        with database.transaction():
            database.execute(
                """UPDATE delivery SET status = %s, attempts = attempts + 1,
                    finished_at = now() WHERE id = %s""",
                [status, delivery_id],
            )
            database.execute(
                """INSERT INTO attempt (delivery_id, status_code, response)
                VALUES (%s, %s, %s)""",
                [delivery_id, reply.status_code, reply.text[:2048]],
            )


def _headers(delivery_id: str, secret: str, body: bytes) -> dict[str, str]:
    timestamp = int(time.time())
    signed = b"%s.%d.%s" % (delivery_id.encode(), timestamp, body)
    mac = base64.b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()
    hub = hmac.digest(secret.encode(), body, "sha256").hex()
    return {
        "Content-Type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{mac}",
        "X-Hub-Signature-256": f"sha256={hub}",
    }


_kept: list[psycopg.Connection[Any]] = []


@contextmanager
def _database() -> Generator[psycopg.Connection[Any]]:
    """Keep one connection, as Django would."""
    if not _kept:
        url = os.environ["BASELINE_DATABASE_URL"]
        _kept.append(psycopg.connect(url, autocommit=True))
    yield _kept[0]


def measured(platform: Platform) -> dict[str, Any]:
    """Deliver a backlog the usual way; return the rate and what it cost."""
    name = f"baseline_{secrets.token_hex(4)}"
    with platform.database() as owner:
        owner.execute(f"CREATE DATABASE {name}".encode())
    url = make_conninfo(platform.database_url, dbname=name)
    environment = {
        **os.environ,
        "BASELINE_DATABASE_URL": url,
        "BASELINE_BROKER_URL": f"redis+socket://{platform.broker_path}?virtual_host=1",
    }
    with psycopg.connect(url, autocommit=True) as database, receiver() as well:
        ids = _backlog(database, well.url("/well/0"))
        client = Celery(broker=environment["BASELINE_BROKER_URL"])
        for delivery_id in ids:
            client.send_task("baseline.deliver", [delivery_id], queue="baseline")
        client.close()
        return _worked_off(platform, database, environment, well.pid)


def _backlog(database: psycopg.Connection[Any], url: str) -> list[str]:
    database.execute(_TABLES.encode())
    ids = [str(uuid4()) for _ in range(COUNT)]
    body = _BODY % (b"x" * 400)
    database.execute(
        """INSERT INTO delivery (id, url, secret, body)
        SELECT id, %s, %s, %s FROM unnest(%s::uuid[]) AS id""",
        [url, secrets.token_hex(32), body, ids],
    )
    return ids


def _worked_off(
    platform: Platform,
    database: psycopg.Connection[Any],
    environment: dict[str, str],
    receiver_pid: int,
) -> dict[str, Any]:
    worker = subprocess.Popen(
        [
            sys.executable, "-m", "celery", "-A", "bench.baseline.deliveries",
            "--quiet", "worker", "--pool", "solo", "--queues", "baseline",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
            "--loglevel", "ERROR",
        ],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    kinds = measure.Kinds(
        {
            "worker": [worker.pid],
            "postgres": [platform.pids()["postgres"]],
            "receiver": [receiver_pid],
        }
    )
    before = kinds.read()
    try:
        left = "SELECT count(*) FROM delivery WHERE status = 'pending'"
        wait_until(
            lambda: (database.execute(left).fetchone() or (1,))[0] == 0,
            timeout_s=120,
        )
        after = kinds.read()
        row = database.execute(
            """SELECT count(*), extract(epoch FROM max(finished_at) - min(finished_at))
                ::float8 FROM delivery WHERE status = 'delivered'"""
        ).fetchone()
    finally:
        kill_tree(worker.pid)
    count, seconds = row or (0, 1.0)
    return {
        "delivered": count,
        "seconds": round(seconds, 2),
        "per_second": round(count / seconds),
        "cpu_us": measure.spent_us(before, after, count),
    }
