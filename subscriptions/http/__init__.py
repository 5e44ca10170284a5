"""
The one way out: every HTTP request that the platform makes goes through `Driver`.

No redirects, no proxies, no compression; every address that the host's name stands for
is judged, and the judged ones are dialled; time, headers and body have bounds.
Source: docs/explanation/delivery.md, docs/explanation/ssrf.md
"""

from subscriptions.http.driver import Driver, send_all
from subscriptions.http.outcomes import Certificate, Outcome, Request, unsent
from subscriptions.http.trust import BundleMissing, authorities

__all__ = [
    "BundleMissing",
    "Certificate",
    "Driver",
    "Outcome",
    "Request",
    "authorities",
    "send_all",
    "unsent",
]
