"""The API of billing: each view is one service call, or one read."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from billing import serializers as shapes
from billing.exports import usage_report_csv, usage_report_xlsx
from billing.filters import AgreementFilter, BillRunFilter, InvoiceFilter, run_id_of
from billing.models import Account, Agreement, BillRun, Invoice, Tariff
from billing.queries.invoices import invoice_document
from billing.queries.lookups import account_numbered, device_named, tariff_coded
from billing.queries.reports import MonthRow, monthly_report
from billing.services.accounts import create_account
from billing.services.agreements import Terms, create_agreement, end_agreement
from billing.services.bill_runs import EndpointUnknown, request_bill_run
from billing.services.tariffs import NewVersion, add_tariff_version, create_tariff
from billing.typesetting import invoice_pdf
from tenants.actors import Actor, actor_of
from tenants.bodies import RequestBody, given
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.known_names import refuse_unknown_parameters
from tenants.models import Role, Tenant
from tenants.problems import NotFound

WRITERS = {Role.ADMIN, Role.CLERK}
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

Row = TypeVar("Row", bound=Model)


class BillingViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Row]
):
    """Rows of the caller's tenant; admins and clerks write."""

    write_roles = WRITERS

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return actor_of(self.request)

    @property
    def tenant(self) -> Tenant:
        """Whose rows these are."""
        return self.actor.tenant

    def get_queryset(self) -> QuerySet[Row]:
        """Return the tenant's rows alone."""
        rows = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return rows.none()
        return rows.filter(tenant=self.tenant)

    def given(self, shape: type[RequestBody]) -> dict[str, Any]:
        """Return the request's body, checked."""
        return given(self.request, shape)


class AccountViewSet(BillingViewSet[Account]):
    """Customers who are billed."""

    queryset = Account.objects.all()
    serializer_class = shapes.AccountSerializer
    lookup_field = "number"
    lookup_value_regex = "[^/]+"

    @extend_schema(
        request=shapes.NewAccountSerializer, responses={201: shapes.AccountSerializer}
    )
    def create(self, request: Request) -> Response:
        """Open an account."""
        account = create_account(
            tenant=self.tenant,
            actor=self.actor,
            **self.given(shapes.NewAccountSerializer),
        )
        account.refresh_from_db(fields=["created_at"])
        return _created(shapes.AccountSerializer(account))


class TariffViewSet(BillingViewSet[Tariff]):
    """Price lists with versions by date."""

    queryset = Tariff.objects.prefetch_related("versions")
    serializer_class = shapes.TariffSerializer
    lookup_value_regex = r"\d{1,18}"

    @extend_schema(
        request=shapes.NewTariffSerializer, responses={201: shapes.TariffSerializer}
    )
    def create(self, request: Request) -> Response:
        """Create a tariff."""
        wanted = self.given(shapes.NewTariffSerializer)
        versions = [NewVersion(**version) for version in wanted.pop("versions")]
        tariff = create_tariff(
            tenant=self.tenant, actor=self.actor, versions=versions, **wanted
        )
        tariff.refresh_from_db()
        return _created(shapes.TariffSerializer(tariff))

    @extend_schema(
        request=shapes.NewVersionSerializer,
        responses={201: shapes.TariffVersionSerializer},
    )
    @action(detail=True, methods=["post"])
    def versions(self, request: Request, pk: str) -> Response:
        """Set the charges from a day on."""
        version = add_tariff_version(
            tenant=self.tenant,
            actor=self.actor,
            tariff=self.get_object(),
            version=NewVersion(**self.given(shapes.NewVersionSerializer)),
        )
        version.refresh_from_db()
        return _created(shapes.TariffVersionSerializer(version))


