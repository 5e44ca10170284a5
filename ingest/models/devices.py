"""Devices, their channels, and the channels that are watched for silence."""

from django.db import models
from django.db.models.functions import Now

from ingest.models.sources import Source
from tenants.models import Tenant


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
    #: Usage of a local day, in `unit`, above which it is news; null: none is.
    daily_threshold = models.DecimalField(
        max_digits=60, decimal_places=20, null=True, blank=True
    )
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


class ThresholdCrossing(models.Model):
    """A local day on which a channel's usage passed its threshold; told once."""

    pk = models.CompositePrimaryKey("tenant_id", "channel_id", "day")
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    channel = models.ForeignKey(Channel, models.DO_NOTHING, related_name="+")
    day = models.DateField()
    #: As they were when it was told.
    value = models.DecimalField(max_digits=60, decimal_places=20)
    threshold = models.DecimalField(max_digits=60, decimal_places=20)
    told_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "ingest_thresholdcrossing"

    def __str__(self) -> str:
        return f"{self.channel_id} {self.day}"
