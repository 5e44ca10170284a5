"""
What an endpoint's owner may have sent with each request, judged before it is kept.

Custom headers that would change what the platform says or how HTTP works are refused;
a client certificate must be usable today. An error names what is wrong and why, never
the secret itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings

from subscriptions.http.addresses import UrlInvalid, check_url
from tenants.problems import Problem

HEADERS_LIMIT = 20
HEADERS_BYTES = 4096
NAME_CHARACTERS = 64
#: Names that no custom header may have, by the reason.
_FORBIDDEN_NAMES = {
    "it steers the connection itself": (
        "connection expect host http2-settings keep-alive max-forwards te trailer "
        "transfer-encoding upgrade"
    ),
    "the platform sets it": (
        "accept-encoding date early-data range stripe-signature user-agent"
    ),
    "proxies believe it": (
        "cf-connecting-ip client-ip fastly-client-ip forwarded true-client-ip via "
        "x-client-ip x-cluster-client-ip x-host x-http-method "
        "x-http-method-override x-method-override x-original-host x-original-url "
        "x-real-ip x-rewrite-url"
    ),
    "clouds guard their metadata by it": ("metadata x-google-metadata-request"),
    "browsers alone send it": "cookie cookie2 origin referer set-cookie",
}
#: Beginnings that the name of no custom header may have.
_FORBIDDEN_PREFIXES = {
    "access-control-": "browsers alone send it",
    "content-": "it describes the body, which is the platform's",
    "if-": "it makes the request conditional",
    "metadata-": "clouds guard their metadata by it",
    "proxy-": "it speaks to proxies",
    "sec-": "browsers alone send it",
    "webhook-": "the platform sets it",
    "x-aliyun-ecs-": "clouds guard their metadata by it",
    "x-aws-ec2-": "clouds guard their metadata by it",
    "x-forwarded-": "proxies believe it",
    "x-gridhook-": "the platform sets it",
    "x-hub-": "the platform sets it",
}
PEM_CHARACTERS = 32 * 1024
CHAIN_LIMIT = 10
RSA_BITS = 2048
EC_BITS = 256
CLIENT_ID_CHARACTERS = 255
SECRET_CHARACTERS = 1024
SCOPE_CHARACTERS = 500
_SUBJECT_CHARACTERS = 300
#: RFC 9110's token.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Visible ASCII, with spaces and tabs inside.
_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")
_PRINTABLE = re.compile(r"[ -~]+")
#: RFC 6749's scope: names apart by single spaces.
_SCOPE = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")

_WHY_FORBIDDEN = {
    name: why for why, names in _FORBIDDEN_NAMES.items() for name in names.split()
}

_Key = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


class CredentialsInvalid(Problem):
    """A custom header, a client certificate or an OAuth 2 client cannot be used."""

    code = "credentials_invalid"
    title = "The endpoint's credentials cannot be used"
    status: ClassVar[int] = 400


@dataclass(frozen=True)
class ClientCertificate:
    """A client certificate that may be used, with its key."""

    certificate: str
    key: str = field(repr=False)
    subject: str
    expires_at: datetime


@dataclass(frozen=True)
class OAuth2Client:
    """How a token is asked for."""

    token_url: str
    client_id: str
    #: Empty: the one that is kept already.
    client_secret: str = field(repr=False)
    scope: str


def checked_headers(wanted: Any) -> dict[str, str]:
    """
    Return the custom headers, as they may be sent.

    Raises: CredentialsInvalid.
    """
    if not isinstance(wanted, Mapping):
        raise CredentialsInvalid("headers: an object of names and values is expected.")
    if len(wanted) > HEADERS_LIMIT:
        raise CredentialsInvalid(f"headers: at most {HEADERS_LIMIT} of them.")
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in wanted.items():
        _check_header(name, value)
        if name.lower() in seen:
            raise CredentialsInvalid(f"headers: {name} is there twice.")
        seen.add(name.lower())
        found[name] = value
    if sum(len(name) + len(value) for name, value in found.items()) > HEADERS_BYTES:
        raise CredentialsInvalid(f"headers: at most {HEADERS_BYTES} bytes in all.")
    return found


def _check_header(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        # It is not repeated: where both stand in one, it has the secret.
        raise CredentialsInvalid(
            "headers: a name is letters, digits and !#$%&'*+-.^_`|~ alone."
        )
    if len(name) > NAME_CHARACTERS:
        raise CredentialsInvalid(
            f"headers: a name has at most {NAME_CHARACTERS} characters."
        )
    why = _why_forbidden(name)
    if why:
        raise CredentialsInvalid(f"headers: {name} may not be set: {why}.")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise CredentialsInvalid(
            f"headers: the value of {name} is a text of visible ASCII characters, with "
            "spaces at most inside."
        )


def _why_forbidden(name: str) -> str:
    # Many servers show both of `X-A` and `X_A` to their code as one.
    name = name.lower().replace("_", "-")
    by_prefix = (
        why for prefix, why in _FORBIDDEN_PREFIXES.items() if name.startswith(prefix)
    )
    return _WHY_FORBIDDEN.get(name) or next(by_prefix, "")


def checked_certificate(wanted: Any, *, now: datetime) -> ClientCertificate:
    """
    Return the client certificate `{certificate, key}`, in PEM as it is kept.

    Raises: CredentialsInvalid.
    """
    certificates = _chain(_member(wanted, "certificate"))
    key = _private_key(_member(wanted, "key"))
    leaf = certificates[0]
    if leaf.public_key() != key.public_key():
        raise _certificate_error("the key is not that of the first certificate")
    if leaf.not_valid_after_utc <= now:
        raise _certificate_error(f"it ended at {leaf.not_valid_after_utc:%Y-%m-%d}")
    if leaf.not_valid_before_utc > now:
        raise _certificate_error(f"it begins at {leaf.not_valid_before_utc:%Y-%m-%d}")
    return ClientCertificate(
        certificate="".join(
            one.public_bytes(Encoding.PEM).decode() for one in certificates
        ),
        key=key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        subject=leaf.subject.rfc4514_string().replace("\0", "")[:_SUBJECT_CHARACTERS],
        expires_at=leaf.not_valid_after_utc,
    )


def _certificate_error(why: str) -> CredentialsInvalid:
    return CredentialsInvalid(f"client_certificate: {why}.")


def _member(wanted: Any, name: str) -> bytes:
    text = wanted.get(name) if isinstance(wanted, Mapping) else None
    if not isinstance(text, str) or not text.isascii() or not text:
        raise _certificate_error(f"{name} is missing, or no PEM text")
    if len(text) > PEM_CHARACTERS:
        raise _certificate_error(f"{name} has at most {PEM_CHARACTERS} characters")
    return text.encode()


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
        # Read what is lazily read, so that it fails here if it does.
        for one in found:
            one.public_key()
            one.subject.rfc4514_string()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _certificate_error("certificate cannot be read as PEM") from error
    if len(found) > CHAIN_LIMIT:
        raise _certificate_error(f"a chain has at most {CHAIN_LIMIT} certificates")
    return found


def _private_key(pem: bytes) -> _Key:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise _certificate_error("the key is encrypted; give it without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _certificate_error("the key cannot be read as PEM") from error
    if isinstance(key, RSAPrivateKey) and key.key_size < RSA_BITS:
        raise _certificate_error(f"an RSA key has at least {RSA_BITS} bits")
    is_short = isinstance(key, EllipticCurvePrivateKey) and key.key_size < EC_BITS
    if is_short or not isinstance(key, _Key):
        raise _certificate_error("the key is RSA, EC (256 bits or more) or Ed25519")
    return key


def checked_oauth2(wanted: Any, *, is_secret_kept: bool = False) -> OAuth2Client:
    """
    Return the OAuth 2 client `{token_url, client_id, client_secret, scope}`.

    `is_secret_kept`: without a secret, the one that is kept already will do.
    Raises: CredentialsInvalid, UrlInvalid.
    """
    if not isinstance(wanted, Mapping):
        raise CredentialsInvalid("oauth2: an object is expected.")
    client = OAuth2Client(
        token_url=_text(wanted, "token_url", 2048),
        client_id=_text(wanted, "client_id", CLIENT_ID_CHARACTERS),
        client_secret=_text(
            wanted, "client_secret", SECRET_CHARACTERS, is_optional=is_secret_kept
        ),
        scope=_text(wanted, "scope", SCOPE_CHARACTERS, is_optional=True),
    )
    if client.scope and not _SCOPE.fullmatch(client.scope):
        raise CredentialsInvalid("oauth2: scope is names apart by single spaces.")
    try:
        check_url(client.token_url, exceptions=settings.CALLBACK_ALLOW_CIDRS)
    except UrlInvalid as error:
        raise UrlInvalid(f"oauth2: token_url: {error}") from error
    return client


def _text(
    wanted: Mapping[str, Any], name: str, limit: int, *, is_optional: bool = False
) -> str:
    text = wanted.get(name)
    if is_optional and (text is None or text == ""):
        return ""
    is_text = isinstance(text, str) and _PRINTABLE.fullmatch(text) is not None
    if not isinstance(text, str) or not is_text or len(text) > limit:
        raise CredentialsInvalid(
            f"oauth2: {name} is a text of 1 to {limit} printable ASCII characters."
        )
    return text
