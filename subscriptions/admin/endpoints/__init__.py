"""The console's pages of callback URLs: the list, one with its buttons, its forms."""

from subscriptions.admin.endpoints.listing import EndpointAdmin

__all__ = ["EndpointAdmin"]
