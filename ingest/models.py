"""What comes in: sources, the ledger of callbacks, devices, channels and readings."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.identifiers import new_id, public_id
from tenants.models import Tenant


class Scheme(models.TextChoices):
    """How a source signs."""

    #: X-Hub-Signature-256 over the body; the transaction id is the body's.
    HUB = "hub", "X-Hub-Signature-256"
    #: Standard Webhooks; the transaction id is `webhook-id`.
    STANDARD = "standard", "Standard Webhooks"


class UnknownDevices(models.TextChoices):
    """What a source does with a device that it has not seen before."""

    AUTO = "auto", "Register them"
    KNOWN_ONLY = "known_only", "Quarantine them"


class CallbackState(models.IntegerChoices):
    """How far a callback has come."""

    ACCEPTED = 0, "accepted"
    PROCESSED = 1, "processed"
    PARTLY_REJECTED = 2, "partly_rejected"
    REJECTED = 3, "rejected"


class DeviceStatus(models.TextChoices):
    """Whether a device's readings count."""

    ACTIVE = "active", "Active"
    #: Unknown to a source that takes known devices only; an admin decides.
    QUARANTINED = "quarantined", "Quarantined"


class ReadingKind(models.TextChoices):
    """What a reading's value means."""

    #: A quantity over `[start_at, start_at + duration_s)`.
    INTERVAL = "interval", "Interval"
    #: A register's stand at `start_at`.
    REGISTER = "register", "Register"


class Quality(models.TextChoices):
    """How a value came about (NEM12's letters)."""

    ACTUAL = "A", "Actual"
    ESTIMATED = "E", "Estimated"
    SUBSTITUTED = "S", "Substituted"
    FINAL_SUBSTITUTED = "F", "Final substituted"
    MISSING = "N", "Missing"


class Source(models.Model):
    """A meter, gateway or head-end that posts callbacks, and how it is let in."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    scheme = models.CharField(max_length=16, choices=Scheme, default=Scheme.HUB)
    allowed_cidrs = ArrayField(
        models.CharField(max_length=43),
        default=list,
        blank=True,
        help_text="Networks that may post; none: any.",
    )
    rate_limit_per_s = models.PositiveIntegerField(null=True, blank=True)
    register_devices = models.CharField(
        "unknown devices",
        max_length=16,
        choices=UnknownDevices,
        default=UnknownDevices.AUTO,
    )
    device_keys = models.BooleanField(
        default=False,
        help_text="Each device signs with a key of its own, derived from the secret.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        """The id in the source's URL."""
        return public_id("src", self.pk)


class SourceSecret(models.Model):
    """A signing secret of a source; the newest has no end."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    source = models.ForeignKey(Source, models.CASCADE, related_name="secrets")
    sealed = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"secret {self.pk} of {self.source_id}"


class RevokedDevice(models.Model):
    """A device whose derived key no longer signs for its source."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    source = models.ForeignKey(Source, models.CASCADE, related_name="revoked_devices")
    #: As `X-Device-Id` names it; compared bytewise.
    device = models.CharField(max_length=255, db_collation="C")
    revoked_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "source", "device"], name="revoked_device_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.device} of {self.source_id}"


class Callback(models.Model):
    """The ledger: every acknowledged transaction id, once. Table: migrations/0002."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    source = models.ForeignKey(Source, models.DO_NOTHING, related_name="callbacks")
    #: Compared bytewise (collation C), 1 to 255 characters.
    transaction_id = models.TextField()
    #: SHA-256 of the raw body.
    digest = models.BinaryField(max_length=32)
    received_at = models.DateTimeField()
    state = models.SmallIntegerField(
        choices=CallbackState, default=CallbackState.ACCEPTED
    )
    processed_at = models.DateTimeField(null=True)
    stored = models.IntegerField(default=0)
    unchanged = models.IntegerField(default=0)
    corrected = models.IntegerField(default=0)
    rejected = models.IntegerField(default=0)
    #: The first errors: `[{"index", "code", "detail"}]`; null: none.
    errors = models.JSONField(null=True)

    class Meta:
        managed = False
        db_table = "ingest_callback"

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The receipt."""
        return public_id("rcp", self.pk)


class CallbackBody(models.Model):
    """A raw body, byte for byte; day partitions, dropped by retention."""

    callback = models.OneToOneField(
        Callback, models.DO_NOTHING, primary_key=True, related_name="body"
    )
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    received_at = models.DateTimeField()
    content_type = models.TextField()
    body = models.BinaryField()
    #: The device whose own key signed it; null: the source's key did.
    signed_by = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = "ingest_callbackbody"

    def __str__(self) -> str:
        return f"body of {self.callback_id}"


class PendingCallback(models.Model):
    """The queue: a callback that no worker has finished. Table: migrations/0002."""

    callback = models.OneToOneField(
        Callback, models.DO_NOTHING, primary_key=True, related_name="+"
    )
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    source = models.ForeignKey(Source, models.DO_NOTHING, related_name="+")
    received_at = models.DateTimeField()
    #: Done in chunks, apart from the small ones; a worker finds out which is.
    is_large = models.BooleanField(default=False)

    class Meta:
        managed = False
        db_table = "ingest_pendingcallback"

    def __str__(self) -> str:
        return f"pending {self.callback_id}"


class CallbackRejection(models.Model):
    """A callback that was set aside, whole or in part, until a person decides."""

    callback = models.OneToOneField(
        Callback, models.DO_NOTHING, primary_key=True, related_name="rejection"
    )
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    #: The first error's code: `device_unknown`, `unit_unknown`, `processing_failed`, …
    code = models.TextField()
    detail = models.TextField()
    rejected_at = models.DateTimeField(db_default=Now())
    #: When a person decided that it stays rejected, and why.
    discarded_at = models.DateTimeField(null=True)
    discard_reason = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = "ingest_callbackrejection"

    def __str__(self) -> str:
        return f"{self.code}: {self.callback_id}"


