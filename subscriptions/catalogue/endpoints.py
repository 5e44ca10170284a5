"""What is told of endpoints: how they stand, and what was sent to them."""

from subscriptions.catalogue import schemas as s
from subscriptions.catalogue.entry import EventType

_ENDPOINT = "ep_0193589d1e0c7cc0b1f4c2c5a1f0d9ad"
_URL = "https://subscriber.example/hook"
_RESOURCE = "/endpoints/{endpoint}/"
#: SHA-256 of `msg_0193589d1e0c7cc0b1f4c2c5a1f0d9ab`.
_HASH = "683559b2f4f25652026afc0c2cc76650d6cbced2020f1d3bce2daac110cbf884"

TYPES = (
    EventType(
        "endpoint.failing",
        "An endpoint does nothing but fail; `percent` of the patience with it is used.",
        schema=s.document(
            endpoint=s.ENDPOINT,
            url=s.URL,
            failing_since=s.MOMENT,
            percent={"type": "integer", "enum": [50, 70, 90]},
            disabled_at=s.described(
                s.MOMENT, "When it will be disabled, unless it takes a message first."
            ),
        ),
        example={
            "endpoint": _ENDPOINT,
            "url": _URL,
            "failing_since": "2026-11-20T18:21:00.104Z",
            "percent": 50,
            "disabled_at": "2026-11-25T18:21:00.104Z",
        },
        thin=("endpoint", "percent"),
        resource=_RESOURCE,
    ),
    EventType(
        "endpoint.recovered",
        "An endpoint took a message again, after a warning or a pause.",
        schema=s.document(
            endpoint=s.ENDPOINT, url=s.URL, failing_since=s.or_null(s.MOMENT)
        ),
        example={
            "endpoint": _ENDPOINT,
            "url": _URL,
            "failing_since": "2026-11-20T18:21:00.104Z",
        },
        thin=("endpoint",),
        resource=_RESOURCE,
    ),
    EventType(
        "endpoint.disabled",
        "An endpoint was disabled by the platform; its messages wait.",
        schema=s.document(endpoint=s.ENDPOINT, url=s.URL, reason=s.TEXT),
        example={
            "endpoint": _ENDPOINT,
            "url": _URL,
            "reason": "The server answered 410 (gone).",
        },
        thin=("endpoint",),
        resource=_RESOURCE,
    ),
    EventType(
        "endpoint.test",
        "A test that an admin sent to one endpoint.",
        schema=s.document(endpoint=s.ENDPOINT, note=s.TEXT),
        example={
            "endpoint": _ENDPOINT,
            "note": "A test message. No reply beyond 2xx is needed.",
        },
        thin=("endpoint",),
        resource=_RESOURCE,
    ),
    EventType(
        "delivery.manifest",
        "What a local day had for this endpoint: counts, and a hash of the ids.",
        schema=s.document(
            endpoint=s.ENDPOINT,
            day=s.DATE,
            zone=s.TEXT,
            start_at=s.MOMENT,
            end_at=s.MOMENT,
            messages=s.COUNT,
            ids_hash=s.described(
                s.DIGEST, "SHA-256 of the sorted message ids, joined by line feeds."
            ),
            device_count=s.COUNT,
            devices=s.items(
                s.members(device=s.DEVICE, messages=s.COUNT, ids_hash=s.DIGEST),
                most=1000,
            ),
        ),
        example={
            "endpoint": _ENDPOINT,
            "day": "2026-11-22",
            "zone": "Europe/Brussels",
            "start_at": "2026-11-21T23:00:00Z",
            "end_at": "2026-11-22T23:00:00Z",
            "messages": 1,
            "ids_hash": _HASH,
            "device_count": 1,
            "devices": [
                {
                    "device": "WM-1001",
                    "messages": 1,
                    "ids_hash": _HASH,
                }
            ],
        },
        thin=("endpoint", "day", "messages", "ids_hash"),
        resource="/endpoints/{endpoint}/manifests/{day}/",
    ),
)
