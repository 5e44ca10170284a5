"""A callback before it is sent: an id and the bytes, and the headers that sign them."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from tenants import signing

SCHEMES = ("hub", "standard")


class LineInvalid(ValueError):
    """A line of a meter file is not what its format says; the text has its number."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One callback as it travels: the same id always has the same bytes."""

    transaction_id: str
    body: bytes


@dataclass(frozen=True)
class Target:
    """The source that is posted to, and how it wants to be signed for."""

    url: str
    secret: str
    scheme: str = "hub"

    def __post_init__(self) -> None:
        """Refuse a secret that the scheme cannot use, before anything is sent."""
        if self.scheme == "standard":
            signing.standard_key(self.secret)

    def headers(self, posting: Posting) -> list[bytes]:
        """Return the header lines of one attempt, signed now."""
        return [line.encode() for line in self._header_lines(posting)]

    def _header_lines(self, posting: Posting) -> list[str]:
        lines = ["Content-Type: application/json", "Expect:"]
        if self.scheme == "hub":
            value = signing.sign_hub(signing.hub_key(self.secret), posting.body)
            return [*lines, f"X-Hub-Signature-256: {value}"]
        moment = int(time.time())
        value = signing.sign_standard(
            signing.standard_key(self.secret),
            posting.transaction_id,
            moment,
            posting.body,
        )
        return [
            *lines,
            f"webhook-id: {posting.transaction_id}",
            f"webhook-timestamp: {moment}",
            f"webhook-signature: {value}",
        ]


def posting(
    transaction_id: str, device: str, readings: list[dict[str, Any]]
) -> Posting:
    """Return a callback of one device; equal arguments give equal bytes."""
    body = {"transaction_id": transaction_id, "device": device, "readings": readings}
    return Posting(transaction_id, msgspec.json.encode(body))