class AgreementViewSet(BillingViewSet[Agreement]):
    """Who pays for which channel, by which tariff, and when."""

    queryset = Agreement.objects.select_related("account", "device", "tariff")
    serializer_class = shapes.AgreementSerializer
    filterset_class = AgreementFilter
    lookup_value_regex = r"\d{1,18}"

    @extend_schema(
        request=shapes.NewAgreementSerializer,
        responses={201: shapes.AgreementSerializer},
    )
    def create(self, request: Request) -> Response:
        """Bill a channel to an account."""
        wanted = self.given(shapes.NewAgreementSerializer)
        agreement = create_agreement(
            tenant=self.tenant,
            actor=self.actor,
            account=account_numbered(tenant=self.tenant, number=wanted["account"]),
            terms=Terms(
                device=device_named(tenant=self.tenant, name=wanted["device"]),
                tariff=tariff_coded(tenant=self.tenant, code=wanted["tariff"]),
                start_date=wanted["start_date"],
                end_date=wanted["end_date"],
                channel_code=wanted["channel"],
            ),
        )
        agreement.refresh_from_db(fields=["created_at"])
        return _created(shapes.AgreementSerializer(agreement))

    @extend_schema(
        request=shapes.AgreementEndSerializer,
        responses={200: shapes.AgreementSerializer},
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """Set the first day on which the agreement no longer holds."""
        ended = end_agreement(
            tenant=self.tenant,
            actor=self.actor,
            agreement=self.get_object(),
            **self.given(shapes.AgreementEndSerializer),
        )
        return Response(shapes.AgreementSerializer(ended).data)


class BillRunViewSet(BillingViewSet[BillRun]):
    """The making of a period's invoices, in the background."""

    queryset = BillRun.objects.select_related("tenant")
    serializer_class = shapes.BillRunSerializer
    filterset_class = BillRunFilter
    lookup_value_regex = "[^/]+"

    def get_object(self) -> BillRun:
        """Return the run by its public id."""
        run = self.get_queryset().filter(pk=run_id_of(self.kwargs["pk"])).first()
        if run is None:
            raise NotFound("There is no such bill run.")
        return run

    @extend_schema(
        request=shapes.NewBillRunSerializer, responses={202: shapes.BillRunSerializer}
    )
    def create(self, request: Request) -> Response:
        """Ask for the invoices of a period."""
        wanted = self.given(shapes.NewBillRunSerializer)
        endpoint = wanted.pop("callback_endpoint")
        run = request_bill_run(
            tenant=self.tenant,
            actor=self.actor,
            callback_endpoint_id=_endpoint_id(endpoint) if endpoint else None,
            **wanted,
        )
        return Response(
            shapes.BillRunSerializer(run).data,
            status=status.HTTP_202_ACCEPTED,
            headers={"Location": f"{request.path}{run.public_id}/"},
        )


class InvoiceViewSet(BillingViewSet[Invoice]):
    """Bills as they were issued."""

    queryset = Invoice.objects.select_related("bill_run")
    serializer_class = shapes.InvoiceSerializer
    filterset_class = InvoiceFilter
    lookup_field = "number"
    lookup_value_regex = "[^/]+"

    @extend_schema(responses={200: shapes.InvoiceDocumentSerializer})
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the whole document: lines, arithmetic, proof."""
        document = invoice_document(tenant=self.tenant, number=kwargs["number"])
        return Response(shapes.InvoiceDocumentSerializer(document).data)


class FirstRenderer(BaseContentNegotiation):
    """Files come as their path says, whatever `Accept` asks for; errors as JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the first parser."""
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer."""
        return renderers[0], renderers[0].media_type


class InvoicePdf(APIView):
    """A bill as its page."""

    content_negotiation_class = FirstRenderer

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request: Request, number: str) -> HttpResponse:
        """Return the file."""
        document = invoice_document(tenant=actor_of(request).tenant, number=number)
        return _file(invoice_pdf(document), "application/pdf", f"{document.number}.pdf")


class _ReportView(APIView):
    """A report of the caller's tenant, as a file."""

    content_negotiation_class = FirstRenderer

    def rows(self, request: Request) -> list[MonthRow]:
        """Return what the query string asks for."""
        query = shapes.ReportQuerySerializer(data=request.query_params)
        refuse_unknown_parameters(request, query.fields)
        query.is_valid(raise_exception=True)
        tenant = actor_of(request).tenant
        number = query.validated_data.get("account")
        return monthly_report(
            tenant=tenant,
            from_date=query.validated_data["from"],
            to_date=query.validated_data["to"],
            account=account_numbered(tenant=tenant, number=number) if number else None,
        )


class UsageReportCsv(_ReportView):
    """Usage and billed amounts by account and local month, as CSV."""

    @extend_schema(
        parameters=[shapes.ReportQuerySerializer],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the file."""
        text = usage_report_csv(self.rows(request))
        return _file(text.encode(), "text/csv; charset=utf-8", "usage.csv")


class UsageReportXlsx(_ReportView):
    """Usage and billed amounts by account and local month, as a workbook."""

    @extend_schema(
        parameters=[shapes.ReportQuerySerializer],
        responses={(200, XLSX_TYPE): OpenApiTypes.BINARY},
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the file."""
        return _file(usage_report_xlsx(self.rows(request)), XLSX_TYPE, "usage.xlsx")


def _created(serializer: Any) -> Response:
    return Response(serializer.data, status=status.HTTP_201_CREATED)


def _file(content: bytes, content_type: str, name: str) -> HttpResponse:
    return HttpResponse(
        content,
        content_type=content_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _endpoint_id(text: str) -> Any:
    try:
        return parse_public_id("ep", text)
    except IdentifierInvalid as error:
        raise EndpointUnknown(str(error)) from error
