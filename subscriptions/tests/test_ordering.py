"""Order by device: places, waiting, release, and nobody left behind."""

import json
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from subscriptions.filtering import Subject
from subscriptions.models import Delivery, Endpoint, LanePlace, Message
from subscriptions.services import ordering
from subscriptions.services.ordering import release, release_stuck
from subscriptions.services.publishing import Event, publish
from subscriptions.tests.delivering import make_endpoint
from tenants.database import acting_for, join_by_index, pipeline, walk_by_index
from tenants.models import Tenant
from tenants.services import NewTenant
from tests.plans import analyse, forget_rows

URL = "https://subscriber.example/hook"


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return make_endpoint(tenant, URL, is_ordered=True)[0]


def about(tenant: Tenant, *devices: str, number: int = 0) -> Event:
    return Event(
        tenant.pk,
        tenant.slug,
        "callback.processed",
        {"number": number},
        datetime.now(tz=UTC),
        subjects=lambda: [Subject(device) for device in devices],
    )


def tell(*events: Event) -> None:
    with pipeline() as lane, lane.cursor() as cursor:
        publish(cursor, events)


def deliveries(endpoint: Endpoint) -> list[Delivery]:
    with acting_for(endpoint.tenant):
        rows = Delivery.objects.filter(tenant=endpoint.tenant, endpoint=endpoint)
        return list(rows.order_by("id"))


def due(endpoint: Endpoint) -> list[bool]:
    """Which deliveries are due, oldest first."""
    return [row.next_attempt_at is not None for row in deliveries(endpoint)]


def places(endpoint: Endpoint) -> int:
    with acting_for(endpoint.tenant):
        mine = LanePlace.objects.filter(tenant=endpoint.tenant, endpoint=endpoint)
        return mine.count()


def bodies(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [json.loads(bytes(row.body or b"{}")) for row in deliveries(endpoint)]


def end(*ended: Delivery, status: str = "delivered") -> int:
    with pipeline() as lane, lane.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_delivery SET status = %s, finished_at = now() "
            "WHERE id = ANY(%s::uuid[])",
            [status, [row.pk for row in ended]],
        )
        return release(cursor, [(row.tenant_id, row.pk) for row in ended])


def shown(row: Delivery) -> str:
    return f"msg_{row.message_id.hex}"


def test_next_message_of_a_device_waits_for_the_one_before(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "A"), about(tenant, "A"), about(tenant, "B"))
    tell(about(tenant, "A"))
    first, second, *_ = deliveries(endpoint)
    assert due(endpoint) == [True, False, True, False]
    assert all(row.is_ordered for row in deliveries(endpoint))
    assert end(first) == 1
    assert due(endpoint) == [True, True, True, False]
    assert end(second) == 1
    assert due(endpoint) == [True, True, True, True]
    assert places(endpoint) == 2


def test_body_says_its_place_and_the_message_before(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "A"), about(tenant, "A"))
    tell(about(tenant, "A"))
    one, two, three = deliveries(endpoint)
    assert [
        (body["device"], body["sequence"], body["previous_id"])
        for body in bodies(endpoint)
    ] == [("A", 1, None), ("A", 2, shown(one)), ("A", 3, shown(two))]
    assert [body["id"] for body in bodies(endpoint)] == [
        shown(row) for row in (one, two, three)
    ]


def test_order_that_is_taken_back_and_set_again_goes_on_counting(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    for is_ordered in (True, True, False, True):
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(is_ordered=is_ordered)
        tell(about(tenant, "A"))
    _, second, plain, _ = deliveries(endpoint)
    # What was published without order has no place, and waits for nobody.
    assert due(endpoint) == [True, False, True, False]
    assert plain.body is None
    last = bodies(endpoint)[-1]
    assert (last["sequence"], last["previous_id"]) == (3, shown(second))


def test_message_about_several_devices_lists_its_places(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "B"), about(tenant, "C", "B"))
    first, _ = deliveries(endpoint)
    assert bodies(endpoint)[1]["order"] == [
        {"device": "B", "sequence": 2, "previous_id": shown(first)},
        {"device": "C", "sequence": 1, "previous_id": None},
    ]


def test_message_about_no_device_waits_for_nobody(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "A"), about(tenant))
    _, unordered = deliveries(endpoint)
    assert due(endpoint) == [True, True]
    assert (unordered.is_ordered, unordered.body) == (False, None)
    assert places(endpoint) == 1


