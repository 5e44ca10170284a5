"""Callbacks over the API: receipts, and a person's decisions about rejected ones."""

from typing import Any

import pytest

from ingest.models import Callback, CallbackRejection, CallbackState, Device
from ingest.services.callbacks import BodyGone, reprocess
from ingest.services.devices import approve_device
from ingest.tests.accepting import Inlet, drain, inlet, interval
from subscriptions.tests.calling import Caller, code, in_role
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id, public_id
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant

AT = "2016-01-01T00:00:00Z"


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


def results(reply: Any) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.content
    rows: list[dict[str, Any]] = reply.json()["results"]
    return rows


def test_a_receipt_says_what_became_of_each_reading(lane: Inlet, owner: Caller) -> None:
    row = lane.settle([interval(AT), interval("never")])
    shown = owner.get(f"/callbacks/{row.public_id}/").json()
    assert shown["processed_at"].endswith("Z")
    assert shown == {
        "receipt": public_id("rcp", row.id),
        "transaction_id": row.transaction_id,
        "source": lane.source.public_id,
        "status": "partly_rejected",
        "readings": {"stored": 1, "unchanged": 0, "corrected": 0, "rejected": 1},
        "errors": [
            {
                "index": 1,
                "code": "time_invalid",
                "detail": "at: ISO 8601 with an offset, "
                "such as 2016-01-01T00:00:00+01:00.",
            }
        ],
        "received_at": shown["received_at"],
        "processed_at": shown["processed_at"],
    }


def test_an_accepted_callback_has_a_receipt_before_it_is_processed(
    lane: Inlet, owner: Caller
) -> None:
    callback_id = lane.accept([interval(AT)])
    shown = owner.get(f"/callbacks/{public_id('rcp', callback_id)}/").json()
    assert (shown["status"], shown["processed_at"]) == ("accepted", None)


def test_the_list_is_narrowed_by_id_source_and_status(
    tenant: Tenant, lane: Inlet, owner: Caller
) -> None:
    other = inlet(tenant)
    first, second = lane.settle([interval(AT)]), other.settle(b"{}")

    def receipts(query: str) -> list[str]:
        return [row["receipt"] for row in results(owner.get(f"/callbacks/{query}"))]

    assert receipts("") == [second.public_id, first.public_id]
    assert receipts(f"?transaction_id={first.transaction_id}") == [first.public_id]
    assert receipts(f"?transaction_id={first.transaction_id.upper()}X") == []
    assert receipts(f"?source={other.source.public_id}") == [second.public_id]
    assert receipts("?status=rejected") == [second.public_id]
    assert receipts("?status=processed") == [first.public_id]
    assert code(owner.get("/callbacks/?source=nonsense")) == (400, "parameter_invalid")
    assert code(owner.get("/callbacks/?status=lost")) == (400, "invalid")


def test_another_tenant_sees_no_callback_and_decides_none(
    lane: Inlet, outsider: Caller
) -> None:
    row = lane.settle(b"{}")
    path = f"/callbacks/{row.public_id}/"
    assert results(outsider.get("/callbacks/")) == []
    assert results(outsider.get(f"/callbacks/?source={lane.source.public_id}")) == []
    assert code(outsider.get(path)) == (404, "callback_unknown")
    assert code(outsider.post(f"{path}reprocess/")) == (404, "callback_unknown")
    assert code(outsider.post(f"{path}discard/", {"reason": "x"})) == (
        404,
        "callback_unknown",
    )
    assert lane.callback(row.id).state == CallbackState.REJECTED


@pytest.mark.parametrize(("role", "reading"), [(Role.AUDITOR, 200), (Role.CLERK, 403)])
def test_auditors_read_callbacks_clerks_do_not_and_neither_decides(
    tenant: Tenant, lane: Inlet, role: Role, reading: int
) -> None:
    row = lane.settle(b"{}")
    caller = in_role(tenant, role)
    path = f"/callbacks/{row.public_id}/"
    assert caller.get(path).status_code == reading
    assert caller.get("/callbacks/").status_code == reading
    assert caller.post(f"{path}reprocess/").status_code == 403
    assert caller.post(f"{path}discard/", {"reason": "x"}).status_code == 403


@pytest.mark.parametrize(
    "receipt", ["rcp_1", "src_" + "0" * 32, "%01", "rcp_" + "g" * 32]
)
def test_what_is_no_receipt_is_not_found(owner: Caller, receipt: str) -> None:
    assert code(owner.get(f"/callbacks/{receipt}/")) == (404, "callback_unknown")


