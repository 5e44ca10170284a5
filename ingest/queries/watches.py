"""Reads about channels whose silence is news."""

from django.db.models import F, QuerySet

from ingest.models import Channel, ChannelWatch
from tenants.models import Tenant

#: Silent channels are counted up to here; more is "more than".
COUNT_LIMIT = 10_000


def with_watch(channels: QuerySet[Channel]) -> QuerySet[Channel]:
    """Add `heard_at`, `due_at` and `silent_since`: null where nobody watches."""
    return channels.annotate(
        heard_at=F("watch__heard_at"),
        due_at=F("watch__due_at"),
        silent_since=F("watch__silent_since"),
    )


def count_silent(*, tenant: Tenant) -> int | None:
    """
    Return how many of the tenant's channels are silent, up to `COUNT_LIMIT`.

    None: it watches none. Served by ingest_channelwatch_silent.
    """
    watches = ChannelWatch.objects.filter(tenant=tenant)
    if not watches.exists():
        return None
    return watches.filter(silent_since__isnull=False)[:COUNT_LIMIT].count()
