"""What is told of callbacks, readings, devices and usage."""

from subscriptions.catalogue import schemas as s
from subscriptions.catalogue.entry import EventType

_RECEIPT = "rcp_0193589d1e0c7cc0b1f4c2c5a1f0d9ab"
_SOURCE = "src_0193589d1e0c7cc0b1f4c2c5a1f0d9aa"

_CALLBACK = "/callbacks/{receipt}/"
_THIN_CALLBACK = ("receipt", "transaction_id", "source")
_OUTCOME = s.document(
    receipt=s.RECEIPT,
    transaction_id=s.TEXT,
    source=s.SOURCE,
    status=s.one_of("processed", "partly_rejected", "rejected"),
    readings=s.members(
        stored=s.COUNT, unchanged=s.COUNT, corrected=s.COUNT, rejected=s.COUNT
    ),
    errors=s.items(
        s.members(
            index=s.described(
                s.or_null(s.COUNT), "The reading's place; null: the whole body."
            ),
            code=s.TEXT,
            detail=s.TEXT,
        ),
        most=100,
    ),
    received_at=s.MOMENT,
    processed_at=s.MOMENT,
)
_CORRECTION = s.members(
    device=s.DEVICE,
    channel=s.CHANNEL,
    kind=s.KIND,
    start_at=s.MOMENT,
    end_at=s.MOMENT,
    unit=s.TEXT,
    old_value=s.or_null(s.DECIMAL),
    old_quality=s.QUALITY,
    new_value=s.or_null(s.DECIMAL),
    quality=s.QUALITY,
)

TYPES = (
    EventType(
        "callback.processed",
        "A callback was processed; at least one of its readings was kept.",
        schema=_OUTCOME,
        example={
            "receipt": _RECEIPT,
            "transaction_id": "head-end-7/000123",
            "source": _SOURCE,
            "status": "processed",
            "readings": {"stored": 4, "unchanged": 0, "corrected": 0, "rejected": 0},
            "errors": [],
            "received_at": "2026-11-23T18:21:00.104Z",
            "processed_at": "2026-11-23T18:21:00.317Z",
        },
        thin=_THIN_CALLBACK,
        resource=_CALLBACK,
    ),
    EventType(
        "callback.rejected",
        "A callback was processed; none of its readings could be kept.",
        schema=_OUTCOME,
        example={
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
        thin=_THIN_CALLBACK,
        resource=_CALLBACK,
    ),
    EventType(
        "reading.corrected",
        "Stored readings were superseded by a later callback's (100 are listed).",
        schema=s.document(
            receipt=s.RECEIPT,
            transaction_id=s.TEXT,
            source=s.SOURCE,
            count=s.COUNT,
            corrections=s.items(_CORRECTION, most=100),
        ),
        example={
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
        thin=_THIN_CALLBACK,
        resource=_CALLBACK,
    ),
    EventType(
        "device.registered",
        "A device was seen for the first time; `quarantined`: an admin decides.",
        schema=s.document(
            device=s.DEVICE,
            status=s.one_of("active", "quarantined"),
            source=s.SOURCE,
            receipt=s.RECEIPT,
        ),
        example={
            "device": "WM-1001",
            "status": "active",
            "source": _SOURCE,
            "receipt": _RECEIPT,
        },
        thin=("device", "source", "receipt"),
        resource="/devices/?name={device}",
    ),
    EventType(
        "device.silent",
        "A watched channel is overdue (`silent`), or is heard again (`heard`).",
        schema=s.document(
            device=s.DEVICE,
            channel=s.CHANNEL,
            kind=s.KIND,
            commodity=s.TEXT,
            status=s.one_of("silent", "heard"),
            expected_interval_s=s.COUNT,
            last_heard_at=s.or_null(s.MOMENT),
            silent_since=s.or_null(s.MOMENT),
        ),
        example={
            "device": "WM-1001",
            "channel": "1-0:1.8.0",
            "kind": "interval",
            "commodity": "electricity",
            "status": "silent",
            "expected_interval_s": 3600,
            "last_heard_at": "2026-11-22T18:00:00.104221Z",
            "silent_since": "2026-11-22T19:03:00.104221Z",
        },
        thin=("device", "channel", "kind", "status"),
        resource="/channels/?device={device}&channel={channel}",
        urgent=True,
    ),
    EventType(
        "usage.threshold_exceeded",
        "A channel's usage of a local day passed its threshold; once a day.",
        schema=s.document(
            device=s.DEVICE,
            channel=s.CHANNEL,
            kind=s.KIND,
            commodity=s.TEXT,
            day=s.DATE,
            value=s.DECIMAL,
            threshold=s.DECIMAL,
            unit=s.TEXT,
        ),
        example={
            "device": "WM-1001",
            "channel": "1-0:1.8.0",
            "kind": "interval",
            "commodity": "electricity",
            "day": "2026-11-22",
            "value": "31250",
            "threshold": "30000",
            "unit": "Wh",
        },
        thin=("device", "channel", "kind", "day"),
        resource="/channels/?device={device}&channel={channel}",
        urgent=True,
    ),
)
