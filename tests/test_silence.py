"""Journey: a meter stops, its utility is told; it comes again, and that is told too."""

import json
from collections.abc import Generator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tenants import signing
from tests.processes import Platform, Source, running, wait_until

pytestmark = pytest.mark.processes

_SETTINGS = {"GRIDHOOK_SWEEP_INTERVAL_S": "1", "GRIDHOOK_DRAIN_S": "0"}
_MOVE = """
UPDATE ingest_channelwatch SET due_at = due_at - interval '2 hours',
    heard_at = heard_at - interval '2 hours'
"""
#: As if the sweeps had come since yesterday.
_AWAKE = "UPDATE ingest_silencesweep SET awake_since = now() - interval '1 day'"


@pytest.fixture(scope="module")
def platform() -> Generator[Platform, None, None]:
    with running(environment=_SETTINGS) as platform:
        yield platform


def post(source: Source, number: int) -> None:
    """Send an hour's reading, signed."""
    reading = {"at": f"2026-01-01T{number:02}:00:00Z", "duration_s": 3600, "value": 1}
    body = json.dumps(
        {
            "transaction_id": f"head-end-7/{number}",
            "device": "WM-1",
            "readings": [{**reading, "unit": "kWh"}],
        }
    ).encode()
    target = urlsplit(source.url)
    link = HTTPConnection(target.hostname or "", target.port, timeout=20)
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": signing.sign_hub(signing.hub_key(source.secret), body),
    }
    link.request("POST", target.path, body, headers)
    assert link.getresponse().status == 202
    link.close()


def ask(platform: Platform, source: Source, path: str) -> list[dict[str, Any]]:
    status, reply = platform.api(source.api_key, "GET", path)
    assert status == 200, reply
    return list(reply["results"])


def change(platform: Platform, statement: str) -> None:
    with platform.database() as owner:
        owner.execute(statement.encode())


def test_a_meter_that_stops_and_comes_again_is_told_of(platform: Platform) -> None:
    source = platform.new_source()
    wanted = {"url": "http://127.0.0.1:9/", "event_types": ["device.silent"]}
    status, reply = platform.api(source.api_key, "POST", "/endpoints/", wanted)
    assert status == 201, reply
    post(source, 0)
    assert wait_until(
        lambda: bool(ask(platform, source, "/channels/")), timeout_s=20
    ), platform.log[-2000:]
    (channel,) = ask(platform, source, "/channels/")
    path = f"/channels/{channel['id']}/"
    expected = {"expected_interval_s": 3600}
    status, shown = platform.api(source.api_key, "PATCH", path, expected)
    assert (status, shown["silent_since"]) == (200, None)
    change(platform, _AWAKE)
    change(platform, _MOVE)
    assert wait_until(
        lambda: bool(ask(platform, source, "/channels/?silent=true")), timeout_s=20
    )
    # Workers know a new watch within ten seconds.
    numbers = iter(range(1, 24))

    def is_heard() -> bool:
        post(source, next(numbers))
        return not ask(platform, source, "/channels/?silent=true")

    assert wait_until(is_heard, timeout_s=15, pause_s=1)
    told = ask(platform, source, "/messages/?event_type=device.silent")
    assert len(told) == 2
    bodies = platform.rows(
        """SELECT convert_from(body, 'UTF8') FROM subscriptions_message
        WHERE event_type = 'device.silent' ORDER BY id"""
    )
    data = [json.loads(body)["data"] for (body,) in bodies]
    assert [one["status"] for one in data] == ["silent", "heard"]
    assert data[0]["silent_since"] == data[1]["silent_since"]
    (after,) = ask(platform, source, "/channels/")
    assert after["last_heard_at"] == data[1]["last_heard_at"]