def test_nobody_reads_callbacks_without_a_key() -> None:
    assert Caller("").get("/callbacks/").status_code == 401


def test_an_approved_devices_readings_count_once_they_are_processed_again(
    tenant: Tenant, actor: Actor, owner: Caller
) -> None:
    lane = inlet(tenant, is_open=False)
    row = lane.settle([interval(AT, "4")])
    assert row.state == CallbackState.REJECTED
    with acting_for(tenant):
        approve_device(
            tenant=tenant, actor=actor, device=Device.objects.get(tenant=tenant)
        )
    reply = owner.post(f"/callbacks/{row.public_id}/reprocess/")
    assert reply.json()["status"] == "accepted"
    assert reply.json()["errors"] == []
    drain()
    again = lane.callback(row.id)
    assert (again.state, again.stored, again.rejected) == (
        CallbackState.PROCESSED,
        1,
        0,
    )
    assert [one.value for one in lane.readings()] == [4]
    with acting_for(tenant):
        assert not CallbackRejection.objects.filter(tenant=tenant).exists()
        entry = AuditEntry.objects.get(action="callback.reprocessed")
    assert entry.subject == row.public_id


def test_processing_again_changes_nothing_that_was_right(
    lane: Inlet, owner: Caller
) -> None:
    row = lane.settle([interval(AT, "4"), {"at": "never"}])
    for _ in range(2):
        assert owner.post(f"/callbacks/{row.public_id}/reprocess/").status_code == 200
    drain()
    again = lane.callback(row.id)
    assert (again.stored, again.unchanged, again.corrected) == (0, 1, 0)


def test_what_was_processed_whole_is_not_processed_again(
    lane: Inlet, owner: Caller
) -> None:
    row = lane.settle([interval(AT, "4")])
    reply = owner.post(f"/callbacks/{row.public_id}/reprocess/")
    assert reply.status_code == 409
    assert reply.json()["code"] == "callback_not_rejected"
    assert lane.callback(row.id).stored == 1


def test_what_waits_still_is_left_in_the_queue(lane: Inlet, owner: Caller) -> None:
    callback_id = lane.accept([interval(AT)])
    path = f"/callbacks/{public_id('rcp', callback_id)}/reprocess/"
    assert owner.post(path).json()["status"] == "accepted"
    drain()
    assert lane.callback(callback_id).stored == 1


def test_a_callback_whose_body_is_gone_cannot_be_processed_again(
    tenant: Tenant, actor: Actor, lane: Inlet, owner: Caller
) -> None:
    kept = lane.settle(b"{}")
    gone = new_id()
    with pipeline() as connection:
        connection.execute(
            """INSERT INTO ingest_callback
                (tenant_id, id, source_id, transaction_id, digest, received_at, state)
            VALUES (%s, %s, %s, 'old', '', now() - interval '200 days', 3)""",
            [tenant.pk, gone, lane.source.pk],
        )
    path = f"/callbacks/{public_id('rcp', gone)}/reprocess/"
    assert code(owner.post(path)) == (409, "body_gone")
    with acting_for(tenant), pytest.raises(BodyGone):
        reprocess(tenant=tenant, actor=actor, callback_ids=[kept.id, gone])
    assert lane.callback(kept.id).state == CallbackState.REJECTED
    with acting_for(tenant):
        assert Callback.objects.filter(tenant=tenant, state=0).count() == 0


def test_a_discarded_callback_keeps_its_errors_and_the_reason_is_kept(
    tenant: Tenant, lane: Inlet, owner: Caller
) -> None:
    row = lane.settle(b"{}")
    path = f"/callbacks/{row.public_id}/discard/"
    assert code(owner.post(path, {})) == (400, "invalid")
    reply = owner.post(path, {"reason": "a test meter"})
    assert reply.json()["status"] == "rejected"
    assert reply.json()["errors"][0]["code"] == "malformed_json"
    assert code(owner.post(path, {"reason": "again"})) == (409, "callback_not_rejected")
    with acting_for(tenant):
        kept = CallbackRejection.objects.get(tenant=tenant)
        assert (kept.code, kept.discard_reason) == ("malformed_json", "a test meter")
        assert kept.discarded_at is not None
        (entry,) = AuditEntry.objects.filter(action="callback.discarded")
    assert entry.detail == {"reason": "a test meter"}
