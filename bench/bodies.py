"""The callbacks that the load generators send: unique, signed, of several shapes."""

import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
_VARIANTS = 16
_QUARTER = timedelta(minutes=15)
_NUMBERS = 9973


@dataclass(frozen=True)
class Shape:
    """How many readings a body has, of how many devices."""

    readings: int
    devices: int = 1


#: By name: bytes are about 360, 2,048 and 9,500,000.
SHAPES = {
    "small": Shape(readings=4),
    "medium": Shape(readings=25),
    "large": Shape(readings=100_000, devices=1_000),
}


class Bodies:
    """Bodies of one shape; all devices report a period before any reports the next."""

    def __init__(self, shape: Shape, *, run: str, devices: int, first: int) -> None:
        self._shape = shape
        self._run = run.encode()
        self._devices = devices
        self._number = first
        self._period = -1
        self._readings: list[bytes] = []

    def next(self) -> bytes:
        """Return the next body."""
        number, self._number = self._number, self._number + 1
        if self._shape.devices > 1:
            return b'{"transaction_id":"%s-%09d","readings":%s}' % (
                self._run,
                number,
                _of_many_devices(self._shape, number),
            )
        period, device = divmod(number, self._devices)
        if period != self._period:
            self._period = period
            self._readings = _of_one_device(self._shape, period)
        return b'{"transaction_id":"%s-%09d","device":"BM-%05d","readings":%s}' % (
            self._run,
            number,
            device,
            self._readings[device % _VARIANTS],
        )


class Requests:
    """Requests with these bodies, as HTTP/1.1 puts them on the wire."""

    def __init__(self, url: str, secret: str, bodies: Bodies) -> None:
        target = urlsplit(url)
        self._key = secret.encode()
        self._bodies = bodies
        self._head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n"
            "Content-Type: application/json\r\n"
        ).encode()

    def next(self) -> bytes:
        """Return the next request's bytes."""
        body = self._bodies.next()
        return b"%sContent-Length: %d\r\nX-Hub-Signature-256: %s\r\n\r\n%s" % (
            self._head,
            len(body),
            signature(self._key, body),
            body,
        )


def signature(key: bytes, body: bytes) -> bytes:
    """Return the value of `X-Hub-Signature-256`."""
    return b"sha256=" + hmac.digest(key, body, "sha256").hex().encode()


def _of_one_device(shape: Shape, period: int) -> list[bytes]:
    start_at = _EPOCH + period * shape.readings * _QUARTER
    return [
        _json(
            [
                _reading(start_at, quarter, period * 37 + variant * 611)
                for quarter in range(shape.readings)
            ]
        )
        for variant in range(_VARIANTS)
    ]


def _of_many_devices(shape: Shape, number: int) -> bytes:
    each = shape.readings // shape.devices
    start_at = _LONG_AGO + number * each * _QUARTER
    return _json(
        [
            {"device": f"LB-{device:05d}", **_reading(start_at, quarter, device * 611)}
            for device in range(shape.devices)
            for quarter in range(each)
        ]
    )


def _reading(start_at: datetime, quarter: int, salt: int) -> dict[str, object]:
    at = start_at + quarter * _QUARTER
    return {
        "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_s": 900,
        "value": f"0.{(salt + quarter) % _NUMBERS:04}",
        "unit": "kWh",
    }


def _json(readings: list[dict[str, object]]) -> bytes:
    return json.dumps(readings, separators=(",", ":")).encode()
