"""Who may do what: tenants, their people and keys, and the trail of what they did."""

from typing import ClassVar
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.identifiers import new_id


class Role(models.TextChoices):
    """What a person or a key may do in a tenant."""

    #: Everything: sources, endpoints, people, keys, billing.
    ADMIN = "admin", "Admin"
    #: Billing and reports; reads devices and usage.
    CLERK = "clerk", "Clerk"
    #: Reads everything, changes nothing.
    AUDITOR = "auditor", "Auditor"


class Tenant(models.Model):
    """A utility: its name in URLs and messages, its zone and its currency."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    timezone = models.CharField(max_length=63, help_text="IANA zone, Europe/Brussels.")
    currency = models.CharField(max_length=3, help_text="ISO 4217 code, EUR.")
    #: Callbacks a second over all its sources, set by the operator; null: any.
    rate_limit_per_s = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        """The tenant's time zone."""
        return ZoneInfo(self.timezone)


class User(AbstractUser):
    """A person who signs in to the console, by e-mail address."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = BaseUserManager()  # type: ignore[assignment,misc]

    def __str__(self) -> str:
        return self.email


class Membership(models.Model):
    """The one tenant that a person works for, and the role there."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    user = models.OneToOneField(User, models.CASCADE, related_name="membership")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(models.Model):
    """A bearer key; the key itself is shown once, and kept as its SHA-256."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=16, choices=Role)
    #: The first characters, enough to tell keys apart in a list.
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """One change: who, what, when, from where. Never changed, never deleted."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=254, help_text="E-mail address or key name.")
    address = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=64, help_text="endpoint.created")
    subject = models.CharField(max_length=255, help_text="The public id it is about.")
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "audit trail"
        indexes = [
            #: The trail's page: a tenant's newest entries.
            models.Index(fields=["tenant", "-at"], name="audit_newest"),
            #: What was done with one thing: a callback's page.
            models.Index(fields=["tenant", "subject"], name="audit_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class AuditSeal(models.Model):
    """A stretch of a tenant's trail, fixed: `tenants.audit_seals`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    #: From 1, without gaps: each digest goes over the one before.
    sequence = models.PositiveIntegerField()
    #: The latest entry's moment.
    until_at = models.DateTimeField()
    #: Of each entry the id and half its SHA-256, 32 bytes together.
    entries = models.BinaryField()
    #: The digest, sealed: who has the database alone cannot make another.
    sealed = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "sequence"], name="audit_seal_sequence_unique"
            )
        ]

    def __str__(self) -> str:
        return f"seal {self.sequence} of {self.tenant_id}"


class IdempotentReply(models.Model):
    """The reply to a POST with an `Idempotency-Key`, for the client's next try."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    #: SHA-256 of caller, method, path and body: the key with any other is refused.
    request_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    #: Sealed, for it may carry a secret that is shown once.
    sealed_body = models.BinaryField(null=True)
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "key"], name="idempotent_reply_unique"
            )
        ]

    def __str__(self) -> str:
        return self.key


class MailStatus(models.TextChoices):
    """How a mail to a tenant's admins stands."""

    WAITING = "waiting", "Waiting"
    SENT = "sent", "Sent"
    #: Given up: every attempt failed, or it had waited too long.
    FAILED = "failed", "Failed"


class Mail(models.Model):
    """A mail to a tenant's admins, written in the transaction that it tells of."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    subject = models.CharField(max_length=200)
    text = models.TextField()
    status = models.CharField(
        max_length=16, choices=MailStatus, default=MailStatus.WAITING
    )
    #: Who got it: the admins there were when it was sent.
    recipients = ArrayField(models.EmailField(), default=list)
    attempt_count = models.PositiveSmallIntegerField(default=0)
    #: When it is due; while it is being sent, until when that claim holds.
    next_attempt_at = models.DateTimeField(db_default=Now())
    #: Fencing token of the claim in force.
    claim_id = models.UUIDField(null=True)
    last_error = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            #: The worker: what is due.
            models.Index(
                fields=["next_attempt_at"],
                name="mail_due",
                condition=models.Q(status="waiting"),
            ),
            #: What was not sent, of a tenant.
            models.Index(
                fields=["tenant"],
                name="mail_unsent",
                condition=~models.Q(status="sent"),
            ),
        ]

    def __str__(self) -> str:
        return self.subject
