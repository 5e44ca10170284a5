"""The project's own app: its commands, checks, and the Celery app they all share."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Makes Celery's app the current one in every process."""

    name = "config"

    def ready(self) -> None:
        """Load what every process has, and join what must not import each other."""
        from config import celery, checks, key_checks  # noqa: F401
        from ingest.queries.ledger import receipts_of
        from subscriptions.origins import find_receipts_by
        from tenants import openapi  # noqa: F401

        find_receipts_by(receipts_of)
