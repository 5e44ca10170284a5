"""Signatures, judged by published vectors and by other people's code."""

import time
from datetime import UTC, datetime

import pytest
from gidgethub import ValidationFailure
from gidgethub.sansio import validate_event
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tenants import signing

BODY = b'{"transaction_id": "t", "readings": [ ]}'

HUB_VECTORS = [
    pytest.param(
        "It's a Secret to Everybody",
        b"Hello, World!",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        id="github",
    ),
    pytest.param(
        "secret",
        b'{"a": "z"}',
        "f417af3a21bd70379b5796d5f013915e7029f62c580fb0f500f59a35a6f04c89",
        id="adnanh",
    ),
    pytest.param(
        "secret",
        b"",
        "f9e66e179b6747ae54108f82f8ade8b3c25d76fd30afde6c395822c530196169",
        id="adnanh-empty",
    ),
    pytest.param(
        "convoy-webhook-secret",
        b'{"event":"charge.success","amount":1000,"currency":"NGN"}',
        "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4",
        id="convoy",
    ),
    pytest.param(
        "\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        id="rfc4231-1",
    ),
    pytest.param(
        "Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        id="rfc4231-2",
    ),
]
STANDARD_VECTORS = [
    pytest.param(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        id="svix",
    ),
    pytest.param(
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        id="standard-webhooks-rust",
    ),
]


@pytest.mark.parametrize(("secret", "body", "digest"), HUB_VECTORS)
def test_hub_matches_published_vectors(secret: str, body: bytes, digest: str) -> None:
    key = signing.hub_key(secret)
    assert signing.sign_hub(key, body) == f"sha256={digest}"
    assert signing.verify_hub([key], f"sha256={digest}", body)
    assert signing.verify_hub([key], f"sha256={digest.upper()}", body)
    assert not signing.verify_hub([key], f"sha256={digest}", body + b" ")


@pytest.mark.parametrize(
    ("secret", "message_id", "timestamp", "body", "signature"), STANDARD_VECTORS
)
def test_standard_matches_published_vectors(
    secret: str, message_id: str, timestamp: int, body: bytes, signature: str
) -> None:
    key = signing.standard_key(secret)
    assert signing.sign_standard(key, message_id, timestamp, body) == signature
    assert signing.verify_standard(
        [key],
        message_id=message_id,
        timestamp=str(timestamp),
        header=f"v1a,x {signature}",
        body=body,
        now_s=timestamp + signing.TOLERANCE_S,
    )


def test_githubs_verifier_takes_our_signature_with_the_secret_as_shown() -> None:
    secret = signing.new_secret()
    signature = signing.sign_hub(signing.hub_key(secret), BODY)
    validate_event(BODY, signature=signature, secret=secret)
    with pytest.raises(ValidationFailure):
        validate_event(BODY + b" ", signature=signature, secret=secret)


def test_standard_webhooks_own_library_takes_our_signature() -> None:
    secret = signing.new_secret()
    now = int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signing.sign_standard(
            signing.standard_key(secret), "msg_1", now, BODY
        ),
    }
    assert Webhook(secret).verify(BODY, headers) == {
        "transaction_id": "t",
        "readings": [],
    }


def test_a_signature_of_standard_webhooks_own_library_is_taken() -> None:
    secret = signing.new_secret()
    now = datetime.now(tz=UTC)
    header = Webhook(secret).sign("msg_2", now, BODY.decode())
    assert signing.verify_standard(
        [signing.standard_key(secret)],
        message_id="msg_2",
        timestamp=str(int(now.timestamp())),
        header=header,
        body=BODY,
        now_s=now.timestamp(),
    )


def standard(
    *, header: str | None = None, timestamp: str = "1000", now_s: float = 1000.0
) -> bool:
    key = b"k"
    good = signing.sign_standard(key, "m", 1000, b"x")
    return signing.verify_standard(
        [b"other", key],
        message_id="m",
        timestamp=timestamp,
        header=good if header is None else header,
        body=b"x",
        now_s=now_s,
    )


