"""Registering, stopping and looking after callback URLs."""

from subscriptions.services.endpoints.registering import (
    ENDPOINT_LIMIT,
    EndpointLimitReached,
    create_endpoint,
    endpoint_count,
    update_endpoint,
)
from subscriptions.services.endpoints.removing import delete_endpoint
from subscriptions.services.endpoints.rows import (
    EndpointStopped,
    EndpointUnknown,
    locked,
)
from subscriptions.services.endpoints.secrets import (
    OVERLAP_DEFAULT_S,
    OVERLAP_LIMIT_S,
    SECRET_LIMIT,
    OverlapInvalid,
    SecretLimitReached,
    rotate_secret,
)
from subscriptions.services.endpoints.settings import (
    EndpointInvalid,
    EndpointSettings,
    EventTypeUnknown,
)
from subscriptions.services.endpoints.stopping import (
    pause_endpoint,
    request_verification,
    resume_endpoint,
    withdraw_consent,
)
from subscriptions.services.endpoints.trying import send_test

__all__ = [
    "ENDPOINT_LIMIT",
    "OVERLAP_DEFAULT_S",
    "OVERLAP_LIMIT_S",
    "SECRET_LIMIT",
    "EndpointInvalid",
    "EndpointLimitReached",
    "EndpointSettings",
    "EndpointStopped",
    "EndpointUnknown",
    "EventTypeUnknown",
    "OverlapInvalid",
    "SecretLimitReached",
    "create_endpoint",
    "delete_endpoint",
    "endpoint_count",
    "locked",
    "pause_endpoint",
    "request_verification",
    "resume_endpoint",
    "rotate_secret",
    "send_test",
    "update_endpoint",
    "withdraw_consent",
]