class ProcessingProgress(models.Model):
    """How far a large callback has come, chunk by chunk; gone when it is settled."""

    callback = models.OneToOneField(
        Callback, models.DO_NOTHING, primary_key=True, related_name="+"
    )
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    #: The first chunk's transaction: the clock that all its readings are judged by.
    began_at = models.DateTimeField()
    #: How many of the parsed readings are done, in the body's order.
    done = models.IntegerField()
    stored = models.IntegerField(default=0)
    unchanged = models.IntegerField(default=0)
    corrected = models.IntegerField(default=0)
    rejected = models.IntegerField(default=0)
    #: The first errors so far, as the receipt lists them.
    errors = models.JSONField(null=True)
    #: The first corrections so far, as `reading.corrected` lists them.
    corrections = models.JSONField(null=True)

    class Meta:
        managed = False
        db_table = "ingest_processingprogress"

    def __str__(self) -> str:
        return f"{self.callback_id}: {self.done} readings done"


class Device(models.Model):
    """A meter, by the name that its callbacks use."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    #: Compared bytewise.
    name = models.CharField(max_length=255, db_collation="C")
    status = models.CharField(
        max_length=16,
        choices=DeviceStatus,
        default=DeviceStatus.ACTIVE,
    )
    source = models.ForeignKey(Source, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], name="device_name_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Channel(models.Model):
    """One series of a device: an OBIS code (or any name) and what it measures."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    device = models.ForeignKey(Device, models.CASCADE, related_name="channels")
    code = models.CharField(max_length=255, db_collation="C")
    kind = models.CharField(max_length=16, choices=ReadingKind)
    #: `electricity`, `gas`, `water`, `heat`, …; `unknown` until someone says so.
    commodity = models.CharField(max_length=32, default="unknown")
    #: The unit that values are stored in; empty until a reading names one.
    unit = models.CharField(max_length=16, blank=True)
    #: The longest interval it ever had: how far before a day its usage is looked for.
    longest_s = models.PositiveIntegerField(default=0, editable=False)
    #: Seconds within which the next reading is expected; null: silence is no news.
    expected_interval_s = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "device", "code", "kind"], name="channel_code_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.device_id}/{self.code}"


class ChannelWatch(models.Model):
    """A channel whose silence is news: when it was heard, and by when it is due."""

    pk = models.CompositePrimaryKey("tenant_id", "channel_id")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    channel = models.ForeignKey(Channel, models.DO_NOTHING, related_name="watch")
    #: The channel's own, again: hearing and sweeping read this one row.
    expected_s = models.PositiveIntegerField()
    #: When a callback with its readings was last received; null: never.
    heard_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField()
    #: Since when `device.silent` was told and nothing came; null: it is heard.
    silent_since = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "ingest_channelwatch"

    def __str__(self) -> str:
        return f"{self.channel_id} due {self.due_at}"


class Reading(models.Model):
    """The value in force of one interval or register. Table: migrations/0002."""

    pk = models.CompositePrimaryKey("tenant_id", "channel_id", "start_at")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    channel = models.ForeignKey(Channel, models.DO_NOTHING, related_name="readings")
    start_at = models.DateTimeField()
    #: Null where the quality says missing.
    value = models.DecimalField(max_digits=60, decimal_places=20, null=True)
    #: 0 for a register.
    duration_s = models.IntegerField()
    quality = models.CharField(max_length=1, choices=Quality)
    callback = models.ForeignKey(Callback, models.DO_NOTHING, related_name="+")
    #: The newest callback that said the same again; older ones do not supersede it.
    confirmed_by = models.UUIDField(null=True)

    class Meta:
        managed = False
        db_table = "ingest_reading"

    def __str__(self) -> str:
        return f"{self.channel_id}@{self.start_at}"


class ReadingRevision(models.Model):
    """A value that was in force from `known_from` to `known_to`."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    channel = models.ForeignKey(Channel, models.DO_NOTHING, related_name="+")
    start_at = models.DateTimeField()
    value = models.DecimalField(max_digits=60, decimal_places=20, null=True)
    duration_s = models.IntegerField()
    quality = models.CharField(max_length=1, choices=Quality)
    callback = models.ForeignKey(Callback, models.DO_NOTHING, related_name="+")
    known_from = models.DateTimeField()
    known_to = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "ingest_readingrevision"

    def __str__(self) -> str:
        return f"{self.channel_id}@{self.start_at} until {self.known_to}"


class UsageMark(models.Model):
    """A (channel, local day) whose usage must be computed anew; repeats are fine."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    channel = models.ForeignKey(Channel, models.DO_NOTHING, related_name="+")
    day = models.DateField()

    class Meta:
        managed = False
        db_table = "ingest_usagemark"

    def __str__(self) -> str:
        return f"{self.channel_id} {self.day}"


class Usage(models.Model):
    """What a channel used on one local day, computed from its readings."""

    pk = models.CompositePrimaryKey("tenant_id", "channel_id", "day")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    channel = models.ForeignKey(Channel, models.DO_NOTHING, related_name="usage")
    day = models.DateField()
    value = models.DecimalField(max_digits=60, decimal_places=20)
    #: The local day's length: 82,800, 86,400 or 90,000 in most zones.
    expected_s = models.IntegerField()
    actual_s = models.IntegerField()
    estimated_s = models.IntegerField()
    reading_count = models.IntegerField()
    computed_at = models.DateTimeField(db_default=Now())

    class Meta:
        managed = False
        db_table = "ingest_usage"

    def __str__(self) -> str:
        return f"{self.channel_id} {self.day}"
