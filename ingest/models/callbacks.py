"""Callbacks: the ledger, raw bodies, the queue, and what was set aside."""

from django.db import models
from django.db.models.functions import Now

from ingest.models.sources import Source
from tenants.identifiers import new_id, public_id
from tenants.models import Tenant


class CallbackState(models.IntegerChoices):
    """How far a callback has come."""

    ACCEPTED = 0, "accepted"
    PROCESSED = 1, "processed"
    PARTLY_REJECTED = 2, "partly_rejected"
    REJECTED = 3, "rejected"


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
    #: The first error's code: `device_unknown`, `unit_missing`, `processing_failed`, …
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
