"""The listener over real sockets: Granian, Postgres, and each reply of the contract."""

import json
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from ingest.services.sources import rotate_secret, set_enabled
from ingest.tests.listening import (
    Answer,
    Running,
    Sender,
    callback,
    new_sender,
    settle,
    stored,
)
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.services import NewTenant

pytestmark = pytest.mark.processes


def refused(answer: Answer, status: int, code: str) -> None:
    """Check that it is a problem document of this kind, and a retry where it may be."""
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "code"} <= answer.document.keys()
    assert answer.document["status"] == status
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_signed_callback_is_durable_when_it_is_accepted(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    body = callback("head-end-7/000123", note="  bytes \u00e9 as sent ")
    answer = listener.post(sender, body)
    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.document["status"] == "accepted"
    assert answer.document["transaction_id"] == "head-end-7/000123"
    assert answer.document["receipt"].startswith("rcp_")
    assert stored(tenant) == [("head-end-7/000123", body, "application/json")]


def test_a_repeat_gets_the_first_receipt_and_other_bytes_conflict(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    body = callback("x")
    first = listener.post(sender, body)
    again = listener.post(sender, body)
    assert (again.status, again.code) == (200, "duplicate")
    assert again.document["receipt"] == first.document["receipt"]
    refused(listener.post(sender, body + b" "), 409, "transaction_conflict")
    assert [row[1] for row in stored(tenant)] == [body]


def test_ids_are_bytewise_and_another_tenants_are_its_own(
    listener: Running, tenant: Tenant, sender: Sender, stranger: NewTenant
) -> None:
    theirs = new_sender(stranger.tenant)
    for text in ("caf\u00e9", "cafe\u0301", "CAF\u00c9"):
        assert listener.post(sender, callback(text)).status == 202
        assert listener.post(theirs, callback(text, other=1)).status == 202
    assert len(stored(tenant)) == len(stored(stranger.tenant)) == 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"[]", "malformed_json"),
        (b'{"readings": [NaN], "transaction_id": "x"}', "malformed_json"),
        (b'\xef\xbb\xbf{"readings": [], "transaction_id": "x"}', "malformed_json"),
        (b'{"readings": [], "transaction_id": "\\u0000"}', "malformed_json"),
        (b'{"readings": [], "transaction_id": "\xff"}', "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"readings": []}', "missing_transaction_id"),
        (b'{"readings": [], "transaction_id": 5}', "invalid_transaction_id"),
        (b'{"readings": [], "transaction_id": ""}', "invalid_transaction_id"),
        (b'{"transaction_id": "x"}', "missing_readings"),
        (b'{"transaction_id": "x", "readings": {}}', "missing_readings"),
    ],
)
def test_what_cannot_be_read_is_refused_and_not_stored(
    listener: Running, tenant: Tenant, sender: Sender, body: bytes, code: str
) -> None:
    refused(listener.post(sender, body), 400, code)
    assert stored(tenant) == []


