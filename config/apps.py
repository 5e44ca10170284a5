"""The project's own app: its commands, checks, and the Celery app they all share."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Makes Celery's app the current one in every process."""

    name = "config"

    def ready(self) -> None:
        """Load the Celery app, the checks, and what OpenAPI says of keys."""
        from config import celery, checks  # noqa: F401
        from tenants import openapi  # noqa: F401
