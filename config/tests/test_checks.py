"""A wrong setting is named, with an id and what to do."""

from typing import Any

import pytest
from django.test import override_settings

from config.checks import check_settings


def found(**settings: Any) -> set[str | None]:
    with override_settings(**settings):
        messages = check_settings(None)
    assert all(message.hint for message in messages)
    return {message.id for message in messages}


def test_the_settings_of_this_run_are_right() -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SECRET_KEY": ""}, "gridhook.E001"),
        ({"ENCRYPTION_KEYS": ""}, "gridhook.E002"),
        ({"ENCRYPTION_KEYS": "1:dG9vIHNob3J0"}, "gridhook.E002"),
        ({"DATABASE_URL": ""}, "gridhook.E003"),
        ({"LISTENER_PORT": 70000}, "gridhook.E004"),
        ({"TLS_CERT": "/etc/hostname"}, "gridhook.E005"),
        ({"TLS_CERT": "/nowhere", "TLS_KEY": "/nowhere"}, "gridhook.E006"),
        ({"HSTS_S": -1, "IS_CONSOLE_BEHIND_TLS": True}, "gridhook.E018"),
        ({"HSTS_S": 300, "IS_CONSOLE_BEHIND_TLS": False}, "gridhook.W004"),
        ({"CALLBACK_ALLOW_CIDRS": ["10.0.0.1/8"]}, "gridhook.E007"),
        ({"CALLBACK_PORTS": [443, 0]}, "gridhook.E016"),
        ({"RETRY_SCHEDULE_S": [5.0, -1.0]}, "gridhook.E008"),
        ({"RATE_LIMIT_URL": "amqp://127.0.0.1//"}, "gridhook.E009"),
        ({"DELIVERY_LEASE_S": 15}, "gridhook.W002"),
        ({"CONSENT_LEASE_DAYS": 0}, "gridhook.E012"),
        ({"LISTENER_INFLIGHT_BYTES": 1}, "gridhook.W001"),
        ({"READING_RETENTION_MONTHS": -1}, "gridhook.E010"),
        ({"BODY_RETENTION_DAYS": 0}, "gridhook.E010"),
        ({"LEDGER_RETENTION_DAYS": 89}, "gridhook.W003"),
        ({"MESSAGE_RETENTION_DAYS": 0}, "gridhook.E013"),
        ({"SMTP_URL": "mail.example.com"}, "gridhook.E014"),
        ({"MAIL_FROM": "Gridhook"}, "gridhook.E015"),
        ({"MAIL_FROM": "a@b.example\nBcc: c@d.example"}, "gridhook.E015"),
    ],
)
def test_a_wrong_setting_is_found(settings: dict[str, Any], expected: str) -> None:
    assert found(**settings) == {expected}
