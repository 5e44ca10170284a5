"""The sample subscriber, as a process of its own and by what others send it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from subscriptions.models import Delivery, Endpoint
from subscriptions.services.consenting import ask_consent
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.endpoints import create_endpoint
from subscriptions.tests.delivering import deliver_until, publish_to
from tenants import secret_arguments
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.signing import new_secret, sign_hub, sign_standard, standard_key

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def listening(*arguments: str) -> Generator[tuple[int, "subprocess.Popen[str]"]]:
    """Run `manage.py listen` with no database, no broker and no keys."""
    names = ("DATABASE_URL", "BROKER_URL", "GRIDHOOK_VAR")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "listen", "--port", "0", *arguments],
        cwd=ROOT,
        env={**environment, "GRIDHOOK_VAR": "/nonexistent"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        yield int(first.rstrip("/\n").rpartition(":")[2]), process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def ask(port: int, method: str, path: str = "/", **options: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, **options)
    reply = connection.getresponse()
    found = (reply.status, dict(reply.getheaders()), reply.read())
    connection.close()
    return found


@override_settings(RETRY_SCHEDULE_S=[0.02] * 20)
def test_every_message_is_taken_once_though_a_third_fails(
    tenant: Tenant, actor: Actor, tmp_path: Path
) -> None:
    record = tmp_path / "received.jsonl"
    with acting_for(tenant):
        endpoint, secret = create_endpoint(
            tenant=tenant, actor=actor, url="http://127.0.0.1:1/", event_types=["*"]
        )
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    arguments = ("--secret-file", str(file), "--fail-rate", "0.33")
    with listening(*arguments, "--json-lines", str(record)) as (port, _):
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(
                url=f"http://127.0.0.1:{port}/hook"
            )
        assert ask_consent() == 1
        publish_to(tenant, 40)
        deliver_until(tenant, "delivered")
        deliver()
        counts = json.loads(ask(port, "GET", "/healthz")[2])
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    outcomes = Counter(line["outcome"] for line in lines)
    accepted = [line["id"] for line in lines if line["outcome"] == "accepted"]
    with acting_for(tenant):
        messages = {
            delivery.message.public_id
            for delivery in Delivery.objects.filter(tenant=tenant).select_related(
                "message"
            )
        }
    assert set(accepted) == messages
    assert len(accepted) == 40
    assert outcomes["failed"] > 0
    assert outcomes["consent"] == 1
    assert counts == outcomes
    assert {line["type"] for line in lines} == {"-", "callback.processed"}


def signed(secret: str, body: bytes, **changes: str) -> dict[str, str]:
    now = int(time.time())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign_standard(standard_key(secret), "msg_1", now, body),
        "X-Hub-Signature-256": sign_hub(secret.encode(), body),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }


def test_unsigned_and_missigned_are_refused_and_duplicates_dropped() -> None:
    secret, other = new_secret(), new_secret()
    body = b'{"id": "msg_1", "type": "endpoint.test", "data": {}}'
    with listening("--secret", secret, "--secret", other) as (port, process):

        def post(headers: dict[str, str]) -> int:
            return int(ask(port, "POST", "/", body=body, headers=headers)[0])

        assert post({}) == 401
        assert post(signed(new_secret(), body)) == 401
        assert post(signed(secret, body, webhook_timestamp="1")) == 401
        assert post(signed(secret, body, X_Hub_Signature_256="sha256=00")) == 401
        assert post(signed(secret, body)) == 204
        assert post(signed(other, body)) == 204
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
    outcomes = [line.split()[1] for line in lines[:6]]
    assert outcomes == ["refused"] * 4 + ["accepted", "duplicate"]
    assert [line.split(maxsplit=4)[4] for line in lines[:4]] == [
        "it is not signed",
        "webhook-signature is by none of the secrets given",
        "webhook-timestamp is not within 300 s of now",
        "X-Hub-Signature-256 is by none of the secrets given",
    ]
    assert [line.split() for line in lines[6:]] == [
        ["type", "refused", "accepted", "duplicate"],
        ["-", "4", "0", "0"],
        ["endpoint.test", "0", "1", "1"],
        ["all", "4", "1", "1"],
    ]
    assert secret not in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a secret or a public key"),
        (["--secret", "whsec_!"], "whsec_ and base64"),
        (["--secret-file", "/nonexistent"], "No such file"),
        (["--public-key", "whpk_AAAA"], "base64 of 32 bytes"),
        (["--fail-rate", "2"], "from 0 to 1"),
        (["--fail-rate", "often"], "from 0 to 1"),
        (["--delay", "-1"], "from 0 to 3600"),
        (["--status", "99"], "known one from 200"),
        (["--rate", "0"], "from 1 on"),
        (["--secret", new_secret(), "--bind", "203.0.113.1"], "Cannot listen"),
        (["--secret", new_secret(), "--cert", "/nonexistent"], "Cannot listen"),
        (["--secret", new_secret(), "--key", "x"], "need --cert"),
        (["--secret", new_secret(), "--json-lines", "/nowhere/x"], "Cannot write to"),
    ],
)
def test_wrong_argument_is_one_clear_line(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("listen", "--port", "0", *arguments)


def test_secrets_come_from_files_and_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRIDHOOK_SECRET", raising=False)
    several, one = tmp_path / "several", tmp_path / "one"
    several.write_text("whsec_a\nwhsec_b\n")
    one.write_text("whsec_c\n")
    nothing: dict[str, Any] = {"secret": [], "secret_file": []}
    assert secret_arguments.secrets(nothing) == []
    assert secret_arguments.secret(nothing) == ""
    monkeypatch.setenv("GRIDHOOK_SECRET", "whsec_e")
    assert secret_arguments.secret(nothing) == "whsec_e"
    monkeypatch.setenv("GRIDHOOK_SECRET_FILE", str(one))
    assert secret_arguments.secret(nothing) == "whsec_c"
    both = {"secret": ["a secret"], "secret_file": [several]}
    assert secret_arguments.secrets(both) == ["a secret", "whsec_a", "whsec_b"]
    assert secret_arguments.secret(both) == "a secret"
    with pytest.raises(ValueError, match="Several"):
        secret_arguments.secret({"secret": [], "secret_file": [several]})
