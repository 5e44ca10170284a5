"""Readings, and the body of a callback that carries them: decimals stay decimals."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

#: Characters of a transaction id, a device and a channel.
TEXT_LIMIT = 255


@dataclass(frozen=True)
class Reading:
    """
    What a meter measured.

    `at`: the interval's start, or the register's moment; it has an offset.
    `value`: a decimal, as a number or as text, never a float; None: missing, quality N.
    `duration_s`: of an interval.
    """

    at: datetime
    value: Decimal | int | str | None
    unit: str | None = None
    duration_s: int | None = None
    channel: str = "main"
    kind: str = "interval"
    #: `A` actual, `E` estimated, `S` substituted, `F` final substituted, `N` missing.
    quality: str = "A"
    #: Where the callback has readings of several devices.
    device: str | None = None

    def members(self) -> dict[str, Any]:
        """
        Return what the body says of it.

        Raises: ValueError, TypeError: it is none.
        """
        if self.at.tzinfo is None:
            raise ValueError("A reading's `at` needs an offset: it is no moment.")
        found = {
            "device": self.device,
            "channel": self.channel,
            "at": self.at.isoformat(),
            "duration_s": self.duration_s,
            "value": _decimal_text(self.value),
            "unit": self.unit,
            "kind": self.kind,
            "quality": self.quality,
        }
        return {name: value for name, value in found.items() if value is not None}


def body_of(
    transaction_id: str, readings: Iterable[Reading], *, device: str | None = None
) -> bytes:
    """
    Return the body of a callback: keep these bytes, and send no others under this id.

    Raises: ValueError, TypeError: the id or a reading is none.
    """
    check_transaction_id(transaction_id)
    document: dict[str, Any] = {"transaction_id": transaction_id}
    if device is not None:
        document["device"] = device
    document["readings"] = [reading.members() for reading in readings]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def check_transaction_id(transaction_id: str) -> None:
    """Refuse what is no transaction id: ValueError."""
    if not 1 <= len(transaction_id) <= TEXT_LIMIT:
        raise ValueError(f"A transaction id has 1 to {TEXT_LIMIT} characters.")


def _decimal_text(value: Decimal | int | str | None) -> str | None:
    if value is None:
        return None
    # A float is refused: what it prints is not what was measured.
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        raise TypeError("A value is a Decimal, an int or text, never a float.")
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise ValueError("The value is no decimal.") from None
    if not number.is_finite():
        raise ValueError("The value is no finite number.")
    return format(number, "f")
