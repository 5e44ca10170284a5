"""The baseline's tables: who posts, and what was posted."""

import uuid
from typing import ClassVar

from django.db import models


class Source(models.Model):
    """Who posts, with which secret."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.BigIntegerField()
    secret = models.CharField(max_length=100)

    def __str__(self) -> str:
        return str(self.pk)


class Callback(models.Model):
    """One accepted callback."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.BigIntegerField()
    source = models.ForeignKey(Source, models.CASCADE)
    transaction_id = models.CharField(max_length=255)
    digest = models.BinaryField(max_length=32)
    body = models.BinaryField()
    received_at = models.DateTimeField(auto_now_add=True)
    processed_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Callback"]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "source", "transaction_id"],
                name="baseline_transaction_unique",
            )
        ]

    def __str__(self) -> str:
        return self.transaction_id
