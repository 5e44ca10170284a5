"""Who hears of an event: a tenant's endpoints, with what each of them asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from subscriptions import filtering
from subscriptions.catalogue import patterns_for
from subscriptions.events import Event
from subscriptions.filtering import About, Filter, Names
from subscriptions.models import Payload
from tenants.database import Cursor
from tenants.identifiers import public_id

#: Names of device groups that a process remembers, all groups together.
MOST_REMEMBERED = 2_000_000


@dataclass(frozen=True)
class Listener:
    """An endpoint, as far as publishing goes."""

    endpoint_id: UUID
    event_types: frozenset[str]
    filter: Filter | None
    is_thin: bool
    api_version: str
    is_ordered: bool


class _GroupMemory:
    """Device groups, made ready once for each change of them."""

    def __init__(self) -> None:
        self._groups: dict[UUID, tuple[datetime, Names]] = {}
        self._size = 0

    def find(self, group_id: UUID, updated_at: datetime) -> Names | None:
        """Return the group as of then."""
        since, found = self._groups.get(group_id, (None, None))
        return found if since == updated_at else None

    def keep(self, group_id: UUID, updated_at: datetime, devices: list[str]) -> Names:
        """Remember a group."""
        if self._size + len(devices) > MOST_REMEMBERED:
            self._groups, self._size = {}, 0
        made = filtering.names(devices)
        self._groups[group_id] = (updated_at, made)
        self._size += len(devices)
        return made


_memory = _GroupMemory()


class Audience:
    """The endpoints of some tenants, asked event by event."""

    def __init__(self, cursor: Cursor, tenant_ids: Iterable[int]) -> None:
        self._all: dict[int, list[Listener]] = {}
        self._asking: dict[tuple[int, str], list[Listener]] = {}
        self._groups: dict[int, dict[str, Names]] = {}
        ids = list(set(tenant_ids))
        if ids:
            self._load(cursor, ids)

    def hearing(self, event: Event) -> list[Listener]:
        """Return who asked for the event's type, or is told by the event's own will."""
        if event.endpoint_id is not None:
            return self._by_id(event.tenant_id, event.endpoint_id)
        found = self._asking_for(event.tenant_id, event.event_type)
        if event.but_endpoint_id is not None:
            found = [one for one in found if one.endpoint_id != event.but_endpoint_id]
        if event.also_endpoint_id is not None:
            ids = {one.endpoint_id for one in found}
            if event.also_endpoint_id not in ids:
                also = self._by_id(event.tenant_id, event.also_endpoint_id)
                found = [*found, *also]
        return found

    def passing(
        self, event: Event, hearing: Sequence[Listener], about: About
    ) -> list[Listener]:
        """Return those whose filters let the event through, or do not matter to it."""
        told = {event.endpoint_id, event.also_endpoint_id}
        source = public_id("src", event.source_id) if event.source_id else ""
        groups = self._groups.get(event.tenant_id, {})
        return [
            one
            for one in hearing
            if one.filter is None
            or one.endpoint_id in told
            or one.filter.passes(source, about, groups)
        ]

    def _by_id(self, tenant_id: int, endpoint_id: UUID) -> list[Listener]:
        theirs = self._all.get(tenant_id, ())
        return [one for one in theirs if one.endpoint_id == endpoint_id]

    def _asking_for(self, tenant_id: int, event_type: str) -> list[Listener]:
        found = self._asking.get((tenant_id, event_type))
        if found is None:
            patterns = patterns_for(event_type)
            found = self._asking[tenant_id, event_type] = [
                one
                for one in self._all.get(tenant_id, ())
                if not one.event_types.isdisjoint(patterns)
            ]
        return found

    def _load(self, cursor: Cursor, tenant_ids: list[int]) -> None:
        # Served by endpoint_of_tenant. A tenant has tens of endpoints, not thousands
        # (ENDPOINT_LIMIT), so patterns and filters are matched here.
        cursor.execute(
            """SELECT tenant_id, id, event_types, filters::text, payload, api_version,
                is_ordered
            FROM subscriptions_endpoint
            WHERE tenant_id = ANY(%s::bigint[]) AND deleted_at IS NULL""",
            [tenant_ids],
        )
        grouped: dict[int, set[str]] = {}
        for tenant_id, endpoint_id, types, filters, payload, *rest in cursor.fetchall():
            narrowed = filtering.compiled(filters)
            listener = Listener(
                endpoint_id, frozenset(types), narrowed, payload == Payload.THIN, *rest
            )
            self._all.setdefault(tenant_id, []).append(listener)
            if narrowed is not None and narrowed.groups:
                grouped.setdefault(tenant_id, set()).update(narrowed.groups)
        if grouped:
            self._load_groups(cursor, grouped)

    def _load_groups(self, cursor: Cursor, asked: Mapping[int, set[str]]) -> None:
        pairs = [(tenant, name) for tenant, group in asked.items() for name in group]
        # Without their devices, of which there may be 100,000: most are remembered.
        cursor.execute(
            """SELECT g.tenant_id, g.name, g.id, g.updated_at
            FROM unnest(%s::bigint[], %s::text[]) AS k (tenant_id, name)
            JOIN subscriptions_devicegroup g
                ON g.tenant_id = k.tenant_id AND g.name = k.name COLLATE "C" """,
            [[tenant_id for tenant_id, _ in pairs], [name for _, name in pairs]],
        )
        for tenant_id, name, group_id, updated_at in cursor.fetchall():
            found = _memory.find(group_id, updated_at)
            if found is None:
                cursor.execute(
                    """SELECT updated_at, devices FROM subscriptions_devicegroup
                    WHERE tenant_id = %s AND id = %s""",
                    [tenant_id, group_id],
                )
                (row,) = cursor.fetchall() or [(updated_at, [])]
                found = _memory.keep(group_id, *row)
            self._groups.setdefault(tenant_id, {})[name] = found
