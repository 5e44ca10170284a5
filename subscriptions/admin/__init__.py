"""The console's pages of who is told what, by subject."""

from subscriptions.admin import (
    deliveries,
    device_groups,
    endpoints,
    messages,
    redeliveries,
    signing_keys,
)

__all__ = [
    "deliveries",
    "device_groups",
    "endpoints",
    "messages",
    "redeliveries",
    "signing_keys",
]
