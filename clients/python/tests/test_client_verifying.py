"""Verifying messages: by vectors, by the platform's signer, and by anything at all."""

import base64
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from http.client import HTTPMessage
from typing import Any

import pytest
from django.http.request import HttpHeaders
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gridhook_client import Message, Place, VerificationFailed, Verifier
from subscriptions.batches import batch_body
from tenants import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 (published)
NOW_S = 1_700_000_000
PRIVATE = bytes(range(32))
PUBLIC = signing.public_text(signing.ed25519_public(PRIVATE))
DOCUMENT: dict[str, Any] = {
    "id": "msg_1",
    "type": "callback.processed",
    "timestamp": "2026-11-23T18:21:00.123456Z",
    "tenant": "acme",
    "data": {"readings": {"stored": 1}, "note": "é"},
}


def body_of(**changes: Any) -> bytes:
    return json.dumps(DOCUMENT | changes, ensure_ascii=False).encode()


BODY = body_of()


def v1(body: bytes = BODY, secret: str = SECRET, message_id: str = "msg_1") -> str:
    key = signing.standard_key(secret)
    return signing.sign_standard(key, message_id, NOW_S, body)


def headers(body: bytes = BODY, **changes: str) -> dict[str, str]:
    sent = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": v1(body),
    }
    return sent | {name.replace("_", "-"): value for name, value in changes.items()}


def verifier(*secrets: str, **options: Any) -> Verifier:
    return Verifier(secrets or [SECRET], clock=lambda: NOW_S, **options)


def refusal(sent: Any, body: Any = BODY, **options: Any) -> str:
    """Return the one error's text."""
    with pytest.raises(VerificationFailed) as caught:
        verifier(**options).verify(sent, body)
    return str(caught.value)


VECTORS = [
    (
        SECRET,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
]


@pytest.mark.parametrize(("secret", "message_id", "at", "body", "signature"), VECTORS)
def test_published_vectors_pass_the_signature_and_fail_as_messages(
    secret: str, message_id: str, at: int, body: bytes, signature: str
) -> None:
    sent = {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature,
    }
    clocked = Verifier([secret], clock=lambda: at)
    with pytest.raises(VerificationFailed, match="`id` is no text"):
        clocked.verify(sent, body)
    with pytest.raises(VerificationFailed, match="does not match"):
        clocked.verify(sent, body + b" ")


def test_a_message_is_read_with_decimals_and_its_moment() -> None:
    body = body_of(data={"value": 0.10753, "count": 3})
    message = verifier().verify(headers(body), body)
    assert message == Message(
        id="msg_1",
        type="callback.processed",
        timestamp=datetime(2026, 11, 23, 18, 21, 0, 123456, tzinfo=UTC),
        tenant="acme",
        data={"value": Decimal("0.10753"), "count": 3},
    )
    assert (message.sequence, message.previous_id) == (None, None)


def test_a_signature_of_standard_webhooks_own_library_is_taken() -> None:
    now = datetime.now(tz=UTC)
    sent = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, BODY.decode()),
    }
    assert Verifier([SECRET]).verify(sent, BODY).id == "msg_1"


def test_any_secret_and_any_public_key_in_force_is_enough() -> None:
    other = signing.new_secret()
    both = f"{v1(secret=other)} {v1()}"
    assert verifier().verify(headers(webhook_signature=both), BODY).id
    assert verifier(other, SECRET).verify(headers(), BODY).id
    item = signing.sign_ed25519(PRIVATE, "msg_1", NOW_S, BODY)
    public = Verifier(public_keys=[PUBLIC], clock=lambda: NOW_S)
    sent = headers(webhook_signature=f"{v1(secret=other)} {item}")
    assert public.verify(sent, BODY).id
    mixed = verifier(signing.new_secret(), public_keys=[PUBLIC])
    assert mixed.verify(sent, BODY).id
    with pytest.raises(VerificationFailed):
        public.verify(headers(), BODY)
    with pytest.raises(VerificationFailed):
        public.verify(sent, BODY.replace(b"acme", b"evil"))


@pytest.mark.parametrize(
    "sent",
    [
        [("Webhook-ID", "msg_1"), ("WEBHOOK-TIMESTAMP", str(NOW_S)),
         ("webhook-Signature", v1())],
        [(b"webhook-id", b"msg_1"), (b"webhook-timestamp", str(NOW_S).encode()),
         (b"webhook-signature", v1().encode()), (b"x-other", b"\xff")],
    ],
    ids=["any case", "bytes"],
)  # fmt: skip
def test_header_names_are_read_in_any_case_and_as_bytes(sent: Any) -> None:
    assert verifier().verify(sent, BODY).type == "callback.processed"


