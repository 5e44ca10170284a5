"""What the listener answers: made once where the text never changes."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from ingest.listener.rate_store import Limits
from ingest.listener.rates import Grant
from tenants.identifiers import public_id
from tenants.problems import PROBLEM_TYPE, problem

_JSON_HEADERS = [("content-type", "application/json")]
_ACCEPTED_STATUS = 202
_DUPLICATE_STATUS = 200
_FIRST_REFUSAL = 400


class Reply(NamedTuple):
    """A status, a stable code for metrics and logs, headers and bytes."""

    status: int
    code: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def is_refusal(self) -> bool:
        """Whether the sender did not get what it asked for."""
        return self.status >= _FIRST_REFUSAL


class Refused(Exception):
    """Ends a request early, with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class _Receipt(msgspec.Struct):
    status: str
    receipt: str
    transaction_id: str


class _Receipts(msgspec.Struct):
    status: str
    receipts: list[_Receipt]


class _Problem(NamedTuple):
    status: int
    title: str


#: The refusals that the contract names, by code.
_PROBLEMS = {
    "malformed_json": _Problem(400, "The body cannot be read"),
    "missing_transaction_id": _Problem(400, "The body cannot be read"),
    "invalid_transaction_id": _Problem(400, "The body cannot be read"),
    "transaction_id_mismatch": _Problem(400, "The body cannot be read"),
    "missing_readings": _Problem(400, "The body cannot be read"),
    "invalid_event": _Problem(400, "The body cannot be read"),
    "invalid_batch": _Problem(400, "The body cannot be read"),
    "malformed_body": _Problem(400, "The body cannot be read"),
    "signature_invalid": _Problem(401, "The signature is not valid"),
    "address_not_allowed": _Problem(403, "The address may not post"),
    "not_found": _Problem(404, "Not found"),
    "method_not_allowed": _Problem(405, "Method not allowed"),
    "body_timeout": _Problem(408, "The body did not come in time"),
    "transaction_conflict": _Problem(409, "The transaction id is taken"),
    "body_too_large": _Problem(413, "The body is too large"),
    "batch_too_long": _Problem(413, "The batch is too long"),
    "unsupported_media_type": _Problem(415, "Unsupported media type"),
    "content_encoding_unsupported": _Problem(415, "Unsupported content encoding"),
    "rate_limited": _Problem(429, "Too many callbacks in a second"),
    "overloaded": _Problem(503, "Too many callbacks are waiting"),
    "unavailable": _Problem(503, "The ledger is not available"),
}


def refusal(
    code: str, detail: str = "", *headers: tuple[str, str], **members: Any
) -> Reply:
    """Return a problem document (RFC 9457), with members of its own."""
    status, title = _PROBLEMS[code]
    document = problem(status=status, code=code, title=title, detail=detail, **members)
    return Reply(
        status,
        code,
        [("content-type", PROBLEM_TYPE), *headers],
        msgspec.json.encode(document),
    )


def rate_headers(limits: Limits, grant: Grant) -> list[tuple[str, str]]:
    """Return what a limited source is told of its limits (IETF RateLimit headers)."""
    policy = ", ".join(f'"{limit.name}";q={limit.rate};w=1' for limit in limits)
    left = ", ".join(
        f'"{limit.name}";r={count};t={grant.wait_s}'
        for limit, count in zip(limits, grant.left, strict=True)
    )
    return [("ratelimit-policy", policy), ("ratelimit", left)]


def rate_limited(limits: Limits, grant: Grant) -> Reply:
    """Return the reply to a callback that comes too soon."""
    return refusal(
        "rate_limited",
        "Nothing was stored. Send it again, as it is, after Retry-After seconds.",
        ("retry-after", str(grant.wait_s)),
        *rate_headers(limits, grant),
    )


def accepted(receipt: UUID, transaction_id: str) -> Reply:
    """Return the reply to a callback that is durable now."""
    body = _Receipt("accepted", public_id("rcp", receipt), transaction_id)
    return Reply(_ACCEPTED_STATUS, "accepted", _JSON_HEADERS, msgspec.json.encode(body))


def duplicate(receipt: UUID, transaction_id: str) -> Reply:
    """Return the reply to a callback that was durable before."""
    body = _Receipt("duplicate", public_id("rcp", receipt), transaction_id)
    return Reply(
        _DUPLICATE_STATUS, "duplicate", _JSON_HEADERS, msgspec.json.encode(body)
    )


def batch(receipts: Iterable[tuple[bool, UUID, str]]) -> Reply:
    """
    Return the reply to a batch that is durable.

    Takes for each, in order, whether it is durable only now, its receipt and its
    transaction id.
    """
    listed = [
        _Receipt("accepted" if is_new else "duplicate", public_id("rcp", receipt), name)
        for is_new, receipt, name in receipts
    ]
    is_any_new = any(one.status == "accepted" for one in listed)
    word = "accepted" if is_any_new else "duplicate"
    status = _ACCEPTED_STATUS if is_any_new else _DUPLICATE_STATUS
    body = msgspec.json.encode(_Receipts(word, listed))
    return Reply(status, word, _JSON_HEADERS, body)


def plain(
    body: bytes, *, status: int = 200, content_type: str = "application/json"
) -> Reply:
    """Return the reply to a probe."""
    headers = [("content-type", content_type), ("cache-control", "no-store")]
    return Reply(status, "probe", headers, body)


_RETRY = ("retry-after", "1")

NOT_FOUND = refusal("not_found", "Callbacks go to /v1/callbacks/{source id}.")
METHOD_NOT_ALLOWED = refusal("method_not_allowed", "", ("allow", "POST"))
PROBE_METHOD_NOT_ALLOWED = refusal("method_not_allowed", "", ("allow", "GET, HEAD"))
#: One reply for every reason, so that none of them can be told apart.
SIGNATURE_INVALID = refusal("signature_invalid")
ADDRESS_NOT_ALLOWED = refusal(
    "address_not_allowed", "The source does not list the address this came from."
)
BODY_TOO_LARGE = refusal("body_too_large", "A body has at most 10 MiB.")
BODY_TIMEOUT = refusal("body_timeout")
BODY_BROKEN = refusal("malformed_body", "The body ended before it was complete.")
CONTENT_ENCODING = refusal(
    "content_encoding_unsupported", "The body is sent without a Content-Encoding."
)
MISSING_TRANSACTION_ID = refusal(
    "missing_transaction_id", "The body has no transaction_id."
)
INVALID_TRANSACTION_ID = refusal(
    "invalid_transaction_id", "webhook-id has 1 to 255 characters."
)
TRANSACTION_ID_MISMATCH = refusal(
    "transaction_id_mismatch", "The body's transaction_id is not the webhook-id."
)
CONFLICT = refusal(
    "transaction_conflict",
    "Another body was accepted under this transaction id; it stays as it is.",
)
OVERLOADED = refusal("overloaded", "Nothing was stored.", _RETRY)
UNAVAILABLE = refusal(
    "unavailable", "It is not known to be stored. Send it again as it is.", _RETRY
)