def test_every_doubt_about_the_signature_gets_one_reply(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    body = callback()
    good = sender.hub(body)
    signature = good["X-Hub-Signature-256"]
    digits = signature.removeprefix("sha256=")
    kind = {"Content-Type": "application/json"}
    nobody = f"/v1/callbacks/src_{uuid4().hex}"
    answers = [
        listener.ask(sender.path, body, kind),
        listener.ask(sender.path, body + b" ", good),
        listener.ask(nobody, body, good),
        listener.ask("/v1/callbacks/x", body, good),
        *(
            listener.ask(sender.path, body, {**kind, "X-Hub-Signature-256": value})
            for value in (
                "",
                digits,
                f"SHA256={digits}",
                f"sha1={digits}",
                f"sha256={digits[:-1]}",
                f"sha256={'0' * 64}",
                f"sha256={digits}\u00e9",
                f"{signature}, {signature}",
            )
        ),
        listener.ask(sender.path, body, {**good, "X-Hub-Signature": signature}),
        listener.raw(
            f"POST {sender.path} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Hub-Signature-256: {signature}\r\nX-Hub-Signature-256: {signature}\r\n"
            f"\r\n".encode()
            + body
        ),
    ]
    for answer in answers:
        refused(answer, 401, "signature_invalid")
        assert answer.body == answers[0].body
        assert digits not in str(answer)
    assert stored(tenant) == []


def test_either_hub_header_and_either_case_of_hex_is_taken(
    listener: Running, sender: Sender
) -> None:
    body = callback()
    signature = sender.hub(body)["X-Hub-Signature-256"]
    digits = signature.removeprefix("sha256=")
    kind = {"Content-Type": "application/json; charset=utf-8"}
    for name, value in (
        ("X-Hub-Signature", signature),
        ("X-Hub-Signature-256", f"sha256={digits.upper()}"),
    ):
        answer = listener.ask(sender.path, body, {**kind, name: value})
        assert answer.status in {200, 202}


def test_standard_webhooks_bring_the_transaction_id_in_their_header(
    listener: Running, tenant: Tenant, standard: Sender
) -> None:
    bodies = {"m1": b'{"readings": []}', "m2": callback("m2")}
    for identifier, body in bodies.items():
        headers = standard.standard(body, message_id=identifier)
        headers["webhook-signature"] = f"v1a,xx {headers['webhook-signature']} v1,AAAA"
        answer = listener.ask(standard.path, body, headers)
        assert answer.status == 202, answer
        assert answer.document["transaction_id"] == identifier
    assert [row[0] for row in stored(tenant)] == ["m1", "m2"]


def test_standard_webhooks_that_do_not_fit_are_refused(
    listener: Running, tenant: Tenant, standard: Sender
) -> None:
    body = callback("in-body")
    other = standard.standard(body, message_id="m")
    refused(listener.ask(standard.path, body, other), 400, "transaction_id_mismatch")
    long = standard.standard(body, message_id="m" * 256)
    refused(listener.ask(standard.path, body, long), 400, "invalid_transaction_id")
    for headers in (
        standard.standard(body, message_id="in-body", at=time.time() - 310),
        standard.standard(body, message_id="in-body", at=time.time() + 310),
        {**standard.standard(body, message_id="in-body"), "webhook-id": "other"},
        {**standard.standard(body, message_id="in-body"), "webhook-timestamp": "x"},
        {**standard.standard(body, message_id="in-body"), "webhook-signature": "v1,"},
        standard.hub(body),
    ):
        refused(listener.ask(standard.path, body, headers), 401, "signature_invalid")
    assert stored(tenant) == []


def test_a_disabled_source_is_refused_at_once_and_comes_back(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    def switch(enabled: bool) -> None:
        with acting_for(tenant):
            set_enabled(
                tenant=tenant,
                actor=operator(tenant),
                source=sender.source,
                enabled=enabled,
            )

    # Two processes answer on the port: each must know.
    assert {listener.post(sender, callback()).status for _ in range(9)} == {202}
    switch(False)
    settle(lambda: refusals(listener, sender) == 9)
    switch(True)
    settle(lambda: refusals(listener, sender) == 0)


def refusals(listener: Running, sender: Sender) -> int:
    return [listener.post(sender, callback()).status for _ in range(9)].count(401)


def test_both_secrets_are_good_during_an_overlap_and_one_after_it(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    def rotate(overlap_s: int) -> Sender:
        with acting_for(tenant):
            secret = rotate_secret(
                tenant=tenant,
                actor=operator(tenant),
                source=sender.source,
                overlap_s=overlap_s,
                now=datetime.now(UTC),
            )
        return Sender(sender.source, secret)

    second = rotate(3600)
    settle(lambda: refusals(listener, second) == 0)
    assert refusals(listener, sender) == 0
    third = rotate(0)
    settle(lambda: refusals(listener, second) == 9)
    assert refusals(listener, sender) == 9
    assert refusals(listener, third) == 0


def test_only_known_types_without_an_encoding_are_taken(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    body = callback()
    signature = {"X-Hub-Signature-256": sender.hub(body)["X-Hub-Signature-256"]}
    for kind in ("text/plain", "application/jsonx", "", "application/senml+xml"):
        answer = listener.ask(sender.path, body, {**signature, "Content-Type": kind})
        refused(answer, 415, "unsupported_media_type")
    refused(listener.ask(sender.path, body, signature), 415, "unsupported_media_type")
    for encoding in ("gzip", "br", "identity"):
        headers = {**sender.hub(body), "Content-Encoding": encoding}
        answer = listener.ask(sender.path, body, headers)
        refused(answer, 415, "content_encoding_unsupported")
    assert stored(tenant) == []


@pytest.mark.parametrize(
    "path", ["/", "/v1/callbacks", "/v1/callbacks/", "/v1/callbacks/a/b", "/v2/x"]
)
def test_another_path_is_not_found(listener: Running, path: str) -> None:
    refused(listener.ask(path, b"{}"), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_not_allowed(
    listener: Running, sender: Sender, method: str
) -> None:
    answer = listener.ask(sender.path, method=method)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert listener.ask("/healthz", b"").headers["allow"] == "GET, HEAD"


def test_a_body_of_ten_mebibytes_is_taken_and_one_byte_more_is_not(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    limit = 10 * 1024 * 1024
    frame = callback("big", note="")
    body = frame.replace(b'"note": ""', b'"note": "%s"' % (b"x" * (limit - len(frame))))
    assert len(body) == limit
    assert listener.post(sender, body).status == 202
    refused(listener.post(sender, body + b" "), 413, "body_too_large")
    assert [len(row[1]) for row in stored(tenant)] == [limit]


def test_a_declared_size_is_refused_before_the_body_comes(
    listener: Running, sender: Sender
) -> None:
    head = f"POST {sender.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999"
    answer = listener.raw(f"{head}\r\n\r\n".encode())
    refused(answer, 413, "body_too_large")


def test_chunks_are_counted(listener: Running, tenant: Tenant, sender: Sender) -> None:
    body = callback("chunked")
    pieces = iter([body[:10], body[10:]])
    answer = listener.ask(sender.path, pieces, sender.hub(body))  # type: ignore[arg-type]  # http.client sends an iterator in chunks
    assert answer.status == 202
    flood = (b"x" * 65_536 for _ in range(161))
    answer = listener.ask(sender.path, flood, sender.hub(body))  # type: ignore[arg-type]  # as above
    refused(answer, 413, "body_too_large")
    assert len(stored(tenant)) == 1


def test_probes_and_metrics(listener: Running, sender: Sender) -> None:
    listener.post(sender, callback())
    assert listener.ask("/healthz", method="GET").document == {"status": "ok"}
    assert listener.ask("/healthz", method="HEAD").body == b""
    assert listener.ask("/readyz", method="GET").document == {"status": "ready"}
    metrics = b"".join(
        listener.ask("/metrics", method="GET").body for _ in range(10)
    ).decode()
    for name in (
        "gridhook_listener_replies_total{",
        "gridhook_listener_batch_callbacks_bucket{",
        "gridhook_listener_commit_seconds_sum{",
        "gridhook_listener_queue_callbacks{",
        "gridhook_listener_held_bytes{",
    ):
        assert name in metrics


def test_a_refusal_leaves_a_line_without_secrets(
    listener: Running, sender: Sender
) -> None:
    body = callback(note="canary-in-the-body")
    headers = {**sender.hub(body), "X-Hub-Signature-256": "sha256=canary-signature"}
    lines: list[str] = []

    def refuse() -> bool:
        # At most some lines a second: whoever came before may have used them up.
        answer = listener.ask(sender.path, body, headers)
        name = f'"{answer.headers["x-request-id"]}"'
        log = listener.output.read_text().splitlines()
        lines[:] = [line for line in log if name in line]
        return len(lines) == 1

    settle(refuse)
    log = listener.output.read_text()
    assert json.loads(lines[0])["code"] == "signature_invalid"
    assert sender.source.public_id in lines[0]
    assert "canary" not in log
    assert sender.secret not in log
