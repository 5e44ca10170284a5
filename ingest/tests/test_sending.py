import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gidgethub.sansio
import pytest
import standardwebhooks

from ingest.replaying.posting import Posting, Target, posting
from ingest.replaying.sending import Sender, Unreachable
from tenants.signing import new_secret
from tests.processes import ROOT

SECRET = new_secret()


class Receiver(ThreadingHTTPServer):
    """A real server that answers as its script says, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.bodies: Counter[bytes] = Counter()
        #: Status and headers by how often these bytes have come; then 202.
        self.script: list[tuple[int, dict[str, str]]] = []
        self.body = b"{}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/callbacks/src_1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
        before = self.server.bodies[body]
        self.server.bodies[body] += 1
        script = self.server.script
        status, headers = script[before] if before < len(script) else (202, {})
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def some(count: int) -> list[Posting]:
    return [posting(f"é/{number}", "D-1", []) for number in range(count)]


def test_every_callback_is_answered_once_and_signed_for_another_verifier(
    receiver: Receiver,
) -> None:
    outcomes = list(Sender(Target(receiver.url, SECRET)).send(some(100)))

    assert [outcome.word for outcome in outcomes] == ["accepted"] * 100
    assert set(receiver.bodies.values()) == {1}
    for headers, body in receiver.seen:
        gidgethub.sansio.validate_event(
            body, signature=headers["x-hub-signature-256"], secret=SECRET
        )


def test_the_standard_scheme_is_signed_for_another_verifier(receiver: Receiver) -> None:
    target = Target(receiver.url, SECRET, "standard")

    list(Sender(target).send([posting("a/1", "D-1", [])]))

    ((headers, body),) = receiver.seen
    assert headers["webhook-id"] == "a/1"
    standardwebhooks.Webhook(SECRET).verify(body, headers)


def test_what_told_nothing_is_posted_again_with_the_same_bytes(
    receiver: Receiver,
) -> None:
    receiver.script = [(503, {"Retry-After": "0"}), (0, {}), (429, {}), (500, {})]
    sender = Sender(Target(receiver.url, SECRET), concurrency=4)

    outcomes = list(sender.send(some(3)))

    assert [outcome.status for outcome in outcomes] == [202] * 3
    assert sender.retries >= 9, "libcurl repeats on a closed connection by itself"
    assert set(receiver.bodies.values()) == {5}


def test_retry_after_is_waited_for(receiver: Receiver) -> None:
    receiver.script = [(503, {"Retry-After": "1"})]
    started_s = time.monotonic()

    list(Sender(Target(receiver.url, SECRET)).send(some(1)))

    assert time.monotonic() - started_s >= 1


def test_a_refusal_is_final_and_carries_its_code(receiver: Receiver) -> None:
    receiver.script = [(409, {})]
    receiver.body = json.dumps(
        {"code": "transaction_conflict", "detail": "Other bytes."}
    ).encode()

    (outcome,) = Sender(Target(receiver.url, SECRET)).send(some(1))

    assert (outcome.status, outcome.word) == (409, "transaction_conflict")
    assert not outcome.is_taken


def test_a_rate_is_kept(receiver: Receiver) -> None:
    started_s = time.monotonic()

    list(Sender(Target(receiver.url, SECRET), rate=50).send(some(26)))

    assert 0.45 < time.monotonic() - started_s < 2


def test_nobody_there_is_said_after_the_patience() -> None:
    sender = Sender(Target("http://127.0.0.1:9/x", SECRET), patience_s=0.5)

    with pytest.raises(Unreachable, match=r"No answer to 'é/\d' after \d attempts"):
        list(sender.send(some(2)))


def test_a_secret_the_scheme_cannot_use_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="whsec_ and base64"):
        Target("http://127.0.0.1:9/", "a secret", "standard")


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a remote user does: no database, no keys, no settings."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "replay", *arguments],
        env={"PATH": "/usr/bin:/bin", "GRIDHOOK_VAR": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_prints_one_json_object_and_fails_when_something_is_refused(
    receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "f.csv"
    path.write_text("ts_utc,d_lpm\n2016-01-01T00:00Z,1\n2016-01-01T01:00Z,1\n")
    common = [str(path), "--url", receiver.url, "--secret", SECRET, "--json"]

    good = replay(*common)
    receiver.script, receiver.body = (
        [(202, {}), (400, {})],
        b'{"code": "malformed_json"}',
    )
    bad = replay(*common)

    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["accepted"] == 1
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["refused"] == {"malformed_json": 1}


def test_the_command_says_in_one_line_which_file_it_does_not_understand(
    tmp_path: Path,
) -> None:
    path = tmp_path / "f.txt"
    path.write_text("hello\n")

    done = replay(str(path), "--url", "http://127.0.0.1:9/", "--secret", SECRET)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr
