"""The API of endpoints, messages and deliveries: admins write, auditors read."""

from subscriptions.views.catalogue import (
    DeviceGroupViewSet,
    EventTypeView,
    SigningKeyRotationView,
    SigningKeysView,
)
from subscriptions.views.deliveries import DeliveryViewSet, MessageViewSet
from subscriptions.views.endpoints import EndpointViewSet
from subscriptions.views.redelivering import RedeliveryViewSet

__all__ = [
    "DeliveryViewSet",
    "DeviceGroupViewSet",
    "EndpointViewSet",
    "EventTypeView",
    "MessageViewSet",
    "RedeliveryViewSet",
    "SigningKeyRotationView",
    "SigningKeysView",
]
