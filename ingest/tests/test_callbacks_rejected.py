"""Rejected callbacks over the API: listed, fetched, and decided about, one or many."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from ingest.models import (
    Callback,
    CallbackState,
    Device,
    PendingCallback,
    ProcessingProgress,
    Source,
)
from ingest.processing.batch import process_batch
from ingest.queries.rejections import Choice, count_open, open_by_code
from ingest.services import callbacks as services
from ingest.services.callbacks import Step, discard_many, reprocess, reprocess_many
from ingest.services.devices import approve_device
from ingest.tests.accepting import Inlet, drain, inlet, interval
from ingest.tests.setting_aside import rejection, set_aside, state
from subscriptions.tests.calling import Caller, code, in_role
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import public_id
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant

AT = "2016-01-01T00:00:00Z"


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


@pytest.fixture
def source(lane: Inlet) -> Source:
    return lane.source


def receipts(caller: Caller, query: str = "") -> list[str]:
    reply = caller.get(f"/rejections/{query}")
    assert reply.status_code == 200, reply.content
    return [row["receipt"] for row in reply.json()["results"]]


def test_a_rejection_says_why_and_what_it_is_about(lane: Inlet, owner: Caller) -> None:
    row = lane.settle([interval(AT), interval("never")])
    (shown,) = owner.get("/rejections/").json()["results"]
    assert shown["received_at"].endswith("Z")
    assert shown["rejected_at"].endswith("Z")
    assert shown["detail"].startswith("at: ")
    assert shown == {
        "receipt": row.public_id,
        "transaction_id": row.transaction_id,
        "source": lane.source.public_id,
        "status": "open",
        "code": "time_invalid",
        "detail": shown["detail"],
        "readings": {"stored": 1, "unchanged": 0, "corrected": 0, "rejected": 1},
        "received_at": shown["received_at"],
        "rejected_at": shown["rejected_at"],
        "discarded_at": None,
        "discard_reason": None,
    }


def test_the_list_is_narrowed_and_paged(
    tenant: Tenant, source: Source, owner: Caller
) -> None:
    now = datetime.now(UTC)
    early = set_aside(
        source, code="device_unknown", received_at=now - timedelta(hours=2)
    )
    late = set_aside(inlet(tenant).source)
    given_up = set_aside(source)
    owner.post(
        f"/callbacks/{public_id('rcp', given_up)}/discard/", {"reason": "a test meter"}
    )
    ids = {name: public_id("rcp", one) for name, one in
           (("early", early), ("late", late), ("given_up", given_up))}  # fmt: skip
    earlier = (now - timedelta(hours=1)).isoformat().replace("+", "%2B")
    for query, expected in (
        ("", ["late", "early"]),
        ("?status=discarded", ["given_up"]),
        ("?status=all", ["given_up", "late", "early"]),
        ("?code=device_unknown", ["early"]),
        (f"?status=all&source={source.public_id}", ["given_up", "early"]),
        (f"?since={earlier}", ["late"]),
        (f"?until={earlier}", ["early"]),
    ):
        assert receipts(owner, query) == [ids[name] for name in expected], query
    first = owner.get("/rejections/?status=all&page_size=2").json()
    assert [row["receipt"] for row in first["results"]] == [
        ids["given_up"],
        ids["late"],
    ]
    second = owner.get(first["next"]).json()
    assert [row["receipt"] for row in second["results"]] == [ids["early"]]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query", ["status=lost", "source=nonsense", "since=yesterday", "code=%00"]
)
def test_a_parameter_that_cannot_be_read_is_named(owner: Caller, query: str) -> None:
    assert code(owner.get(f"/rejections/?{query}")) == (400, "parameter_invalid")


def test_another_tenant_sees_and_decides_nothing(
    source: Source, tenant: Tenant, outsider: Caller
) -> None:
    found = set_aside(source)
    path = f"/callbacks/{public_id('rcp', found)}"
    assert receipts(outsider, "?status=all") == []
    assert receipts(outsider, f"?source={source.public_id}") == []
    assert code(outsider.get(f"{path}/body/")) == (404, "callback_unknown")
    assert code(outsider.post(f"{path}/reopen/")) == (404, "callback_unknown")
    for choice in ({"all": True}, {"source": source.public_id}):
        reply = outsider.post("/rejections/reprocess/", choice)
        assert reply.json() == {"count": 0, "left": 0, "next": None}
        reply = outsider.post("/rejections/discard/", {**choice, "reason": "x"})
        assert reply.json()["count"] == 0
    assert state(tenant, found) == CallbackState.REJECTED


@pytest.mark.parametrize(("role", "reading"), [(Role.AUDITOR, 200), (Role.CLERK, 403)])
def test_auditors_read_rejections_clerks_do_not_and_neither_decides(
    tenant: Tenant, source: Source, role: Role, reading: int
) -> None:
    path = f"/callbacks/{public_id('rcp', set_aside(source))}"
    caller = in_role(tenant, role)
    assert caller.get("/rejections/").status_code == reading
    assert caller.get(f"{path}/body/").status_code == reading
    assert caller.post(f"{path}/reopen/").status_code == 403
    for what in ("reprocess", "discard"):
        asked = {"all": True, "reason": "x"}
        assert caller.post(f"/rejections/{what}/", asked).status_code == 403


def test_a_body_is_fetched_byte_for_byte_and_once(
    tenant: Tenant, lane: Inlet, owner: Caller
) -> None:
    body = b"<script>" + bytes(range(256))
    row = lane.settle(body)
    path = f"http://testserver/api/v1/callbacks/{row.public_id}/body/"
    reply = owner.get(path)
    assert reply.content == body
    assert reply["Content-Type"] == "application/octet-stream"
    assert reply["Content-Disposition"] == f'attachment; filename="{row.public_id}.bin"'
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["ETag"] == f'"{bytes(row.digest).hex()}"'
    with acting_for(tenant):
        entry = AuditEntry.objects.get(action="callback.body_downloaded")
    assert entry.subject == row.public_id


def test_a_body_past_its_retention_is_gone(source: Source, owner: Caller) -> None:
    path = f"/callbacks/{public_id('rcp', set_aside(source, body=None))}/body/"
    assert code(owner.get(path)) == (410, "body_gone")


def test_a_discard_is_undone_once(
    tenant: Tenant, source: Source, owner: Caller
) -> None:
    found = set_aside(source)
    path = f"/callbacks/{public_id('rcp', found)}"
    assert code(owner.post(f"{path}/reopen/")) == (409, "callback_not_rejected")
    owner.post(f"{path}/discard/", {"reason": "a test meter"})
    assert receipts(owner) == []
    assert owner.post(f"{path}/reopen/").status_code == 200
    assert receipts(owner) == [public_id("rcp", found)]
    assert code(owner.post(f"{path}/reopen/")) == (409, "callback_not_rejected")
    opened = rejection(tenant, found)
    assert opened is not None
    assert opened.discard_reason is None


def test_all_of_a_reason_count_once_their_device_is_approved(
    tenant: Tenant, actor: Actor, owner: Caller
) -> None:
    lane = inlet(tenant, is_open=False)
    rows = [lane.settle([interval(f"2016-01-0{day}T00:00:00Z")]) for day in (1, 2, 3)]
    other = lane.settle(b"{}")
    with acting_for(tenant):
        approve_device(
            tenant=tenant, actor=actor, device=Device.objects.get(tenant=tenant)
        )
    reply = owner.post("/rejections/reprocess/", {"code": "device_unknown"})
    assert reply.json() == {"count": 3, "left": 0, "next": None}
    drain()
    assert {lane.callback(row.id).state for row in rows} == {CallbackState.PROCESSED}
    assert len(lane.readings()) == 3
    assert receipts(owner) == [other.public_id]
    with acting_for(tenant):
        entry = AuditEntry.objects.get(action="rejections.reprocessed")
        each = AuditEntry.objects.filter(action="callback.reprocessed")
        assert {one.subject for one in each} == {row.public_id for row in rows}
    assert (entry.subject, entry.detail) == (
        "device_unknown",
        {"code": "device_unknown", "count": 3},
    )


def test_many_are_discarded_with_one_reason(
    tenant: Tenant, source: Source, owner: Caller
) -> None:
    kept, *others = (set_aside(source, code=name) for name in ("x_kept", "y", "y"))
    assert code(owner.post("/rejections/discard/", {"code": "y"})) == (400, "invalid")
    asked = {"code": "y", "source": source.public_id, "reason": "a test meter"}
    assert owner.post("/rejections/discard/", asked).json()["count"] == 2
    for one in others:
        found = rejection(tenant, one)
        assert found is not None
        assert found.discard_reason == "a test meter"
    assert receipts(owner) == [public_id("rcp", kept)]


@pytest.mark.parametrize("what", ["reprocess", "discard"])
def test_nothing_named_is_not_everything(
    tenant: Tenant, source: Source, owner: Caller, what: str
) -> None:
    found = set_aside(source)
    path, reason = f"/rejections/{what}/", {"reason": "x"} if what == "discard" else {}
    for asked in ({}, {"all": False}, {"after": public_id("rcp", found)}):
        assert code(owner.post(path, {**asked, **reason})) == (400, "choice_missing")
    for asked in ({"source": "x"}, {"since": "x"}, {"after": "x"}):
        reply = owner.post(path, {"all": True, **asked, **reason})
        assert code(reply) == (400, "parameter_invalid")
    for bad in ({"code": "\0"}, {"code": 7, "all": "?"}, {"code": ["x"]}):
        assert code(owner.post(path, {**bad, **reason})) == (400, "invalid")
    assert owner.post(path, {"all": True, **reason}).json()["count"] == 1


def test_steps_go_on_where_the_last_one_ended_whatever_came_back(
    tenant: Tenant, source: Source, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STEP", 2)
    ids = [set_aside(source, body=None if n == 1 else b"{}") for n in range(5)]
    asked: dict[str, Any] = {"all": True}
    replies = []
    while True:
        reply = owner.post("/rejections/reprocess/", asked).json()
        replies.append((reply["count"], reply["left"]))
        # What goes back is refused again at once, and must not be met again.
        drain()
        if reply["next"] is None:
            break
        asked["after"] = reply["next"]
    assert replies == [(1, 1), (2, 0), (1, 0)]
    assert len(receipts(owner)) == len(ids)


def test_what_somebody_else_decides_just_now_is_left_to_them(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    held, free = set_aside(source), set_aside(source)
    with pipeline() as other:
        other.execute(
            "SELECT FROM ingest_callback WHERE tenant_id = %s AND id = %s FOR UPDATE",
            [tenant.pk, held],
        )
        with acting_for(tenant):
            step = reprocess_many(tenant=tenant, actor=actor, choice=Choice())
    assert (step.count, step.left) == (1, 1)
    assert state(tenant, held) == CallbackState.REJECTED
    assert state(tenant, free) == CallbackState.ACCEPTED


def decide_and_settle(tenant: Tenant, step: Callable[[], Step]) -> int:
    """Decide again and again with a worker in between; return how many it was."""
    try:
        count = 0
        for _ in range(6):
            with acting_for(tenant):
                count += step().count
            process_batch(50)
        return count
    finally:
        connections.close_all()


def test_deciders_and_workers_at_once_have_one_effect_on_each(
    tenant: Tenant, actor: Actor, lane: Inlet
) -> None:
    ids = [lane.settle(b"{}").id for _ in range(30)]
    who: dict[str, Any] = {"tenant": tenant, "actor": actor}
    some = Choice(ids=tuple(ids[:10]))

    def again() -> Step:
        return reprocess_many(**who, choice=Choice())

    def give_up() -> Step:
        return discard_many(**who, choice=some, reason="x", now=timezone.now())

    with ThreadPoolExecutor(3) as people:
        tasks = [
            people.submit(decide_and_settle, tenant, step)
            for step in (again, again, give_up)
        ]
        effects = sum(task.result(60) for task in tasks)
    drain()
    with acting_for(tenant):
        assert not PendingCallback.objects.filter(tenant=tenant).exists()
        settled = Callback.objects.filter(tenant=tenant, state=CallbackState.REJECTED)
        assert settled.count() == len(ids)
        entries = AuditEntry.objects.filter(tenant=tenant, subject__startswith="rcp_")
        assert entries.count() == effects
    assert all(rejection(tenant, one) for one in ids)


def test_a_large_callback_begins_at_its_first_reading_again(
    tenant: Tenant, actor: Actor, lane: Inlet
) -> None:
    row = lane.settle([interval(AT), {"at": "never"}])
    with pipeline() as connection:
        connection.execute(
            """INSERT INTO ingest_processingprogress (tenant_id, callback_id, done,
                began_at) VALUES (%s, %s, 1, now())""",
            [tenant.pk, row.id],
        )
    with acting_for(tenant):
        reprocess(tenant=tenant, actor=actor, callback_ids=[row.id])
        assert not ProcessingProgress.objects.filter(tenant=tenant).exists()
    drain()
    assert lane.callback(row.id).unchanged == 1


def test_reasons_are_counted_without_the_discarded_ones(
    tenant: Tenant, actor: Actor, source: Source, stranger: NewTenant
) -> None:
    set_aside(inlet(stranger.tenant).source, code="a")
    ids = [set_aside(source, code=name) for name in ("a", "b", "b", "c")]
    with acting_for(tenant):
        choice = Choice(ids=(ids[3],))
        discard_many(
            tenant=tenant, actor=actor, choice=choice, reason="x", now=timezone.now()
        )
        counted = open_by_code(tenant=tenant)
        assert [(one.code, one.count) for one in counted] == [("b", 2), ("a", 1)]
        assert count_open(tenant=tenant) == 3
        assert count_open(tenant=tenant, choice=Choice(ids=())) == 0
