"""How lists of messages and deliveries are narrowed."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.exceptions import ValidationError

from subscriptions.models import Delivery, DeliveryStatus, Message
from tenants.identifiers import IdentifierInvalid, parse_public_id


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


class MessageFilter(filters.FilterSet):
    """By type and time."""

    event_type = filters.CharFilter()
    since = SinceFilter(field_name="created_at", lookup_expr="gte")

    class Meta:
        model = Message
        fields: list[str] = []


class DeliveryFilter(filters.FilterSet):
    """By endpoint, status, type and time."""

    endpoint = filters.CharFilter(method="of_endpoint")
    status = filters.ChoiceFilter(choices=DeliveryStatus.choices)
    event_type = filters.CharFilter()
    since = SinceFilter(field_name="created_at", lookup_expr="gte")

    class Meta:
        model = Delivery
        fields: list[str] = []

    def of_endpoint(
        self, rows: QuerySet[Delivery], name: str, value: Any
    ) -> QuerySet[Delivery]:
        """Keep the deliveries to one endpoint."""
        try:
            return rows.filter(endpoint_id=parse_public_id("ep", value))
        except IdentifierInvalid as error:
            raise ValidationError({name: [str(error)]}) from error
