"""Who is billed, by which prices, for which meter."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.decorators import display

from billing.models import Account, Agreement, Tariff, TariffVersion
from billing.services.accounts import create_account
from billing.services.agreements import Terms, create_agreement, end_agreement
from billing.services.tariffs import NewVersion, add_tariff_version, create_tariff
from ingest.models import Device
from tenants.actors import actor_of
from tenants.console.forms import ConsoleForm, DateInput, Suggest
from tenants.console.pages import (
    ADMINS_AND_CLERKS,
    EVERYONE,
    TenantAdmin,
    actor_and_tenant,
)

#: How many accounts and devices a field suggests; any other may be typed.
_SUGGESTED = 500


class AccountForm(ConsoleForm):
    """A new customer."""

    number = forms.CharField(max_length=32, help_text="As on the bill, A-17.")
    name = forms.CharField(max_length=200)
    address = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)


@admin.register(Account)
class AccountAdmin(TenantAdmin):
    """Customers who are billed."""

    read_roles = EVERYONE
    write_roles = ADMINS_AND_CLERKS
    add_form = AccountForm
    detail_template = "console/account.html"
    empty_title = "Nobody is billed yet"
    empty_text = (
        "Add the customers; an agreement then ties each to a meter and a tariff."
    )
    list_display = ("number", "name", "address")
    search_fields = ("number", "name")
    ordering = ("number",)

    def detail(self, request: HttpRequest, thing: Account) -> dict[str, Any]:
        """Return a customer with agreements and bills."""
        mine = {"tenant": thing.tenant_id, "account": thing}
        return {
            "facts": [
                ("Number", thing.number),
                ("Name", thing.name),
                ("Address", thing.address),
            ],
            "agreements": Agreement.objects.filter(**mine)
            .select_related("device", "tariff")
            .order_by("-start_date"),
            "invoices": thing.invoices.filter(tenant=thing.tenant_id).order_by("-pk")[
                :24
            ],
        }

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Open an account."""
        return self.to_page(create_account(**actor_and_tenant(request), **data))


