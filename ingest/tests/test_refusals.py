"""What a listener says on standard error, and that saying it holds nobody up."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator

import pytest

from ingest.listener import metrics, refusals
from ingest.listener.refusals import LINES_KEPT, LINES_PER_S, Lines, RefusalLog
from ingest.tests.listening import ROOT, Running, Sender, callback, settle


@pytest.fixture
def pipe() -> Generator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def refuse(log: RefusalLog, path: str = "/v1/callbacks/src_1", **what: str) -> str:
    client = what.get("client", "192.0.2.1:5")
    method = what.get("method", "POST")
    return log.write(
        code="not_found", status=404, path=path, client=client, method=method
    )


def written(lines: Lines, end: int) -> list[dict[str, object]]:
    lines.finish()
    return [json.loads(line) for line in os.read(end, 2**20).splitlines()]


def test_a_refusal_is_one_line_that_says_who_and_why(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1])
    request_id = refuse(RefusalLog(lines))
    (line,) = written(lines, pipe[0])
    assert line.pop("timestamp")
    assert line == {
        "event": "refused",
        "code": "not_found",
        "status": 404,
        "method": "POST",
        "path": "/v1/callbacks/src_1",
        "source": "src_1",
        "client": "192.0.2.1:5",
        "request_id": request_id,
        "suppressed": 0,
    }


def test_what_a_stranger_chose_is_escaped_and_cut(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1])
    log = RefusalLog(lines)
    refuse(log, '/v1/callbacks/x\n{"event":"forged"}\x1b[2J\u2028' + "y" * 5000)
    refuse(log, "/elsewhere", method="M" * 5000, client="c" * 5000)
    first, second = written(lines, pipe[0])
    assert first["event"] == second["event"] == "refused"
    assert len(str(first["path"])) == len(str(first["source"])) == 100
    assert second["source"] is None
    assert len(str(second["method"])) == len(str(second["client"])) == 100


def test_beyond_the_bound_of_a_second_refusals_are_counted_and_said_later(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    second = [1000.0]
    monkeypatch.setattr(refusals, "monotonic", lambda: second[0])
    monkeypatch.setattr(refusals, "LINES_PER_S", 3)
    before = metrics.REFUSALS_UNWRITTEN._value.get()
    lines = Lines(pipe[1])
    log = RefusalLog(lines)
    ids = [refuse(log) for _ in range(10)]
    second[0] += 1
    refuse(log)
    found = written(lines, pipe[0])
    assert [line["suppressed"] for line in found] == [0, 0, 0, 7]
    assert [line["request_id"] for line in found[:3]] == ids[:3]
    assert len(set(ids)) == 10
    assert metrics.REFUSALS_UNWRITTEN._value.get() - before == 7
    assert LINES_PER_S >= 1000


def test_a_log_that_nobody_reads_holds_nobody_up(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1])
    text = "x" * 1000
    started_at = time.monotonic()
    taken = [lines.write(text) for _ in range(LINES_KEPT + 200)]
    assert time.monotonic() - started_at < 2
    assert taken[0]
    assert not taken[-1]
    # Read at last, it goes on where it stood.
    os.set_blocking(pipe[0], False)
    deadline = time.monotonic() + 10
    got = 0
    while got < sum(taken) * 1001 and time.monotonic() < deadline:
        try:
            got += len(os.read(pipe[0], 2**20))
        except BlockingIOError:
            time.sleep(0.01)
    assert got == sum(taken) * 1001


def test_what_python_says_has_the_same_form() -> None:
    """In a process of its own: pytest has the loggers and warnings of this one."""
    program = (
        "import logging, warnings\n"
        "from ingest.listener.refusals import STDERR, adopt_loggers\n"
        "adopt_loggers()\n"
        "logging.getLogger('gridhook.test').error('no %s', 'luck')\n"
        "try:\n    1 / 0\n"
        "except ZeroDivisionError:\n    logging.exception('broken')\n"
        "warnings.warn('old')\n"
        "STDERR.finish()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    error, broken, warning = map(json.loads, done.stderr.splitlines())
    assert (error["event"], error["level"]) == ("no luck", "error")
    assert error["logger"] == "gridhook.test"
    assert error["timestamp"]
    assert "ZeroDivisionError" in broken["exception"]
    assert "old" in warning["event"]


def test_every_refusal_of_a_burst_is_in_the_log(
    listener: Running, sender: Sender
) -> None:
    answers = [listener.ask(sender.path, callback()) for _ in range(100)]
    ids = {answer.headers["x-request-id"] for answer in answers}

    def found() -> set[str]:
        lines = [json.loads(line) for line in listener.output.read_text().splitlines()]
        return ids & {line.get("request_id") for line in lines}

    settle(lambda: found() == ids)
