"""Tens of thousands of broken requests, in process and over sockets."""

import json
import logging
from urllib.parse import unquote_to_bytes

import pytest

from ingest.listener.replies import Reply
from ingest.tests.accepting import drain
from ingest.tests.listening import Running, Sender, callback, stored
from tenants.database import pipeline
from tenants.models import Tenant
from tests.hostile.inprocess import Ask, Wire
from tests.hostile.judging import faults
from tests.hostile.mutation import Chance, Sent, in_order
from tests.hostile.sockets import exchange_all

SEED = 2016
IN_PROCESS = 20_000
OVER_SOCKETS = 1_500
UNFINISHED = """
SELECT count(*) FROM ingest_pendingcallback WHERE tenant_id = %s
"""


def as_ask(sent: Sent) -> Ask:
    """Return the request as the server would hand it to the core."""
    path = unquote_to_bytes(sent.target.partition(b"?")[0]).decode("utf-8", "replace")
    headers = [
        (name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t"))
        for name, value in sent.headers
    ]
    return Ask(path, sent.body, headers, sent.method.decode("latin-1"))


def test_nothing_that_is_mutated_breaks_the_core_or_is_taken_wrongly(
    wire: Wire,
    tenant: Tenant,
    sender: Sender,
    standard: Sender,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    chance = Chance(SEED, [sender, standard])
    sent = [chance.request() for _ in range(IN_PROCESS)]
    replies: list[Reply] = wire.ask_all(map(as_ask, sent))
    secrets = {sender.path: sender, standard.path: standard}
    found = [
        (fault, request)
        for request, reply in zip(sent, replies, strict=True)
        if (fault := faults(request, reply.status, reply.body, secrets))
    ]
    assert found == [], f"seed {SEED}"
    statuses = {reply.status for reply in replies}
    # The mutations reach every stage, or they would show nothing.
    assert {202, 400, 401, 404, 405, 415} <= statuses
    bodies = {request.body for request in sent}
    assert all(bytes(row[1]) in bodies for row in stored(tenant))
    drain()
    with pipeline() as lane:
        assert lane.execute(UNFINISHED, [tenant.pk]).fetchone() == (0,)
    assert caplog.records == []


@pytest.mark.processes
def test_no_bytes_on_a_socket_break_the_listener(
    listener: Running, tenant: Tenant, sender: Sender, standard: Sender
) -> None:
    chance = Chance(SEED + 1, [sender, standard])
    sent = [chance.request() for _ in range(OVER_SOCKETS)]
    raw = [chance.wreck(request) for request in sent]
    answers = exchange_all(listener.port, raw)
    statuses = [status for answer in answers for status in answer.statuses]
    broken = [
        (answer.statuses, request)
        for answer, request in zip(answers, raw, strict=True)
        if any(status >= 500 for status in answer.statuses)
    ]
    assert broken == [], f"seed {SEED + 1}"
    assert {400, 401} <= set(statuses)
    assert max(answer.took_s for answer in answers) < 5
    assert listener.ask("/healthz", method="GET").status == 200
    assert listener.post(sender, callback("honest")).status == 202
    assert ("honest",) in [row[:1] for row in stored(tenant)]


def test_what_is_in_order_passes_the_judge(wire: Wire, sender: Sender) -> None:
    sent = in_order(sender, callback())
    reply = wire.ask(as_ask(sent))
    assert reply.status == 202
    assert faults(sent, reply.status, reply.body, {sender.path: sender}) == ""
    assert faults(sent, reply.status, reply.body, {}) != ""
    forged = Sent(sent.method, sent.target, sent.headers, sent.body + b" ")
    assert faults(forged, 202, reply.body, {sender.path: sender}) != ""
    assert faults(sent, 500, reply.body, {sender.path: sender}) == "500"
    echo = json.dumps({"status": 400, "x": sent.headers[0][1].decode()}).encode()
    assert faults(sent, 400, echo, {}) == "echoes"
