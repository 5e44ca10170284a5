"""Many senders at once, and an orderly end among them."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from ingest.tests.listening import (
    Running,
    Sender,
    callback,
    running_listener,
    settle,
    stored,
)
from tenants.models import Tenant

pytestmark = pytest.mark.processes


def test_a_storm_of_repeats_is_stored_once_with_one_receipt(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    bodies = [callback(f"storm/{n}") for n in range(10)]

    def volley(_: int) -> list[tuple[int, str]]:
        answers = [listener.post(sender, body) for body in bodies]
        return [(answer.status, answer.document["receipt"]) for answer in answers]

    with ThreadPoolExecutor(64) as pool:
        volleys = list(pool.map(volley, range(64)))
    for answers in zip(*volleys, strict=True):
        assert len({receipt for _, receipt in answers}) == 1
        assert sorted(status for status, _ in answers) == [200] * 63 + [202]
    assert len(stored(tenant)) == 10


def test_other_bytes_at_the_same_moment_conflict_with_the_first(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    bodies = [callback("same", attempt=n) for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: listener.post(sender, body), bodies))
    assert sorted(answer.status for answer in answers) == [202] + [409] * 15
    winner = next(n for n, answer in enumerate(answers) if answer.status == 202)
    assert [row[1] for row in stored(tenant)] == [bodies[winner]]


def test_whoever_was_accepted_before_an_orderly_end_was_stored(
    tmp_path: Path, tenant: Tenant, sender: Sender
) -> None:
    accepted: list[str] = []

    def send() -> None:
        for _ in range(5_000):
            identifier = uuid4().hex
            try:
                if running.post(sender, callback(identifier)).status == 202:
                    accepted.append(identifier)
            except OSError:
                return

    with running_listener(tmp_path) as running, ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(send)
        settle(lambda: len(accepted) > 100)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(15) == 0
    assert set(accepted) <= {row[0] for row in stored(tenant)}
