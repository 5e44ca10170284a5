"""The sample subscriber by what it is sent, over real sockets."""

import http.client
import io
import json
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from subscriptions.batches import batch_body, verdicts
from subscriptions.sample_ledger import Ledger
from subscriptions.sample_subscriber import Keys, Manner, SampleSubscriber
from tenants import signing
from tenants.identifiers import new_id, public_id
from tests.certificates import self_signed

SECRET = signing.new_secret()
KEYS = Keys([SECRET])
POLITE = Manner()
PRIVATE = signing.new_ed25519_key()
PUBLIC = signing.public_text(signing.ed25519_public(PRIVATE))
BATCH = "application/cloudevents-batch+json"


@dataclass
class Sample:
    """One that runs, and what it has said."""

    port: int
    ledger: Ledger
    lines: list[str]
    record: io.StringIO
    tls: ssl.SSLContext | None = None
    private: bytes | None = None
    secret: str = field(default=SECRET)

    def ask(self, method: str, path: str = "/", **options: Any) -> Any:
        link: http.client.HTTPConnection
        if self.tls is None:
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        else:
            link = http.client.HTTPSConnection(
                "localhost", self.port, timeout=10, context=self.tls
            )
        with closing(link):
            link.request(method, path, **options)
            reply = link.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()

    def post(self, request_id: str, body: bytes, kind: str = "application/json") -> Any:
        now = int(time.time())
        key = signing.standard_key(self.secret)
        items = [signing.sign_standard(key, request_id, now, body)]
        if self.private:
            items += [signing.sign_ed25519(self.private, request_id, now, body)]
        headers = {
            "Content-Type": kind,
            "webhook-id": request_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(items),
            "X-Hub-Signature-256": signing.sign_hub(self.secret.encode(), body),
        }
        return self.ask("POST", body=body, headers=headers)

    def send(self, **members: Any) -> int:
        body = body_of(**members)
        status: int = self.post(json.loads(body)["id"], body)[0]
        return status

    def told(self, word: str) -> list[str]:
        return [line.split(maxsplit=2)[2] for line in self.lines if f" {word} " in line]


def body_of(message_id: str = "", **members: Any) -> bytes:
    document = {
        "id": message_id or public_id("msg", new_id()),
        "type": "callback.processed",
        "timestamp": "2026-11-23T18:21:00Z",
        "tenant": "acme",
        **members,
    }
    return json.dumps({**document, "data": members.get("data", {})}).encode()


@contextmanager
def sample(
    manner: Manner = POLITE,
    *,
    keys: Keys = KEYS,
    tls: ssl.SSLContext | None = None,
) -> Generator[Sample]:
    lines: list[str] = []
    record = io.StringIO()
    ledger = Ledger(print_line=lines.append, record=record)
    with SampleSubscriber(
        ("127.0.0.1", 0), keys=keys, ledger=ledger, manner=manner, tls=tls
    ) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        yield Sample(server.server_port, ledger, lines, record)
        server.shutdown()
        thread.join(5)


def test_both_handshakes_are_answered_with_the_granted_rate() -> None:
    origin = {"WebHook-Request-Origin": "gridhook.example"}
    with sample(Manner(rate_per_min=120)) as one:
        status, headers, _ = one.ask("OPTIONS", headers=origin)
        assert (status, headers["WebHook-Allowed-Origin"]) == (200, "gridhook.example")
        assert headers["WebHook-Allowed-Rate"] == "120"
        found = one.ask("GET", "/hook?hub.mode=subscribe&hub.challenge=a%2Bb")
        assert (found[0], found[2]) == (200, b"a+b")
    with sample(Manner(challenge_only=True)) as one:
        assert "WebHook-Allowed-Origin" not in one.ask("OPTIONS", headers=origin)[1]
        assert one.ask("GET", "/?hub.mode=subscribe&hub.challenge=x")[2] == b"x"
        assert one.ledger.counts == {"consent": 1}


def test_public_keys_are_enough_and_every_kind_given_is_asked() -> None:
    with sample(keys=Keys(public_keys=[PUBLIC])) as one:
        assert one.send() == 401
        one.private = PRIVATE
        assert one.send() == 204
        one.secret = signing.new_secret()
        assert one.send() == 204
    with sample(keys=Keys([SECRET], [PUBLIC])) as one:
        assert one.send() == 401
        one.private = PRIVATE
        assert one.send() == 204


def test_who_has_not_the_new_secret_yet_is_served_in_an_overlap() -> None:
    now, body = int(time.time()), body_of("msg_1")
    new = signing.new_secret()
    items = [
        signing.sign_standard(signing.standard_key(secret), "msg_1", now, body)
        for secret in (new, SECRET)
    ]
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(items),
        "X-Hub-Signature-256": signing.sign_hub(new.encode(), body),
    }
    with sample() as one:
        assert one.ask("POST", body=body, headers=headers)[0] == 204
        headers["webhook-signature"] = items[0]
        assert one.ask("POST", body=body, headers=headers)[0] == 401


@pytest.mark.parametrize("status", [410, 500, 429, 302])
def test_it_answers_what_it_is_told_to_and_counts_that_as_failed(status: int) -> None:
    with sample(Manner(status=status)) as one:
        assert one.send() == status
        assert one.ledger.counts == {"failed": 1}
    with sample(Manner(status=202)) as one:
        assert one.send() == 202


def test_it_takes_its_time() -> None:
    began = time.monotonic()
    with sample(Manner(delay_s=0.1)) as one:
        one.send()
    assert time.monotonic() - began >= 0.1


