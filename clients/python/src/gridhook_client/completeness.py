"""Proving that nothing is missing: verdicts on batches, gaps in order, manifests."""

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from gridhook_client.messages import Message, Unreadable

#: Ids that are remembered, the newest.
MEMORY = 100_000
#: Bytes that the platform reads of an answer.
ANSWER_BYTES = 64 * 1024
_ID = re.compile("msg_([0-9a-f]{32})")


def batch_answer(verdicts: Mapping[str, int | tuple[int, str]]) -> bytes:
    """
    Return the body that answers a batch with 200 or 207: a verdict by message id.

    A verdict is a status (200: taken; 4xx, 5xx: not), or that and words about it. What
    is not named counts as not taken, and comes again. Where the words make it longer
    than is read of an answer, they are left out: what is cut off takes nothing.
    """
    said = {
        message_id: verdict if isinstance(verdict, tuple) else (verdict, "")
        for message_id, verdict in verdicts.items()
    }
    whole = _answer(said)
    if len(whole) <= ANSWER_BYTES:
        return whole
    return _answer({one: (status, "") for one, (status, _) in said.items()})


def _answer(verdicts: Mapping[str, tuple[int, str]]) -> bytes:
    results = []
    for message_id, (status, detail) in verdicts.items():
        result: dict[str, Any] = {"id": message_id, "status": status}
        results.append({**result, "detail": detail} if detail else result)
    return json.dumps({"results": results}, separators=(",", ":")).encode()


class Seen:
    """
    Remembers the newest message ids: what comes twice, and what is missing.

    Safe to use from several threads.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._memory = memory
        self._lock = threading.Lock()

    def __contains__(self, message_id: object) -> bool:
        """Tell whether the id was noted."""
        return message_id in self._ids

    def note(self, message: Message) -> bool:
        """Note the message, once it was worked on; tell whether it is new."""
        with self._lock:
            is_new = message.id not in self._ids
            self._ids[message.id] = None
            if len(self._ids) > self._memory:
                self._ids.popitem(last=False)
            return is_new

    def gaps(self, message: Message) -> list[str]:
        """
        Return the ids that an ordered endpoint's message follows and that never came.

        A message that was given up leaves such a gap, and so does all that was sent
        before this memory began.
        """
        before = {place.previous_id for place in message.order}
        return sorted(one for one in before if one is not None and one not in self._ids)


@dataclass(frozen=True)
class Missing:
    """What a manifest says that a day had, beside what was seen of it."""

    day: str
    expected: int
    seen: int
    is_complete: bool
    #: Devices whose messages are not what was seen of them: ask for these. A manifest
    #: lists 1,000 of them, and no message without one: with none here, ask for all.
    devices: tuple[str, ...]


def missing(
    manifest: Message, seen_ids: Iterable[str], by_device: Mapping[str, Iterable[str]]
) -> Missing:
    """
    Compare a `delivery.manifest` with what was seen of its day, by the hashes of ids.

    `seen_ids`: of the day's messages; `by_device`: the same by device, as far as known.
    Raises: Unreadable: it is no manifest.
    """
    data = manifest.data
    listed = data.get("devices", [])
    if manifest.type != "delivery.manifest" or not isinstance(listed, list):
        raise Unreadable("The message is no manifest.")
    seen = set(seen_ids)
    is_complete = data.get("ids_hash") == ids_hash(seen)
    return Missing(
        day=str(data.get("day", "")),
        expected=_count(data.get("messages")),
        seen=len(seen),
        is_complete=is_complete,
        devices=() if is_complete else tuple(_differing(listed, by_device)),
    )


def _differing(
    listed: list[Any], by_device: Mapping[str, Iterable[str]]
) -> Iterable[str]:
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("device"), str):
            raise Unreadable("The manifest names a device that is none.")
        device = entry["device"]
        if entry.get("ids_hash") != ids_hash(by_device.get(device, ())):
            yield device


def made_at(message_id: str) -> datetime:
    """
    Return when the message was made: the day that its manifest counts it in.

    Within a minute of midnight the platform may have counted otherwise: ask it.
    Raises: ValueError: it is no message's id.
    """
    found = _ID.fullmatch(message_id)
    if found is None:
        raise ValueError("A message's id is msg_ and 32 hex digits.")
    return datetime.fromtimestamp((int(found[1], 16) >> 80) / 1000, tz=timezone.utc)


def ids_hash(message_ids: Iterable[str]) -> str:
    """Return the SHA-256 of the ids, sorted and joined by line feeds."""
    text = "\n".join(sorted(set(message_ids)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _count(value: Any) -> int:
    if type(value) is not int:
        raise Unreadable("The manifest has no count.")
    return value
