"""Signatures in every form, replays, and one bit that is wrong (R31, R33)."""

import hmac
import random
import time
from hashlib import sha256
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_tenant
from ingest.listener.replies import Reply
from ingest.tests.listening import Sender, callback, new_sender, stored
from tenants.models import Tenant
from tenants.services import NewTenant
from tests.hostile.inprocess import Ask, Wire, plain, signed
from tests.hostile.signature_cases import HUB, STANDARD, Hub, Right, Standard

SEED = 31
FLIPS = 10_000


def digits_of(sender: Sender, body: bytes) -> str:
    """Return what the sender's secret makes of a body, by the standard library."""
    return hmac.new(sender.secret.encode(), body, sha256).hexdigest()


def refused_alike(reply: Reply) -> None:
    """Check that it is the one reply that tells nothing."""
    assert (reply.status, reply.code) == (401, "signature_invalid")
    assert reply.body == (
        b'{"type":"about:blank","title":"The signature is not valid",'
        b'"status":401,"code":"signature_invalid"}'
    )
    assert [name for name, _ in reply.headers] == ["content-type", "x-request-id"]


@pytest.mark.parametrize("case", HUB, ids=lambda case: case.name)
def test_hub_headers_are_taken_or_get_the_one_reply(
    wire: Wire, tenant: Tenant, sender: Sender, case: Hub
) -> None:
    body = callback()
    headers = case.headers(digits_of(sender, body))
    reply = wire.ask(plain(sender, body, headers))
    if case.is_taken:
        assert reply.status == 202
    else:
        refused_alike(reply)
    assert len(stored(tenant)) == case.is_taken


@pytest.mark.parametrize("case", STANDARD, ids=lambda case: case.name)
def test_standard_headers_are_taken_or_get_the_one_reply(
    wire: Wire, tenant: Tenant, standard: Sender, case: Standard
) -> None:
    body = b'{"device": "WM-1", "readings": []}'
    good = standard.standard(body, message_id=uuid4().hex)
    right = Right(*list(good.values())[:3])
    reply = wire.ask(plain(standard, body, case.headers(right)))
    if case.is_taken:
        assert reply.status == 202
    else:
        refused_alike(reply)
    assert len(stored(tenant)) == case.is_taken


def test_there_are_cases_enough() -> None:
    for cases in (HUB, STANDARD):
        names = [case.name for case in cases]
        assert len(set(names)) == len(names) >= 49


def test_one_wrong_bit_anywhere_is_refused(
    wire: Wire, tenant: Tenant, sender: Sender, standard: Sender
) -> None:
    chance = random.Random(SEED)  # noqa: S311 (a seed, no secret)
    asks = [flipped(chance, sender, standard) for _ in range(FLIPS)]
    for reply in wire.ask_all(asks):
        refused_alike(reply)
    assert stored(tenant) == []


def flipped(chance: random.Random, sender: Sender, standard: Sender) -> Ask:
    """Return a signed request with one bit of its body, tag or id turned over."""
    body = callback()
    part = chance.choice(("body", "tag", "body of standard", "tag of standard", "id"))
    if part == "body":
        return plain(sender, flip(chance, body), sender.hub(body).items())
    if part == "tag":
        tag = flip(chance, bytes.fromhex(digits_of(sender, body))).hex()
        return plain(sender, body, [("x-hub-signature-256", f"sha256={tag}")])
    headers = standard.standard(body, message_id=uuid4().hex)
    if part == "id":
        identifier = headers["webhook-id"].encode()
        headers["webhook-id"] = flip(chance, identifier).decode("latin-1")
    elif part == "tag of standard":
        tag = flip(chance, headers["webhook-signature"].encode()[3:]).decode("latin-1")
        headers["webhook-signature"] = f"v1,{tag}"
    else:
        body = flip(chance, body)
    return plain(standard, body, headers.items())


def flip(chance: random.Random, data: bytes) -> bytes:
    """Return the bytes with one bit turned over."""
    place = chance.randrange(len(data) * 8)
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def test_nothing_tells_an_unknown_source_from_a_wrong_signature(
    wire: Wire, sender: Sender, standard: Sender, stranger: NewTenant
) -> None:
    body = callback()
    theirs = new_sender(stranger.tenant)
    good = sender.hub(body)
    asks = [
        plain(sender, body + b" ", good.items()),
        plain(theirs, body, good.items()),
        plain(standard, body, good.items()),
        *(
            Ask(f"/v1/callbacks/{text}", body, list(plain(sender, body, ()).headers))
            for text in (f"src_{uuid4().hex}", "src_", "x", "\0", "src_" + "0" * 500)
        ),
    ]
    for reply in wire.ask_all(asks):
        refused_alike(reply)


def test_a_capture_that_is_sent_again_is_answered_and_stored_once(
    wire: Wire, tenant: Tenant, sender: Sender, standard: Sender
) -> None:
    body = callback()
    moment = int(time.time()) - 299
    captures = [
        signed(sender, body),
        plain(
            standard,
            body := b'{"readings": []}',
            standard.standard(body, message_id="m", at=moment).items(),
        ),
    ]
    first = wire.ask_all(captures)
    again = wire.ask_all(captures * 3)
    assert [reply.status for reply in first] == [202, 202]
    assert {reply.status for reply in again} <= {200, 401}
    assert len(stored(tenant)) == 2


@pytest.mark.parametrize("age_s", [301, 86_400, 400 * 86_400, -301])
def test_a_capture_whose_signed_time_is_over_is_refused(
    wire: Wire, tenant: Tenant, standard: Sender, age_s: int
) -> None:
    body = b'{"readings": []}'
    headers = standard.standard(body, message_id="m", at=time.time() - age_s)
    refused_alike(wire.ask(plain(standard, body, headers.items())))
    assert stored(tenant) == []


names = st.sampled_from(
    [
        "x-hub-signature-256",
        "x-hub-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-device-id",
        "x-forwarded-for",
        "content-length",
        "content-type",
    ]
)
values = st.text(max_size=80) | st.from_regex(r"(sha256=|v1,)[0-9a-f+/=]{0,70}")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    headers=st.lists(st.tuples(names, values), max_size=8),
    body=st.binary(max_size=200),
    which=st.booleans(),
)
def test_no_headers_at_all_bring_anything_but_a_refusal(
    wire: Wire,
    schemes: tuple[Sender, Sender],
    headers: list[tuple[str, str]],
    body: bytes,
    which: bool,
) -> None:
    reply = wire.ask(Ask(schemes[which].path, body, headers))
    assert reply.status in {401, 413}


@pytest.fixture(scope="module")
def schemes() -> tuple[Sender, Sender]:
    """A source of each scheme, for all examples."""
    owner = make_tenant().tenant
    return new_sender(owner), new_sender(owner, "standard")
