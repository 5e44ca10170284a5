"""The project's own app: its commands, checks, and the Celery app they all share."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Makes Celery's app the current one in every process."""

    name = "config"

    def ready(self) -> None:
        """Load the Celery app and the checks."""
        from config import celery, checks  # noqa: F401
