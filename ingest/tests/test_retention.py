"""What is forgotten, when, and what a replay is told after its body is gone."""

import hashlib
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID, uuid4

import pytest
from django.test import override_settings

from ingest import tasks
from ingest.formats.parsed import Parsed
from ingest.models import Callback, CallbackRejection, Reading, ReadingRevision, Usage
from ingest.processing import partitions, retention
from ingest.tests.accepting import Inlet, drain, interval
from ingest.tests.listening import Running, Sender, callback
from tenants import doorbell
from tenants.database import acting_for, database_clock, pipeline
from tenants.identifiers import first_id, new_id
from tenants.models import Tenant
from tests.plans import analyse

NOW = datetime(2020, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=401)
YOUNG = NOW - timedelta(days=399)
SOURCE = new_id()
_STORE = """
INSERT INTO ingest_callback
    (tenant_id, id, source_id, transaction_id, digest, received_at, state)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


@pytest.fixture(autouse=True)
def _positions() -> Generator[None, None, None]:
    """A process that has forgotten nothing yet."""
    retention._positions.clear()
    with override_settings(LEDGER_RETENTION_DAYS=400):
        yield


def store(
    tenant: Tenant,
    id_at: datetime,
    *,
    received_at: datetime | None = None,
    state: int = 1,
    is_rejected: bool = False,
) -> UUID:
    """Write a callback of that time into the ledger."""
    callback_id = UUID(int=first_id(id_at).int | uuid4().int >> 60)
    with pipeline() as lane:
        lane.execute(
            _STORE,
            [
                *(tenant.pk, callback_id, SOURCE, callback_id.hex, b"d"),
                *(received_at or id_at, state),
            ],
        )
        if is_rejected:
            lane.execute(
                "INSERT INTO ingest_callbackrejection VALUES (%s, %s, 'c', 'd')",
                [tenant.pk, callback_id],
            )
    return callback_id


def known(tenant: Tenant) -> set[UUID]:
    with acting_for(tenant):
        rows = Callback.objects.filter(tenant=tenant)
        return set(rows.values_list("pk", flat=True))


def forget(seconds: float = 20) -> retention.Forgotten:
    return retention.forget_callbacks(now=NOW, seconds=seconds)


def test_ids_past_their_retention_are_forgotten_with_their_rejections(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 3)
    for number in range(7):
        store(tenant, OLD + timedelta(minutes=number), is_rejected=number % 2 == 0)
    young = store(tenant, YOUNG, is_rejected=True)
    assert forget() == (7, True)
    assert known(tenant) == {young}
    with acting_for(tenant):
        left = CallbackRejection.objects.filter(tenant=tenant)
        assert set(left.values_list("pk", flat=True)) == {young}
    assert forget() == (0, True)


def test_what_waits_to_be_processed_is_never_forgotten(tenant: Tenant) -> None:
    waiting = store(tenant, OLD, state=0)
    store(tenant, OLD + timedelta(seconds=1))
    assert forget().callbacks == 1
    assert known(tenant) == {waiting}
    with pipeline() as lane:
        lane.execute("UPDATE ingest_callback SET state = 1 WHERE id = %s", [waiting])
    assert forget().callbacks == 1
    assert known(tenant) == set()


def test_a_listener_whose_clock_is_wrong_shortens_no_retention(tenant: Tenant) -> None:
    behind = store(tenant, OLD, received_at=YOUNG)
    ahead = store(tenant, YOUNG, received_at=OLD)
    forget()
    assert known(tenant) == {behind, ahead}


def test_a_turn_ends_in_time_and_the_next_goes_on(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 2)
    for number in range(6):
        store(tenant, OLD + timedelta(minutes=number))
    turns = [forget(seconds=0) for _ in range(4)]
    assert turns[0].is_done is False
    assert {turn.callbacks for turn in turns} <= {0, 2}
    assert forget().is_done
    assert known(tenant) == set()


def test_a_step_reads_no_more_than_its_part_of_the_key(tenant: Tenant) -> None:
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id,
                digest, received_at, state)
            SELECT %s, (lpad(to_hex(%s + n), 12, '0') || repeat('0', 20))::uuid, %s,
                n::text, 'd', %s, 1 FROM generate_series(1, 20000) AS n""",
            [tenant.pk, int(OLD.timestamp() * 1000), SOURCE, OLD],
        )
    analyse("ingest_callback")
    kept_from = NOW - timedelta(days=400)
    values = {
        "tenant": tenant.pk,
        "after": retention._FIRST,
        "limit": retention.STEP,
        "first_kept": first_id(kept_from),
        "kept_from": kept_from,
    }
    with pipeline() as lane:
        rows = lane.execute(f"EXPLAIN {retention._STEP}", values).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert plan.count("using ingest_callback_pkey") == 2, plan
    assert "Seq Scan on ingest_callback " not in plan, plan
    forgotten, seen, _ = retention._step(tenant.pk, retention._FIRST, kept_from)
    assert forgotten == seen == retention.STEP
    assert forget().callbacks >= 15_000