def test_unordered_endpoint_beside_it_is_sent_the_common_bytes_at_once(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    plain, _ = make_endpoint(tenant, URL)
    tell(about(tenant, "A"), about(tenant, "A"))
    assert due(plain) == [True, True]
    assert [row.body for row in deliveries(plain)] == [None, None]
    assert places(plain) == 0
    with acting_for(tenant):
        body = Message.objects.filter(tenant=tenant).values_list("body", flat=True)[0]
    assert "sequence" not in json.loads(bytes(body))


def test_message_about_two_devices_waits_for_both(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "A"), about(tenant, "B"), about(tenant, "A", "B"))
    a, b, _ = deliveries(endpoint)
    assert due(endpoint) == [True, True, False]
    assert end(a) == 0
    assert due(endpoint) == [True, True, False]
    assert end(b) == 1
    assert due(endpoint) == [True, True, True]


@pytest.mark.parametrize("status", ["delivered", "dead", "cancelled"])
def test_lane_goes_on_after_a_message_that_ended_in_whatever_way(
    tenant: Tenant, endpoint: Endpoint, status: str
) -> None:
    tell(about(tenant, "A"), about(tenant, "A"))
    first, _ = deliveries(endpoint)
    assert end(first, status=status) == 1
    # Where it was given up, the receiver sees the gap: it never had this one.
    assert bodies(endpoint)[1]["previous_id"] == shown(first)


def test_failing_message_holds_its_own_lane_alone(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "A"), about(tenant, "A"), about(tenant, "B"))
    tell(about(tenant, "B"))
    end(deliveries(endpoint)[2])
    assert due(endpoint) == [True, False, True, True]


