"""Bodies at the edges of what is taken, and encodings that would grow (R40)."""

import gzip
import zlib

import psutil
import pytest

from ingest.tests.listening import Running, Sender, callback, stored
from tenants.models import Tenant
from tests.hostile.measuring import MIB, measured
from tests.hostile.sockets import exchange

pytestmark = pytest.mark.processes

LIMIT = 10 * MIB


def padded(name: str, size: int) -> bytes:
    """Return a callback of exactly this many bytes."""
    frame = callback(name, note="")
    return frame.replace(b'"note": ""', b'"note": "%s"' % (b"x" * (size - len(frame))))


@pytest.mark.parametrize("size", [512, 2_047, 2_048, 65_535, 65_536, 65_537, LIMIT])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["declared", "in chunks"])
def test_a_body_of_any_size_up_to_the_limit_is_taken(
    listener: Running, tenant: Tenant, sender: Sender, size: int, is_chunked: bool
) -> None:
    body = padded(f"{size}", size)
    assert len(body) == size
    sent = iter([body[:1], body[1:]]) if is_chunked else body
    answer = listener.ask(sender.path, sent, sender.hub(body))  # type: ignore[arg-type]  # http.client sends an iterator in chunks
    assert answer.status == 202
    assert [bytes(row[1]) for row in stored(tenant)] == [body]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["declared", "in chunks"])
def test_one_byte_more_is_refused(
    listener: Running, tenant: Tenant, sender: Sender, is_chunked: bool
) -> None:
    body = padded("more", LIMIT + 1)
    sent = iter([body[:1], body[1:]]) if is_chunked else body
    answer = listener.ask(sender.path, sent, sender.hub(body))  # type: ignore[arg-type]  # as above
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert stored(tenant) == []


@pytest.mark.parametrize("declared", ["10485761", "4294967296", "9" * 18])
def test_a_size_that_is_only_claimed_reserves_nothing(
    listener: Running, sender: Sender, declared: str
) -> None:
    head = f"POST {sender.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {declared}"
    with measured(psutil.Process(listener.process.pid)) as cost:
        answer = exchange(listener.port, f"{head}\r\n\r\n{{".encode())
    assert answer.statuses == (413,)
    assert cost.peak_bytes < 2 * MIB


ENCODED = {
    "gzip": gzip.compress(callback()),
    "deflate": zlib.compress(callback()),
    "br": b"\x0b\x02\x80" + callback(),
    "zstd": b"\x28\xb5\x2f\xfd" + callback(),
    "identity": callback(),
    "gzip, gzip": gzip.compress(gzip.compress(b"0" * MIB)),
    "x-bomb": gzip.compress(b"0" * 5 * MIB),
    "": callback(),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_no_encoding_is_taken_and_none_is_unpacked(
    listener: Running, tenant: Tenant, sender: Sender, encoding: str
) -> None:
    body = ENCODED[encoding]
    headers = {**sender.hub(body), "Content-Encoding": encoding}
    answer = listener.ask(sender.path, body, headers)
    assert (answer.status, answer.code) == (415, "content_encoding_unsupported")
    # Without the header it is just not JSON.
    bare = listener.post(sender, b"\x1f\x8b" + body)
    assert (bare.status, bare.code) == (400, "malformed_json")
    assert stored(tenant) == []