def test_the_hourly_maintenance_rings_and_a_turn_that_is_over_rings_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(doorbell, "ring", rung.append)
    tasks.maintain_partitions()
    assert rung == ["ingest.forget_callbacks"]
    real_now = database_clock()
    for minutes in (1, 2, 3):
        store(tenant, real_now - timedelta(days=401, minutes=minutes))
    monkeypatch.setattr(retention, "STEP", 1)
    monkeypatch.setattr(tasks, "FORGET_S", 0)
    tasks.forget_callbacks()
    assert len(known(tenant)) >= 2
    assert rung == ["ingest.forget_callbacks"] * 2
    monkeypatch.setattr(tasks, "FORGET_S", 20)
    tasks.forget_callbacks()
    assert known(tenant) == set()
    assert len(rung) == 2


def test_a_replay_after_its_body_is_gone_gets_the_first_receipt(
    tenant: Tenant, listener: Running, sender: Sender
) -> None:
    day = datetime(2003, 3, 3, tzinfo=UTC)
    body = callback("head-end-7/1")
    first = new_id()
    digest = hashlib.sha256(body).digest()
    at = day + timedelta(hours=12)
    source_id = sender.source.pk
    with pipeline() as lane:
        lane.execute(
            "SELECT ingest_make_partition('ingest_callbackbody', %s, %s, %s)",
            [f"{day:%Y%m%d}", day, day + timedelta(days=1)],
        )
        lane.execute(
            _STORE, [tenant.pk, first, source_id, "head-end-7/1", digest, at, 1]
        )
        lane.execute(
            "INSERT INTO ingest_callbackbody VALUES (%s, %s, %s, 'x', %s)",
            [tenant.pk, first, at, body],
        )
    with override_settings(BODY_RETENTION_DAYS=90):
        assert partitions.drop_old_bodies(day + timedelta(days=91)) == 1
    reply = listener.post(sender, body)
    assert (reply.status, reply.code) == (200, "duplicate")
    assert reply.document["receipt"] == f"rcp_{first.hex}"
    other = listener.post(sender, callback("head-end-7/1", device="WM-2"))
    assert (other.status, other.code) == (409, "transaction_conflict")
    assert known(tenant) == {first}


def test_one_id_on_either_side_of_midnight_is_one_row(tenant: Tenant) -> None:
    """The bodies' partitions differ by the day; the ledger has none."""
    midnight = datetime(2004, 1, 1, tzinfo=UTC)
    sides = (midnight - timedelta(microseconds=1), midnight)
    for start in (midnight - timedelta(days=1), midnight):
        with pipeline() as lane:
            lane.execute(
                "SELECT ingest_make_partition('ingest_callbackbody', %s, %s, %s)",
                [f"{start:%Y%m%d}", start, start + timedelta(days=1)],
            )
    together = threading.Barrier(2)
    stored: list[int] = []

    def post(at: datetime) -> None:
        callback_id = new_id()
        together.wait(10)
        with pipeline() as lane:
            # As the listener's own statement does it.
            count = lane.execute(
                """WITH ledger AS (
                    INSERT INTO ingest_callback (tenant_id, id, source_id,
                        transaction_id, digest, received_at)
                    VALUES (%(tenant)s, %(id)s, %(source)s, 'same', 'd', %(at)s)
                    ON CONFLICT ON CONSTRAINT callback_transaction_unique DO NOTHING
                    RETURNING id)
                INSERT INTO ingest_callbackbody
                SELECT %(tenant)s, id, %(at)s, 'x', 'x' FROM ledger""",
                {"tenant": tenant.pk, "id": callback_id, "source": SOURCE, "at": at},
            ).rowcount
            stored.append(count)

    both = [threading.Thread(target=post, args=[at]) for at in sides]
    for one in both:
        one.start()
    for one in both:
        one.join(10)
    assert sorted(stored) == [0, 1]
    assert len(known(tenant)) == 1