def test_waiting_messages_that_are_cancelled_leave_no_place(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    tell(about(tenant, "A"), about(tenant, "A"), about(tenant, "A"))
    first, second, third = deliveries(endpoint)
    assert end(second, status="cancelled") == 0
    assert places(endpoint) == 2
    assert end(first, third) == 0
    assert places(endpoint) == 0
    tell(about(tenant, "A"))
    assert due(endpoint)[-1]
    assert bodies(endpoint)[-1]["sequence"] == 4


def test_another_tenants_name_for_a_delivery_frees_nothing(
    tenant: Tenant, endpoint: Endpoint, stranger: NewTenant
) -> None:
    tell(about(tenant, "A"), about(tenant, "A"))
    first, _ = deliveries(endpoint)
    with pipeline() as lane, lane.cursor() as cursor:
        assert release(cursor, [(stranger.tenant.pk, first.pk)]) == 0
    assert places(endpoint) == 2


def test_same_device_of_another_tenant_has_a_lane_of_its_own(
    tenant: Tenant, endpoint: Endpoint, stranger: NewTenant
) -> None:
    theirs, _ = make_endpoint(stranger.tenant, URL, is_ordered=True)
    tell(about(tenant, "A"), about(stranger.tenant, "A"))
    assert (due(endpoint), due(theirs)) == ([True], [True])
    assert bodies(theirs)[0]["sequence"] == 1


def test_callback_of_thousands_of_devices_takes_its_places_in_a_few_statements(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    devices = [f"WM-{number}" for number in range(2_000)]
    began = time.monotonic()
    tell(about(tenant, *devices), about(tenant, *devices))
    assert time.monotonic() - began < 5
    assert places(endpoint) == 4_000
    first, _ = deliveries(endpoint)
    assert end(first) == 1
    assert due(endpoint) == [True, True]


def test_sweep_frees_what_was_left_behind(tenant: Tenant, endpoint: Endpoint) -> None:
    tell(about(tenant, "A"), about(tenant, "A"), about(tenant, "B"))
    tell(about(tenant, "B"))
    first, _, third, fourth = deliveries(endpoint)
    with acting_for(tenant):
        # Ended without giving its place up; and the last one's bell never rang.
        Delivery.objects.filter(pk=first.pk).update(status="delivered")
        LanePlace.objects.filter(tenant=tenant, delivery_id=third.pk).delete()
    assert due(endpoint) == [True, False, True, False]
    assert release_stuck() >= 2
    assert due(endpoint) == [True, True, True, True]
    assert places(endpoint) == 2
    release_stuck()
    assert deliveries(endpoint)[3].next_attempt_at is not None
    assert fourth.next_attempt_at is None


def test_release_reads_by_key_however_many_wait(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    with pipeline() as lane, lane.transaction(force_rollback=True):
        lane.execute(
            """WITH made AS (
                INSERT INTO subscriptions_delivery (tenant_id, id, message_id,
                    endpoint_id, event_type, is_ordered, next_attempt_at)
                SELECT %(tenant)s, gen_random_uuid(), gen_random_uuid(), %(endpoint)s,
                    'callback.processed', true, NULL
                FROM generate_series(1, 5000::int) RETURNING tenant_id, id)
            INSERT INTO subscriptions_laneplace
            SELECT tenant_id, %(endpoint)s, 'A', row_number() OVER (), id FROM made""",
            {"tenant": tenant.pk, "endpoint": endpoint.pk},
        )
        plan = lane.execute(
            f"EXPLAIN {ordering._RELEASE}", [[tenant.pk], [endpoint.pk], ["A"]]
        ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "delivery_due" not in text
    assert "Seq Scan" not in text
    assert "Index Scan using subscriptions_delivery_pkey" in text


def rows_read(lane: Any) -> int:
    """How many places the sweep reads."""
    explain = "EXPLAIN (ANALYZE, FORMAT JSON)"
    join_by_index(lane.cursor())
    walk_by_index(lane.cursor())
    found = lane.execute(f"{explain} {ordering._STUCK}", [1_000]).fetchone()
    nodes, rows = [found[0][0]["Plan"]], 0
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node.get("Relation Name") == "subscriptions_laneplace":
            rows += node["Actual Rows"] * node["Actual Loops"]
    return round(rows)


@pytest.mark.parametrize("analysed", ["as it is", "when it was empty"])
def test_sweep_reads_the_first_of_a_lane_however_long_it_is(
    tenant: Tenant, endpoint: Endpoint, analysed: str
) -> None:
    tell(about(tenant, "A"))
    analyse("subscriptions_laneplace")
    if analysed == "when it was empty":
        forget_rows("subscriptions_laneplace")
    with pipeline() as lane, lane.transaction(force_rollback=True):
        before = rows_read(lane)
        lane.execute(
            """INSERT INTO subscriptions_laneplace
            SELECT %s, %s, 'A', 1 + number, gen_random_uuid()
            FROM generate_series(1, 3000::int) AS number""",
            [tenant.pk, endpoint.pk],
        )
        assert 1 <= before <= rows_read(lane) <= before + 10


class Crowd:
    """Publishers and recorders that go about one endpoint's lanes at once."""

    def __init__(self, tenant: Tenant, endpoint: Endpoint) -> None:
        self.tenant, self.endpoint = tenant, endpoint
        self.errors: list[BaseException] = []
        self.sent: list[UUID] = []
        self.publishing = threading.Event()
        self.publishing.set()

    def publish(self, share: int) -> None:
        for number in range(40):
            names = ["ABCDE"[number % 5], "ABCDE"[(number + share) % 5]]
            tell(about(self.tenant, *names, number=number))

    def send(self) -> None:
        idle_since = time.monotonic()
        while self.publishing.is_set() or time.monotonic() - idle_since < 0.3:
            if self.send_some():
                idle_since = time.monotonic()

    def send_some(self) -> int:
        with pipeline() as lane, lane.cursor() as cursor:
            cursor.execute(
                """UPDATE subscriptions_delivery d
                SET status = 'delivered', finished_at = now()
                FROM (SELECT tenant_id, id FROM subscriptions_delivery
                    WHERE tenant_id = %s AND endpoint_id = %s AND status = 'pending'
                        AND next_attempt_at <= now()
                    ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED) AS mine
                WHERE d.tenant_id = mine.tenant_id AND d.id = mine.id
                RETURNING d.tenant_id, d.id""",
                [self.tenant.pk, self.endpoint.pk],
            )
            ended = [(row[0], row[1]) for row in cursor.fetchall()]
            release(cursor, ended)
            self.sent += [delivery_id for _, delivery_id in ended]
        return len(ended)

    def run(self, steps: Iterable[Any]) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._guarded, args=(s,)) for s in steps]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.errors.append(error)


def test_publishers_and_recorders_at_once_leave_nobody_waiting(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    crowd = Crowd(tenant, endpoint)
    publishers = crowd.run([lambda: crowd.publish(1), lambda: crowd.publish(2)])
    senders = crowd.run([crowd.send, crowd.send])
    for thread in publishers:
        thread.join()
    crowd.publishing.clear()
    for thread in senders:
        thread.join()
    assert crowd.errors == []
    rows = deliveries(endpoint)
    assert len(rows) == len(crowd.sent) == len(set(crowd.sent)) == 80
    assert {row.status for row in rows} == {"delivered"}
    assert places(endpoint) == 0
    assert in_order(rows)


def in_order(rows: list[Delivery]) -> bool:
    """Whether each device's messages ended in the order of their sequence."""
    ended: dict[str, list[tuple[int, Any]]] = {}
    for row in rows:
        body = json.loads(bytes(row.body or b"{}"))
        for place in body.get("order", [body]):
            lane = ended.setdefault(place["device"], [])
            lane.append((place["sequence"], row.finished_at))
    return all(
        [at for _, at in sorted(lane)] == sorted(at for _, at in lane)
        for lane in ended.values()
    )
