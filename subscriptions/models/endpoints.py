"""Callback URLs: what they want to hear, how it is sent, and how they stand."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.identifiers import new_id, public_id
from tenants.models import Tenant


class EndpointStatus(models.TextChoices):
    """Whether messages flow to an endpoint."""

    #: Has not consented yet; messages wait.
    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"
    #: Stopped by an admin; messages wait.
    PAUSED = "paused", "Paused"
    #: Stopped by the platform (410, or nothing but failures); messages wait.
    DISABLED = "disabled", "Disabled"


class Payload(models.TextChoices):
    """How much of an event a message carries."""

    FULL = "full", "Everything"
    #: Ids alone; the subscriber asks the API for the rest.
    THIN = "thin", "Ids alone"


class Breaker(models.TextChoices):
    """Whether an endpoint that fails is spared."""

    CLOSED = "closed", "Closed"
    #: Nothing is sent until `hold_until`.
    OPEN = "open", "Open"
    #: One probe is on its way.
    HALF_OPEN = "half_open", "Half open"


class Endpoint(models.Model):
    """A callback URL that a tenant registered, and what it wants to hear."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    url = models.URLField("callback URL", max_length=2048)
    #: Asked for its consent; until it gives it, `url` stays in force.
    proposed_url = models.URLField(max_length=2048, blank=True, default="")
    description = models.CharField(max_length=200, blank=True)
    status = models.CharField(
        max_length=16,
        choices=EndpointStatus,
        default=EndpointStatus.PENDING,
    )
    #: Why it stands so, in words for the admin.
    status_detail = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    #: A deleted endpoint keeps its history.
    deleted_at = models.DateTimeField(null=True)

    # --- What is sent --------------------------------------------------------
    event_types = ArrayField(models.CharField(max_length=64))
    #: By dimension, what is let through: subscriptions/filtering.py. Empty: all.
    filters = models.JSONField(default=dict, blank=True)
    payload = models.CharField(max_length=8, choices=Payload, default=Payload.FULL)
    #: The shape of bodies that it was built for: subscriptions/api_versions.py.
    api_version = models.CharField(max_length=16, default="2026-11-01")
    #: In order by device: the next message waits for the one before.
    is_ordered = models.BooleanField(default=False)
    #: Messages that one request carries at most; 1: each its own request.
    batch_size = models.PositiveSmallIntegerField(default=1)
    #: How long a batch that is not full waits for more.
    batch_wait_s = models.PositiveSmallIntegerField(default=5)
    #: Whether `delivery.manifest` is sent every day, and the last day it told of.
    has_manifest = models.BooleanField(default=False)
    manifest_until = models.DateField(null=True)

    # --- How it is sent ------------------------------------------------------
    #: Beside `v1` and `X-Hub-Signature-256`: `v1a`, `stripe`.
    extra_signatures = ArrayField(models.CharField(max_length=8), default=list)
    #: Custom headers: the names, and all of it sealed as JSON.
    header_names = ArrayField(models.CharField(max_length=64), default=list)
    sealed_headers = models.BinaryField(default=b"")
    #: A client certificate with its key, PEM, sealed; empty: none.
    sealed_certificate = models.BinaryField(default=b"")
    certificate_subject = models.CharField(max_length=300, blank=True, default="")
    certificate_expires_at = models.DateTimeField(null=True)
    #: OAuth 2 client credentials; no URL: none.
    oauth2_token_url = models.URLField(max_length=2048, blank=True, default="")
    oauth2_client_id = models.CharField(max_length=255, blank=True, default="")
    oauth2_scope = models.CharField(max_length=500, blank=True, default="")
    sealed_oauth2_secret = models.BinaryField(default=b"")
    sealed_oauth2_token = models.BinaryField(default=b"")
    oauth2_expires_at = models.DateTimeField(null=True)
    #: When a token is next asked for; null: not at all.
    oauth2_due_at = models.DateTimeField(null=True)
    #: When one was last asked for, and how often in vain since.
    oauth2_asked_at = models.DateTimeField(null=True)
    oauth2_step = models.PositiveSmallIntegerField(default=0)
    oauth2_error = models.CharField(max_length=500, blank=True, default="")

    # --- Consent -------------------------------------------------------------
    #: When the consent handshake is next due; null: no handshake is asked for.
    consent_due_at = models.DateTimeField(null=True, db_default=Now())
    #: Handshakes asked for since the last answer that was a yes.
    consent_step = models.PositiveSmallIntegerField(default=0)
    consented_at = models.DateTimeField(null=True)
    #: Until when the consent holds without being renewed.
    consent_expires_at = models.DateTimeField(null=True)
    #: Requests per minute that the receiver granted; null: as many as it takes.
    allowed_rate_per_min = models.PositiveIntegerField(null=True)

    # --- Pace ----------------------------------------------------------------
    #: The admin's own limit beside the granted one; null: none.
    max_rate_per_min = models.PositiveIntegerField(null=True)
    #: Requests that one worker has on their way to it at most.
    max_concurrency = models.PositiveSmallIntegerField(default=32)
    #: The rate at which what had waited is worked off after a stop.
    drain_rate_per_min = models.PositiveIntegerField(default=6000)
    #: What was created before this is worked off at that rate; null: nothing is.
    draining_since = models.DateTimeField(null=True)
    #: The rate in force is used up to this moment.
    rate_used_until = models.DateTimeField(db_default=Now())

    # --- Health --------------------------------------------------------------
    #: Since when every attempt has failed; null: the latest one did not.
    failing_since = models.DateTimeField(null=True)
    #: The share of the patience with it, in percent, that its admins were warned of.
    failing_warned = models.PositiveSmallIntegerField(default=0)
    breaker = models.CharField(max_length=16, choices=Breaker, default=Breaker.CLOSED)
    #: Probes that failed since the breaker opened.
    breaker_trips = models.PositiveSmallIntegerField(default=0)
    #: Nothing is sent before this: the breaker, or `Retry-After`. Null: no hold.
    hold_until = models.DateTimeField(null=True)
    hold_reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        indexes = [
            #: The consent sweep.
            models.Index(
                fields=["consent_due_at"],
                name="endpoint_consent_due",
                condition=models.Q(consent_due_at__isnull=False),
            ),
            #: Fan-out: a tenant's endpoints.
            models.Index(
                fields=["tenant"],
                name="endpoint_of_tenant",
                condition=models.Q(deleted_at__isnull=True),
            ),
            #: The token sweep.
            models.Index(
                fields=["oauth2_due_at"],
                name="endpoint_token_due",
                condition=models.Q(oauth2_due_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.url

    @property
    def public_id(self) -> str:
        """The id in URLs and messages."""
        return public_id("ep", self.pk)


class EndpointSecret(models.Model):
    """A signing secret of an endpoint; the newest has no end."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="secrets")
    sealed = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"secret {self.pk} of {self.endpoint_id}"


class SigningKey(models.Model):
    """A tenant's Ed25519 key, for `v1a`; all in force sign, and are published."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    sealed = models.BinaryField()
    #: 32 bytes, in base64 behind `whpk_`.
    public = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    #: Until when it also signs; null: it is the newest.
    expires_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.public


class ConsentStep(models.Model):
    """One step of a consent handshake, as the admin sees it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="+")
    url = models.URLField(max_length=2048)
    #: `options`, `challenge`, `granted`, `refused`, `withdrawn`, `lapsed`.
    step = models.CharField(max_length=16)
    status_code = models.PositiveSmallIntegerField(null=True)
    #: In words.
    detail = models.CharField(max_length=500, blank=True, default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            #: An endpoint's latest steps.
            models.Index(fields=["tenant", "endpoint", "-at"], name="consent_latest")
        ]

    def __str__(self) -> str:
        return f"{self.step} at {self.at}"


class MaintenanceWindow(models.Model):
    """A time in which an endpoint's messages wait, and no attempt is spent."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="windows")
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    #: When a worker noticed its end, from when on messages flow again; null: not yet.
    closed_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(end_at__gt=models.F("start_at")),
                name="window_ends_after_it_starts",
            )
        ]
        indexes = [
            #: The claim: windows that are not over.
            models.Index(
                fields=["endpoint", "start_at"],
                name="window_open",
                condition=models.Q(closed_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.start_at} to {self.end_at}"

    @property
    def public_id(self) -> str:
        """The id in URLs."""
        return public_id("mw", self.pk)


class PortalLink(models.Model):
    """A short-lived way in for a subscriber's engineer, to one endpoint alone."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="+")
    #: SHA-256 of the token; the token itself is shown once.
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    #: Whom it was made for, in the admin's words.
    note = models.CharField(max_length=200, blank=True, default="")
    created_by = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"portal link of {self.endpoint_id}"

    @property
    def public_id(self) -> str:
        """The id in URLs."""
        return public_id("pl", self.pk)


class DeviceGroup(models.Model):
    """Devices under one name, for the filters of endpoints."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    name = models.CharField(max_length=100, db_collation="C")
    #: Names of devices; one that ends in `*` stands for all that begin so.
    devices = ArrayField(models.CharField(max_length=255), default=list)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], name="device_group_name_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        """The id in URLs."""
        return public_id("dg", self.pk)
