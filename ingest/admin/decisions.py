"""
Deciding about many rejected callbacks: a question, then step by step.

Each step is a request with a transaction of its own, and the page sends the next one by
itself. What is interrupted has decided about those so far; the others wait still.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from ingest.error_codes import meaning
from ingest.models import Source
from ingest.queries.rejections import COUNT_LIMIT, Choice, count_open
from ingest.services.callbacks import STEP, Step, discard_many, reprocess_many
from tenants.actors import Actor, actor_of
from tenants.console.forms import ConsoleForm
from tenants.console.pages import TenantAdmin
from tenants.identifiers import IdentifierInvalid, parse_public_id

_REASON_HELP = "It stays with the callbacks and in the audit trail."


class DiscardForm(ConsoleForm):
    """Why a callback is given up."""

    reason = forms.CharField(max_length=200, help_text=_REASON_HELP)


class StepForm(ConsoleForm):
    """How far a decision about many has come."""

    after = forms.UUIDField(required=False, widget=forms.HiddenInput)
    done = forms.IntegerField(initial=0, min_value=0, widget=forms.HiddenInput)
    left = forms.IntegerField(initial=0, min_value=0, widget=forms.HiddenInput)
    total = forms.IntegerField(min_value=0, widget=forms.HiddenInput)


class DiscardStepForm(StepForm):
    """The same, and why they are given up."""

    reason = forms.CharField(max_length=200, help_text=_REASON_HELP)


@dataclass(frozen=True)
class _Decision:
    """What one kind of decision about many says and does."""

    title: str
    intro: str
    submit: str
    done: str
    form: type[StepForm]
    decide: Callable[[Actor, Choice, dict[str, Any]], Step]


def _reprocess(actor: Actor, choice: Choice, _data: dict[str, Any]) -> Step:
    return reprocess_many(tenant=actor.tenant, actor=actor, choice=choice)


def _discard(actor: Actor, choice: Choice, data: dict[str, Any]) -> Step:
    return discard_many(
        tenant=actor.tenant,
        actor=actor,
        choice=choice,
        reason=data["reason"],
        now=timezone.now(),
    )


_REPROCESS = _Decision(
    title="Process rejected callbacks again",
    intro="They go back into the queue as they were received. Readings that are "
    "stored already are not stored twice; what is refused again comes back here.",
    submit="Process again",
    done="put back into the queue",
    form=StepForm,
    decide=_reprocess,
)
_DISCARD = _Decision(
    title="Discard rejected callbacks",
    intro="Their rejected readings are not stored. The callbacks, their bodies and "
    "their errors stay as they are, and each can be opened again.",
    submit="Discard",
    done="discarded",
    form=DiscardStepForm,
    decide=_discard,
)


def reprocess_page(page: TenantAdmin, request: HttpRequest) -> HttpResponse:
    """Ask about processing many again, and do it."""
    return _decision_page(page, request, _REPROCESS)


def discard_page(page: TenantAdmin, request: HttpRequest) -> HttpResponse:
    """Ask about discarding many, and do it."""
    return _decision_page(page, request, _DISCARD)


def _decision_page(
    page: TenantAdmin, request: HttpRequest, decision: _Decision
) -> HttpResponse:
    """
    Show the question; when it is answered, take one step.

    Raises: PermissionDenied; Http404: the address names nothing.
    """
    if not page.may_write(request):
        raise PermissionDenied
    actor = actor_of(request)
    choice = _choice(request)
    total = count_open(tenant=actor.tenant, choice=choice)
    data = request.POST if request.method == "POST" else None
    form = decision.form(data, actor=actor, initial={"total": total})
    if form.is_valid():
        return _take_step(page, request, decision, choice, form.cleaned_data)
    context = {
        "form": form,
        "decision": decision,
        "total": _counted(total),
        "has_any": total > 0,
        **_described(actor, choice),
    }
    return page.page(
        request, "console/rejected_many.html", title=decision.title, **context
    )


def _take_step(
    page: TenantAdmin,
    request: HttpRequest,
    decision: _Decision,
    choice: Choice,
    data: dict[str, Any],
) -> HttpResponse:
    actor = actor_of(request)
    step = decision.decide(actor, replace(choice, after=data["after"]), data)
    done, left = data["done"] + step.count, data["left"] + step.left
    if step.after is None:
        messages.success(request, _summary(decision, done, left))
        return page.to_list()
    total = max(data["total"], done + left)
    progress = {"after": step.after, "done": done, "left": left, "total": total}
    form = decision.form({**data, **progress}, actor=actor)
    for field in form.fields.values():
        field.widget = forms.HiddenInput()
    return page.page(
        request,
        "console/rejected_progress.html",
        title=decision.title,
        form=form,
        done=f"{done:,} of {_counted(total)} {decision.done}",
        percent=min(99, 100 * (done + left) // max(total, 1)),
    )


def _summary(decision: _Decision, done: int, left: int) -> str:
    text = f"{done:,} {'callback' if done == 1 else 'callbacks'} {decision.done}."
    if not left:
        return text
    return (
        f"{text} {left:,} left as they were: their bodies are past their retention, or "
        f"somebody else decided about them meanwhile."
    )


def _described(actor: Actor, choice: Choice) -> dict[str, Any]:
    """Return what the question says of which ones are meant."""
    source = (
        Source.objects.filter(tenant=actor.tenant, pk=choice.source_id).first()
        if choice.source_id
        else None
    )
    return {
        "code": choice.code,
        "meaning": meaning(choice.code).plain() if choice.code else None,
        "source": source,
        "is_ticked": choice.ids is not None,
        "step": f"{STEP:,}",
    }


def _counted(count: int) -> str:
    return f"{count:,}+" if count >= COUNT_LIMIT else f"{count:,}"


def _choice(request: HttpRequest) -> Choice:
    """
    Return which ones the page's address names.

    Raises: Http404: it names none.
    """
    asked = request.GET
    if "\0" in asked.get("code", ""):
        raise Http404("There is no such reason.")
    try:
        source = asked.get("source")
        ids = asked.get("ids")
        return Choice(
            code=asked.get("code") or None,
            source_id=parse_public_id("src", source) if source else None,
            ids=None
            if ids is None
            else tuple(UUID(hex=one) for one in ids.split(",") if one),
        )
    except (IdentifierInvalid, ValueError) as error:
        raise Http404("There are no such callbacks.") from error
