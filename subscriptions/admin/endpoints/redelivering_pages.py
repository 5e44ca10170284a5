"""The forms that send again to a callback URL, or give up for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from subscriptions.admin.endpoints.action_forms import (
    DiscardForm,
    RecoverForm,
    ReplayForm,
    last_week,
)
from subscriptions.admin.endpoints.detail import bounded
from subscriptions.admin.endpoints.form_pages import EndpointPages, Page
from subscriptions.models import Endpoint, Redelivery
from subscriptions.queries.health import health
from subscriptions.queries.undelivered import oldest_dead_at
from subscriptions.services.deliveries import discard_all
from subscriptions.services.redelivering import recover, replay
from tenants.actors import actor_of
from tenants.console.pages import actor_and_tenant
from tenants.database import console_clock

_GOES_ON = "It goes on by itself when this page is closed, and can be cancelled."


class EndpointRedelivering(EndpointPages):
    """Recovering, replaying and discarding."""

    def more_pages(self) -> Sequence[Page]:
        """Return these forms, and the others."""
        return (
            *super().more_pages(),
            ("<uuid:object_id>/recover/", "recover", self.recover_view),
            ("<uuid:object_id>/replay/", "replay", self.replay_view),
            ("<uuid:object_id>/discard-dead/", "discard", self.discard_view),
        )

    def recover_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask since when, and send what was given up again."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> str:
            done = recover(
                **actor_and_tenant(request), endpoint=thing, now=console_clock(), **data
            )
            return _begun(done)

        return self.ask(
            request,
            thing,
            RecoverForm,
            save,
            title=f"Recover what {thing} missed",
            intro=f"{_given_up(request, thing)} Every one that was given up since then "
            f"is sent again. {_GOES_ON}",
            initial={"since": self._missed_since(request, thing)},
            submit="Recover",
        )

    def _missed_since(self, request: HttpRequest, thing: Endpoint) -> datetime:
        """Return a moment that leaves out nothing of what was given up."""
        since: datetime = last_week()["since"]
        oldest = oldest_dead_at(actor_of(request).tenant, thing)
        return since if oldest is None else min(since, timezone.localtime(oldest))

    def replay_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask which device and period, and send that again exactly as then."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> str:
            done = replay(
                **actor_and_tenant(request), endpoint=thing, now=console_clock(), **data
            )
            return _begun(done)

        return self.ask(
            request,
            thing,
            ReplayForm,
            save,
            title=f"Replay to {thing}",
            intro="What was sent is sent again exactly as then: the same ids and the "
            f"same bytes, so whoever drops duplicates drops them. {_GOES_ON}",
            initial=last_week(),
            submit="Replay",
        )

    def discard_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask why, and give up what is dead for good."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> str:
            count = discard_all(
                **actor_and_tenant(request), endpoint=thing, now=console_clock(), **data
            )
            return f"{count:,} message{'' if count == 1 else 's'} discarded."

        return self.ask(
            request,
            thing,
            DiscardForm,
            save,
            title=f"Discard what {thing} was not sent",
            intro=f"{_given_up(request, thing)} They are marked as cancelled, and are "
            "not recovered any more. Messages that wait are not touched.",
            submit="Discard",
            is_destructive=True,
        )


def _begun(redelivery: Redelivery) -> str:
    if not redelivery.total:
        return "There is nothing to send in that time."
    plural = "" if redelivery.total == 1 else "s"
    return f"{redelivery.total:,} message{plural} to send; the bar below shows how far."


def _given_up(request: HttpRequest, thing: Endpoint) -> str:
    """Return how many messages to the endpoint were given up."""
    count = health(actor_of(request).tenant, thing).dead
    if count == 1:
        return "1 message to it was given up."
    return f"{bounded(count) if count else 'No'} messages to it were given up."
