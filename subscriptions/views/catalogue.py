"""The API of the catalogue, of device groups and of signing keys."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from subscriptions.api_versions import VERSIONS
from subscriptions.catalogue import CATALOGUE
from subscriptions.models import DeviceGroup
from subscriptions.queries.endpoints import device_groups_of, without_devices
from subscriptions.queries.signing_keys import keys_in_force
from subscriptions.serializers.catalogue import (
    DeviceGroupChangesSerializer,
    DeviceGroupSerializer,
    DeviceGroupWithDevicesSerializer,
    EventTypeSerializer,
    EventTypesSerializer,
    NewDeviceGroupSerializer,
    SigningKeySerializer,
    SigningKeysSerializer,
)
from subscriptions.serializers.endpoints import RotationSerializer
from subscriptions.services.device_groups import delete_group, save_group
from subscriptions.services.signing_keys import rotate_key
from subscriptions.views.rows import TenantRows
from tenants.actors import actor_of
from tenants.bodies import given
from tenants.models import Role, Tenant


class EventTypeView(APIView):
    """What can be subscribed to."""

    @extend_schema(responses=EventTypesSerializer)
    def get(self, request: Request) -> Response:
        """List every type of event, with its JSON Schema and examples of its data."""
        shown = EventTypeSerializer(list(CATALOGUE.values()), many=True).data
        return Response(
            {
                "next": None,
                "previous": None,
                "api_versions": [version.name for version in VERSIONS],
                "results": shown,
            }
        )


class DeviceGroupViewSet(TenantRows[DeviceGroup]):
    """Devices under one name, for the filters of endpoints."""

    queryset = DeviceGroup.objects.none()
    serializer_class = DeviceGroupSerializer
    id_prefix = "dg"
    filterset_fields = ["name"]

    def rows(self, tenant: Tenant) -> QuerySet[DeviceGroup]:
        """Return the tenant's device groups; in the list without their devices."""
        groups = device_groups_of(tenant)
        return without_devices(groups) if self.action == "list" else groups

    @extend_schema(responses=DeviceGroupWithDevicesSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Show a group with its devices."""
        return Response(DeviceGroupWithDevicesSerializer(self.get_object()).data)

    @extend_schema(
        request=NewDeviceGroupSerializer,
        responses={201: DeviceGroupWithDevicesSerializer},
    )
    def create(self, request: Request) -> Response:
        """Make a group."""
        group = save_group(
            tenant=self.actor.tenant,
            actor=self.actor,
            **self.given(NewDeviceGroupSerializer),
        )
        shown = DeviceGroupWithDevicesSerializer(group).data
        return Response(shown, status=status.HTTP_201_CREATED)

    @extend_schema(
        request=DeviceGroupChangesSerializer,
        responses=DeviceGroupWithDevicesSerializer,
    )
    def partial_update(self, request: Request, id: str) -> Response:
        """Change a group; endpoints hear by its new devices from the next event on."""
        group = self.get_object()
        wanted = self.given(DeviceGroupChangesSerializer)
        saved = save_group(
            tenant=self.actor.tenant,
            actor=self.actor,
            name=wanted.get("name", group.name),
            devices=wanted.get("devices", group.devices),
            group=group,
        )
        return Response(DeviceGroupWithDevicesSerializer(saved).data)

    def destroy(self, request: Request, id: str) -> Response:
        """Delete a group that no endpoint filters by."""
        delete_group(
            tenant=self.actor.tenant, actor=self.actor, group=self.get_object()
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class SigningKeysView(APIView):
    """The public keys of `v1a` signatures."""

    read_roles: ClassVar[set[Role]] = {Role.ADMIN, Role.AUDITOR}

    @extend_schema(responses=SigningKeysSerializer)
    def get(self, request: Request) -> Response:
        """List the keys in force, the newest first; none were needed: none."""
        return _keys(actor_of(request).tenant)


class SigningKeyRotationView(APIView):
    """Another key for `v1a` signatures."""

    @extend_schema(request=RotationSerializer, responses=SigningKeysSerializer)
    def post(self, request: Request) -> Response:
        """Give the tenant a new key; the old ones sign too until the overlap ends."""
        actor = actor_of(request)
        rotate_key(
            tenant=actor.tenant,
            actor=actor,
            now=timezone.now(),
            **given(request, RotationSerializer),
        )
        return _keys(actor.tenant)


def _keys(tenant: Tenant) -> Response:
    found = keys_in_force(tenant, timezone.now())
    shown = SigningKeySerializer(found, many=True).data
    return Response({"next": None, "previous": None, "results": shown})
