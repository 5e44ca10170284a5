"""What the sample subscriber got, read, counted and told in words."""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, TextIO

from tenants.identifiers import IdentifierInvalid, created_at, parse_public_id

#: Message ids, and devices, that are remembered, the newest.
MEMORY = 100_000
MANIFEST = "delivery.manifest"


@dataclass(frozen=True)
class Place:
    """Where a message stands among those about one device."""

    device: str
    sequence: int
    previous_id: str | None


@dataclass(frozen=True)
class Arrived:
    """A message whose signature was good."""

    id: str
    event_type: str
    data: dict[str, Any]
    places: tuple[Place, ...] = ()


def message_of(body: bytes) -> Arrived:
    """
    Return the message that a body is.

    Raises: ValueError, TypeError, KeyError: it is none.
    """
    document = json.loads(body)
    listed = document.get("order", [document] if "sequence" in document else [])
    return Arrived(
        str(document["id"]),
        str(document["type"]),
        dict(document["data"]),
        tuple(
            Place(str(one["device"]), int(one["sequence"]), one["previous_id"])
            for one in listed
        ),
    )


def messages_of_batch(body: bytes) -> list[Arrived]:
    """
    Return the messages that a batch of CloudEvents carries.

    Raises: ValueError, TypeError, KeyError: it is none.
    """
    return [_of_event(event) for event in json.loads(body)]


def _of_event(event: dict[str, Any]) -> Arrived:
    # Attributes are text; the list of several devices is JSON in one.
    found: dict[str, Any] = {name: event[name] for name in ("id", "type", "data")}
    if "order" in event:
        found["order"] = json.loads(event["order"])
    elif "sequence" in event:
        before = {"previous_id": event.get("previousid")}
        found |= {name: event[name] for name in ("device", "sequence")} | before
    return message_of(json.dumps(found).encode())


@dataclass
class Ledger:
    """What the subscriber got; safe from several threads."""

    print_line: Callable[[str], None]
    record: TextIO | None = None
    counts: Counter[str] = field(default_factory=Counter)
    started_at_s: float = field(default_factory=time.time)
    _by_type: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    _seen: dict[str, None] = field(default_factory=dict)
    _newest: dict[str, Place] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(
        self,
        outcome: str,
        message_id: str = "-",
        event_type: str = "-",
        *,
        detail: str = "",
    ) -> None:
        """Count a request, or a message, and print its line; `detail`: why."""
        with self._lock:
            self._note(outcome, message_id, event_type, detail)

    def accept(self, message: Arrived) -> None:
        """Take a message, unless it was taken before; say what it shows missing."""
        with self._lock:
            is_new = message.id not in self._seen
            self._note(
                "accepted" if is_new else "duplicate", message.id, message.event_type
            )
            if not is_new:
                return
            self._tell_gaps(message)
            _remember(self._seen, message.id, None)
            if message.event_type == MANIFEST:
                try:
                    self._tell_manifest(message.data)
                except (KeyError, TypeError, ValueError):
                    self._tell("manifest", f"{message.id} cannot be read")

    def _tell_gaps(self, message: Arrived) -> None:
        for place in message.places:
            before = self._newest.get(place.device)
            # A device's first message here shows nothing: this may have begun late.
            if before is not None and place.sequence <= before.sequence:
                self._tell("order", f"{place.device}: {place.sequence} came after "
                           f"{before.sequence}")  # fmt: skip
            elif before is not None and self._is_gap(place):
                self._tell("gap", f"{place.device}: {place.previous_id}, before "
                           f"{place.sequence}, never came")  # fmt: skip
            if before is None or place.sequence > before.sequence:
                _remember(self._newest, place.device, place)

    def _is_gap(self, place: Place) -> bool:
        return place.previous_id is not None and place.previous_id not in self._seen

    def _tell_manifest(self, data: dict[str, Any]) -> None:
        """Say whether the day is all here; the ids say when each was made."""
        start_s, end_s = _moment_s(data["start_at"]), _moment_s(data["end_at"])
        here = [one for one in self._seen if start_s <= _made_at_s(one) < end_s]
        digest = sha256("\n".join(sorted(here)).encode()).hexdigest()
        expected = f"{data['day']}: {data['messages']} messages"
        if digest == data["ids_hash"]:
            self._tell("manifest", f"{expected}, all of them are here")
            return
        late = "; it listens since later" if start_s < self.started_at_s else ""
        self._tell(
            "manifest",
            f"{expected}, {len(here)} are here{late}. Their ids: GET /api/v1/endpoints/"
            f"{data['endpoint']}/manifests/{data['day']}/",
        )

    def _tell(self, word: str, text: str) -> None:
        """Print, count and record what is no message."""
        self.counts[word] += 1
        self.print_line(f"{time.strftime('%H:%M:%S')} {word:<9} {text}")
        self._write({"outcome": word, "text": text})

    def _note(
        self, outcome: str, message_id: str, event_type: str, detail: str = ""
    ) -> None:
        self.counts[outcome] += 1
        self._by_type[event_type][outcome] += 1
        clock = time.strftime("%H:%M:%S")
        why = f"  {detail}" if detail else ""
        self.print_line(f"{clock} {outcome:<9} {event_type:<24} {message_id}{why}")
        line = {"outcome": outcome, "id": message_id, "type": event_type}
        self._write(line | ({"detail": detail} if detail else {}))

    def _write(self, line: dict[str, str]) -> None:
        if self.record is not None:
            self.record.write(json.dumps(line) + "\n")
            self.record.flush()

    def table(self) -> list[str]:
        """Return the lines of a table: what came, by type and outcome."""
        with self._lock:
            outcomes = list(
                dict.fromkeys(o for row in self._by_type.values() for o in row)
            )
            rows = {kind: dict(row) for kind, row in sorted(self._by_type.items())}
            totals = dict(self.counts)
        if not totals:
            return ["Nothing came."]
        told = [f"{totals[word]} x {word}" for word in totals if word not in outcomes]
        return [
            _row("type", outcomes),
            *(
                _row(kind, [row.get(one, 0) for one in outcomes])
                for kind, row in rows.items()
            ),
            _row("all", [totals[one] for one in outcomes]),
            *told,
        ]


def _row(title: str, cells: Sequence[object]) -> str:
    return f"{title:<26}" + "".join(f"{cell:>11}" for cell in cells)


def _remember(memory: dict[str, Any], key: str, value: Any) -> None:
    """Keep the newest."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MEMORY:
        del memory[next(iter(memory))]


def _moment_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _made_at_s(message_id: str) -> float:
    try:
        return created_at(parse_public_id("msg", message_id)).timestamp()
    except IdentifierInvalid:
        return 0.0
