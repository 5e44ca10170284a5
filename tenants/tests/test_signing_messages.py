"""The signatures that messages alone carry, judged by vectors and by others' code."""

import base64
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import stripe
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tenants import signing

BODY = '{"type": "é", "data": {"value": 1.50,  "a": "z"}}\n'.encode()

#: Svix's README: 64 bytes, the seed and the public key.
ED25519_PRIVATE = (
    "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMic"
    "MFs6Kvg=="
)
ED25519_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ED25519_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl"
    "8EM+m7TBAg=="
)
SVIX_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SVIX_AT = 1614265330
SVIX_BODY = b'{"test": 2432232314}'
SEED = base64.b64decode(ED25519_PRIVATE)[:32]


def test_ed25519_matches_the_published_vector() -> None:
    assert signing.public_text(signing.ed25519_public(SEED)) == ED25519_PUBLIC
    signature = signing.sign_ed25519(SEED, SVIX_ID, SVIX_AT, SVIX_BODY)
    assert signature == ED25519_SIGNATURE
    assert verified(f"v1,AAAA {signature}")


def verified(
    header: str,
    *,
    body: bytes = SVIX_BODY,
    timestamp: str = str(SVIX_AT),
    now_s: float = SVIX_AT,
    message_id: str = SVIX_ID,
    public: str = ED25519_PUBLIC,
) -> bool:
    return signing.verify_ed25519(
        [b"", bytes(32), signing.parse_public(public)],
        message_id=message_id,
        timestamp=timestamp,
        header=header,
        body=body,
        now_s=now_s,
    )


def test_ed25519_is_over_id_moment_and_body() -> None:
    assert verified(ED25519_SIGNATURE)
    assert not verified(ED25519_SIGNATURE, body=SVIX_BODY + b" ")
    assert not verified(ED25519_SIGNATURE, timestamp=str(SVIX_AT + 1))
    assert not verified(ED25519_SIGNATURE, message_id="msg_2")
    other = signing.public_text(signing.ed25519_public(signing.new_ed25519_key()))
    assert not verified(ED25519_SIGNATURE, public=other)


@pytest.mark.parametrize(
    ("late_s", "taken"), [(300, True), (301, False), (-301, False)]
)
def test_ed25519_is_timely(late_s: int, taken: bool) -> None:
    assert verified(ED25519_SIGNATURE, now_s=SVIX_AT + late_s) is taken


def test_a_library_of_others_takes_our_ed25519_signature() -> None:
    private = signing.new_ed25519_key()
    key = Ed25519PublicKey.from_public_bytes(signing.ed25519_public(private))
    item = signing.sign_ed25519(private, "msg_1", 1_700_000_000, BODY)
    signature = base64.b64decode(item.removeprefix("v1a,"))
    key.verify(signature, b"msg_1.1700000000." + BODY)
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"msg_1.1700000001." + BODY)


@given(header=st.text(), public=st.binary(max_size=40))
def test_no_ed25519_header_and_no_key_raises(header: str, public: bytes) -> None:
    for given_header in (header, f"v1a,{header}", "v1a," + "A" * 87 + "="):
        assert not verified(given_header)
        assert not signing.verify_ed25519(
            [public],
            message_id="m",
            timestamp="1",
            header=given_header,
            body=b"",
            now_s=1,
        )
    assert not verified(ED25519_SIGNATURE[:-1] + "é")
    assert not verified(ED25519_SIGNATURE, message_id="\ud800")


@pytest.mark.parametrize("text", ["", "whpk_", "whpk_é", "whpk_AAAA", "whpk_!" * 8])
def test_a_public_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whpk_ and the base64"):
        signing.parse_public(text)


def test_stripes_verifier_takes_our_signature_with_the_secret_as_shown() -> None:
    secret, old = signing.new_secret(), signing.new_secret()
    now = int(time.time())
    header = signing.sign_stripe(secret, now, BODY, old)
    for one in (secret, old):
        assert stripe.WebhookSignature.verify_header(BODY.decode(), header, one, 300)
    for body, one in ((BODY.decode() + " ", secret), (BODY.decode(), "whsec_AAAA")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body, header, one, 300)
    stale = signing.sign_stripe(secret, now - 301, BODY)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(BODY.decode(), stale, secret, 300)


#: Others sign the same text, `t.body`: Outpost and Hook0.
MOMENT_AND_BODY = [
    pytest.param(
        "test-secret",
        1234567890,
        b'{"hello":"world"}',
        "7054f74dae9f73e82b56ca73e8f81450097c698eeda0b00bb8728e89796baf2d",
        id="outpost",
    ),
    pytest.param(
        "secret",
        1636936200,
        b"hello !",
        "1b3d69df55f1e52f05224ba94a5162abeb17ef52cd7f4948c390f810d6a87e98",
        id="hook0",
    ),
]


@pytest.mark.parametrize(("secret", "at", "body", "digest"), MOMENT_AND_BODY)
def test_stripes_digest_matches_published_vectors(
    secret: str, at: int, body: bytes, digest: str
) -> None:
    assert signing.sign_stripe(secret, at, body) == f"t={at},v1={digest}"


#: A receiver in a shell: it knows openssl, and nothing of this project.
PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
SHELL = PAGES / "receivers" / "verify.sh"


def in_a_shell(header: str, body: Path, **environment: str) -> bool:
    """Tell whether the receiver takes it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: the receiver in a shell was not run.")
    done = subprocess.run(
        ["/bin/sh", SHELL, "msg_1", "1700000000", header, body],
        env={"PATH": "/usr/bin:/bin", "NOW": "1700000300", **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, 1}
    assert done.stderr == b""
    return done.returncode == 0


def test_a_receiver_in_a_shell_judges_both_kinds(tmp_path: Path) -> None:
    secret, private = signing.new_secret(), signing.new_ed25519_key()
    public = signing.public_text(signing.ed25519_public(private))
    body, other = tmp_path / "body", tmp_path / "other"
    body.write_bytes(BODY)
    other.write_bytes(BODY + b"\n")
    items = [
        signing.sign_standard(signing.standard_key(one), "msg_1", 1_700_000_000, BODY)
        for one in (signing.new_secret(), secret)
    ]
    items.append(signing.sign_ed25519(private, "msg_1", 1_700_000_000, BODY))
    header = " ".join(items)
    for known in ({"SECRET": secret}, {"PUBLIC_KEY": public}):
        assert in_a_shell(header, body, **known)
        assert not in_a_shell(header, other, **known)
        assert not in_a_shell(items[0], body, **known)
        assert not in_a_shell(header, body, **known, NOW="1700000301")
        for malformed in ("", "v1,", "v1a,", "v1a,AAAA", "*"):
            assert not in_a_shell(malformed, body, **known)


def test_the_page_has_the_receiver_as_it_is_run() -> None:
    page = (PAGES / "verify-a-message.md").read_text()
    assert f"```sh\n{SHELL.read_text()}```\n" in page