class VersionForm(ConsoleForm):
    """The charges of a tariff from a day on."""

    valid_from_date = forms.DateField(label="Valid from", widget=DateInput())
    unit_price = forms.DecimalField(
        label="Price of a unit",
        required=False,
        max_digits=24,
        decimal_places=12,
        help_text="Empty: usage is free.",
    )
    unit = forms.CharField(max_length=16, initial="kWh", help_text="kWh, m3, …")
    price_per_day = forms.DecimalField(
        label="Standing charge a day",
        required=False,
        max_digits=24,
        decimal_places=12,
        help_text="Empty: none.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a version without any charge."""
        data = super().clean() or {}
        if data.get("unit_price") is None and data.get("price_per_day") is None:
            raise forms.ValidationError("Give a price of a unit, a day, or both.")
        return data


class TariffForm(VersionForm):
    """A new tariff with its first version."""

    field_order = ("code", "name")
    code = forms.SlugField(max_length=64, help_text="Short, never changed: home-2026.")
    name = forms.CharField(max_length=200, help_text="As on the bill.")


def version_of(data: dict[str, Any]) -> NewVersion:
    """Return the charges that a form describes."""
    charges: list[dict[str, str]] = []
    if data["unit_price"] is not None:
        charges.append(
            {
                "type": "consumption",
                "unit_price": _text(data["unit_price"]),
                "unit": data["unit"],
            }
        )
    if data["price_per_day"] is not None:
        charges.append(
            {"type": "standing", "price_per_day": _text(data["price_per_day"])}
        )
    return NewVersion(data["valid_from_date"], charges)


def _text(price: Decimal) -> str:
    return format(price, "f")


def _charge_words(charge: dict[str, Any], currency: str) -> str:
    """Return a charge as a sentence; a kind unknown here is shown as it is kept."""
    match charge.get("type"):
        case "consumption":
            words = f"{charge['unit_price']} {currency} for each {charge['unit']}"
        case "standing":
            words = f"{charge['price_per_day']} {currency} for each day"
        case _:
            words = str(charge)
    return f"{charge['description']}: {words}" if charge.get("description") else words


@admin.register(Tariff)
class TariffAdmin(TenantAdmin):
    """Price lists."""

    read_roles = EVERYONE
    write_roles = ADMINS_AND_CLERKS
    add_form = TariffForm
    detail_template = "console/tariff.html"
    empty_title = "No prices yet"
    empty_text = "A tariff has a price for each unit used, for each day, or both."
    list_display = ("code", "name", "created_at")
    search_fields = ("code", "name")
    ordering = ("code",)

    def detail(self, request: HttpRequest, thing: Tariff) -> dict[str, Any]:
        """Return a tariff with its versions."""
        versions = TariffVersion.objects.filter(
            tenant=thing.tenant_id, tariff=thing
        ).order_by("-valid_from_date")
        currency = actor_of(request).tenant.currency
        return {
            "versions": [
                (version, [_charge_words(c, currency) for c in version.charges])
                for version in versions
            ],
            "links": self.form_link(request, thing, "version", "add", "New version"),
        }

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the form for a further version."""
        return (("<int:object_id>/version/", "version", self.version_view),)

    def version_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the form for a further version, and take it."""
        tariff = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            add_tariff_version(
                **actor_and_tenant(request), tariff=tariff, version=version_of(data)
            )
            return self.to_page(tariff)

        return self.form_page(
            request,
            VersionForm,
            save,
            title=f"New version of {tariff}",
            intro="It holds from its day on, until the next version's day.",
        )

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Create a tariff with its first version."""
        tariff = create_tariff(
            **actor_and_tenant(request),
            code=data["code"],
            name=data["name"],
            versions=[version_of(data)],
        )
        return self.to_page(tariff)


class AgreementForm(ConsoleForm):
    """A new agreement."""

    account = forms.CharField(widget=Suggest(), help_text="The account's number.")
    device = forms.CharField(widget=Suggest(), help_text="The meter's name.")
    channel_code = forms.CharField(max_length=255, initial="main", label="Channel")
    tariff = forms.ChoiceField()
    start_date = forms.DateField(label="From", widget=DateInput())
    end_date = forms.DateField(
        label="Until",
        widget=DateInput(),
        required=False,
        help_text="The first day that it no longer holds; empty: open.",
    )

    def fill_choices(self) -> None:
        """Offer what the tenant has."""
        tenant = self.actor.tenant
        accounts = Account.objects.filter(tenant=tenant).order_by("number")
        devices = Device.objects.filter(tenant=tenant).order_by("name")
        tariffs = Tariff.objects.filter(tenant=tenant).order_by("code")
        self.fields["account"].widget.suggestions = list(
            accounts.values_list("number", flat=True)[:_SUGGESTED]
        )
        self.fields["device"].widget.suggestions = list(
            devices.values_list("name", flat=True)[:_SUGGESTED]
        )
        self.fields["tariff"].choices = [  # type: ignore[attr-defined]
            (str(tariff.pk), f"{tariff.code}: {tariff.name}") for tariff in tariffs
        ]

    def clean_account(self) -> Account:
        """Return the account of this number."""
        number = self.cleaned_data["account"]
        found = Account.objects.filter(tenant=self.actor.tenant, number=number).first()
        if found is None:
            raise forms.ValidationError(f"There is no account {number}.")
        return found

    def clean_device(self) -> Device:
        """Return the device of this name."""
        name = self.cleaned_data["device"]
        found = Device.objects.filter(tenant=self.actor.tenant, name=name).first()
        if found is None:
            raise forms.ValidationError(f"There is no device {name}.")
        return found

    def clean_tariff(self) -> Tariff:
        """Return the tariff."""
        tariffs = Tariff.objects.filter(tenant=self.actor.tenant)
        return tariffs.get(pk=self.cleaned_data["tariff"])


class EndForm(ConsoleForm):
    """The end of an agreement."""

    end_date = forms.DateField(
        label="Until",
        widget=DateInput(),
        help_text="The first day that it no longer holds.",
    )


@admin.register(Agreement)
class AgreementAdmin(TenantAdmin):
    """Who pays for which channel, by which tariff, and when."""

    read_roles = EVERYONE
    write_roles = ADMINS_AND_CLERKS
    add_form = AgreementForm
    empty_title = "No agreements yet"
    empty_text = "An agreement ties an account to a meter and a tariff, from a day on."
    list_display = ("parties", "device", "channel_code", "tariff", "from_to")
    list_select_related = ("account", "device", "tariff")
    search_fields = ("account__number", "account__name", "device__name")
    ordering = ("-id",)

    @display(description="Account")
    def parties(self, agreement: Agreement) -> str:
        """Return the account."""
        return str(agreement.account)

    @display(description="Dates")
    def from_to(self, agreement: Agreement) -> str:
        """Return the dates."""
        return f"{agreement.start_date} to {agreement.end_date or 'open'}"

    def detail(self, request: HttpRequest, thing: Agreement) -> dict[str, Any]:
        """Return an agreement."""
        return {
            "facts": [
                ("Account", thing.account),
                ("Device", thing.device),
                ("Channel", thing.channel_code),
                ("Tariff", thing.tariff),
                ("From", thing.start_date),
                ("Until", thing.end_date or "open"),
            ],
            "links": self.form_link(request, thing, "end", "event_busy", "End it"),
        }

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the form for its end."""
        return (("<int:object_id>/end/", "end", self.end_view),)

    def end_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the form for the end, and take it."""
        agreement = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            end_agreement(**actor_and_tenant(request), agreement=agreement, **data)
            messages.success(request, f"It ends on {data['end_date']}.")
            return self.to_page(agreement)

        today = timezone.localdate(timezone=actor_of(request).tenant.zone)
        return self.form_page(
            request,
            EndForm,
            save,
            title="End the agreement",
            initial={"end_date": agreement.end_date or today},
        )

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Bill a channel to an account."""
        terms = Terms(**{name: data[name] for name in data if name != "account"})
        agreement = create_agreement(
            **actor_and_tenant(request), account=data["account"], terms=terms
        )
        return self.to_page(agreement)
