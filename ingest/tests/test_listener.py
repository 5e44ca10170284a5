"""The listener over real sockets: Granian, Postgres, and each reply of the contract."""

import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pycurl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from ingest.listener import command
from ingest.services.sources import rotate_secret, set_enabled
from ingest.tests.listening import (
    Answer,
    Running,
    Sender,
    callback,
    new_sender,
    running_listener,
)
from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tenants.services import NewTenant

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def listener(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Running, None, None]:
    with running_listener(tmp_path_factory.mktemp("listener"), workers=2) as running:
        yield running


@pytest.fixture
def sender(tenant: Tenant) -> Sender:
    return new_sender(tenant)


@pytest.fixture
def standard(tenant: Tenant) -> Sender:
    return new_sender(tenant, "standard")


def refused(answer: Answer, status: int, code: str) -> None:
    """Check that it is a problem document of this kind, and a retry where it may be."""
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "code"} <= answer.document.keys()
    assert answer.document["status"] == status
    assert ("retry-after" in answer.headers) == (status == 503)


def stored(tenant: Tenant) -> list[tuple[Any, ...]]:
    with pipeline() as lane:
        return lane.execute(
            """SELECT c.transaction_id, b.body, b.content_type
            FROM ingest_callback c JOIN ingest_callbackbody b
                ON b.tenant_id = c.tenant_id AND b.callback_id = c.id
            WHERE c.tenant_id = %s ORDER BY 1""",
            [tenant.pk],
        ).fetchall()


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


def settle(condition: Any) -> None:
    """Wait for an announcement to arrive: well before the age limit of ten seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + 3
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)


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


def test_only_json_without_an_encoding_is_taken(
    listener: Running, tenant: Tenant, sender: Sender
) -> None:
    body = callback()
    signature = {"X-Hub-Signature-256": sender.hub(body)["X-Hub-Signature-256"]}
    for kind in ("text/plain", "application/jsonx", "", "application/senml+json"):
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
    request_id = listener.ask(sender.path, body, headers).headers["x-request-id"]
    log = listener.output.read_text()
    (line,) = [line for line in log.splitlines() if f'"{request_id}"' in line]
    assert json.loads(line)["code"] == "signature_invalid"
    assert sender.source.public_id in line
    assert "canary" not in log
    assert sender.secret not in log


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_key_in_another_form_is_refused_with_what_to_do(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    old_form = PrivateFormat.TraditionalOpenSSL
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, old_form, NoEncryption()
        )
    )
    for path, says in ((key, "openssl pkcs8"), (tmp_path / "none", "No such file")):
        with (
            override_settings(TLS_CERT="cert.pem", TLS_KEY=str(path)),
            pytest.raises(ImproperlyConfigured, match=says),
        ):
            command(1)


def test_it_speaks_http_2_over_tls_1_3_and_nothing_older(
    tmp_path: Path, certificate: tuple[Path, Path], tenant: Tenant, sender: Sender
) -> None:
    cert, key = map(str, certificate)
    body = callback("over-h2")
    with (
        override_settings(TLS_CERT=cert, TLS_KEY=key),
        running_listener(tmp_path) as running,
    ):
        version, status, answer = over_curl(running, sender, body, cert)
        assert (version, status) == (pycurl.CURL_HTTP_VERSION_2_0, 202)
        assert json.loads(answer)["status"] == "accepted"
        old = ssl.create_default_context(cafile=cert)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", running.port), 10) as link,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(link, server_hostname="localhost")
    assert [row[0] for row in stored(tenant)] == ["over-h2"]


def over_curl(
    running: Running, sender: Sender, body: bytes, cert: str
) -> tuple[int, int, bytes]:
    curl = pycurl.Curl()
    answer = BytesIO()
    curl.setopt(pycurl.URL, f"https://localhost:{running.port}{sender.path}")
    curl.setopt(pycurl.RESOLVE, [f"localhost:{running.port}:127.0.0.1"])
    curl.setopt(pycurl.CAINFO, cert)
    curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_3)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    curl.setopt(pycurl.POSTFIELDS, body)
    curl.setopt(
        pycurl.HTTPHEADER,
        [f"{name}: {value}" for name, value in sender.hub(body).items()],
    )
    curl.setopt(pycurl.WRITEDATA, answer)
    curl.setopt(pycurl.TIMEOUT, 20)
    curl.perform()
    found = curl.getinfo(pycurl.INFO_HTTP_VERSION), curl.getinfo(pycurl.RESPONSE_CODE)
    curl.close()
    return (*found, answer.getvalue())
