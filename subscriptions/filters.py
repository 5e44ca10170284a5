"""How lists of messages and deliveries are narrowed."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.exceptions import ValidationError

from subscriptions.models import Delivery, DeliveryStatus, Message
from tenants.identifiers import IdentifierInvalid, parse_public_id


class MessageFilter(filters.FilterSet):
    """By type and time."""

    event_type = filters.CharFilter()
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")

    class Meta:
        model = Message
        fields: list[str] = []


class DeliveryFilter(filters.FilterSet):
    """By endpoint, status, type and time."""

    endpoint = filters.CharFilter(method="of_endpoint")
    status = filters.ChoiceFilter(choices=DeliveryStatus.choices)
    event_type = filters.CharFilter()
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")

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
