"""Bill runs: asked for here, made by a worker, watched while they go."""

from datetime import date
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.decorators import display

from billing.models import BillRun, BillRunStatus, Invoice
from billing.services.bill_runs import request_bill_run
from subscriptions.models import Endpoint
from tenants.console.forms import ConsoleForm, DateInput
from tenants.console.pages import (
    ADMINS_AND_CLERKS,
    EVERYONE,
    TenantAdmin,
    actor_and_tenant,
)

_MONTHS_OFFERED = 13
_OTHER = "other"
_MONTHS_A_YEAR = 12


def month_start(day: date, months_before: int = 0) -> date:
    """Return the first day of a month, so many months before the day's."""
    index = day.year * _MONTHS_A_YEAR + day.month - 1 - months_before
    return date(index // _MONTHS_A_YEAR, index % _MONTHS_A_YEAR + 1, 1)


class BillRunForm(ConsoleForm):
    """A period to bill."""

    month = forms.ChoiceField(label="Month")
    period_start = forms.DateField(label="Or from", widget=DateInput(), required=False)
    period_end = forms.DateField(
        label="Until",
        widget=DateInput(),
        required=False,
        help_text="The first day that is not billed.",
    )
    callback_endpoint = forms.ChoiceField(
        label="Tell this callback URL too",
        required=False,
        help_text="It hears of the end even if it did not ask for bill runs.",
    )

    def fill_choices(self) -> None:
        """Offer the months that are over, and the tenant's endpoints."""
        tenant = self.actor.tenant
        today = timezone.localdate(timezone=tenant.zone)
        months = [month_start(today, back) for back in range(1, _MONTHS_OFFERED + 1)]
        self.fields["month"].choices = [  # type: ignore[attr-defined]
            *((month.isoformat(), f"{month:%B %Y}") for month in months),
            (_OTHER, "Another period"),
        ]
        endpoints = Endpoint.objects.filter(tenant=tenant, deleted_at=None)
        self.fields["callback_endpoint"].choices = [  # type: ignore[attr-defined]
            ("", "None"),
            *((str(endpoint.pk), endpoint.url) for endpoint in endpoints),
        ]

    def clean(self) -> dict[str, Any]:
        """Turn the month into its dates."""
        data = super().clean() or {}
        month = data.get("month", _OTHER)
        if month != _OTHER:
            start = date.fromisoformat(month)
            data |= {"period_start": start, "period_end": month_start(start, -1)}
        elif not (data.get("period_start") and data.get("period_end")):
            raise forms.ValidationError("Choose a month, or give both dates.")
        return data


@admin.register(BillRun)
class BillRunAdmin(TenantAdmin):
    """Bill runs."""

    read_roles = EVERYONE
    write_roles = ADMINS_AND_CLERKS
    add_form = BillRunForm
    add_intro = "A worker makes one invoice for each account; you can watch it."
    detail_template = "console/bill_run.html"
    empty_title = "Nothing was billed yet"
    empty_text = "A bill run makes the invoices of a month for every account."
    list_display = ("period", "state", "progress", "created_at")
    list_filter = ("status",)
    ordering = ("-id",)

    @display(description="Period")
    def period(self, run: BillRun) -> str:
        """Return the period."""
        return f"{run.period_start} to {run.period_end}"

    @display(
        description="Status",
        label={
            "Queued": "info",
            "Running": "warning",
            "Completed": "success",
            "Failed": "danger",
        },
    )
    def state(self, run: BillRun) -> str:
        """Return the status in its colour."""
        return BillRunStatus(run.status).label

    @display(description="Accounts")
    def progress(self, run: BillRun) -> str:
        """Return how many accounts are done."""
        return f"{_done(run)} of {run.account_count}"

    def detail(self, request: HttpRequest, thing: BillRun) -> dict[str, Any]:
        """Return a run with its progress and invoices."""
        is_over = thing.status in {BillRunStatus.COMPLETED, BillRunStatus.FAILED}
        return {
            "is_over": is_over,
            "done": _done(thing),
            "percent": 100 if is_over else _percent(thing),
            "invoices": Invoice.objects.filter(tenant=thing.tenant_id, bill_run=thing)
            .select_related("account")
            .order_by("pk")[:200],
        }

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Ask for a run."""
        endpoint = data["callback_endpoint"]
        run = request_bill_run(
            **actor_and_tenant(request),
            period_start=data["period_start"],
            period_end=data["period_end"],
            callback_endpoint_id=UUID(endpoint) if endpoint else None,
        )
        return self.to_page(run)


def _done(run: BillRun) -> int:
    return run.done_count + run.skipped_count + run.failed_count


def _percent(run: BillRun) -> int:
    return min(100, 100 * _done(run) // run.account_count) if run.account_count else 0
