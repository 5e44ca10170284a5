"""Who is told what: endpoints, messages, deliveries, attempts."""

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


class DeliveryStatus(models.TextChoices):
    """How a message stands with one endpoint."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    #: Every attempt failed; it waits for a person.
    DEAD = "dead", "Dead"
    CANCELLED = "cancelled", "Cancelled"


class Endpoint(models.Model):
    """A callback URL that a tenant registered, and what it wants to hear."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    url = models.URLField("callback URL", max_length=2048)
    description = models.CharField(max_length=200, blank=True)
    event_types = ArrayField(models.CharField(max_length=64))
    status = models.CharField(
        max_length=16,
        choices=EndpointStatus,
        default=EndpointStatus.PENDING,
    )
    #: Why it stands so, in words for the admin.
    status_detail = models.CharField(max_length=500, blank=True)
    #: When the consent handshake is next due; null: no handshake is asked for.
    consent_due_at = models.DateTimeField(null=True, db_default=Now())
    #: Handshakes asked for since the last one by hand.
    consent_step = models.PositiveSmallIntegerField(default=0)
    consented_at = models.DateTimeField(null=True)
    #: Requests per minute that the receiver granted; null: as many as it takes.
    allowed_rate_per_min = models.PositiveIntegerField(null=True)
    #: The granted rate is used up to this moment.
    rate_used_until = models.DateTimeField(db_default=Now())
    #: Since when every attempt has failed; null: the latest one did not.
    failing_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    #: A deleted endpoint keeps its history.
    deleted_at = models.DateTimeField(null=True)

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


class Message(models.Model):
    """An event's exact bytes, once. The table: migrations/0002."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    event_type = models.TextField()
    #: What is signed and sent.
    body = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        managed = False
        db_table = "subscriptions_message"

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The `webhook-id` of every attempt."""
        return public_id("msg", self.pk)


class Delivery(models.Model):
    """A message's way to one endpoint. The table: migrations/0002."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    message = models.ForeignKey(Message, models.DO_NOTHING, related_name="deliveries")
    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, related_name="deliveries")
    event_type = models.TextField()
    status = models.TextField(choices=DeliveryStatus, default=DeliveryStatus.PENDING)
    attempt_count = models.PositiveIntegerField(default=0)
    #: Attempts since the schedule last began anew (creation, or a retry by hand).
    schedule_step = models.PositiveIntegerField(default=0)
    #: When it is due; a claim moves it to the lease's end.
    next_attempt_at = models.DateTimeField(db_default=Now())
    #: Fencing token of the claim in force: a worker with another one is late.
    claim_id = models.UUIDField(null=True)
    last_status_code = models.PositiveSmallIntegerField(null=True)
    last_error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "subscriptions_delivery"
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id in URLs."""
        return public_id("dlv", self.pk)


class Attempt(models.Model):
    """One request to a callback URL and what came of it. The table: migrations/0002."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    delivery = models.ForeignKey(Delivery, models.DO_NOTHING, related_name="attempts")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    #: Null: no response came.
    status_code = models.PositiveSmallIntegerField(null=True)
    #: `timeout`, `dns_error`, `connection_refused`, `tls_error`, `address_not_allowed`,
    #: `http_error`, …; empty on success.
    error = models.TextField(blank=True, default="")
    error_detail = models.TextField(blank=True, default="")
    #: The address that was dialled.
    address = models.TextField(blank=True, default="")
    response_excerpt = models.BinaryField(default=b"")

    class Meta:
        managed = False
        db_table = "subscriptions_attempt"

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"
