"""Sources: who posts callbacks, how they sign, and how they are let in."""

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
