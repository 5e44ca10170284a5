"""Requests whose framing is in doubt, over real sockets (R41)."""

import json
from uuid import uuid4

import pytest

from ingest.tests.listening import Running, Sender, callback, stored
from tenants.models import Tenant
from tests.hostile.framing_cases import CASES, Case, Parts
from tests.hostile.sockets import Exchange, exchange, exchange_all

pytestmark = pytest.mark.processes


def parts(sender: Sender) -> Parts:
    """Return a fresh callback's pieces."""
    body = callback(f"outer/{uuid4().hex}")
    rider = callback(f"smuggled/{uuid4().hex}")
    outer = Parts(sender.path.encode(), tag(sender, body), body, b"")
    inner = Parts(sender.path.encode(), tag(sender, rider), rider, b"")
    return Parts(outer.target, outer.signature, body, inner.whole())


def tag(sender: Sender, body: bytes) -> bytes:
    return sender.hub(body)["X-Hub-Signature-256"].encode()


def judge(case: Case, made: Parts, got: Exchange) -> list[str]:
    """Return what is wrong with the answer to a case."""
    faults = []
    first = got.statuses[0] if got.statuses else None
    if first not in case.statuses:
        faults.append(f"{case.name}: {first}")
    if any(status >= 500 and status != 505 for status in got.statuses):
        faults.append(f"{case.name}: {got.statuses}")
    if sum(status in {200, 202} for status in got.statuses) > 1:
        faults.append(f"{case.name}: {got.statuses}")
    if made.signature[7:] in got.raw or b"WM-1" in got.raw:
        faults.append(f"{case.name}: echoes")
    return faults


def test_no_framing_smuggles_a_request_and_none_breaks_the_listener(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    made = [parts(sender) for _ in CASES]
    requests = [case.make(own) for case, own in zip(CASES, made, strict=True)]
    answers = exchange_all(listener.port, requests)
    faults = [
        fault
        for case, own, got in zip(CASES, made, answers, strict=True)
        for fault in judge(case, own, got)
    ]
    bodies = {bytes(row[1]): row[0] for row in stored(tenant)}
    reached = {name for name in bodies.values() if name.startswith("smuggled/")}
    hidden = [
        case.name
        for case, own in zip(CASES, made, strict=True)
        if any(name.encode() in own.smuggled for name in reached)
    ]
    assert (faults, hidden) == ([], [])
    # Whatever was taken is, byte for byte, what was signed.
    assert set(bodies) <= {own.body for own in made}
    assert listener.ask("/healthz", method="GET").status == 200
    assert listener.post(sender, callback()).status == 202


def test_there_are_cases_enough() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 66


def test_whole_requests_one_after_the_other_are_each_answered(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    made = [parts(sender) for _ in range(20)]
    answer = exchange(listener.port, b"".join(own.whole() for own in made))
    assert answer.statuses == (202,) * 20
    assert len(stored(tenant)) == 20


def test_a_refused_body_does_not_become_the_next_request(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    own = parts(sender)
    head = b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    hiding = head % (own.target, len(own.smuggled)) + own.smuggled
    answer = exchange(listener.port, hiding + own.whole())
    assert answer.statuses == (405, 202)
    assert [row[1] for row in stored(tenant)] == [own.body]


def test_the_log_says_who_was_refused_and_nothing_of_what_was_sent(
    listener: Running, sender: Sender
) -> None:
    secret = "canary-" + uuid4().hex
    body = callback(note=secret)
    for headers in (
        {"X-Hub-Signature-256": f"sha256={secret}"},
        {"Cookie": secret, "Authorization": f"Bearer {secret}"},
        {"X-Hub-Signature-256": sender.hub(body)["X-Hub-Signature-256"]},
        {**sender.hub(body), "Content-Type": secret},
        {**sender.hub(body), "Content-Encoding": secret},
    ):
        answer = listener.ask(f"{sender.path}?token={secret}", body, headers)
        assert 400 <= answer.status < 500
        assert secret not in str(answer)
    log = listener.output.read_text()
    assert secret not in log
    assert all(json.loads(line)["event"] for line in log.splitlines() if line[0] == "{")
