"""Sources over the API: admins write, auditors read."""

from typing import cast

from django.db.models import Prefetch, QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from ingest.models import RevokedDevice, Source, SourceSecret
from ingest.serializers.sources import (
    DeviceNameSerializer,
    NewSourceSerializer,
    RevokedDeviceSerializer,
    RotationSerializer,
    SourceChangesSerializer,
    SourceSerializer,
    SourceWithSecretSerializer,
)
from ingest.services import sources
from ingest.services.sources import SourceChanges
from tenants.actors import actor_of
from tenants.bodies import given
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Role


class SourceViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Source]
):
    """The meters, gateways and head-ends that may post callbacks."""

    queryset = Source.objects.none()
    serializer_class = SourceSerializer
    read_roles = {Role.ADMIN, Role.AUDITOR}
    lookup_url_kwarg = "id"
    lookup_value_regex = "[^/]+"
    filterset_fields = ["name", "scheme", "enabled"]

    def get_queryset(self) -> QuerySet[Source]:
        """Return the tenant's sources."""
        if getattr(self, "swagger_fake_view", False):
            return Source.objects.none()
        tenant = actor_of(self.request).tenant
        return Source.objects.filter(tenant=tenant).prefetch_related(
            Prefetch("secrets", SourceSecret.objects.order_by("pk"))
        )

    def get_object(self) -> Source:
        """
        Return the source that the URL names.

        Raises: Http404: it is not this tenant's, or no source id at all.
        """
        try:
            source_id = parse_public_id("src", self.kwargs["id"])
            return self.get_queryset().get(pk=source_id)
        except (IdentifierInvalid, Source.DoesNotExist) as error:
            raise Http404 from error

    @extend_schema(
        request=NewSourceSerializer, responses={201: SourceWithSecretSerializer}
    )
    def create(self, request: Request) -> Response:
        """Create a source; its secret is in this reply alone."""
        actor = actor_of(request)
        wanted = given(request, NewSourceSerializer)
        source, secret = sources.create_source(
            tenant=actor.tenant, actor=actor, **wanted
        )
        return self._with_secret(source, secret, status.HTTP_201_CREATED)

    @extend_schema(request=SourceChangesSerializer, responses=SourceSerializer)
    def partial_update(self, request: Request, id: str) -> Response:
        """Change a source; listeners act on it at once."""
        actor = actor_of(request)
        source = self.get_object()
        wanted = given(request, SourceChangesSerializer, is_partial=True)
        changed = sources.update_source(
            tenant=actor.tenant,
            actor=actor,
            source=source,
            changes=cast(SourceChanges, wanted),
        )
        return Response(self.get_serializer(changed).data)

    @extend_schema(
        request=RotationSerializer, responses={200: SourceWithSecretSerializer}
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, id: str) -> Response:
        """Give the source a new secret; the old ones stay in force for the overlap."""
        actor = actor_of(request)
        source = self.get_object()
        wanted = given(request, RotationSerializer)
        secret = sources.rotate_secret(
            tenant=actor.tenant,
            actor=actor,
            source=source,
            overlap_s=wanted["overlap_s"],
            now=timezone.now(),
        )
        return self._with_secret(source, secret, status.HTTP_200_OK)

    @extend_schema(request=None, responses={200: SourceSerializer})
    @action(detail=True, methods=["post"], url_path="revoke-previous-secrets")
    def revoke_previous_secrets(self, request: Request, id: str) -> Response:
        """End the overlap now: of the source's secrets only the newest stays."""
        actor = actor_of(request)
        source = self.get_object()
        sources.revoke_previous_secrets(tenant=actor.tenant, actor=actor, source=source)
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(responses=RevokedDeviceSerializer(many=True))
    @action(
        detail=True,
        url_path="revoked-devices",
        serializer_class=RevokedDeviceSerializer,
        filterset_fields=[],
    )
    def revoked_devices(self, request: Request, id: str) -> Response:
        """List the devices whose own keys sign no longer, the newest first."""
        rows = RevokedDevice.objects.filter(
            tenant=actor_of(request).tenant, source=self.get_object()
        )
        page = self.paginate_queryset(rows)  # type: ignore[arg-type]  # of another kind
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        request=DeviceNameSerializer, responses={200: RevokedDeviceSerializer}
    )
    @revoked_devices.mapping.post
    def revoke_device(self, request: Request, id: str) -> Response:
        """Refuse what one device signs from now on; again changes nothing."""
        actor = actor_of(request)
        source = self.get_object()
        wanted = given(request, DeviceNameSerializer)
        revoked = sources.revoke_device(
            tenant=actor.tenant,
            actor=actor,
            source=source,
            device=wanted["device"],
            now=timezone.now(),
        )
        return Response(RevokedDeviceSerializer(revoked).data)

    @extend_schema(request=None, responses={204: None})
    @action(
        detail=True,
        methods=["delete"],
        url_path=r"revoked-devices/(?P<device>[\s\S]+)",
        url_name="revoked-device",
    )
    def restore_device(self, request: Request, id: str, device: str) -> Response:
        """Take what the device signs again. Its id is percent-encoded in the path."""
        actor = actor_of(request)
        sources.restore_device(
            tenant=actor.tenant, actor=actor, source=self.get_object(), device=device
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _with_secret(self, source: Source, secret: str, code: int) -> Response:
        fresh = self.get_queryset().get(pk=source.pk)
        shown = SourceWithSecretSerializer(fresh, context={"secret": secret})
        return Response(shown.data, status=code)
