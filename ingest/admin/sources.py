"""What posts callbacks: each source with its URL and its secret."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone
from unfold.decorators import display

from ingest.models import Scheme, Source, SourceSecret, UnknownDevices
from ingest.queries import source_url
from ingest.services import sources
from tenants.console.forms import ConsoleForm
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant, refusable

_OVERLAP_S = 86_400
#: Revoked devices on a source's page; the API lists all.
_REVOKED_SHOWN = 50


class SourceChangeForm(ConsoleForm):
    """What can be changed about a source."""

    name = forms.CharField(max_length=100, help_text="Which meter, gateway, head-end.")
    register_devices = forms.ChoiceField(
        label="Unknown devices", choices=UnknownDevices.choices
    )
    allowed_cidrs = forms.CharField(
        label="Networks that may post",
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
        help_text="One a line, such as 192.0.2.0/24. Empty: any.",
    )
    rate_limit_per_s = forms.IntegerField(
        label="Callbacks a second at most",
        required=False,
        min_value=1,
        max_value=sources.RATE_LIMIT_PER_S,
        help_text="More are answered 429 and sent again. Empty: no limit.",
    )
    device_keys = forms.BooleanField(
        label="Each device signs with its own key",
        required=False,
        help_text="Derived from the secret. A callback then holds one device's "
        "readings, and one device can be revoked alone.",
    )

    def clean_allowed_cidrs(self) -> list[str]:
        """Return the networks, one of each line."""
        networks: list[str] = self.cleaned_data["allowed_cidrs"].split()
        return networks


class SourceForm(SourceChangeForm):
    """A new source."""

    field_order = ("name", "scheme")
    scheme = forms.ChoiceField(
        label="Signature",
        choices=Scheme.choices,
        help_text="X-Hub-Signature-256 is the simpler one; Standard Webhooks also "
        "proves when a callback was sent.",
    )


class RevocationForm(ConsoleForm):
    """A device to revoke."""

    device = forms.CharField(
        max_length=sources.DEVICE_LIMIT,
        strip=False,
        help_text="Its id, as its readings name it.",
    )


@admin.register(Source)
class SourceAdmin(TenantAdmin):
    """Sources."""

    add_form = SourceForm
    add_intro = "You get a URL to post callbacks to, and a secret to sign them with."
    detail_template = "console/source.html"
    empty_title = "No source yet"
    empty_text = (
        "A source is a meter, a gateway or a head-end: it gets a URL to post callbacks "
        "to, and a secret to sign them with."
    )
    list_display = ("name", "scheme", "register_devices", "state", "created_at")
    search_fields = ("name",)
    ordering = ("-id",)

    @display(description="Status", label={"On": "success", "Off": "danger"})
    def state(self, source: Source) -> str:
        """Return whether it may post."""
        return "On" if source.enabled else "Off"

    def detail(self, request: HttpRequest, thing: Source) -> dict[str, Any]:
        """Return a source with its URL, its secrets' lives and its revoked devices."""
        revoked = thing.revoked_devices.filter(tenant=thing.tenant_id)
        return {
            "source_url": source_url(thing),
            "is_hub": thing.scheme == Scheme.HUB,
            "secrets": _alive(thing),
            "revoked": revoked.order_by("-pk")[:_REVOKED_SHOWN],
            "revoked_count": revoked.count(),
            "links": self.form_link(request, thing, "edit", "edit", "Change"),
            "revocation": self.form_link(
                request, thing, "revoke_device", "block", "Revoke a device"
            ),
        }

    def buttons(self, request: HttpRequest, thing: Source) -> Sequence[Button]:
        """Return rotation, and the switch."""
        rotate = Button(
            "rotate",
            "New secret",
            "key",
            confirm="Make a new secret? The old one also works for one more day.",
        )
        end = Button(
            "end_overlap",
            "End the old secrets",
            "key_off",
            confirm="End all secrets but the newest? Who still signs with an old one "
            "is refused at once.",
        )
        keys = (rotate, end) if _alive(thing).count() > 1 else (rotate,)
        if not thing.enabled:
            return (Button("enable", "Turn on", "play_arrow", "primary"), *keys)
        question = "Turn this source off? Its callbacks are refused at once."
        return (*keys, Button("disable", "Turn off", "block", "danger", question))

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the form for changes, and what is done with single devices."""
        return (
            ("<uuid:object_id>/edit/", "edit", self.edit_view),
            ("<uuid:object_id>/revoke-device/", "revoke_device", self.revoke_view),
            ("<uuid:object_id>/restore-device/", "restore_device", self.restore_view),
        )

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form for changes, and take it."""
        source = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            changes = sources.SourceChanges(**data)  # type: ignore[typeddict-item]
            sources.update_source(
                **actor_and_tenant(request), source=source, changes=changes
            )
            return self.to_page(source)

        return self.form_page(
            request,
            SourceChangeForm,
            save,
            title=f"Change {source}",
            initial={
                "name": source.name,
                "register_devices": source.register_devices,
                "allowed_cidrs": "\n".join(source.allowed_cidrs),
                "rate_limit_per_s": source.rate_limit_per_s,
                "device_keys": source.device_keys,
            },
        )

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form for a device to revoke, and take it."""
        source = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            sources.revoke_device(
                **actor_and_tenant(request), source=source, now=timezone.now(), **data
            )
            messages.success(request, f"{data['device']} is revoked.")
            return self.to_page(source)

        return self.form_page(
            request,
            RevocationForm,
            save,
            title=f"Revoke a device of {source}",
            intro="What it signs is refused at once. The source's other devices go on.",
            submit="Revoke",
        )

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take what a device signs again."""
        source = self.writable(request, str(object_id))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        device = request.POST.get("device", "")

        def restore() -> None:
            sources.restore_device(
                **actor_and_tenant(request), source=source, device=device
            )
            messages.success(request, f"{device} may sign again.")

        refusable(request, restore)
        return self.to_page(source)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Create a source, and show its secret once."""
        source, secret = sources.create_source(**actor_and_tenant(request), **data)
        return self.show_once(request, source, secret)

    def do_rotate(self, request: HttpRequest, thing: Source) -> HttpResponse:
        """Make a new secret, and show it once."""
        secret = sources.rotate_secret(
            **actor_and_tenant(request),
            source=thing,
            overlap_s=_OVERLAP_S,
            now=timezone.now(),
        )
        return self.show_once(request, thing, secret)

    def do_end_overlap(self, request: HttpRequest, thing: Source) -> None:
        """End every secret but the newest."""
        sources.revoke_previous_secrets(**actor_and_tenant(request), source=thing)
        messages.success(request, "Only the newest secret is in force.")

    def do_enable(self, request: HttpRequest, thing: Source) -> None:
        """Let it post."""
        sources.set_enabled(**actor_and_tenant(request), source=thing, enabled=True)
        messages.success(request, f"{thing.name} may post again.")

    def do_disable(self, request: HttpRequest, thing: Source) -> None:
        """Stop it."""
        sources.set_enabled(**actor_and_tenant(request), source=thing, enabled=False)
        messages.success(request, f"{thing.name} is off.")


def _alive(source: Source) -> QuerySet[SourceSecret]:
    """Return the secrets in force, the newest first."""
    secrets = source.secrets.filter(tenant=source.tenant_id)
    return secrets.filter(
        Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    ).order_by("-pk")
