"""A check of the database: what is stored opens with the keys at hand."""

from collections.abc import Sequence
from typing import Any

import psycopg
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from config.doctor.database import Unreachable, connection
from config.doctor.findings import Level
from config.doctor.machine import check_secrets


@register(Tags.database)
def check_stored_secrets(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Return an error when the newest secrets do not open: then nothing is started."""
    if not databases:
        return []
    try:
        with connection(settings.PIPELINE_ROLE) as lane:
            finding = check_secrets(lane)
    except (Unreachable, psycopg.Error):
        # Nothing is stored yet; what else is wrong, the next step says.
        return []
    if finding.level is Level.OK:
        return []
    return [
        Error(
            f"GRIDHOOK_ENCRYPTION_KEYS does not open what is stored: {finding.seen}",
            hint=finding.advice,
            id="gridhook.E017",
        )
    ]