def test_either_key_of_an_overlap_is_taken() -> None:
    assert standard()
    assert signing.verify_hub([b"a", b"b"], signing.sign_hub(b"a", b"x"), b"x")
    assert signing.verify_hub([b"a", b"b"], signing.sign_hub(b"b", b"x"), b"x")
    assert not signing.verify_hub([b"a", b"b"], signing.sign_hub(b"c", b"x"), b"x")
    assert not signing.verify_hub([], signing.sign_hub(b"c", b"x"), b"x")


@pytest.mark.parametrize(("now_s", "taken"), [(700, 1), (1300, 1), (699, 0), (1301, 0)])
def test_a_timestamp_is_taken_for_five_minutes_both_ways(
    now_s: float, taken: int
) -> None:
    assert standard(now_s=now_s) == bool(taken)


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        " 1000",
        "1000.0",
        "1e3",
        "+1000",
        "-1000",
        "\u0661\u0660\u0660\u0660",
        "9" * 5000,
    ],
)
def test_a_timestamp_is_digits(timestamp: str) -> None:
    assert not standard(timestamp=timestamp)


@pytest.mark.parametrize(
    "header", ["", "v1", "v1,", "v1,,", "v2,AAAA", "v1,é", "v1,\udcff", "V1,AAAA"]
)
def test_a_malformed_standard_signature_is_no_match(header: str) -> None:
    assert not standard(header=header)


@given(header=st.text(), body=st.binary(max_size=64))
def test_no_header_raises(header: str, body: bytes) -> None:
    assert not signing.verify_hub([b"k"], header, body)
    assert not signing.verify_hub([b"k"], f"sha256={header}", body)
    assert not standard(header=header)
    assert not standard(header=f"v1,{header}")


def test_hub_wants_the_prefix_in_lower_case_and_all_digits() -> None:
    good = signing.sign_hub(b"k", b"x")
    digits = good.removeprefix("sha256=")
    for header in (digits, f"SHA256={digits}", f"sha1={digits}", good[:-1], good + "0"):
        assert not signing.verify_hub([b"k"], header, b"x")


def test_secrets_are_fresh_and_long() -> None:
    secrets = {signing.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(signing.standard_key(secret)) == 32 for secret in secrets)


#: By openssl: the label, a zero byte and the id, under the source's key.
DEVICE_VECTORS = [
    pytest.param(
        signing.hub_key("secret"),
        "WM-1",
        "a286021f65c68e8600caa238188a0e5c23e0e0dd47a59d0d6454f385fb965e7c",
        id="hub",
    ),
    pytest.param(
        signing.hub_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "WM-1001",
        "48ad1024391ff8ee611d51340634d96bce3132c6875d60b30227d6fee5bdc834",
        id="hub-whsec",
    ),
    pytest.param(
        signing.standard_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "WM-1001",
        "e06960bd6a8aa2e047f306a57bc5665951b2e7da0872281a38f6b38bbcf10d6f",
        id="standard",
    ),
    pytest.param(
        signing.standard_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "Z\u00e4hler 7/\u6c34",
        "e9f583767185b9faa1172179c2857d232f4d63a3ffba7e217f93ff2d6419cfb4",
        id="standard-utf-8",
    ),
]


@pytest.mark.parametrize(("key", "device", "expected"), DEVICE_VECTORS)
def test_device_keys_are_what_openssl_derives(
    key: bytes, device: str, expected: str
) -> None:
    assert signing.device_key(key, device).hex() == expected


@given(device=st.text(alphabet=st.characters(codec=None)))
def test_device_keys_differ_by_device_and_never_raise(device: str) -> None:
    assert signing.device_key(b"k", device) != signing.device_key(b"k", device + "x")


def test_half_a_surrogate_pair_in_a_header_is_no_match() -> None:
    for header in ("\ud800", "sha256=\udfff", "v1,\ud800"):
        assert not signing.verify_hub([b"k"], header, b"x")
        assert not standard(header=header)
    assert not standard(timestamp="\ud800")
