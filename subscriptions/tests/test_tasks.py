"""The bells' other ends."""

from celery import current_app

from subscriptions.services.endpoints import create_endpoint, send_test
from subscriptions.tasks import ask_consent_due, deliver_due
from subscriptions.tests.receivers import receiving
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.identifiers import created_at
from tenants.models import Tenant


def test_bells_are_answered_by_name_and_who_waits_for_others_beside_deliveries() -> (
    None
):
    for task, queue in ((deliver_due, "deliver"), (ask_consent_due, "upkeep")):
        assert current_app.tasks[task.name] == task
        route = current_app.amqp.router.route({}, task.name)
        assert route["queue"].name == queue
    swept = {entry["task"] for entry in current_app.conf.beat_schedule.values()}
    assert {"subscriptions.deliver", "subscriptions.ask_consent"} <= swept


def test_tasks_carry_a_message_from_consent_to_delivery(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        with acting_for(tenant):
            endpoint, _ = create_endpoint(
                tenant=tenant, actor=actor, url=receiver.url, event_types=["*"]
            )
            now = created_at(endpoint.pk)
            send_test(tenant=tenant, actor=actor, endpoint=endpoint, now=now)
        ask_consent_due(member_of_a_newer_release=1)
        deliver_due(member_of_a_newer_release=1)
    assert len(receiver.posts()) == 1
