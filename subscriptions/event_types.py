"""The catalogue: every type of event, what it says, and an example of its data."""

from dataclasses import dataclass
from typing import Any

EVERY_TYPE = "*"
_RECEIPT = "rcp_0193589d1e0c7cc0b1f4c2c5a1f0d9ab"
_SOURCE = "src_0193589d1e0c7cc0b1f4c2c5a1f0d9aa"


@dataclass(frozen=True)
class EventType:
    """One type of event; `example` has the members that `data` has."""

    name: str
    description: str
    example: dict[str, Any]


def _catalogue(*types: EventType) -> dict[str, EventType]:
    return {event_type.name: event_type for event_type in types}


CATALOGUE = _catalogue(
    EventType(
        "callback.processed",
        "A callback was processed; at least one of its readings was kept.",
        {
            "receipt": _RECEIPT,
            "transaction_id": "head-end-7/000123",
            "source": _SOURCE,
            "status": "processed",
            "readings": {"stored": 4, "unchanged": 0, "corrected": 0, "rejected": 0},
            "errors": [],
            "received_at": "2026-11-23T18:21:00.104Z",
            "processed_at": "2026-11-23T18:21:00.317Z",
        },
    ),
    EventType(
        "callback.rejected",
        "A callback was processed; none of its readings could be kept.",
        {
            "receipt": _RECEIPT,
            "transaction_id": "head-end-7/000124",
            "source": _SOURCE,
            "status": "rejected",
            "readings": {"stored": 0, "unchanged": 0, "corrected": 0, "rejected": 1},
            "errors": [
                {
                    "index": 0,
                    "code": "unit_mismatch",
                    "detail": "unit: another dimension than the channel's stored unit.",
                }
            ],
            "received_at": "2026-11-23T18:22:00.104Z",
            "processed_at": "2026-11-23T18:22:00.317Z",
        },
    ),
    EventType(
        "reading.corrected",
        "Stored readings were superseded by a later callback's (100 are listed).",
        {
            "receipt": _RECEIPT,
            "transaction_id": "head-end-7/000125",
            "source": _SOURCE,
            "count": 1,
            "corrections": [
                {
                    "device": "WM-1001",
                    "channel": "1-0:1.8.0",
                    "kind": "interval",
                    "start_at": "2026-11-22T23:00:00Z",
                    "end_at": "2026-11-23T00:00:00Z",
                    "unit": "kWh",
                    "old_value": "0.10753",
                    "old_quality": "E",
                    "new_value": "0.1081",
                    "quality": "A",
                }
            ],
        },
    ),
    EventType(
        "device.registered",
        "A device was seen for the first time; `quarantined`: an admin decides.",
        {
            "device": "WM-1001",
            "status": "active",
            "source": _SOURCE,
            "receipt": _RECEIPT,
        },
    ),
    EventType(
        "device.silent",
        "A watched channel is overdue (`silent`), or is heard again (`heard`).",
        {
            "device": "WM-1001",
            "channel": "1-0:1.8.0",
            "kind": "interval",
            "commodity": "electricity",
            "status": "silent",
            "expected_interval_s": 3600,
            "last_heard_at": "2026-11-22T18:00:00.104221Z",
            "silent_since": "2026-11-22T19:03:00.104221Z",
        },
    ),
    EventType(
        "usage.threshold_exceeded",
        "The usage of a channel passed the threshold set for it.",
        {
            "device": "WM-1001",
            "channel": "1-0:1.8.0",
            "day": "2026-11-22",
            "value": "31250",
            "threshold": "30000",
            "unit": "Wh",
        },
    ),
    EventType(
        "bill_run.completed",
        "A bill run has ended.",
        {
            "id": "run_0193589d1e0c7cc0b1f4c2c5a1f0d9ac",
            "status": "completed",
            "period_start": "2026-11-01",
            "period_end": "2026-12-01",
        },
    ),
    EventType(
        "invoice.issued",
        "An invoice was issued.",
        {
            "number": "INV-000001",
            "account": "A-17",
            "total": "43.12",
            "currency": "EUR",
        },
    ),
    EventType(
        "endpoint.disabled",
        "An endpoint was disabled by the platform; its messages wait.",
        {
            "endpoint": "ep_0193589d1e0c7cc0b1f4c2c5a1f0d9ad",
            "url": "https://subscriber.example/hook",
            "reason": "The server answered 410 (gone).",
        },
    ),
    EventType(
        "endpoint.test",
        "A test that an admin sent to one endpoint.",
        {
            "endpoint": "ep_0193589d1e0c7cc0b1f4c2c5a1f0d9ad",
            "note": "A test message. No reply beyond 2xx is needed.",
        },
    ),
)


def patterns_for(event_type: str) -> frozenset[str]:
    """Return what an endpoint may ask for in order to hear of this type."""
    parts = event_type.split(".")
    groups = {".".join(parts[:size]) + ".*" for size in range(1, len(parts))}
    return frozenset({event_type, EVERY_TYPE, *groups})


#: All that an endpoint may ask for: the types, `group.*`, and `*`.
PATTERNS = frozenset().union(*(patterns_for(name) for name in CATALOGUE))
