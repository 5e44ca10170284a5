"""How lists of messages, deliveries and redeliveries are narrowed."""

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.db.models import OuterRef, QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField

from subscriptions.models import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    Message,
    MessageDevice,
    Redelivery,
    RedeliveryKind,
    RedeliveryStatus,
)
from subscriptions.origins import receipts_of
from subscriptions.queries.redeliveries import CLOCK_MARGIN
from tenants.actors import actor_of
from tenants.identifiers import IdentifierInvalid, first_id, parse_public_id
from tenants.models import Tenant

#: No id is older.
_FIRST = datetime.fromtimestamp(0, UTC)


class _MomentField(IsoDateTimeField):
    """A moment, in whatever offset it is given; Postgres reads none of 16 hours."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "A time with an offset is expected, such as 2026-11-01T00:00:00Z."
    }

    def clean(self, value: Any) -> Any:
        """Return the moment in UTC."""
        text = str(value or "").strip()
        # An unescaped plus sign of an offset arrives as a space.
        moment = super().clean(text.replace(" ", "+") if "T" in text else text)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            raise forms.ValidationError("No calendar has this time.") from error


class SinceFilter(filters.IsoDateTimeFilter):
    """Published from a moment on: what is older is not read."""

    field_class = _MomentField

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        """Keep what is as young by the database's clock, and by its id roughly."""
        rows = super().filter(qs, value)
        if value is None:
            return rows
        return rows.filter(pk__gte=first_id(max(value, _FIRST) - CLOCK_MARGIN))


class _PublicIdField(forms.CharField):
    """A public id of one kind of rows."""

    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def clean(self, value: Any) -> UUID | None:
        """Return the id of the row."""
        text = super().clean(value)
        try:
            return parse_public_id(self.prefix, text) if text else None
        except IdentifierInvalid as error:
            raise forms.ValidationError(str(error)) from error


class PublicIdFilter(filters.CharFilter):
    """By a public id."""

    field_class = _PublicIdField

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(help_text=f"{prefix}_…", prefix=prefix, **kwargs)


class _ByOrigin(filters.FilterSet):
    """What is looked for by what the messages tell of."""

    event_type = filters.CharFilter()
    device = filters.CharFilter(method="of_device", strip=False)
    transaction_id = filters.CharFilter(method="of_transaction", strip=False)
    since = SinceFilter(field_name="created_at", lookup_expr="gte")

    @property
    def tenant(self) -> Tenant:
        """Whose rows they are."""
        assert self.request is not None  # noqa: S101 (views give it)
        return actor_of(self.request).tenant

    def messages_about(self, device: str) -> Any:
        """Return the ids of the messages about a device."""
        about = MessageDevice.objects.filter(tenant=self.tenant, device=device)
        return about.values("message_id")

    def messages_of(self, transaction_id: str) -> Any:
        """Return the ids of what was told of a transaction id's callbacks."""
        receipts = receipts_of(self.tenant, transaction_id)
        told = Message.objects.filter(tenant=self.tenant, receipt_id__in=receipts)
        return told.values("pk")


def _about_messages(rows: QuerySet[Any], messages: Any) -> QuerySet[Any]:
    # Naming the tenant's endpoints lets delivery_once serve it.
    mine = Endpoint.objects.filter(tenant=OuterRef("tenant")).values("pk")
    return rows.filter(endpoint_id__in=mine, message_id__in=messages)


class MessageIdFilter(PublicIdFilter):
    """By the message that is delivered."""

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        """Keep the message's deliveries."""
        return _about_messages(qs, [value]) if value else qs


class MessageFilter(_ByOrigin):
    """By type, device, transaction id and time."""

    class Meta:
        model = Message
        fields: list[str] = []

    def of_device(
        self, rows: QuerySet[Message], name: str, value: str
    ) -> QuerySet[Message]:
        """Keep the messages about a device."""
        return rows.filter(pk__in=self.messages_about(value))

    def of_transaction(
        self, rows: QuerySet[Message], name: str, value: str
    ) -> QuerySet[Message]:
        """Keep what was told of the callbacks with this transaction id."""
        return rows.filter(receipt_id__in=receipts_of(self.tenant, value))


class DeliveryFilter(_ByOrigin):
    """By endpoint, status, type, message, device, transaction id and time."""

    endpoint = PublicIdFilter("ep", field_name="endpoint_id")
    status = filters.ChoiceFilter(choices=DeliveryStatus.choices)
    message = MessageIdFilter("msg")

    class Meta:
        model = Delivery
        fields: list[str] = []

    def of_device(
        self, rows: QuerySet[Delivery], name: str, value: str
    ) -> QuerySet[Delivery]:
        """Keep the deliveries of messages about a device."""
        return _about_messages(rows, self.messages_about(value))

    def of_transaction(
        self, rows: QuerySet[Delivery], name: str, value: str
    ) -> QuerySet[Delivery]:
        """Keep the deliveries of what was told of a transaction id's callbacks."""
        return _about_messages(rows, self.messages_of(value))


class RedeliveryFilter(filters.FilterSet):
    """By endpoint, kind and status."""

    endpoint = PublicIdFilter("ep", field_name="endpoint_id")
    kind = filters.ChoiceFilter(choices=RedeliveryKind.choices)
    status = filters.ChoiceFilter(choices=RedeliveryStatus.choices)

    class Meta:
        model = Redelivery
        fields: list[str] = []
