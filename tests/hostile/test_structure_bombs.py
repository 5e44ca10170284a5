"""Bodies that are dear to read: within their second and their memory (R39)."""

import os
import sys

import psutil
import pytest
from django.test import Client

from ingest.tests.accepting import drain
from ingest.tests.listening import Running, Sender, new_sender
from tenants.services import NewTenant
from tests.hostile.bombs import (
    BOMBS,
    DEAR,
    LIMIT,
    NAUGHTY,
    OTHER_BOMBS,
    filled,
    naughty_body,
)
from tests.hostile.inprocess import Wire, signed
from tests.hostile.measuring import MIB, Cost, measured
from tests.visitors import visitor

pytestmark = pytest.mark.processes

CPU_S = 1.0
MEMORY_BYTES = 100 * MIB
#: A worker does one such body at a time.
WORK_MEMORY_BYTES = 200 * MIB
#: Bytes of a body that is dear to workers; `pytest tests/hostile --whole-bombs` makes
#: it the whole 10 MiB.
SMALL = MIB // 4


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_to_take_or_refuse_and_is_worked_off(
    listener: Running, sender: Sender, name: str
) -> None:
    body = BOMBS[name](name)
    assert len(body) <= LIMIT
    with measured(psutil.Process(listener.process.pid)) as cost:
        answer = listener.post(sender, body)
    assert answer.status in {202, 400}
    assert cost.cpu_s < CPU_S
    assert cost.peak_bytes < MEMORY_BYTES
    with measured(psutil.Process(os.getpid())) as work:
        drain()
    assert work.peak_bytes < WORK_MEMORY_BYTES
    say(name, answer.status, cost, work)


@pytest.mark.parametrize("name", DEAR)
def test_readings_that_are_dear_to_a_worker_are_cheap_to_the_listener(
    listener: Running, sender: Sender, name: str, request: pytest.FixtureRequest
) -> None:
    is_whole = request.config.getoption("--whole-bombs", False)
    body = filled(name, DEAR[name], LIMIT if is_whole else SMALL)
    with measured(psutil.Process(listener.process.pid)) as cost:
        answer = listener.post(sender, body)
    assert answer.status == 202
    assert cost.cpu_s < CPU_S
    assert cost.peak_bytes < MEMORY_BYTES
    with measured(psutil.Process(os.getpid())) as work:
        drain()
    assert work.peak_bytes < WORK_MEMORY_BYTES
    say(name, answer.status, cost, work)


@pytest.mark.parametrize(
    ("content_type", "name"),
    [(kind, name) for kind, bombs in OTHER_BOMBS.items() for name in bombs],
)
def test_a_bomb_of_another_format_costs_little(
    listener: Running, sender: Sender, content_type: str, name: str
) -> None:
    body = OTHER_BOMBS[content_type][name](name)
    assert len(body) <= LIMIT
    headers = {**sender.hub(body), "Content-Type": content_type}
    with measured(psutil.Process(listener.process.pid)) as cost:
        answer = listener.ask(sender.path, body, headers)
    assert answer.status in {202, 400, 413}
    assert cost.cpu_s < CPU_S
    assert cost.peak_bytes < MEMORY_BYTES
    with measured(psutil.Process(os.getpid())) as work:
        drain()
    assert work.peak_bytes < WORK_MEMORY_BYTES
    say(name, answer.status, cost, work)


def say(name: str, status: int, cost: Cost, work: Cost) -> None:
    """Print the figures, for `pytest -s`."""
    figures = [
        f"{one.cpu_s:.2f} s {one.peak_bytes / MIB:.0f} MiB" for one in (cost, work)
    ]
    sys.stdout.write(f"{name:40} {status} {' | '.join(figures)}\n")


def test_texts_that_programs_choke_on_are_kept_and_shown_as_they_are(
    wire: Wire, new_tenant: NewTenant
) -> None:
    tenant, sender = new_tenant.tenant, new_sender(new_tenant.tenant)
    reply = wire.ask(signed(sender, naughty_body("naughty")))
    assert reply.status == 202
    drain()
    assert names_of(new_tenant) == set(NAUGHTY)
    browser = visitor(tenant)
    for page in ("device", "channel", "callbackrejection"):
        shown = browser.get(f"/admin/ingest/{page}/?all=")
        assert shown.status_code in {200, 302}
        assert b"<script>alert(1)" not in shown.content
        assert b"onerror=alert(1)>" not in shown.content


def names_of(new: NewTenant) -> set[str]:
    """Return the names of the tenant's devices, as the API tells them."""
    client = Client(headers={"Authorization": f"Bearer {new.api_key}"})
    reply = client.get("/api/v1/devices/?page_size=500")
    return {row["name"] for row in reply.json()["results"]}
