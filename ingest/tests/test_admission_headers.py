"""Any headers at all before admission, and the order in which it asks."""

import asyncio
import hmac
from collections.abc import Sequence
from itertools import cycle
from time import time
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.listener.admission import Admission, Admitted
from ingest.listener.rate_store import Limit
from ingest.listener.rates import RateLimiter
from ingest.listener.replies import Refused, Reply
from ingest.listener.requests import Headers, device_named, pick
from ingest.listener.sources import KnownSource, SourceDirectory
from ingest.tests.test_listener_core import Sent
from tenants import signing
from tenants.addresses import Networks
from tenants.identifiers import new_id, public_id

FOREVER = float("inf")
BODY = b'{"transaction_id": "t", "readings": []}'
NAMES = [
    "x-hub-signature-256",
    "x-hub-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-device-id",
    "x-forwarded-for",
    "content-length",
]
VALUES = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)),
    st.sampled_from(
        ["", "sha256=", "sha256=" + "0" * 64, "v1,", "v1,AAAA v1,", "1000", "%", "%zz"]
    ),
)


def known(**parts: Any) -> KnownSource:
    return KnownSource(
        **{
            "id": new_id(),
            "tenant_id": 1,
            "scheme": "hub",
            "keys": [(b"k", FOREVER)],
            **parts,
        }
    )


def admitted(
    source: KnownSource | None,
    *requests: list[tuple[str, str]],
    clients: Sequence[str] = ("192.0.2.1:1",),
) -> list[Reply | Admitted]:
    """Return who is admitted, or the refusal, of requests to a source in memory."""
    text = public_id("src", source.id if source else uuid4())

    async def asked() -> list[Reply | Admitted]:
        directory = SourceDirectory()
        if source is None:
            directory._unknown[text] = FOREVER
        else:
            directory._known[text] = (FOREVER, source)
        admission, found = Admission(directory, RateLimiter()), []
        for headers, client in zip(requests, cycle(clients), strict=False):
            request = Sent(text, [], headers, client=client)
            try:
                answer: Reply | Admitted = await admission.admit(
                    request, text, pick(headers), BODY, now_s=time()
                )
            except Refused as refused:
                answer = refused.reply
            found.append(answer)
        return found

    return asyncio.run(asked())


def codes(
    source: KnownSource | None,
    *requests: list[tuple[str, str]],
    clients: Sequence[str] = ("192.0.2.1:1",),
) -> list[str]:
    answers = admitted(source, *requests, clients=clients)
    return [one.code if isinstance(one, Reply) else "admitted" for one in answers]


@example(headers=[("webhook-timestamp", "9" * 5000), ("webhook-signature", "v1,")])
@example(headers=[("x-device-id", "WM-1"), ("x-device-id", "WM-1")])
@given(headers=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
def test_whatever_the_headers_say_it_is_one_refusal(
    headers: list[tuple[str, str]],
) -> None:
    sources = [
        None,
        known(),
        known(scheme="standard"),
        known(device_keys=True),
        known(device_keys=True, scheme="standard", revoked=frozenset({"WM-1"})),
        known(keys=[]),
    ]
    for source in sources:
        assert codes(source, headers) == ["signature_invalid"]


@given(device=st.text(min_size=1, max_size=300))
def test_a_device_is_found_again_in_what_its_name_is_encoded_as(device: str) -> None:
    encoded = "".join(
        chr(octet) if 0x20 < octet < 0x7F and octet != 0x25 else f"%{octet:02X}"
        for octet in device.encode()
    )
    is_id = len(device) <= 255 and "\0" not in device
    assert device_named(encoded) == (device if is_id else None)


@given(header=VALUES)
def test_no_name_of_a_device_raises(header: str) -> None:
    found = device_named(header)
    assert found is None or (1 <= len(found) <= 255 and "\0" not in found)


def signed(key: bytes = b"k") -> list[tuple[str, str]]:
    return [("x-hub-signature-256", signing.sign_hub(key, BODY))]


HERE, ELSEWHERE = Networks(["192.0.2.0/24"]), Networks(["198.51.100.0/24"])


@override_settings(RATE_LIMIT_URL="")
@pytest.mark.parametrize(
    ("parts", "headers", "expected"),
    [
        ({}, signed(), "admitted"),
        ({"networks": HERE}, signed(), "admitted"),
        ({"networks": HERE}, signed(b"x"), "signature_invalid"),
        ({"networks": ELSEWHERE}, signed(), "address_not_allowed"),
        ({"networks": ELSEWHERE}, signed(b"x"), "address_not_allowed"),
        ({"networks": Networks([])}, signed(), "address_not_allowed"),
    ],
)
def test_the_address_is_asked_before_the_signature(
    parts: dict[str, Any], headers: list[tuple[str, str]], expected: str
) -> None:
    assert codes(known(**parts), headers) == [expected]


@override_settings(RATE_LIMIT_URL="")
def test_the_rate_is_counted_between_address_and_signature() -> None:
    source = known(networks=HERE, limits=(Limit("source", "s", 1),))
    away, here = "203.0.113.1:1", "192.0.2.1:1"
    answers = admitted(
        source,
        signed(),
        signed(b"x"),
        signed(),
        signed(),
        clients=(away, here, here, away),
    )
    replies = [answer for answer in answers if isinstance(answer, Reply)]
    assert [reply.code for reply in replies] == [
        "address_not_allowed",
        "signature_invalid",
        "rate_limited",
        "address_not_allowed",
    ]
    # What a limited source is told of its limits would tell that there is one.
    assert ["ratelimit" in dict(reply.headers) for reply in replies] == [
        False,
        False,
        True,
        False,
    ]


def digests_of(source: KnownSource | None, headers: Headers) -> int:
    """Count the digests over the body that a refusal costs."""
    counted, digest = [], hmac.digest

    def count(key: bytes, message: bytes, name: str) -> bytes:
        counted.append(message)
        return digest(key, message, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmac, "digest", count)
        lines = [(name, value or "") for name, value in headers.items()]
        assert codes(source, lines) == ["signature_invalid"]
    return sum(BODY in message for message in counted)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": "sha256=" + "0" * 64},
        {"x-hub-signature-256": "rubbish"},
        {"webhook-signature": "v1,AAAA", "webhook-id": "m", "webhook-timestamp": "1"},
        {"webhook-signature": "v1,AAAA"},
        {"x-hub-signature": "sha256=", "webhook-signature": "v1,AAAA"},
        {"x-device-id": "WM-1", "x-hub-signature-256": "sha256=" + "0" * 64},
    ],
)
def test_every_refusal_costs_as_much_as_that_of_an_unknown_source(
    headers: Headers,
) -> None:
    rotating = [(b"k", FOREVER), (b"l", FOREVER)]
    sources = [
        known(scheme=scheme, keys=keys, device_keys=device_keys)
        for scheme in ("hub", "standard")
        for keys in ([(b"k", FOREVER)], rotating, [])
        for device_keys in (False, True)
    ]
    costs = {digests_of(source, headers) for source in (None, *sources)}
    assert costs == {2}


def test_an_address_is_known_by_the_socket_alone() -> None:
    headers = [*signed(), ("x-forwarded-for", "192.0.2.1")]
    assert codes(known(networks=HERE), headers, clients=["[2001:db8::1]:443"]) == [
        "address_not_allowed"
    ]
