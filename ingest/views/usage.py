"""Usage over the API."""

from datetime import datetime

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingest.models import Channel, ReadingKind
from ingest.queries import find_channel, known_period, usage
from ingest.serializers.usage import UsageSerializer
from ingest.views.parameters import moment, one_of, optional, required
from tenants.actors import actor_of
from tenants.known_names import refuse_unknown_parameters
from tenants.models import Tenant

INTERVALS = ("hour", "day", "month")
_PARAMETERS = [
    OpenApiParameter("device", OpenApiTypes.STR, required=True),
    OpenApiParameter("channel", OpenApiTypes.STR, default="main"),
    OpenApiParameter("kind", OpenApiTypes.STR, enum=ReadingKind.values),
    OpenApiParameter(
        "from", OpenApiTypes.STR, description="Default: the first day known."
    ),
    OpenApiParameter(
        "to", OpenApiTypes.STR, description="Default: after the last day known."
    ),
    OpenApiParameter("interval", enum=INTERVALS, default="day"),
]


class UsageView(APIView):
    """What a channel used, by local hour, day or month."""

    @extend_schema(parameters=_PARAMETERS, responses=UsageSerializer)
    def get(self, request: Request) -> Response:
        """Return the hours, days or months of the period that have readings."""
        refuse_unknown_parameters(request, (one.name for one in _PARAMETERS))
        tenant = actor_of(request).tenant
        interval = one_of(request, "interval", INTERVALS, "day")
        channel = find_channel(
            tenant=tenant,
            device=required(request, "device"),
            code=optional(request, "channel") or "main",
            kind=one_of(request, "kind", tuple(ReadingKind.values), None),
        )
        period = _period(request, tenant, channel)
        results = (
            usage(
                tenant=tenant,
                channel=channel,
                from_at=period[0],
                to_at=period[1],
                interval=str(interval),
            )
            if period
            else []
        )
        return Response(UsageSerializer({"results": results}).data)


def _period(
    request: Request, tenant: Tenant, channel: Channel
) -> tuple[datetime, datetime] | None:
    """Return the time asked about; None: nothing is known and no end was given."""
    from_at = moment(request, "from", tenant.zone)
    to_at = moment(request, "to", tenant.zone)
    if from_at is not None and to_at is not None:
        return from_at, to_at
    known = known_period(tenant=tenant, channel=channel)
    return (from_at or known[0], to_at or known[1]) if known else None
