"""
A synthetic fleet: electricity, gas and water meters with a daily shape.

Everything follows from the seed, the device and the moment, so that the same fleet
sends the same bytes under the same ids whenever it runs. It misbehaves on purpose, as
fleets do: readings missing and estimated, callbacks lost, repeated and late.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from ingest.replaying.posting import Posting, posting

#: Shares of a callback's fates; the rest is simply sent.
LOST_SHARE = 0.01
REPEATED_SHARE = 0.02
LATE_SHARE = 0.03
#: Shares of a reading's qualities; the rest is actual.
MISSING_SHARE = 0.005
ESTIMATED_SHARE = 0.01
#: Callbacks that a late or repeated one lets pass before it, at most.
_LATE_BY_LIMIT = 500
_DAY_S = 86_400
_SATURDAY = 5
#: The longest interval of a device that reports as it measures.
_LIVE_STEP_LIMIT_S = 3_600


@dataclass(frozen=True)
class Kind:
    """What a meter measures: its channel, its unit, and a day's shape."""

    name: str
    channel: str
    unit: str
    interval_s: int
    #: Mean quantity of one hour.
    hourly: float
    #: Local hours of the day's two peaks.
    peaks: tuple[float, float]
    places: int


ELECTRICITY = Kind("EM", "1-0:1.8.0", "kWh", 900, 0.45, (7.5, 19.0), 4)
WATER = Kind("WM", "8-0:1.0.0", "m3", 3600, 0.014, (7.0, 20.0), 5)
GAS = Kind("GM", "7-0:3.0.0", "m3", 3600, 0.12, (6.5, 18.5), 4)
#: Of ten meters in a row, what each measures.
_MIX = (*(ELECTRICITY,) * 6, *(WATER,) * 2, *(GAS,) * 2)


@dataclass(frozen=True)
class Device:
    """A meter of the fleet."""

    name: str
    kind: Kind
    #: How much more or less than the mean it uses.
    scale: float


class Fleet:
    """So many devices, and what they send."""

    def __init__(self, *, devices: int, seed: int) -> None:
        self._seed = seed
        self.devices = [self._device(number) for number in range(devices)]

    def _device(self, number: int) -> Device:
        kind = _MIX[number % len(_MIX)]
        scale = Random(f"{self._seed}/{number}").lognormvariate(0, 0.5)  # noqa: S311
        return Device(f"{kind.name}-{number + 1:05}", kind, scale)

    def history(self, *, first: date, days: int) -> Iterator[Posting]:
        """Return whole days, oldest first: one callback per device and UTC day."""
        return self._disturbed(
            self._callback(device, start_at, _DAY_S, device.kind.interval_s)
            for start_at in _days(first, days)
            for device in self.devices
        )

    def live(
        self, *, start_at: datetime, step_s: int, clock: Callable[[], datetime]
    ) -> Iterator[Posting | None]:
        """Return each device's callback as its interval ends; None: none ends yet."""
        step = timedelta(seconds=step_s)
        while True:
            while start_at + step > clock():
                yield None
            # A platform that was away gets the present, not a flood of the past.
            start_at = max(start_at, _floor(clock() - step, step_s))
            yield from self._disturbed(
                self._callback(device, start_at, step_s, step_s)
                for device in self.devices
            )
            start_at += step

    def _callback(
        self, device: Device, start_at: datetime, span_s: int, interval_s: int
    ) -> tuple[Posting, Random]:
        moment = start_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"fleet-{self._seed}/{device.name}/{moment}/{span_s}"
        chance = Random(name)  # noqa: S311 (a model, not a secret)
        readings = [
            _reading(device, start_at + timedelta(seconds=offset), interval_s, chance)
            for offset in range(0, span_s, interval_s)
        ]
        return posting(name, device.name, readings), chance

    @staticmethod
    def _disturbed(callbacks: Iterator[tuple[Posting, Random]]) -> Iterator[Posting]:
        """Lose some, repeat some with the same bytes, hold some back for later."""
        held: deque[Posting] = deque()
        for item, chance in callbacks:
            fate = chance.random()
            if fate < LOST_SHARE:
                continue
            if fate < LOST_SHARE + LATE_SHARE:
                held.append(item)
                continue
            yield item
            if fate > 1 - REPEATED_SHARE:
                held.append(item)
            if held and (len(held) > _LATE_BY_LIMIT or chance.random() < LATE_SHARE):
                yield held.popleft()
        yield from held


def live_step_s(*, devices: int, rate: float) -> int:
    """Return the interval at which a fleet that reports live makes so many a second."""
    wanted = min(max(round(devices / rate), 1), _LIVE_STEP_LIMIT_S)
    return next(step for step in range(wanted, 0, -1) if _LIVE_STEP_LIMIT_S % step == 0)


def live_start(now: datetime, step_s: int) -> datetime:
    """Return the start of the interval that is under way."""
    return _floor(now, step_s)


def _floor(moment: datetime, step_s: int) -> datetime:
    seconds = int(moment.timestamp()) // step_s * step_s
    return datetime.fromtimestamp(seconds, UTC)


def _days(first: date, days: int) -> Iterator[datetime]:
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return (midnight + timedelta(days=number) for number in range(days))


def _reading(
    device: Device, at: datetime, interval_s: int, chance: Random
) -> dict[str, Any]:
    reading: dict[str, Any] = {
        "channel": device.kind.channel,
        "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_s": interval_s,
        "unit": device.kind.unit,
    }
    fate = chance.random()
    if fate < MISSING_SHARE:
        return {**reading, "quality": "N"}
    quality = "E" if fate > 1 - ESTIMATED_SHARE else "A"
    value = _hourly(device, at) * interval_s / 3600 * chance.uniform(0.7, 1.3)
    exact = Decimal(value).quantize(Decimal(1).scaleb(-device.kind.places - 2))
    return {**reading, "value": f"{exact:f}", "quality": quality}


def _hourly(device: Device, at: datetime) -> float:
    """Return what the device uses an hour at this time of day, week and year."""
    hour = at.hour + at.minute / 60
    kind = device.kind
    shape = 0.35 + sum(math.exp(-(((hour - peak) / 2.2) ** 2)) for peak in kind.peaks)
    if at.weekday() >= _SATURDAY:
        shape *= 1.15
    if kind is not WATER:
        winter = math.cos((at.timetuple().tm_yday - 15) / 365 * 2 * math.pi)
        shape *= 1 + (0.7 if kind is GAS else 0.2) * winter
    return kind.hourly * device.scale * shape