def test_a_batch_is_taken_message_by_message() -> None:
    ids = [public_id("msg", new_id()) for _ in range(3)]
    body = batch_body([(one, body_of(one)) for one in ids], "https://gridhook.example")
    with sample() as one:
        for expected in ("accepted", "duplicate"):
            status, _, said = one.post("bat_1", body, BATCH)
            found = verdicts(status, said, ids)
            assert all(verdict.is_accepted for verdict in found.values())
            assert one.ledger.counts[expected] == 3


def test_refused_messages_of_a_batch_are_named_and_the_others_taken() -> None:
    ids = [public_id("msg", new_id()) for _ in range(60)]
    body = batch_body([(one, body_of(one)) for one in ids], "https://gridhook.example")
    with sample(Manner(refuse_rate=0.5)) as one:
        status, _, said = one.post("bat_1", body, BATCH)
        counts = one.ledger.counts
    found = verdicts(status, said, ids)
    taken = [name for name, verdict in found.items() if verdict.is_accepted]
    assert {verdict.status_code for verdict in found.values()} == {200, 422}
    assert counts == {"accepted": len(taken), "refused": 60 - len(taken)}


def test_a_single_message_is_refused_with_422() -> None:
    with sample(Manner(refuse_rate=1.0)) as one:
        assert one.send() == 422
    with sample(Manner(fail_rate=1.0)) as one:
        assert one.send() == 500


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"5", b"null", b'{"id": 1}', body_of(order=5), b"\xff",
        b"[" * 100_000, body_of(device="d", sequence=float("inf"), previous_id=None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", BATCH])
def test_what_is_signed_and_no_message_is_a_400(body: bytes, kind: str) -> None:
    with sample() as one:
        status = one.post("x", body, kind)[0]
        assert status == (200 if (body, kind) == (b"[]", BATCH) else 400)
        assert one.ask("GET")[0] == 200


def test_a_body_is_bounded_and_has_a_length() -> None:
    with sample() as one:
        for length in ("99999999999", "9" * 5000, "x", "-1"):
            status = one.ask("POST", headers={"Content-Length": length})[0]
            assert status in {411, 413}


def place(device: str, sequence: int, previous_id: str | None) -> dict[str, Any]:
    return {"device": device, "sequence": sequence, "previous_id": previous_id}


def test_a_gap_and_a_wrong_order_are_told() -> None:
    ids = [public_id("msg", new_id()) for _ in range(6)]
    with sample() as one:
        one.send(message_id=ids[0], **place("WM-1", 7, "msg_before"))
        one.send(message_id=ids[1], **place("WM-1", 8, ids[0]))
        one.send(message_id=ids[1], **place("WM-1", 8, ids[0]))
        one.send(message_id=ids[3], **place("WM-1", 10, ids[2]))
        one.send(message_id=ids[2], **place("WM-1", 9, ids[1]))
        both = [place("WM-1", 11, ids[3]), place("WM-2", 1, None)]
        one.send(message_id=ids[4], order=both)
        late = batch_body(
            [(ids[5], body_of(ids[5], **place("WM-2", 3, "msg_lost")))], "https://g"
        )
        one.post("bat_1", late, BATCH)
        assert one.told("gap") == [
            f"WM-1: {ids[2]}, before 10, never came",
            "WM-2: msg_lost, before 3, never came",
        ]
        assert one.told("order") == ["WM-1: 9 came after 10"]
        assert one.ledger.table()[-2:] == ["2 x gap", "1 x order"]


def manifest(ids: list[str], start_at: datetime) -> dict[str, Any]:
    return {
        "endpoint": "ep_1",
        "day": "2026-11-22",
        "start_at": start_at.isoformat(),
        "end_at": (start_at + timedelta(days=1)).isoformat(),
        "messages": len(ids),
        "ids_hash": sha256("\n".join(sorted(ids)).encode()).hexdigest(),
    }


def test_a_manifest_is_compared_with_what_is_here() -> None:
    now = datetime.now(tz=UTC)
    ids = [public_id("msg", new_id()) for _ in range(3)]
    old = "msg_" + "0" * 32
    with sample() as one:
        for message_id in (*ids[:2], old, "msg_x"):
            one.send(message_id=message_id)
        kind = {"type": "delivery.manifest", "message_id": "msg_m1"}
        one.send(data=manifest(ids, now - timedelta(seconds=60)), **kind)
        one.send(message_id=ids[2])
        kind["message_id"] = "msg_m2"
        one.send(data=manifest(ids, now - timedelta(seconds=60)), **kind)
        kind["message_id"] = "msg_m3"
        assert one.send(data={"start_at": 5}, **kind) == 204
        first, second, third = one.told("manifest")
        lines = [json.loads(line) for line in one.record.getvalue().splitlines()]
    assert first.startswith("2026-11-22: 3 messages, 2 are here; it listens since")
    assert first.endswith("GET /api/v1/endpoints/ep_1/manifests/2026-11-22/")
    assert second == "2026-11-22: 3 messages, all of them are here"
    assert third == "msg_m3 cannot be read"
    assert [line["text"] for line in lines if line["outcome"] == "manifest"] == [
        first,
        second,
        third,
    ]


def test_it_speaks_tls_and_asks_for_client_certificates(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cert)
    stranger = ssl.create_default_context(cafile=str(cert))
    known = ssl.create_default_context(cafile=str(cert))
    known.load_cert_chain(cert, key)
    with sample(tls=server) as one:
        one.tls = stranger
        with pytest.raises((ssl.SSLError, ConnectionError)):
            one.send()
        one.tls = known
        assert one.send() == 204
        assert one.ledger.counts["accepted"] == 1