def test_partitions_come_and_go_without_a_stall(tenant: Tenant) -> None:
    """A body is stored every few milliseconds, and a worker reads others all along."""
    ends = threading.Event()
    waits_s: list[float] = []
    dropped = 0
    day = datetime(2005, 5, 5, tzinfo=UTC)

    def insert() -> None:
        while not ends.is_set():
            began_s = monotonic()
            with pipeline() as lane:
                lane.execute(
                    "INSERT INTO ingest_callbackbody VALUES (%s, %s, now(), 'x', 'x')",
                    [tenant.pk, new_id()],
                )
            waits_s.append(monotonic() - began_s)

    def read() -> None:
        while not ends.is_set():
            with pipeline() as lane:
                lane.execute("SELECT count(*) FROM ingest_callbackbody")
                lane.execute("SELECT pg_sleep(0.05)")

    others = [threading.Thread(target=work) for work in (insert, read)]
    for one in others:
        one.start()
    try:
        with override_settings(BODY_RETENTION_DAYS=90):
            while len(waits_s) < 30:
                partitions.ensure_partitions(day)
                dropped += partitions.drop_old_bodies(day + timedelta(days=200))
    finally:
        ends.set()
        for one in others:
            one.join(10)
    assert dropped >= 8
    # The drop's own patience is 0.3 s; whoever waits for a lock, 5 s.
    assert max(waits_s) < 1.5


def test_months_of_readings_are_dropped_and_usage_and_history_stay(
    tenant: Tenant, lane: Inlet
) -> None:
    lane.settle([interval("2001-01-31T12:00:00Z", "1")])
    lane.settle([interval("2001-01-31T12:00:00Z", "2")])
    lane.settle([interval("2001-02-01T00:00:00Z")])
    drain()
    # June: March to May are kept, and February to spare.
    now = datetime(2001, 6, 30, tzinfo=UTC)
    with override_settings(READING_RETENTION_MONTHS=3):
        assert partitions.readings_kept_from(now) == datetime(2001, 3, 1, tzinfo=UTC)
        assert partitions.drop_old_readings(now) >= 1
        assert partitions.drop_old_readings(now) == 0
        refused = lane.settle([interval("2001-02-01T01:00:00Z")])
    assert [error["code"] for error in refused.errors or ()] == ["time_out_of_range"]
    with acting_for(tenant):
        left = Reading.objects.filter(tenant=tenant)
        assert [row.start_at.month for row in left] == [2]
        assert Usage.objects.filter(tenant=tenant).count() == 2
        assert ReadingRevision.objects.filter(tenant=tenant).count() == 1
    lane.settle([interval("2001-01-31T13:00:00Z")])
    assert len(lane.readings()) == 2


def test_readings_are_kept_for_ever_unless_somebody_says_otherwise() -> None:
    now = datetime(2001, 6, 30, tzinfo=UTC)
    assert partitions.readings_kept_from(now) is None
    assert partitions.drop_old_readings(now) == 0


def test_readings_of_months_that_are_not_kept_are_refused() -> None:
    def parsed() -> Parsed:
        return Parsed(
            [
                (index, "WM-1", "main", "interval", at, 3600, None, "", "N")
                for index, at in enumerate(
                    (
                        datetime(2001, 2, 28, 23, 59, tzinfo=UTC),
                        datetime(2001, 3, 1, tzinfo=UTC),
                    )
                )
            ]
        )

    now = datetime(2001, 6, 30, tzinfo=UTC)
    untouched = parsed()
    retention.refuse_forgotten(untouched, now)
    assert (len(untouched.readings), untouched.rejected) == (2, 0)
    with override_settings(READING_RETENTION_MONTHS=3):
        judged = parsed()
        retention.refuse_forgotten(judged, now)
    assert [reading[0] for reading in judged.readings] == [1]
    assert [(error.index, error.code) for error in judged.errors] == [
        (0, "time_out_of_range")
    ]
