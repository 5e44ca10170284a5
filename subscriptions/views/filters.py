"""How lists of messages, deliveries and redeliveries are narrowed."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet
from django_filters import rest_framework as filters
from rest_framework.exceptions import ValidationError

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
from tenants.actors import actor_of
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Tenant


class SinceFilter(filters.IsoDateTimeFilter):
    """From a moment on, in whatever offset it is given."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        """Keep what was made since; Postgres reads no offset of 16 hours or more."""
        try:
            since = value and value.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError({"since": ["No calendar has this time."]}) from error
        kept: QuerySet[Any] = super().filter(qs, since)
        return kept


class PublicIdFilter(filters.CharFilter):
    """By a public id."""

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(help_text=f"{prefix}_…", **kwargs)
        self.prefix = prefix

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        """Keep the rows with this id."""
        if not value:
            return qs
        try:
            wanted = parse_public_id(self.prefix, value)
        except IdentifierInvalid as error:
            raise ValidationError({str(self.field_name): [str(error)]}) from error
        return self.keep(qs, wanted)

    def keep(self, rows: QuerySet[Any], wanted: UUID) -> QuerySet[Any]:
        """Keep the rows of which the field is this id."""
        kept: QuerySet[Any] = super().filter(rows, wanted)
        return kept


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

    def keep(self, rows: QuerySet[Any], wanted: UUID) -> QuerySet[Any]:
        """Keep the message's deliveries."""
        return _about_messages(rows, [wanted])


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
    message = MessageIdFilter("msg", field_name="message_id")

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
