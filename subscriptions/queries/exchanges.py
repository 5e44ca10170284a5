"""A request and its answer as a person sees them: without secrets, and capped."""

import re
from dataclasses import dataclass

from django.conf import settings

from subscriptions.consent import origin
from subscriptions.masking import MASK, forms_of, hidden
from subscriptions.models import Attempt, Delivery, Endpoint
from subscriptions.sealing import Sealer
from tenants.identifiers import public_id
from tenants.vault import SealBroken

#: Characters of an answer's body and headers that a page shows.
SHOWN_CHARACTERS = 4_096
_ANSWER_SECRETS = re.compile(
    r"^(set-cookie|authorization|www-authenticate|proxy-[\w-]+|[\w-]*signature[\w-]*)"
    r"\s*:.*$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Exchange:
    """One attempt's request, and what was answered."""

    request_line: str
    #: Names and values; those that are secret, or prove one, are masked. Empty: no
    #: request left.
    request_headers: list[tuple[str, str]]
    #: Empty: nothing was answered.
    response_line: str
    response_headers: str
    excerpt: str
    #: The error in words; of one of a batch, the receiver's own.
    detail: str = ""


def exchange_of(delivery: Delivery, attempt: Attempt) -> Exchange:
    """Return the request and the answer of an attempt."""
    endpoint = delivery.endpoint
    status_line, fields = _split(attempt)
    return Exchange(
        request_line=f"POST {attempt.url or endpoint.url}",
        request_headers=_request_headers(endpoint, delivery, attempt),
        response_line=_shown(status_line, endpoint),
        response_headers=_shown(_masked(fields), endpoint),
        excerpt=_shown(
            bytes(attempt.response_excerpt).decode("utf-8", "replace"), endpoint
        ),
        detail=_shown(attempt.error_detail, endpoint),
    )


def _split(attempt: Attempt) -> tuple[str, str]:
    """
    Return the answer's status line, and its header fields.

    The line as it came: of one of a batch, `status_code` is the receiver's verdict.
    """
    first, _, rest = attempt.response_headers.partition("\n")
    if first.startswith("HTTP/"):
        return first.strip(), rest
    if attempt.status_code is None:
        return "", attempt.response_headers
    version = attempt.http_version or "1.1"
    return f"HTTP/{version} {attempt.status_code}", attempt.response_headers


def _shown(text: str, endpoint: Endpoint) -> str:
    """Return the beginning of an answer; a receiver may repeat what it was sent."""
    text = hidden(text, forms_of(_kept_secrets(endpoint)))
    return text.replace("\0", "")[:SHOWN_CHARACTERS]


def _kept_secrets(endpoint: Endpoint) -> list[str]:
    """Return the secrets that requests carry as they are; not what only signs them."""
    sealer = Sealer(endpoint.tenant_id, endpoint.pk)
    try:
        return [
            *sealer.open_headers(bytes(endpoint.sealed_headers)).values(),
            sealer.open_oauth2_token(bytes(endpoint.sealed_oauth2_token)),
        ]
    except SealBroken:
        return []


def _request_headers(
    endpoint: Endpoint, delivery: Delivery, attempt: Attempt
) -> list[tuple[str, str]]:
    """Return what was sent, the custom names as they are set now."""
    if attempt.signed_at_s is None:
        return []
    kinds = ["v1", *(kind for kind in endpoint.extra_signatures if kind == "v1a")]
    is_batch = attempt.batch_id is not None
    headers = [
        ("Content-Type", _content_type(is_batch)),
        ("webhook-id", _webhook_id(delivery, attempt)),
        ("webhook-timestamp", str(attempt.signed_at_s)),
        ("webhook-signature", " ".join(f"{kind},{MASK}" for kind in kinds)),
        ("X-Hub-Signature-256", f"sha256={MASK}"),
        ("User-Agent", f"Gridhook/{settings.VERSION}"),
        ("WebHook-Request-Origin", origin()),
    ]
    if "stripe" in endpoint.extra_signatures:
        headers.append(("Stripe-Signature", f"t={attempt.signed_at_s},v1={MASK}"))
    if endpoint.oauth2_token_url:
        headers.append(("Authorization", f"Bearer {MASK}"))
    return [*headers, *((name, MASK) for name in endpoint.header_names)]


def _content_type(is_batch: bool) -> str:
    return "application/cloudevents-batch+json" if is_batch else "application/json"


def _webhook_id(delivery: Delivery, attempt: Attempt) -> str:
    if attempt.batch_id is not None:
        return public_id("bat", attempt.batch_id)
    return public_id("msg", delivery.message_id)


def _masked(headers: str) -> str:
    return _ANSWER_SECRETS.sub(lambda found: f"{found[1]}: {MASK}", headers)
