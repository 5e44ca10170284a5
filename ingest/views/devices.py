"""Devices, channels and readings over the API."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from ingest.models import Channel, Device, Reading
from ingest.queries import device_channels
from ingest.queries.watches import with_watch
from ingest.serializers.devices import (
    ChannelChangeSerializer,
    ChannelSerializer,
    DeviceSerializer,
    ExpectedIntervalSerializer,
    ReadingSerializer,
)
from ingest.services.devices import approve_device, quarantine_device, set_commodity
from ingest.services.thresholds import set_daily_threshold
from ingest.services.watches import watch_channel, watch_device
from ingest.views.parameters import moment, optional, required
from tenants.actors import actor_of
from tenants.bodies import given
from tenants.pagination import CursorPages


class DeviceViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Device]
):
    """The meters that were heard of."""

    queryset = Device.objects.none()
    serializer_class = DeviceSerializer
    filterset_fields = ["status", "name"]
    lookup_value_regex = r"\d{1,18}"

    def get_queryset(self) -> QuerySet[Device]:
        """Return the tenant's devices."""
        if getattr(self, "swagger_fake_view", False):
            return Device.objects.none()
        return Device.objects.filter(tenant=actor_of(self.request).tenant)

    @extend_schema(request=None, responses=DeviceSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Let the device's readings count from now on."""
        actor = actor_of(request)
        device = approve_device(
            tenant=actor.tenant, actor=actor, device=self.get_object()
        )
        return Response(self.get_serializer(device).data)

    @extend_schema(request=None, responses=DeviceSerializer)
    @action(detail=True, methods=["post"])
    def quarantine(self, request: Request, pk: str) -> Response:
        """Refuse the device's readings until somebody approves it."""
        actor = actor_of(request)
        device = quarantine_device(
            tenant=actor.tenant, actor=actor, device=self.get_object()
        )
        return Response(self.get_serializer(device).data)

    @extend_schema(request=ExpectedIntervalSerializer, responses=DeviceSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Say within which time a reading of each of its channels is expected."""
        actor = actor_of(request)
        device = self.get_object()
        wanted = given(request, ExpectedIntervalSerializer)
        watch_device(tenant=actor.tenant, actor=actor, device=device, **wanted)
        return Response(self.get_serializer(device).data)


class ChannelFilter(filters.FilterSet):
    """How the list of channels is narrowed."""

    device = filters.CharFilter("device__name", strip=False)
    channel = filters.CharFilter("code", strip=False)
    silent = filters.BooleanFilter(method="by_silence")
    watched = filters.BooleanFilter("expected_interval_s", "isnull", exclude=True)

    class Meta:
        model = Channel
        fields = ["kind", "commodity"]

    def by_silence(
        self, channels: QuerySet[Channel], name: str, value: bool
    ) -> QuerySet[Channel]:
        """Keep the silent ones, or the others."""
        return channels.filter(watch__silent_since__isnull=not value)


class ChannelViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Channel]
):
    """The series of each device."""

    queryset = Channel.objects.none()
    serializer_class = ChannelSerializer
    filterset_class = ChannelFilter
    lookup_value_regex = r"\d{1,18}"

    def get_queryset(self) -> QuerySet[Channel]:
        """Return the tenant's channels."""
        if getattr(self, "swagger_fake_view", False):
            return Channel.objects.none()
        tenant = actor_of(self.request).tenant
        channels = Channel.objects.filter(tenant=tenant).select_related("device")
        return with_watch(channels)

    @extend_schema(request=ChannelChangeSerializer, responses=ChannelSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Say what the channel measures, and what of it is news."""
        channel = self.get_object()
        change = given(request, ChannelChangeSerializer)
        actor = actor_of(request)
        about: dict[str, Any] = {
            "tenant": actor.tenant,
            "actor": actor,
            "channel": channel,
        }
        # A refusal changes nothing, whatever came before it.
        with transaction.atomic():
            if "expected_interval_s" in change:
                seconds = change["expected_interval_s"]
                watch_channel(**about, expected_interval_s=seconds)
            if "daily_threshold" in change:
                threshold = change["daily_threshold"]
                set_daily_threshold(**about, daily_threshold=threshold)
            if "commodity" in change:
                set_commodity(**about, commodity=change["commodity"])
        return Response(self.get_serializer(self.get_object()).data)


class OldestFirst(CursorPages):
    """Oldest first, by the readings' time."""

    ordering = "start_at"
    max_page_size = 1_000


_READING_PARAMETERS = [
    OpenApiParameter("device", OpenApiTypes.STR, required=True),
    OpenApiParameter("channel", OpenApiTypes.STR, description="Default: all of them."),
    OpenApiParameter("from", OpenApiTypes.STR, description="A date, or a time."),
    OpenApiParameter("to", OpenApiTypes.STR, description="The first one left out."),
]


@extend_schema_view(list=extend_schema(parameters=_READING_PARAMETERS))
class ReadingViewSet(mixins.ListModelMixin, GenericViewSet[Reading]):
    """The readings in force."""

    queryset = Reading.objects.none()
    serializer_class = ReadingSerializer
    pagination_class = OldestFirst
    filter_backends = ()
    query_parameters = [one.name for one in _READING_PARAMETERS]

    def get_queryset(self) -> QuerySet[Reading]:
        """
        Return the readings of a device of the tenant's.

        Raises: ParameterInvalid, ChannelUnknown.
        """
        if getattr(self, "swagger_fake_view", False):
            return Reading.objects.none()
        tenant = actor_of(self.request).tenant
        channels = device_channels(
            tenant=tenant,
            device=required(self.request, "device"),
            code=optional(self.request, "channel"),
        )
        rows = Reading.objects.filter(tenant=tenant, channel_id__in=channels)
        if from_at := moment(self.request, "from", tenant.zone):
            rows = rows.filter(start_at__gte=from_at)
        if to_at := moment(self.request, "to", tenant.zone):
            rows = rows.filter(start_at__lt=to_at)
        return rows.select_related("channel__device")
