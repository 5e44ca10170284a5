"""Rejected callbacks, as the API shows them, and decisions about many."""

from typing import Any

from rest_framework import serializers

from ingest.models import CallbackRejection
from ingest.receipts import instant
from ingest.serializers.callbacks import CountsSerializer
from ingest.services.callbacks import Step
from tenants.bodies import RequestBody
from tenants.identifiers import public_id


class RejectionSerializer(serializers.Serializer[CallbackRejection]):
    """A callback that was set aside, whole or in part."""

    receipt = serializers.CharField()
    transaction_id = serializers.CharField()
    # The API's name: a form that is only read uses no such attribute.
    source = serializers.CharField()  # type: ignore[assignment]
    status = serializers.ChoiceField(["open", "discarded"])
    code = serializers.CharField(help_text="The first error's.")
    detail = serializers.CharField()
    readings = CountsSerializer()
    received_at = serializers.DateTimeField()
    rejected_at = serializers.DateTimeField()
    discarded_at = serializers.DateTimeField(allow_null=True)
    discard_reason = serializers.CharField(allow_null=True)

    def to_representation(self, instance: CallbackRejection) -> dict[str, Any]:
        """Return a rejection with what tells the callback."""
        callback = instance.callback
        discarded_at = instance.discarded_at
        return {
            "receipt": callback.public_id,
            "transaction_id": callback.transaction_id,
            "source": public_id("src", callback.source_id),
            "status": "discarded" if discarded_at else "open",
            "code": instance.code,
            "detail": instance.detail,
            "readings": {
                name: getattr(callback, name)
                for name in ("stored", "unchanged", "corrected", "rejected")
            },
            "received_at": instant(callback.received_at),
            "rejected_at": instant(instance.rejected_at),
            "discarded_at": instant(discarded_at) if discarded_at else None,
            "discard_reason": instance.discard_reason,
        }


class ChoiceSerializer(RequestBody):
    """Which rejected callbacks are meant; of those, the ones that are open."""

    code = serializers.CharField(required=False, max_length=64)
    source = serializers.CharField(  # type: ignore[assignment]
        required=False, max_length=64, help_text="src_…"
    )
    since = serializers.CharField(
        required=False, max_length=64, help_text="Received from this date or time on."
    )
    until = serializers.CharField(
        required=False, max_length=64, help_text="Received before this date or time."
    )
    all = serializers.BooleanField(
        default=False, help_text="Needed where nothing else narrows the choice."
    )
    after = serializers.CharField(
        required=False, max_length=64, help_text="`next` of the reply before."
    )


class DiscardChoiceSerializer(ChoiceSerializer):
    """Which rejected callbacks stay rejected, and why."""

    reason = serializers.CharField(max_length=500)


class StepSerializer(serializers.Serializer[Step]):
    """What one request did of a decision about many."""

    count = serializers.IntegerField(help_text="Decided by this request.")
    left = serializers.IntegerField(
        help_text="Passed over: the body is gone, or somebody else decides it."
    )
    next = serializers.CharField(
        allow_null=True, help_text="Give it as `after` to go on; null: all are done."
    )

    def to_representation(self, instance: Step) -> dict[str, Any]:
        """Return the counts, and where to go on."""
        after = instance.after
        return {
            "count": instance.count,
            "left": instance.left,
            "next": public_id("rcp", after) if after else None,
        }
