"""The JSON of what is undelivered."""

from typing import Any

from rest_framework import serializers

from subscriptions.models import EndpointStatus


class HindranceSerializer(serializers.Serializer[Any]):
    """Why messages wait, and what to do about it."""

    words = serializers.CharField()
    advice = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True)


class DeadSerializer(serializers.Serializer[Any]):
    """Messages to an endpoint that were given up."""

    endpoint = serializers.CharField(source="endpoint.public_id")
    url = serializers.CharField(source="endpoint.url")
    count = serializers.IntegerField(help_text="1,000 at most; then there may be more")
    oldest_at = serializers.DateTimeField()
    reason = serializers.CharField(help_text="The commonest, in words")


class HeldSerializer(serializers.Serializer[Any]):
    """Messages that wait for an endpoint to which nothing, or little, is sent."""

    endpoint = serializers.CharField(source="endpoint.public_id")
    url = serializers.CharField(source="endpoint.url")
    status = serializers.ChoiceField(EndpointStatus.choices, source="endpoint.status")
    count = serializers.IntegerField(help_text="1,000 at most; then there may be more")
    oldest_at = serializers.DateTimeField(
        allow_null=True,
        help_text="Where more wait than are counted, another one may be older",
    )
    needs_action = serializers.BooleanField()
    why = HindranceSerializer(many=True)


class UndeliveredSerializer(serializers.Serializer[Any]):
    """All that has not arrived and will not by itself, or not soon."""

    needs_action = serializers.BooleanField()
    dead = DeadSerializer(many=True)
    held = HeldSerializer(many=True)
    unsent_mails = serializers.IntegerField()
