"""What flies: one request with one delivery or a batch of them, and its results."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from subscriptions.batches import CONTENT_TYPE, batch_body, verdicts
from subscriptions.consent import origin
from subscriptions.http import Outcome, Request, unsent
from subscriptions.services.delivering.claims import Claimed, together
from subscriptions.services.delivering.recording import Result
from subscriptions.services.destinations import JSON, signed_request
from tenants.identifiers import new_id, public_id


@dataclass(frozen=True, eq=False, slots=True)
class Parcel:
    """One request on its way: its deliveries, and what was signed."""

    claims: tuple[Claimed, ...]
    message_id: str
    #: The `webhook-timestamp`.
    signed_at_s: int
    #: The `webhook-id` of a batch; None: it is one delivery.
    batch_id: UUID | None

    @property
    def first(self) -> Claimed:
        """The delivery that stands for all: they share the endpoint."""
        return self.claims[0]

    def request(self) -> Request:
        """Return the signed request."""
        destination = self.first.destination
        if self.batch_id is None:
            body, content_type = self.first.body, JSON
        else:
            items = [(_message_id(one), one.body) for one in self.claims]
            body, content_type = batch_body(items, origin()), CONTENT_TYPE
        return signed_request(
            destination, self.message_id, self.signed_at_s, body, content_type
        )

    def results(
        self, outcome: Outcome, evidence_s: float | None = None
    ) -> list[Result]:
        """Return what came of each delivery."""
        signed_at_s = self.signed_at_s if self.first.destination.secrets else None
        if self.batch_id is None:
            return [Result(self.first, outcome, signed_at_s, evidence_s=evidence_s)]
        ids = [_message_id(one) for one in self.claims]
        said = verdicts(outcome.status_code, outcome.body, ids)
        return [
            Result(
                claimed,
                outcome,
                signed_at_s,
                self.batch_id,
                said[message_id],
                evidence_s,
            )
            for claimed, message_id in zip(self.claims, ids, strict=True)
        ]


def parcels(claims: Sequence[Claimed]) -> list[Parcel]:
    """Return the requests that these deliveries make."""
    found = [single(one) for one in claims if one.destination.batch_size == 1]
    for batches in together(claims).values():
        found += map(_batch, batches)
    return found


def single(claimed: Claimed) -> Parcel:
    """Return the request of one delivery."""
    return Parcel((claimed,), _message_id(claimed), int(claimed.now_s()), None)


def unsigned() -> Outcome:
    """Return the outcome of an attempt that could not be signed, and was not made."""
    return unsent(
        "secret_unusable",
        "The endpoint's secret does not open: an encryption key is missing.",
    )


def _batch(claims: Sequence[Claimed]) -> Parcel:
    batch_id = new_id()
    now_s = int(claims[0].now_s())
    return Parcel(tuple(claims), public_id("bat", batch_id), now_s, batch_id)


def _message_id(claimed: Claimed) -> str:
    return public_id("msg", claimed.message_id)