def test_headers_are_taken_as_a_server_and_a_framework_have_them() -> None:
    mail = HTTPMessage()
    for name, value in headers().items():
        mail[name] = value
    environ = {
        "HTTP_" + name.upper().replace("-", "_"): value
        for name, value in headers().items()
    }
    assert verifier().verify(mail, BODY).id
    assert verifier().verify(HttpHeaders(environ), BODY).id


@pytest.mark.parametrize(
    "name", ["webhook-id", "webhook-timestamp", "webhook-signature"]
)
def test_a_header_that_is_missing_twice_or_too_long_is_refused(name: str) -> None:
    sent = headers()
    assert name in refusal({key: sent[key] for key in sent if key != name})
    assert "twice" in refusal([*sent.items(), (name.upper(), sent[name])])
    assert refusal(sent | {name: sent[name] + "x" * 9000})
    assert refusal(sent | {name: ""})


@pytest.mark.parametrize(("off_s", "taken"), [(300, 1), (-300, 1), (301, 0), (-301, 0)])
def test_a_timestamp_is_good_for_five_minutes_both_ways(off_s: int, taken: int) -> None:
    clocked = Verifier([SECRET], clock=lambda: NOW_S + off_s)
    if taken:
        assert clocked.verify(headers(), BODY).id
        return
    with pytest.raises(VerificationFailed, match="too far from now"):
        clocked.verify(headers(), BODY)


@pytest.mark.parametrize(
    "timestamp",
    ["", " 1", "Infinity", "1e9", "+1", "-1", "\u0661", "9" * 5000, "1700000000.0"],
)
def test_a_timestamp_is_digits(timestamp: str) -> None:
    assert refusal(headers(webhook_timestamp=timestamp))


@pytest.mark.parametrize(
    "signature",
    [
        "", "v1", "v1,", "v1,,", "v1a,", "v2," + "A" * 44, "1234", v1()[:-1],
        v1()[3:], v1().upper(), "v1,é", "v1a," + "A" * 87 + "=", v1() + ",",
        " ".join(["v1," + "A" * 43 + "="] * 33), "\ud800" * 47,
    ],
)  # fmt: skip
def test_a_malformed_signature_is_refused(signature: str) -> None:
    assert refusal(headers(webhook_signature=signature))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"1", b"[" * 200_000,
        b"1" * 5_000, b'{"a": NaN}', body_of(data=[]), body_of(data=None),
        body_of(id="msg_2"), body_of(id=1), body_of(id="m" * 256), body_of(tenant=""),
        body_of(timestamp="yesterday"), body_of(timestamp="2026-11-23T18:21:00"),
        body_of(timestamp=5), body_of(sequence="1", device="d"), body_of(sequence=-1),
        body_of(sequence=True, device="d"), body_of(order={}), body_of(order=[1]),
        body_of(sequence=1, device="d", previous_id=5), b"\xef\xbb\xbf" + BODY,
    ],
)  # fmt: skip
def test_a_signed_body_that_is_no_message_is_the_same_error(body: bytes) -> None:
    assert refusal(headers(body), body)


def test_what_is_no_headers_and_no_body_is_the_same_error() -> None:
    for sent in (
        None, 5, dict, "webhook-id", [1, 2], [("a", "b", "c")], [("a", "b")] * 300,
    ):  # fmt: skip
        assert refusal(sent)
    assert refusal(headers(), BODY.decode())
    assert refusal(headers(), None)
    assert "too many" in refusal(headers(), BODY, limit_bytes=10)
    assert refusal({None: 1, "webhook-id": None} | headers(webhook_id=""))


HEADER = st.one_of(st.text(), st.binary(), st.none(), st.integers())


