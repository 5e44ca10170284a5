"""Messages and their ways to endpoints. The tables: migrations/0002 on."""

from django.db import models
from django.db.models.functions import Now

from subscriptions.models.endpoints import Endpoint
from tenants.identifiers import new_id, public_id
from tenants.models import Tenant


class DeliveryStatus(models.TextChoices):
    """How a message stands with one endpoint."""

    PENDING = "pending", "Waiting"
    DELIVERED = "delivered", "Delivered"
    #: Every attempt failed; it waits for a person.
    DEAD = "dead", "Given up"
    CANCELLED = "cancelled", "Cancelled"


class Lane(models.IntegerChoices):
    """Which deliveries of an endpoint go first."""

    #: Alarms, and the first retries of one.
    URGENT = 0, "Urgent"
    #: First attempts and early retries.
    FRESH = 1, "Fresh"
    #: Late retries, and what is recovered or replayed.
    LATE = 2, "Late"


class Message(models.Model):
    """An event's exact bytes, once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    event_type = models.TextField()
    #: The callback that it is about; null: none.
    receipt_id = models.UUIDField(null=True)
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
    """A message's way to one endpoint."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    message = models.ForeignKey(Message, models.DO_NOTHING, related_name="deliveries")
    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, related_name="deliveries")
    event_type = models.TextField()
    #: This endpoint's own bytes; null: the message's.
    body = models.BinaryField(null=True)
    lane = models.PositiveSmallIntegerField(choices=Lane, default=Lane.FRESH)
    #: Whether it holds places in device lanes: LanePlace.
    is_ordered = models.BooleanField(default=False)
    status = models.TextField(choices=DeliveryStatus, default=DeliveryStatus.PENDING)
    attempt_count = models.PositiveIntegerField(default=0)
    #: Attempts since the schedule last began anew (creation, or a retry by hand).
    schedule_step = models.PositiveIntegerField(default=0)
    #: When it is due; null: once those before it in its device lanes have ended.
    next_attempt_at = models.DateTimeField(null=True, db_default=Now())
    #: Until when the claim in force holds; null: nobody claims it. No index has it, so
    #: that claiming touches none.
    leased_until = models.DateTimeField(null=True)
    #: Fencing token of the claim in force: a worker with another one is late.
    claim_id = models.UUIDField(null=True)
    last_status_code = models.PositiveSmallIntegerField(null=True)
    last_error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    #: Why a person ended it; empty: nobody did.
    cancel_reason = models.TextField(blank=True, default="")

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
    """One request to a callback URL and what came of it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    delivery = models.ForeignKey(Delivery, models.DO_NOTHING, related_name="attempts")
    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, related_name="+")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    #: Null: no response came.
    status_code = models.PositiveSmallIntegerField(null=True)
    #: `timeout`, `dns_error`, `connection_refused`, `tls_error`, `address_not_allowed`,
    #: `http_error`, …; empty on success.
    error = models.TextField(blank=True, default="")
    error_detail = models.TextField(blank=True, default="")
    #: The URL as it was then, and the address that was dialled.
    url = models.TextField(blank=True, default="")
    address = models.TextField(blank=True, default="")
    #: The `webhook-timestamp` that was signed; null: nothing was sent.
    signed_at_s = models.BigIntegerField(null=True)
    #: `1.1`, `2`; empty: no response came.
    http_version = models.TextField(blank=True, default="")
    #: The `webhook-id` of the batch that it was sent in; null: it was sent alone.
    batch_id = models.UUIDField(null=True)
    #: The beginning of the response's headers, without the endpoint's secrets.
    response_headers = models.TextField(blank=True, default="")
    response_excerpt = models.BinaryField(default=b"")

    class Meta:
        managed = False
        db_table = "subscriptions_attempt"

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"


class MessageDevice(models.Model):
    """A device that a message is about: search, replay and manifests go by it."""

    pk = models.CompositePrimaryKey("tenant_id", "device", "message_id")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    device = models.TextField()
    message = models.ForeignKey(Message, models.DO_NOTHING, related_name="+")

    class Meta:
        managed = False
        db_table = "subscriptions_messagedevice"

    def __str__(self) -> str:
        return f"{self.message_id} about {self.device}"


class DeviceLane(models.Model):
    """How far an ordered endpoint's messages about one device have come."""

    pk = models.CompositePrimaryKey("tenant_id", "endpoint_id", "device")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, related_name="+")
    device = models.TextField()
    #: Of the newest message.
    sequence = models.BigIntegerField()
    message_id = models.UUIDField()
    #: The one before those that were published together with it; null: none.
    previous_id = models.UUIDField(null=True)

    class Meta:
        managed = False
        db_table = "subscriptions_devicelane"

    def __str__(self) -> str:
        return f"{self.device} at {self.sequence}"


class LanePlace(models.Model):
    """A delivery's place in a device's lane, until it has ended."""

    pk = models.CompositePrimaryKey("tenant_id", "endpoint_id", "device", "sequence")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.DO_NOTHING, related_name="+")
    device = models.TextField()
    sequence = models.BigIntegerField()
    delivery = models.ForeignKey(Delivery, models.DO_NOTHING, related_name="+")

    class Meta:
        managed = False
        db_table = "subscriptions_laneplace"

    def __str__(self) -> str:
        return f"{self.device} {self.sequence}"


class RedeliveryKind(models.TextChoices):
    """What is sent again."""

    #: What was given up.
    RECOVER = "recover", "Recover"
    #: What was sent before, exactly as then.
    REPLAY = "replay", "Replay"


class RedeliveryStatus(models.TextChoices):
    """How far a redelivery has come."""

    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    CANCELLED = "cancelled", "Cancelled"


class Redelivery(models.Model):
    """Many messages that are sent to an endpoint again, at a bounded rate."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=RedeliveryKind)
    status = models.CharField(
        max_length=16, choices=RedeliveryStatus, default=RedeliveryStatus.RUNNING
    )
    #: Empty: of every device.
    device = models.CharField(max_length=255, blank=True, default="")
    since = models.DateTimeField()
    until = models.DateTimeField()
    rate_per_s = models.PositiveIntegerField(default=100)
    #: Messages there were to send when it began, and those made due so far.
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    #: A replay has looked at everything up to this message.
    cursor = models.UUIDField(null=True)
    #: What its rate allows is used up to this moment.
    rate_used_until = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            #: The worker: what is under way.
            models.Index(
                fields=["created_at"],
                name="redelivery_running",
                condition=models.Q(status="running"),
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "kind"],
                name="redelivery_one_running",
                condition=models.Q(status="running"),
            )
        ]
        verbose_name_plural = "redeliveries"

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id in URLs."""
        return public_id("rd", self.pk)


class Manifest(models.Model):
    """What an endpoint was sent of one local day: so much its subscriber can check."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="+")
    day_date = models.DateField()
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    messages = models.PositiveIntegerField()
    #: SHA-256 of the messages' ids, sorted, one a line; in hex.
    ids_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "endpoint", "day_date"], name="manifest_once_a_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day_date} to {self.endpoint_id}"
