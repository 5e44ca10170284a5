"""Reads about callbacks that were set aside: which, why, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Case, F, Func, IntegerField, QuerySet, When

from ingest.models import Callback, CallbackBody, CallbackRejection
from tenants.identifiers import first_id, public_id
from tenants.models import AuditEntry, Tenant

#: Rejected callbacks are counted up to here; more is "more than".
COUNT_LIMIT = 100_000
#: Entries of the audit trail that a callback's page shows.
HISTORY_LENGTH = 50
#: Bodies that a list looks into.
SMALL_BYTES = 64 * 1024
#: How far a listener's clock, which ids come from, may be from the database's.
_CLOCKS_APART = timedelta(days=1)

STATUSES = ("open", "discarded", "all")

# One index entry is read for each code, and up to the limit for each count.
_BY_CODE = """
WITH RECURSIVE found (code) AS (
    (SELECT code FROM ingest_callbackrejection
     WHERE tenant_id = %(tenant)s AND discarded_at IS NULL ORDER BY code LIMIT 1)
    UNION ALL
    SELECT (SELECT r.code FROM ingest_callbackrejection r
            WHERE r.tenant_id = %(tenant)s AND r.discarded_at IS NULL
                AND r.code > found.code ORDER BY r.code LIMIT 1)
    FROM found WHERE found.code IS NOT NULL
)
SELECT code, (SELECT count(*) FROM (
    SELECT FROM ingest_callbackrejection r
    WHERE r.tenant_id = %(tenant)s AND r.discarded_at IS NULL AND r.code = found.code
    LIMIT %(limit)s) AS counted)
FROM found WHERE code IS NOT NULL ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True)
class Choice:
    """Which rejected callbacks are meant; nothing given: all."""

    code: str | None = None
    source_id: UUID | None = None
    #: Received in `[since, until)`.
    since: datetime | None = None
    until: datetime | None = None
    #: These alone; None: any.
    ids: tuple[UUID, ...] | None = None
    #: Those behind this one: where the step before has ended.
    after: UUID | None = None

    @property
    def is_everything(self) -> bool:
        """Tell whether nothing narrows it."""
        narrowing = (self.code, self.source_id, self.since, self.until, self.ids)
        return all(part is None for part in narrowing)

    def described(self) -> dict[str, Any]:
        """Return what narrows it, as the audit trail keeps it."""
        parts = {
            "code": self.code,
            "source": self.source_id and public_id("src", self.source_id),
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "chosen_by_hand": None if self.ids is None else True,
        }
        return {name: value for name, value in parts.items() if value is not None}


EVERYTHING = Choice()


@dataclass(frozen=True)
class CodeCount:
    """How many callbacks wait for a decision, for one reason."""

    code: str
    count: int


@dataclass(frozen=True)
class SmallBody:
    """What a list needs of a body; None: it is larger than SMALL_BYTES."""

    signed_by: str | None
    raw: bytes | None


def rejections(
    *, tenant: Tenant, choice: Choice, status: str = "open"
) -> QuerySet[CallbackRejection]:
    """Return the rejections that are open, discarded, or all; in no order."""
    rows = CallbackRejection.objects.filter(tenant=tenant)
    if status != "all":
        rows = rows.filter(discarded_at__isnull=status == "open")
    return _narrow(rows, choice)


def _narrow(
    rows: QuerySet[CallbackRejection], choice: Choice
) -> QuerySet[CallbackRejection]:
    if choice.ids is not None:
        rows = rows.filter(callback_id__in=choice.ids)
    if choice.code is not None:
        rows = rows.filter(code=choice.code)
    if choice.source_id is not None:
        rows = rows.filter(callback__source_id=choice.source_id)
    if choice.after is not None:
        rows = rows.filter(callback_id__gt=choice.after)
    return _received(rows, choice)


def _received(
    rows: QuerySet[CallbackRejection], choice: Choice
) -> QuerySet[CallbackRejection]:
    """Keep what came in the period; the ids' range lets an index leave out the rest."""
    if choice.since is not None:
        rows = rows.filter(
            callback__received_at__gte=choice.since,
            callback_id__gte=first_id(choice.since - _CLOCKS_APART),
        )
    if choice.until is not None:
        rows = rows.filter(
            callback__received_at__lt=choice.until,
            callback_id__lt=first_id(choice.until + _CLOCKS_APART),
        )
    return rows


def count_open(
    *, tenant: Tenant, choice: Choice = EVERYTHING, limit: int = COUNT_LIMIT
) -> int:
    """Return how many wait for a decision, counted up to the limit."""
    return rejections(tenant=tenant, choice=choice)[:limit].count()


def open_by_code(*, tenant: Tenant) -> list[CodeCount]:
    """Return how many wait for a decision by code, the most first."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_CODE, {"tenant": tenant.pk, "limit": COUNT_LIMIT})
        return [CodeCount(*row) for row in cursor.fetchall()]


def body_of(*, tenant: Tenant, callback: Callback) -> CallbackBody | None:
    """Return the raw body; None: it is past its retention."""
    # By its time too, which names the one partition that it can be in.
    return CallbackBody.objects.filter(
        tenant=tenant,
        callback_id=callback.pk,
        received_at=callback.received_at,
    ).first()


def small_bodies(
    *, tenant: Tenant, callbacks: Sequence[Callback]
) -> dict[UUID, SmallBody]:
    """Return the callbacks' bodies for a list; those that are gone are absent."""
    if not callbacks:
        return {}
    times = [one.received_at for one in callbacks]
    size = Func(F("body"), function="octet_length", output_field=IntegerField())
    rows = (
        CallbackBody.objects.filter(
            tenant=tenant,
            callback_id__in=[one.pk for one in callbacks],
            received_at__range=(min(times), max(times)),
        )
        .annotate(size=size, small=Case(When(size__lte=SMALL_BYTES, then=F("body"))))
        .values_list("callback_id", "signed_by", "small")
    )
    return {row[0]: SmallBody(row[1], row[2] and bytes(row[2])) for row in rows}


def history(*, tenant: Tenant, callback: Callback) -> list[AuditEntry]:
    """Return what people did with a callback, the newest first."""
    entries = AuditEntry.objects.filter(tenant=tenant, subject=callback.public_id)
    return list(entries.order_by("-id")[:HISTORY_LENGTH])