@settings(max_examples=50)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
            HEADER,
        )
    ),
    body=st.binary(),
)
def test_nothing_unsigned_passes_and_nothing_else_is_raised(
    pairs: Any, body: bytes
) -> None:
    for sent in (pairs, dict(pairs), headers() | dict(pairs)):
        if not (sent == headers() and body == BODY):
            assert refusal(sent, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(
    changes=st.dictionaries(
        st.sampled_from([*DOCUMENT, "sequence", "previous_id", "order", "device"]), JSON
    )
)
def test_a_signed_body_of_any_json_is_a_message_or_the_one_error(
    changes: dict[str, Any],
) -> None:
    body = json.dumps(DOCUMENT | changes).encode()
    try:
        message = verifier().verify(headers(body), body)
    except VerificationFailed:
        return
    assert message.id == "msg_1"


def test_no_error_holds_the_expected_signature_or_the_secret() -> None:
    expected = v1().removeprefix("v1,")
    wrong = "v1," + base64.b64encode(bytes(32)).decode()
    hexed = base64.b64decode(expected).hex()
    for sent in (headers(webhook_signature=wrong), headers(webhook_signature="v1,")):
        text = refusal(sent)
        assert expected not in text
        assert hexed not in text
        assert SECRET not in text
    assert SECRET not in repr(verifier())
    with pytest.raises(ValueError, match="whsec_ and base64") as caught:
        Verifier(["whsec_not*base64"])
    assert "not*base64" not in str(caught.value)


@pytest.mark.parametrize(
    ("secrets", "public_keys"),
    [
        ([], []), ([""], []), (["whsec_"], []), ([], ["whpk_AAAA"]), ("whsec_AAAA", []),
        (iter([]), []), ([None], []), ([b"whsec_AAAA"], []), (b"whsec_AAAA", []),
        (["whsec_AAAA\n"], []), (["whsec_\ud800"], []), ([], [None]),
    ],
)  # fmt: skip
def test_a_verifier_needs_a_good_key(secrets: Any, public_keys: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Verifier(secrets, public_keys=public_keys)


def test_places_of_ordered_messages_are_read() -> None:
    place = {"device": "WM-1", "sequence": 7, "previous_id": "msg_0"}
    body = body_of(**place)
    message = verifier().verify(headers(body), body)
    assert message.order == (Place("WM-1", 7, "msg_0"),)
    assert (message.sequence, message.previous_id) == (7, "msg_0")
    first = {"device": "WM-2", "sequence": 1, "previous_id": None}
    body = body_of(order=[place, first])
    message = verifier().verify(headers(body), body)
    assert message.order == (Place("WM-1", 7, "msg_0"), Place("WM-2", 1, None))
    assert message.sequence is None


def batched(*bodies: bytes) -> tuple[dict[str, str], bytes]:
    """Return a batch as the platform renders and signs it."""
    items = [(f"msg_{number}", body) for number, body in enumerate(bodies, 1)]
    body = batch_body(items, source="https://gridhook.example/acme")
    key = signing.standard_key(SECRET)
    signature = signing.sign_standard(key, "bat_1", NOW_S, body)
    return headers(webhook_id="bat_1", webhook_signature=signature), body


def test_the_platforms_batch_is_read_message_by_message() -> None:
    place = {"device": "WM-1", "sequence": 7, "previous_id": "msg_0"}
    order = [place, {"device": "WM-2", "sequence": 1, "previous_id": None}]
    sent, body = batched(BODY, body_of(**place), body_of(order=order))
    batch = verifier().verify_batch(sent, body)
    one, two, three = batch.messages
    assert batch.id == "bat_1"
    assert one == verifier().verify(headers(), BODY)
    assert (two.id, two.order) == ("msg_2", (Place("WM-1", 7, "msg_0"),))
    assert three.order == (Place("WM-1", 7, "msg_0"), Place("WM-2", 1, None))
    with pytest.raises(VerificationFailed):
        verifier().verify(sent, body)


def events(*changes: dict[str, Any]) -> bytes:
    event = {"time": DOCUMENT["timestamp"], **DOCUMENT}
    return json.dumps([event | change for change in changes]).encode()


def test_a_batch_is_as_the_next_test_changes_it() -> None:
    body = events({}, {"sequence": "7", "device": "d"}, {"order": "[]"})
    assert len(verifier().verify_batch(headers(body), body).messages) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[1]", b"[{}]", BODY, b'[{"id": "m"}]',
        events({"sequence": "7"}), events({"sequence": "x", "device": "d"}),
        events({"sequence": "9" * 5000, "device": "d"}),
        events({"order": 5}), events({"order": "["}), events(*[{}] * 1001),
    ],
)  # fmt: skip
def test_a_signed_body_that_is_no_batch_is_the_one_error(body: bytes) -> None:
    with pytest.raises(VerificationFailed):
        verifier().verify_batch(headers(body), body)


def test_the_clock_is_the_machines_by_default() -> None:
    now = int(time.time())
    key = signing.standard_key(SECRET)
    signature = signing.sign_standard(key, "msg_1", now, BODY)
    sent = headers(webhook_timestamp=str(now), webhook_signature=signature)
    assert Verifier([SECRET]).verify(sent, BODY).id
    with pytest.raises(VerificationFailed):
        Verifier([SECRET]).verify(headers(), BODY)
