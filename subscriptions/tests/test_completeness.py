"""A subscriber that loses messages finds out which, asks for them, and has them all."""

from datetime import UTC, datetime, time, timedelta

from gridhook_client import Verifier
from gridhook_client.completeness import Missing, missing
from subscriptions.models import Endpoint
from subscriptions.services.consenting import ask_consent
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.manifests import send_manifests
from subscriptions.tests.calling import Caller, in_role
from subscriptions.tests.history import write_history
from subscriptions.tests.receivers import Received, Reply, consenting, receiving
from tenants.database import acting_for, database_clock
from tenants.identifiers import public_id
from tenants.models import Role, Tenant


class Subscriber:
    """It says 200 to everything, and then loses what it is unlucky with."""

    def __init__(self) -> None:
        self.has: dict[str, Received] = {}
        self.loses: set[str] = set()
        #: The day's messages by device, as far as it has them.
        self.devices: dict[str, list[str]] = {}

    def take(self, received: Received) -> Reply:
        if received.method != "POST":
            return consenting(received)
        message_id = received.headers["webhook-id"]
        if message_id not in self.loses:
            self.has[message_id] = received
        return Reply(200)

    def compare(self, secret: str) -> Missing:
        """Compare what it has with the manifest that it was sent."""
        found = [one for one in self.has.values() if b"delivery.manifest" in one.body]
        manifest = Verifier([secret]).verify(found[-1].headers, found[-1].body)
        theirs = {
            device: [one for one in ids if one in self.has]
            for device, ids in self.devices.items()
        }
        return missing(
            manifest, {one for ids in theirs.values() for one in ids}, theirs
        )

    def ask_for_what_is_missing(self, api: Caller, endpoint: str, lost: Missing) -> int:
        """Read the ids of the devices that differ, page by page, and ask for them."""
        wanted = set()
        for device in lost.devices:
            page = f"/endpoints/{endpoint}/manifests/{lost.day}/?device={device}"
            while page:
                reply = api.get(page).json()
                ids = {one["message"] for one in reply["results"]}
                wanted |= ids - self.has.keys()
                page = reply["next"]
        asked = {"message_ids": sorted(wanted)}
        reply = api.post(f"/endpoints/{endpoint}/replay/", asked)
        assert reply.status_code == 202, reply.content
        return int(reply.json()["requeued"])


def test_a_subscriber_proves_what_it_missed_and_gets_it(tenant: Tenant) -> None:
    admin = in_role(tenant, Role.ADMIN)
    subscriber = Subscriber()
    with receiving(subscriber.take) as receiver:
        made = admin.post(
            "/endpoints/",
            {"url": receiver.url, "event_types": ["*"], "manifest": True},
        ).json()
        ask_consent()
        endpoint, noon = began_long_ago(tenant)
        for device in ("WM-1", "WM-2", "WM-3"):
            ids = write_history(
                endpoint, noon, count=60, status="pending", devices=[device]
            )
            subscriber.devices[device] = [public_id("msg", one) for one in ids]
        lost = {*subscriber.devices["WM-1"][::20], subscriber.devices["WM-3"][-1]}
        subscriber.loses = set(lost)
        deliver()
        send_manifests()
        deliver()
        found = subscriber.compare(made["secret"])
        assert (found.expected, found.seen, found.is_complete) == (180, 176, False)
        assert found.devices == ("WM-1", "WM-3")
        subscriber.loses = set()
        asked = subscriber.ask_for_what_is_missing(admin, made["id"], found)
        assert asked == len(lost) == 4
        deliver()
        assert subscriber.compare(made["secret"]).is_complete
    sent = [one.headers["webhook-id"] for one in receiver.posts()]
    assert sorted(one for one in sent if sent.count(one) > 1) == sorted([*lost, *lost])


def began_long_ago(tenant: Tenant) -> tuple[Endpoint, datetime]:
    """Have the endpoint be there since last week; return yesterday's noon too."""
    now = database_clock()
    with acting_for(tenant):
        Endpoint.objects.filter(tenant=tenant).update(
            created_at=now - timedelta(days=7)
        )
        endpoint = Endpoint.objects.get(tenant=tenant)
    day = now.astimezone(tenant.zone).date() - timedelta(days=1)
    return endpoint, datetime.combine(day, time(12), tenant.zone).astimezone(UTC)
