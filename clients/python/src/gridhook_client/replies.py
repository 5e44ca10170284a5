"""What the platform answered, as a receipt or as one of few errors."""

import json
from dataclasses import dataclass
from typing import Any

_ACCEPTED, _DUPLICATE = 202, 200
_UNAUTHORIZED, _TIMED_OUT, _CONFLICT, _TOO_MANY = 401, 408, 409, 429
_SERVER_ERROR = 500
_TEXT_CHARACTERS = 500


@dataclass(frozen=True)
class Receipt:
    """The platform has it on disk."""

    #: `accepted`, or `duplicate`: it had these bytes under this id already.
    status: str
    receipt: str
    transaction_id: str
    attempts: int = 1


class SendFailed(Exception):
    """
    A callback that was not taken.

    `status`: the reply's; None: there was none. `code`: the platform's word for it.
    """

    def __init__(
        self, detail: str, *, status: int | None, code: str = "", attempts: int = 1
    ) -> None:
        said = " ".join(str(part) for part in (status, code) if part) or "no reply"
        super().__init__(f"{said}: {detail}" if detail else said)
        self.detail = detail
        self.status = status
        self.code = code
        self.attempts = attempts


class Refused(SendFailed):
    """It will never be taken as it is: put it aside, and tell a person."""


class SignatureRefused(Refused):
    """401: the secret, the clock or the source is wrong; which, is not told."""


class TransactionConflict(Refused):
    """409: other bytes were taken under this id. Never send it under a new one."""


class Undecided(SendFailed):
    """
    Nobody knows whether it was stored: send the same bytes again later.

    `retry_after_s`: the pause that was asked for; 0: none was.
    """

    retry_after_s: float = 0.0


def receipt_of(status: int, body: bytes, transaction_id: str) -> Receipt:
    """
    Return the receipt.

    Raises: SendFailed: one of its kinds. A 2xx that is not the platform's own, as a
    captive portal gives, is Undecided.
    """
    document = _members(body)
    if status in {_ACCEPTED, _DUPLICATE}:
        kind = {_ACCEPTED: "accepted", _DUPLICATE: "duplicate"}[status]
        receipt = document.get("receipt")
        if document.get("status") != kind or not isinstance(receipt, str):
            raise Undecided("The reply is not the platform's.", status=status)
        if document.get("transaction_id") != transaction_id:
            raise Undecided("The reply names another transaction id.", status=status)
        return Receipt(kind, receipt, transaction_id)
    raise _failure(status)(
        _text(document.get("detail") or document.get("title")),
        status=status,
        code=_text(document.get("code")),
    )


def _failure(status: int) -> type[SendFailed]:
    if status == _UNAUTHORIZED:
        return SignatureRefused
    if status == _CONFLICT:
        return TransactionConflict
    is_for_now = status in {_TIMED_OUT, _TOO_MANY} or status >= _SERVER_ERROR
    # What is no error and no receipt comes from something in between.
    is_nobodys = status < _UNAUTHORIZED - 1
    return Undecided if is_for_now or is_nobodys else Refused


def _members(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: Any) -> str:
    """Return text of a reply as it may be shown."""
    text = value[:_TEXT_CHARACTERS] if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text)
