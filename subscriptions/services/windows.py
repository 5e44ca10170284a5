"""Maintenance windows: times in which an endpoint's messages wait."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from subscriptions.models import Endpoint, MaintenanceWindow
from subscriptions.services.endpoints import locked
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import record_audit

#: Windows of an endpoint that are not over.
WINDOW_LIMIT = 50
LONGEST = timedelta(days=31)
FARTHEST = timedelta(days=366)
REASON_CHARACTERS = 200


class WindowInvalid(Problem):
    """The window's times or its reason are not what they must be."""

    code = "window_invalid"
    title = "The maintenance window cannot be used"


class WindowUnknown(NotFound):
    """There is no such window of the endpoint."""

    code = "window_unknown"


class WindowLimitReached(Conflict):
    """The endpoint has as many windows ahead as it may."""

    code = "window_limit_reached"


class WindowOver(Conflict):
    """The window has ended already."""

    code = "window_over"


@transaction.atomic
def schedule_window(  # noqa: PLR0913 (a window is these, and who asks when)
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    start_at: datetime,
    end_at: datetime,
    reason: str = "",
    now: datetime,
) -> MaintenanceWindow:
    """
    Hold the endpoint's messages from `start_at` to `end_at`; no attempt is spent.

    A start that has passed is now. Windows may overlap.
    Raises: WindowInvalid, WindowLimitReached, EndpointUnknown.
    """
    begins_at = max(start_at, now)
    _check(begins_at, end_at, reason, now)
    current = locked(tenant, endpoint)
    mine = MaintenanceWindow.objects.filter(tenant=tenant, endpoint=current)
    if mine.filter(closed_at=None).count() >= WINDOW_LIMIT:
        raise WindowLimitReached(f"At most {WINDOW_LIMIT} windows lie ahead.")
    window = MaintenanceWindow.objects.create(
        tenant=tenant,
        endpoint=current,
        start_at=begins_at,
        end_at=end_at,
        reason=reason,
    )
    window.refresh_from_db()
    record_audit(
        actor=actor,
        action="endpoint.window_scheduled",
        subject=current.public_id,
        detail=_shown(window),
    )
    return window


def _check(start_at: datetime, end_at: datetime, reason: str, now: datetime) -> None:
    if end_at <= start_at:
        raise WindowInvalid("end_at: it must come after the start, and after now.")
    if end_at - start_at > LONGEST:
        raise WindowInvalid(
            f"end_at: at most {LONGEST.days} days after the start; pause the endpoint "
            "for longer."
        )
    if start_at - now > FARTHEST:
        raise WindowInvalid(f"start_at: at most {FARTHEST.days} days ahead.")
    if len(reason) > REASON_CHARACTERS or "\0" in reason:
        raise WindowInvalid(
            f"reason: a text of at most {REASON_CHARACTERS} characters."
        )


def _shown(window: MaintenanceWindow) -> dict[str, str]:
    return {
        "window": window.public_id,
        "start_at": window.start_at.isoformat(),
        "end_at": window.end_at.isoformat(),
        "reason": window.reason,
    }


@transaction.atomic
def end_window(
    *, tenant: Tenant, actor: Actor, window: MaintenanceWindow, now: datetime
) -> None:
    """
    End a window now, or call off one that has not begun.

    What waited in it is worked off at a bounded rate.
    Raises: WindowOver, WindowUnknown, EndpointUnknown.
    """
    # The window before its endpoint: so does the worker that notices an end.
    current = (
        MaintenanceWindow.objects.select_for_update(of=["self"])
        .select_related("endpoint")
        .filter(tenant=tenant, pk=window.pk)
        .first()
    )
    if current is None:
        raise WindowUnknown("There is no such window.")
    endpoint = locked(tenant, current.endpoint)
    still_open = MaintenanceWindow.objects.filter(pk=current.pk, closed_at=None)
    if current.start_at >= now:
        still_open.delete()
    elif still_open.filter(end_at__gt=now).update(end_at=now, closed_at=Now()):
        # A time without attempts is none of failures.
        Endpoint.objects.filter(pk=endpoint.pk).update(
            draining_since=Now(), failing_since=None, failing_warned=0
        )
        ring_after_commit("subscriptions.deliver")
    else:
        raise WindowOver("The window has ended already.")
    record_audit(
        actor=actor,
        action="endpoint.window_ended",
        subject=endpoint.public_id,
        detail=_shown(current),
    )
