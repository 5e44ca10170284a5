"""What is owed: accounts, agreements, tariffs, bill runs and invoices."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import (
    BigIntegerRangeField,
    DateRangeField,
    RangeOperators,
)
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from ingest.models import Device
from tenants.identifiers import new_id, public_id
from tenants.models import Tenant


def _point(value: Combinable) -> Func:
    """Return a number as a range of one: ranges need no extension to be excluded."""
    return Func(
        value,
        value,
        Value("[]"),
        function="int8range",
        output_field=BigIntegerRangeField(),
    )


def _text_hash(value: Combinable) -> Func:
    return Func(
        value,
        Value(0),
        function="hashtextextended",
        output_field=models.BigIntegerField(),
    )


class Account(models.Model):
    """A customer who is billed."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    number = models.CharField(max_length=32)
    name = models.CharField(max_length=200)
    address = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "number"], name="account_number_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.name}"


class Tariff(models.Model):
    """A price list with versions by date."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    code = models.SlugField(max_length=64)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "code"], name="tariff_code_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name


class TariffVersion(models.Model):
    """The charges of a tariff from one day on, until the next version's day."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    tariff = models.ForeignKey(Tariff, models.CASCADE, related_name="versions")
    valid_from_date = models.DateField()
    #: A list of charges, each with its `type`; billing/charges.py has their shapes.
    charges = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "tariff", "valid_from_date"],
                name="tariff_version_date_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.tariff_id} from {self.valid_from_date}"


class Agreement(models.Model):
    """Who pays for a device's channel by which tariff, over `[start, end)` dates."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    account = models.ForeignKey(Account, models.CASCADE, related_name="agreements")
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    channel_code = models.CharField(max_length=255, default="main")
    tariff = models.ForeignKey(Tariff, models.PROTECT, related_name="+")
    start_date = models.DateField()
    end_date = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(end_date__isnull=True) | Q(end_date__gt=F("start_date")),
                name="agreement_period_not_empty",
            ),
            #: A channel is billed to one account at a time.
            ExclusionConstraint(
                name="agreement_periods_apart",
                expressions=[
                    (_point(F("tenant")), RangeOperators.OVERLAPS),
                    (_point(F("device")), RangeOperators.OVERLAPS),
                    (_point(_text_hash(F("channel_code"))), RangeOperators.OVERLAPS),
                    (
                        Func(
                            F("start_date"),
                            F("end_date"),
                            function="daterange",
                            output_field=DateRangeField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        ]

    def __str__(self) -> str:
        return f"agreement {self.pk}"


class BillRunStatus(models.TextChoices):
    """How far a bill run has come."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"


class BillRun(models.Model):
    """The task that makes the invoices of one period, `[period_start, period_end)`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    period_start = models.DateField()
    period_end = models.DateField()
    status = models.CharField(
        max_length=16,
        choices=BillRunStatus,
        default=BillRunStatus.QUEUED,
    )
    account_count = models.PositiveIntegerField(default=0)
    done_count = models.PositiveIntegerField(default=0)
    skipped_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    #: What went wrong with which account, the first thousand: `[{"account", "code",
    #: "detail"}]`.
    errors = models.JSONField(default=list)
    #: Told of the end even when it asked for no `bill_run.completed`.
    callback_endpoint_id = models.UUIDField(null=True)
    #: Lease and fencing token of the worker that has it.
    lease_until = models.DateTimeField(null=True)
    claim_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    completed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            #: The sweep for runs that no worker has.
            models.Index(
                fields=["created_at"],
                name="bill_run_open",
                condition=Q(status__in=["queued", "running"]),
            )
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id in URLs and messages."""
        return public_id("run", self.pk)

    @property
    def percent(self) -> int:
        """How much of the work is done, in whole per cents."""
        if self.account_count == 0:
            return 100 if self.completed_at else 0
        decided = self.done_count + self.skipped_count + self.failed_count
        return decided * 100 // self.account_count


class InvoiceCounter(models.Model):
    """The last invoice number of a tenant; its row lock gives numbers without gaps."""

    tenant = models.OneToOneField(
        Tenant, models.CASCADE, primary_key=True, related_name="+"
    )
    last_number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.last_number)


class Invoice(models.Model):
    """A bill: frozen copies of everything printed on it. Never edited."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    number = models.CharField(max_length=32)
    bill_run = models.ForeignKey(BillRun, models.PROTECT, related_name="invoices")
    account = models.ForeignKey(Account, models.PROTECT, related_name="invoices")
    period_start = models.DateField()
    period_end = models.DateField()
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=20, decimal_places=4)
    #: Copies of tenant and account as they were: names, address, zone.
    parties = models.JSONField()
    issued_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "number"], name="invoice_number_unique"
            ),
            #: Two runs over one period bill an account once.
            models.UniqueConstraint(
                fields=["tenant", "account", "period_start", "period_end"],
                name="invoice_period_unique",
            ),
            #: No day of an account is on two invoices.
            ExclusionConstraint(
                name="invoice_periods_apart",
                expressions=[
                    (_point(F("tenant")), RangeOperators.OVERLAPS),
                    (_point(F("account")), RangeOperators.OVERLAPS),
                    (
                        Func(
                            F("period_start"),
                            F("period_end"),
                            function="daterange",
                            output_field=DateRangeField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        ]

    def __str__(self) -> str:
        return self.number


class InvoiceLine(models.Model):
    """One charge of an invoice, with what made it. Frozen with the invoice."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="lines")
    position = models.PositiveSmallIntegerField()
    description = models.CharField(max_length=300)
    period_start = models.DateField()
    period_end = models.DateField()
    quantity = models.DecimalField(max_digits=60, decimal_places=20)
    unit = models.CharField(max_length=16)
    unit_price = models.DecimalField(max_digits=30, decimal_places=12)
    amount = models.DecimalField(max_digits=20, decimal_places=4)
    #: Device, channel, reading count and digest, quality shares, tariff version.
    evidence = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "invoice", "position"], name="invoice_line_unique"
            )
        ]

    def __str__(self) -> str:
        return self.description
