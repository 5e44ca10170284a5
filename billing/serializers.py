"""The JSON of accounts, agreements, tariffs, bill runs, invoices and reports."""

from typing import Any

from rest_framework import serializers

from billing.models import Account, Agreement, BillRun, Invoice, Tariff, TariffVersion
from billing.money import money_text
from billing.queries.runs import invoices_of_run
from tenants.bodies import RequestBody

#: Invoice numbers that a bill run shows; the list of invoices has them all.
INVOICES_SHOWN = 1000


class AccountSerializer(serializers.ModelSerializer[Account]):
    """A customer who is billed."""

    class Meta:
        model = Account
        fields = ["number", "name", "address", "created_at"]


class NewAccountSerializer(RequestBody):
    """An account to open."""

    shown_as = AccountSerializer

    number = serializers.CharField(max_length=32)
    name = serializers.CharField(max_length=200)
    address = serializers.CharField(allow_blank=True, max_length=2000, default="")


class TariffVersionSerializer(serializers.ModelSerializer[TariffVersion]):
    """A version as it is kept."""

    class Meta:
        model = TariffVersion
        fields = ["id", "valid_from_date", "charges", "created_at"]


class NewVersionSerializer(RequestBody):
    """The charges of a tariff from a day on."""

    shown_as = TariffVersionSerializer

    valid_from_date = serializers.DateField()
    charges = serializers.JSONField(
        help_text='`{"type": "consumption", "unit_price": "0.25", "unit": "kWh"}` or '
        '`{"type": "standing", "price_per_day": "0.10"}`, each with a `description`.'
    )


class TariffSerializer(serializers.ModelSerializer[Tariff]):
    """A tariff with its versions, oldest first."""

    versions = serializers.SerializerMethodField()

    class Meta:
        model = Tariff
        fields = ["id", "code", "name", "versions", "created_at"]

    def get_versions(self, tariff: Tariff) -> list[dict[str, Any]]:
        """Return the versions by date."""
        versions = sorted(tariff.versions.all(), key=lambda one: one.valid_from_date)
        return [dict(TariffVersionSerializer(one).data) for one in versions]


class NewTariffSerializer(RequestBody):
    """A tariff, with or without its first versions."""

    shown_as = TariffSerializer

    code = serializers.SlugField(max_length=64)
    name = serializers.CharField(max_length=200)
    versions = NewVersionSerializer(many=True, required=False, default=list)


class AgreementSerializer(serializers.ModelSerializer[Agreement]):
    """An agreement, by the names of what it ties together."""

    account = serializers.CharField(source="account.number")
    device = serializers.CharField(source="device.name")
    channel = serializers.CharField(source="channel_code")
    tariff = serializers.CharField(source="tariff.code")

    class Meta:
        model = Agreement
        fields = [
            "id",
            "account",
            "device",
            "channel",
            "tariff",
            "start_date",
            "end_date",
            "created_at",
        ]


class NewAgreementSerializer(RequestBody):
    """What is agreed, `[start_date, end_date)`."""

    shown_as = AgreementSerializer

    account = serializers.CharField(max_length=32)
    device = serializers.CharField(max_length=255)
    channel = serializers.CharField(max_length=255, default="main")
    tariff = serializers.CharField(max_length=64)
    start_date = serializers.DateField()
    end_date = serializers.DateField(required=False, allow_null=True, default=None)


class AgreementEndSerializer(RequestBody):
    """The first day on which an agreement no longer holds."""

    end_date = serializers.DateField()


class RunErrorSerializer(serializers.Serializer[Any]):
    """Why an account was not billed."""

    account = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class BillRunSerializer(serializers.ModelSerializer[BillRun]):
    """A bill run and how far it has come."""

    id = serializers.CharField(source="public_id")
    percent = serializers.IntegerField()
    errors = RunErrorSerializer(many=True)  # type: ignore[assignment]  # the stubs' own `errors`
    invoices = serializers.SerializerMethodField(
        help_text=f"The first {INVOICES_SHOWN} numbers; /invoices/?bill_run= has all."
    )

    class Meta:
        model = BillRun
        fields = [
            "id",
            "period_start",
            "period_end",
            "status",
            "account_count",
            "done_count",
            "skipped_count",
            "failed_count",
            "percent",
            "errors",
            "invoices",
            "created_at",
            "completed_at",
        ]

    def get_invoices(self, run: BillRun) -> list[str]:
        """Return the numbers of what was issued."""
        issued = invoices_of_run(tenant=run.tenant, run=run)
        return list(issued.values_list("number", flat=True)[:INVOICES_SHOWN])


class NewBillRunSerializer(RequestBody):
    """The period to bill, `[period_start, period_end)`, and whom to tell of the end."""

    shown_as = BillRunSerializer

    period_start = serializers.DateField()
    period_end = serializers.DateField()
    callback_endpoint = serializers.CharField(
        required=False, allow_null=True, default=None
    )


class InvoiceSerializer(serializers.ModelSerializer[Invoice]):
    """An invoice in a list."""

    account = serializers.CharField(source="parties.account.number")
    bill_run = serializers.CharField(source="bill_run.public_id")
    total = serializers.SerializerMethodField()

    class Meta:
        model = Invoice
        fields = [
            "number",
            "account",
            "bill_run",
            "period_start",
            "period_end",
            "currency",
            "total",
            "issued_at",
        ]

    def get_total(self, invoice: Invoice) -> str:
        """Return the total with the currency's decimals."""
        return money_text(invoice.total, invoice.currency)


class BilledDaySerializer(serializers.Serializer[Any]):
    """What was billed for one local day, and the shares of it."""

    day = serializers.DateField()
    value = serializers.CharField()
    actual = serializers.CharField()
    estimated = serializers.CharField()
    missing = serializers.CharField()


class InvoiceLineSerializer(serializers.Serializer[Any]):
    """One charge: quantity times price, and its proof."""

    position = serializers.IntegerField()
    description = serializers.CharField()
    period_start = serializers.DateField()
    period_end = serializers.DateField()
    quantity = serializers.CharField()
    unit = serializers.CharField()
    unit_price = serializers.CharField()
    amount = serializers.CharField()
    evidence = serializers.SerializerMethodField()
    days = BilledDaySerializer(many=True)
    usage_url = serializers.CharField(allow_null=True)

    def get_evidence(self, line: Any) -> dict[str, Any]:
        """Return the proof; its days have a member of their own."""
        return {name: value for name, value in line.evidence.items() if name != "days"}


class InvoiceDocumentSerializer(serializers.Serializer[Any]):
    """Everything that is printed on an invoice."""

    number = serializers.CharField()
    account = serializers.CharField()
    bill_run = serializers.CharField()
    period_start = serializers.DateField()
    period_end = serializers.DateField()
    currency = serializers.CharField()
    total = serializers.CharField()
    parties = serializers.DictField()
    issued_at = serializers.DateTimeField()
    lines = InvoiceLineSerializer(many=True)


class ReportQuerySerializer(serializers.Serializer[Any]):
    """The report's span, `[from, to)`, and perhaps one account of it."""

    to = serializers.DateField()
    account = serializers.CharField(required=False, max_length=32)

    def get_fields(self) -> dict[str, Any]:
        """Return the fields with `from`, which Python keeps for itself."""
        return {"from": serializers.DateField(), **super().get_fields()}
