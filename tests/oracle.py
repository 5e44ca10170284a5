"""
A client that writes down what it sent and what it was told, and the judge of both.

The client's ledger is a file that is only appended to. A callback was acknowledged
when a 202 or 200 came back whole, rejected by any other answer below 500, and is
undecided otherwise. The judge compares that with what the platform's database has.
"""

import hashlib
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tenants import signing
from tests.processes import Platform, Source

READINGS_EACH = 2
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_DEVICES = 40
_SERVER_ERROR = 500
#: Of so many callbacks one is posted a second time at once, with the same bytes.
_REPEATED_EACH = 10
#: Seconds in which an undecided callback with an even number is posted again.
_RETRY_S = 30.0


class Client:
    """Posts callbacks at a rate from several threads, and keeps the ledger."""

    def __init__(self, source: Source, ledger: Path, *, threads: int = 8) -> None:
        self._source = source
        self._target = urlsplit(source.url)
        self._ledger = ledger.open("a", buffering=1)
        self._lock = threading.Lock()
        self._numbers = count()
        self._stop = threading.Event()
        self._count = threads
        self._pause_s = 0.0
        self._threads: list[threading.Thread] = []

    def start(self, rate: float) -> None:
        """Begin to post so many a second."""
        self._pause_s = self._count / rate
        self._threads = [
            threading.Thread(target=self._run, name=f"client-{n}")
            for n in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and wait for the answers that are still to come."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._ledger.close()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            number = next(self._numbers)
            body = _body(number)
            status = self._post(number, body)
            if number % _REPEATED_EACH == 0:
                status = self._post(number, body)
            give_up_s = time.monotonic() + _RETRY_S
            while (
                number % 2 == 0
                and not 0 < status < _SERVER_ERROR
                and time.monotonic() < give_up_s
            ):
                time.sleep(0.2)
                status = self._post(number, body)
            due_s = max(due_s + self._pause_s, time.monotonic() - 1)
            self._stop.wait(max(due_s - time.monotonic(), 0))

    def _post(self, number: int, body: bytes) -> int:
        """Post once; return the status, or 0 when no whole reply came."""
        page = HTTPConnection(str(self._target.hostname), self._target.port, timeout=10)
        signature = signing.sign_hub(signing.hub_key(self._source.secret), body)
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": signature,
        }
        try:
            page.request("POST", self._target.path, body, headers)
            reply = page.getresponse()
            json.loads(reply.read())
            status = reply.status
        except (OSError, HTTPException, ValueError):
            status = 0
        finally:
            page.close()
        line = {"id": _name(number), "sha256": _sha256(body), "status": status}
        with self._lock:
            self._ledger.write(json.dumps(line) + "\n")
        return status


@dataclass(frozen=True)
class Verdict:
    """What the judge found; every count after `stored` must be 0."""

    acknowledged: int
    undecided: int
    stored: int
    lost: int
    doubled: int
    phantom: int
    rejected_but_stored: int
    other_bytes: int
    unprocessed: int
    wrong_effect: int
    wrong_usage: int

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0 and are not."""
        harmless = ("acknowledged", "undecided", "stored")
        counts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v for k, v in counts.items() if v and k not in harmless}


def judge(platform: Platform, source: Source, ledger: Path) -> Verdict:
    """Compare the ledger with the database."""
    acknowledged, rejected, undecided, digests = _outcomes(ledger)
    rows = platform.rows(
        """
        SELECT c.transaction_id, encode(c.digest, 'hex'),
            encode(sha256(b.body), 'hex'), c.state,
            (SELECT count(*) FROM ingest_reading r
             WHERE r.tenant_id = c.tenant_id AND r.callback_id = c.id AND r.value = 1),
            c.stored, c.unchanged + c.corrected + c.rejected
        FROM ingest_callback c
        JOIN tenants_tenant t ON t.id = c.tenant_id
        LEFT JOIN ingest_callbackbody b
            ON b.tenant_id = c.tenant_id AND b.callback_id = c.id
        WHERE t.slug = %s
        """,
        source.tenant,
    )
    stored = {row[0] for row in rows}
    right = (READINGS_EACH, READINGS_EACH, 0)
    ((used,),) = platform.rows(
        """
        SELECT coalesce(sum(u.value), 0) FROM ingest_usage u
        JOIN tenants_tenant t ON t.id = u.tenant_id WHERE t.slug = %s
        """,
        source.tenant,
    )
    return Verdict(
        acknowledged=len(acknowledged),
        undecided=len(undecided),
        stored=len(rows),
        lost=len(acknowledged - stored),
        doubled=len(rows) - len(stored),
        phantom=len(stored - acknowledged - undecided),
        rejected_but_stored=len(rejected & stored),
        other_bytes=sum(not (digests.get(row[0]) == row[1] == row[2]) for row in rows),
        unprocessed=sum(row[3] != 1 for row in rows),
        wrong_effect=sum(row[4:7] != right for row in rows),
        wrong_usage=int(abs(used - READINGS_EACH * len(rows))),
    )


def waiting(platform: Platform, source: Source) -> int:
    """Return how much of a source's work is not done: callbacks, and usage marks."""
    ((left,),) = platform.rows(
        """
        SELECT (SELECT count(*) FROM ingest_pendingcallback p WHERE p.tenant_id = t.id)
            + (SELECT count(*) FROM ingest_usagemark m WHERE m.tenant_id = t.id)
        FROM tenants_tenant t WHERE t.slug = %s
        """,
        source.tenant,
    )
    return int(left)


def _outcomes(ledger: Path) -> tuple[set[str], set[str], set[str], dict[str, str]]:
    statuses: dict[str, list[int]] = defaultdict(list)
    digests = {}
    for line in ledger.read_text().splitlines():
        entry: dict[str, Any] = json.loads(line)
        statuses[entry["id"]].append(entry["status"])
        digests[entry["id"]] = entry["sha256"]
    acknowledged = {k for k, seen in statuses.items() if {200, 202} & set(seen)}
    undecided = {
        k
        for k, seen in statuses.items()
        if any(status == 0 or status >= _SERVER_ERROR for status in seen)
    } - acknowledged
    rejected = set(statuses) - acknowledged - undecided
    return acknowledged, rejected, undecided, digests


def _name(number: int) -> str:
    return f"ledger/{number:07}"


def _body(number: int) -> bytes:
    """Return a callback whose readings no other callback has."""
    hour, device = divmod(number, _DEVICES)
    start_at = _EPOCH + timedelta(hours=hour)
    body = {
        "transaction_id": _name(number),
        "device": f"D-{device:03}",
        "readings": [
            {
                "at": (start_at + timedelta(minutes=30 * half)).isoformat(),
                "duration_s": 1800,
                "value": "1",
                "unit": "kWh",
            }
            for half in range(READINGS_EACH)
        ],
    }
    return json.dumps(body).encode()


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
