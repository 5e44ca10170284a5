"""Callbacks as the listener leaves them, and the workers that settle them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from ingest.models import Callback, Reading, Source, UnknownDevices, Usage
from ingest.processing.batch import process_batch
from ingest.services.usage import recompute
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant

_ACCEPT = """
WITH ledger AS (
    INSERT INTO ingest_callback
        (tenant_id, id, source_id, transaction_id, digest, received_at)
    VALUES (%(tenant)s, %(id)s, %(source)s, %(transaction)s, %(digest)s,
        now() - %(ago_s)s * interval '1 second')
), bodies AS (
    INSERT INTO ingest_callbackbody
        (tenant_id, callback_id, received_at, content_type, body, signed_by)
    VALUES (%(tenant)s, %(id)s, now() - %(ago_s)s * interval '1 second', %(type)s,
        %(body)s, %(signed_by)s)
)
INSERT INTO ingest_pendingcallback (callback_id, tenant_id, source_id, received_at)
VALUES (%(id)s, %(tenant)s, %(source)s, now() - %(ago_s)s * interval '1 second')
"""


def make_source(tenant: Tenant, *, is_open: bool = True) -> Source:
    """Create a source without secrets; nothing here signs."""
    with acting_for(tenant):
        return Source.objects.create(
            tenant=tenant,
            name="head-end",
            register_devices=UnknownDevices.AUTO
            if is_open
            else UnknownDevices.KNOWN_ONLY,
        )


@dataclass(frozen=True)
class Inlet:
    """A source whose callbacks are accepted already."""

    tenant: Tenant
    source: Source

    def accept(
        self,
        readings: Iterable[Mapping[str, Any]] | bytes,
        *,
        device: str = "WM-1",
        content_type: str = "application/json",
        callback_id: UUID | None = None,
        ago_s: float = 0,
        signed_by: str | None = None,
    ) -> UUID:
        """Write a callback into the ledger and the queue; return its id."""
        body = (
            readings
            if isinstance(readings, bytes)
            else json.dumps({"device": device, "readings": list(readings)}).encode()
        )
        callback_id = callback_id or new_id()
        with pipeline() as lane:
            lane.execute(
                _ACCEPT,
                {
                    "tenant": self.tenant.pk,
                    "id": callback_id,
                    "source": self.source.pk,
                    "transaction": uuid4().hex,
                    "digest": hashlib.sha256(body).digest(),
                    "type": content_type,
                    "body": body,
                    "ago_s": ago_s,
                    "signed_by": signed_by,
                },
            )
        return callback_id

    def settle(self, *args: Any, **kwargs: Any) -> Callback:
        """Accept a callback and have it settled; return its ledger row."""
        callback_id = self.accept(*args, **kwargs)
        drain()
        return self.callback(callback_id)

    def callback(self, callback_id: UUID) -> Callback:
        """Return a callback's ledger row."""
        with acting_for(self.tenant):
            return Callback.objects.get(tenant=self.tenant, id=callback_id)

    def readings(self, device: str = "WM-1", channel: str = "main") -> list[Reading]:
        """Return a channel's readings in force, by time."""
        with acting_for(self.tenant):
            return list(
                Reading.objects.filter(
                    tenant=self.tenant,
                    channel__device__name=device,
                    channel__code=channel,
                ).order_by("start_at")
            )

    def usage(self, device: str = "WM-1", channel: str = "main") -> list[Usage]:
        """Return a channel's usage, by day."""
        with acting_for(self.tenant):
            return list(
                Usage.objects.filter(
                    tenant=self.tenant,
                    channel__device__name=device,
                    channel__code=channel,
                ).order_by("day")
            )


def inlet(tenant: Tenant, *, is_open: bool = True) -> Inlet:
    """Return a source of the tenant that is let in without a signature."""
    return Inlet(tenant, make_source(tenant, is_open=is_open))


def drain() -> None:
    """Settle whatever waits, and compute the usage that it changed."""
    while process_batch(500).callbacks:
        pass
    while recompute(2_000):
        pass


def interval(at: str, value: object = "1", **more: Any) -> dict[str, Any]:
    """Return an hour's reading in kWh."""
    return {"at": at, "duration_s": 3600, "value": value, "unit": "kWh", **more}


def register(at: str, value: object, **more: Any) -> dict[str, Any]:
    """Return a register's stand in kWh."""
    return {"at": at, "value": value, "unit": "kWh", "kind": "register", **more}
