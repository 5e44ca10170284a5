"""
Several messages in one request: the body that carries them, and what was answered.

The body is a batch of CloudEvents 1.0 in JSON. The answer may say for each message
whether it was taken: docs/reference/messages.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

CONTENT_TYPE = "application/cloudevents-batch+json"
#: Messages that one request carries at most: their verdicts fit into what is read of
#: an answer.
BATCH_LIMIT = 500
#: Bytes of messages that one request carries at most, unless one alone has more: with
#: what is around them it is below 1 MiB, beyond which many servers answer 413.
BATCH_BYTES = 800_000
#: Characters that are kept of what an answer says about one message.
DETAIL_LIMIT = 200
_MULTI_STATUS = 207
_FIRST_STATUS, _LAST_STATUS = 100, 599
#: Digits of a sequence, so that sequences sort as text.
_SEQUENCE_DIGITS = 19


class _Message(msgspec.Struct):
    """The members of a message's body that become attributes."""

    type: str
    timestamp: str
    tenant: str
    data: msgspec.Raw
    device: str | None = None
    sequence: int | None = None
    previous_id: str | None = None
    order: msgspec.Raw = msgspec.Raw()


_MESSAGE = msgspec.json.Decoder(_Message)


@dataclass(frozen=True)
class Verdict:
    """What the receiver said of one message; no status: nothing."""

    status_code: int | None
    detail: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether the message was taken."""
        return _is_success(self.status_code)


def portions(bodies: Sequence[bytes], most: int) -> list[slice]:
    """Return what goes together, in its order: so many, and BATCH_BYTES, at most."""
    found: list[slice] = []
    start = in_all = 0
    for at, body in enumerate(bodies):
        is_full = at - start == most or in_all + len(body) > BATCH_BYTES
        if is_full and at > start:
            found.append(slice(start, at))
            start, in_all = at, 0
        in_all += len(body)
    return [*found, slice(start, len(bodies))] if bodies else []


def batch_body(items: Sequence[tuple[str, bytes]], source: str) -> bytes:
    """
    Return the body of one request that carries all these messages.

    `items`: each message's id and body; `data` keeps the bytes that it has there.
    """
    return msgspec.json.encode(
        [_cloud_event(message_id, body, source) for message_id, body in items]
    )


def _cloud_event(message_id: str, body: bytes, source: str) -> dict[str, Any]:
    message = _MESSAGE.decode(body)
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": message_id,
        "source": source,
        "type": message.type,
        "time": message.timestamp,
        "datacontenttype": "application/json",
        "tenant": message.tenant,
    }
    # Names and values as CloudEvents has them: letters and digits; text alone.
    if message.device is not None:
        event["device"] = message.device
    if message.sequence is not None:
        event["sequence"] = f"{message.sequence:0{_SEQUENCE_DIGITS}d}"
    if message.previous_id is not None:
        event["previousid"] = message.previous_id
    if bytes(message.order):
        event["order"] = bytes(message.order).decode()
    event["data"] = message.data
    return event


def verdicts(status: int | None, body: bytes, ids: Sequence[str]) -> dict[str, Verdict]:
    """
    Return what the answer says of each message; it never fails, whatever came.

    2xx without `results`: all were taken. With it: each as it says, and what it does
    not name, or what is cut off, was not taken. 207 always needs it. Any other answer,
    or none, stands for all alike.
    """
    if not _is_success(status):
        return dict.fromkeys(ids, Verdict(status))
    results = _results(body)
    if results is None and status != _MULTI_STATUS:
        return dict.fromkeys(ids, Verdict(status))
    said: dict[str, Verdict] = {}
    for message_id, verdict in filter(None, map(_verdict, results or ())):
        # Of two verdicts that contradict each other, the refusal counts.
        if message_id not in said or said[message_id].is_accepted:
            said[message_id] = verdict
    unnamed = Verdict(None, "The answer does not name the message.")
    return {message_id: said.get(message_id, unnamed) for message_id in ids}


def _is_success(status: int | None) -> bool:
    return status is not None and status // 100 == 2


def _results(body: bytes) -> list[Any] | None:
    """Return the answer's verdicts, none of them if it is unreadable; None: no list."""
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return [] if b'"results"' in body else None
    if not isinstance(answer, dict) or "results" not in answer:
        return None
    return answer["results"] if isinstance(answer["results"], list) else []


def _verdict(result: Any) -> tuple[str, Verdict] | None:
    """Return the message's id and its verdict; None: it is not one."""
    if not isinstance(result, dict):
        return None
    message_id, status = result.get("id"), result.get("status")
    if not isinstance(message_id, str) or type(status) is not int:
        return None
    if not _FIRST_STATUS <= status <= _LAST_STATUS:
        return None
    return message_id, Verdict(status, _text(result.get("detail")))


def _text(detail: Any) -> str:
    """Return the detail as it may be stored and shown."""
    text = detail[:DETAIL_LIMIT] if isinstance(detail, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
