"""A secret that is rotated while its source posts."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.utils import timezone

from ingest.services.sources import revoke_previous_secrets, rotate_secret
from ingest.tests.listening import Running, Sender, callback, settle, stored
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant

pytestmark = pytest.mark.processes

SENDERS = 4


class Load:
    """Posts without a pause, signed by the newest secret, until its block ends."""

    def __init__(self, listener: Running, signers: list[Sender]) -> None:
        self.statuses: list[int] = []
        self._listener = listener
        self._signers = signers
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS)

    def __enter__(self) -> "Load":
        self._posting = [self._pool.submit(self._post) for _ in range(SENDERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._pool.shutdown()
        for one in self._posting:
            one.result()

    def go_on(self) -> None:
        """Wait until some more was answered."""
        goal = len(self.statuses) + 20
        settle(lambda: len(self.statuses) >= goal)

    def _post(self) -> None:
        while not self._is_over.is_set():
            answer = self._listener.post(self._signers[-1], callback())
            self.statuses.append(answer.status)


def test_no_valid_callback_is_refused_and_no_old_one_taken_afterwards(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    whom: dict[str, Any] = {
        "tenant": tenant,
        "actor": operator(tenant),
        "source": sender.source,
    }
    valid = [sender]

    def is_taken(signer: Sender) -> bool:
        return listener.post(signer, callback()).status == 202

    with Load(listener, valid) as load:
        for _ in range(3):
            load.go_on()
            with acting_for(tenant):
                secret = rotate_secret(**whom, overlap_s=60, now=timezone.now())
            new = Sender(sender.source, secret)
            # Within the overlap both are good, on each process.
            settle(lambda new=new: all(is_taken(new) for _ in range(6)))  # type: ignore[misc]  # bound on purpose
            valid.append(new)
        load.go_on()
        with acting_for(tenant):
            revoke_previous_secrets(**whom)
        load.go_on()
    settle(lambda: not any(is_taken(old) for old in valid[:-1] for _ in range(4)))
    assert is_taken(valid[-1])
    assert set(load.statuses) == {202}
    assert len(stored(tenant)) >= len(load.statuses)
