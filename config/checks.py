"""System checks: what is wrong with a setting, and what to do about it."""

from collections.abc import Callable, Sequence
from email.utils import parseaddr
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from tenants.smtp import SmtpUrlInvalid, parse_smtp_url
from tenants.vault import KeysInvalid, parse_keys

Check = Callable[[], list[CheckMessage]]
_PORTS = range(1, 65536)
_LEASE_DAYS = range(1, 3651)


@register()
def check_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Return everything that is wrong with the settings."""
    checks: tuple[Check, ...] = (
        _check_secrets,
        _check_database,
        _check_ports,
        _check_tls,
        _check_hsts,
        _check_networks,
        _check_callback_ports,
        _check_rate_limits,
        _check_schedule,
        _check_lease,
        _check_consent_lease,
        _check_bounds,
        _check_retention,
        _check_message_retention,
        _check_mail,
    )
    return [message for check in checks for message in check()]


def _check_secrets() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if not _has_secret_key():
        found.append(
            Error(
                "No secret key is set.",
                hint="Set GRIDHOOK_SECRET_KEY (or _FILE) to 50 random characters; "
                "`manage.py up` makes one under var/keys.",
                id="gridhook.E001",
            )
        )
    try:
        parse_keys(settings.ENCRYPTION_KEYS)
    except KeysInvalid as error:
        found.append(
            Error(
                f"GRIDHOOK_ENCRYPTION_KEYS cannot be used: {error}",
                hint="Set it (or _FILE) to `1:` and the base64 of 32 random bytes; "
                "`manage.py up` makes one under var/keys.",
                id="gridhook.E002",
            )
        )
    return found


def _has_secret_key() -> bool:
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False


def _check_database() -> list[CheckMessage]:
    if settings.DATABASE_URL:
        return []
    return [
        Error(
            "There is no database.",
            hint="Start `manage.py up`, whose embedded PostgreSQL other commands find "
            "through GRIDHOOK_VAR, or set DATABASE_URL.",
            id="gridhook.E003",
        )
    ]


def _check_ports() -> list[CheckMessage]:
    return [
        Error(
            f"GRIDHOOK_{name} is {port}, which is no port.",
            hint="Use a number from 1 to 65535.",
            id="gridhook.E004",
        )
        for name in ("LISTENER_PORT", "CONSOLE_PORT")
        if (port := getattr(settings, name)) not in _PORTS
    ]


def _check_tls() -> list[CheckMessage]:
    if bool(settings.TLS_CERT) != bool(settings.TLS_KEY):
        return [
            Error(
                "Of GRIDHOOK_TLS_CERT and GRIDHOOK_TLS_KEY only one is set.",
                hint="Set both to files, or neither.",
                id="gridhook.E005",
            )
        ]
    return [
        Error(
            f"{path} cannot be read.",
            hint="GRIDHOOK_TLS_CERT and GRIDHOOK_TLS_KEY name PEM files.",
            id="gridhook.E006",
        )
        for path in (settings.TLS_CERT, settings.TLS_KEY)
        if path and not Path(path).is_file()
    ]


def _check_hsts() -> list[CheckMessage]:
    if settings.HSTS_S < 0:
        return [
            Error(
                "GRIDHOOK_HSTS_S is negative.",
                hint="Seconds, such as 31536000 for a year; 0 says nothing.",
                id="gridhook.E018",
            )
        ]
    if settings.HSTS_S and not settings.IS_CONSOLE_BEHIND_TLS:
        return [
            Warning(
                "GRIDHOOK_HSTS_S is set, and GRIDHOOK_CONSOLE_URL is no https URL.",
                hint="It is not sent: set GRIDHOOK_CONSOLE_URL to what people open.",
                id="gridhook.W004",
            )
        ]
    return []


def _check_networks() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name in ("CALLBACK_ALLOW_CIDRS", "TRUSTED_PROXIES"):
        for cidr in getattr(settings, name):
            try:
                ip_network(cidr)
            except ValueError as error:
                found.append(
                    Error(
                        f"GRIDHOOK_{name}: {error}",
                        hint="Use networks such as 10.1.0.0/16, comma-separated.",
                        id="gridhook.E007",
                    )
                )
    return found


def _check_callback_ports() -> list[CheckMessage]:
    if all(port in _PORTS for port in settings.CALLBACK_PORTS):
        return []
    return [
        Error(
            "GRIDHOOK_CALLBACK_PORTS names what is no port.",
            hint="Numbers from 1 to 65535, comma-separated: 443,8443.",
            id="gridhook.E016",
        )
    ]


def _check_rate_limits() -> list[CheckMessage]:
    url = settings.RATE_LIMIT_URL
    if not url or url.startswith(settings.REDIS_SCHEMES):
        return []
    return [
        Error(
            "GRIDHOOK_RATE_LIMIT_URL is no Redis.",
            hint="Use redis://host/0, rediss://host/0 or unix:///path/of/a/socket.",
            id="gridhook.E009",
        )
    ]


def _check_schedule() -> list[CheckMessage]:
    if all(pause >= 0 for pause in settings.RETRY_SCHEDULE_S):
        return []
    return [
        Error(
            "GRIDHOOK_RETRY_SCHEDULE_S has a negative pause.",
            hint="Seconds between attempts, comma-separated: 5,300,1800.",
            id="gridhook.E008",
        )
    ]


def _check_lease() -> list[CheckMessage]:
    if settings.DELIVERY_LEASE_S > settings.DELIVERY_TIMEOUT_S:
        return []
    return [
        Warning(
            "GRIDHOOK_DELIVERY_LEASE_S ends before a slow delivery does.",
            hint=f"Such a message is sent twice; use more than "
            f"{settings.DELIVERY_TIMEOUT_S} seconds.",
            id="gridhook.W002",
        )
    ]


def _check_consent_lease() -> list[CheckMessage]:
    if settings.CONSENT_LEASE_DAYS in _LEASE_DAYS:
        return []
    return [
        Error(
            "GRIDHOOK_CONSENT_LEASE_DAYS is no number of days from 1 to 3650.",
            hint="30 asks every receiver anew once in 24 days.",
            id="gridhook.E012",
        )
    ]


def _check_bounds() -> list[CheckMessage]:
    if settings.LISTENER_INFLIGHT_BYTES < settings.BODY_LIMIT_BYTES:
        return [
            Warning(
                "GRIDHOOK_INFLIGHT_BYTES is below the largest body.",
                hint="Such bodies are always answered 503; give it 10485760 or more.",
                id="gridhook.W001",
            )
        ]
    return []


def _check_retention() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if (
        settings.READING_RETENTION_MONTHS < 0
        or min(settings.BODY_RETENTION_DAYS, settings.LEDGER_RETENTION_DAYS) < 1
    ):
        found.append(
            Error(
                "A retention is below what can be kept.",
                hint="GRIDHOOK_BODY_RETENTION_DAYS and GRIDHOOK_LEDGER_RETENTION_DAYS "
                "are 1 or more, GRIDHOOK_READING_RETENTION_MONTHS 0 (all) or more.",
                id="gridhook.E010",
            )
        )
    if settings.LEDGER_RETENTION_DAYS < settings.BODY_RETENTION_DAYS:
        found.append(
            Warning(
                "GRIDHOOK_LEDGER_RETENTION_DAYS ends before the bodies' retention.",
                hint="A body is of no use without its id: give it as many days.",
                id="gridhook.W003",
            )
        )
    return found


def _check_message_retention() -> list[CheckMessage]:
    if settings.MESSAGE_RETENTION_DAYS >= 1:
        return []
    return [
        Error(
            "GRIDHOOK_MESSAGE_RETENTION_DAYS is below 1.",
            hint="400 keeps messages for as long as a replay may ask for them.",
            id="gridhook.E013",
        )
    ]


def _check_mail() -> list[CheckMessage]:
    try:
        if settings.SMTP_URL:
            parse_smtp_url(settings.SMTP_URL)
    except SmtpUrlInvalid as error:
        return [
            Error(
                f"GRIDHOOK_SMTP_URL cannot be used: {error}",
                hint="Use smtp://user:password@host:587?starttls=1 or smtps://….",
                id="gridhook.E014",
            )
        ]
    address = parseaddr(settings.MAIL_FROM)[1]
    if "@" in address and settings.MAIL_FROM.isprintable():
        return []
    return [
        Error(
            "GRIDHOOK_MAIL_FROM is no address.",
            hint="Use gridhook@example.com, or Gridhook <gridhook@example.com>.",
            id="gridhook.E015",
        )
    ]
