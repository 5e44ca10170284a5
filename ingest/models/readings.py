"""Readings in force, superseded ones, and the usage computed from them."""

from django.db import models
from django.db.models.functions import Now

from ingest.models.callbacks import Callback
from ingest.models.devices import Channel
from tenants.models import Tenant


class Quality(models.TextChoices):
    """How a value came about (NEM12's letters)."""

    ACTUAL = "A", "Actual"
    ESTIMATED = "E", "Estimated"
    SUBSTITUTED = "S", "Substituted"
    FINAL_SUBSTITUTED = "F", "Final substituted"
    MISSING = "N", "Missing"


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
