"""Writes about tenants, people and keys; each leaves its audit entry."""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import iso4217
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.validators import validate_email, validate_slug
from django.db import IntegrityError, connection, transaction

from tenants.actors import PLATFORM, Actor, operator
from tenants.database import Cursor, enter_tenant, pipeline
from tenants.identifiers import new_id
from tenants.mail import forget_mails
from tenants.models import ApiKey, AuditEntry, Membership, Role, Tenant, User
from tenants.problems import Conflict, Problem
from tenants.queries import key_digest

KEY_PREFIX = "ghk_"
_SHOWN_CHARACTERS = 12
RATE_LIMIT_PER_S = 1_000_000
#: How long the reply to an `Idempotency-Key` is kept.
REPLY_RETENTION = timedelta(hours=24)


class TenantExists(Conflict):
    """A tenant has this slug already."""

    code = "tenant_exists"


class TimezoneUnknown(Problem):
    """The name is not an IANA time zone's."""

    code = "timezone_unknown"


class SlugInvalid(Problem):
    """The slug is not one."""

    code = "slug_invalid"


class CurrencyInvalid(Problem):
    """The currency is not one of ISO 4217's."""

    code = "currency_invalid"


class EmailInvalid(Problem):
    """The address is not one."""

    code = "email_invalid"


class RateInvalid(Problem):
    """The rate is out of bounds."""

    code = "rate_invalid"


class EmailTaken(Conflict):
    """A person with this address works here or elsewhere already."""

    code = "email_taken"


@dataclass(frozen=True)
class NewTenant:
    """A new tenant with what its first admin needs, shown once."""

    tenant: Tenant
    api_key: str
    admin_email: str
    admin_password: str


def record_audit(
    *, actor: Actor, action: str, subject: str, detail: dict[str, Any] | None = None
) -> None:
    """Write down a change, in the transaction that makes it. No secrets in `detail`."""
    record_audits(actor=actor, action=action, subjects=[subject], detail=detail)


def record_audits(
    *,
    actor: Actor,
    action: str,
    subjects: Iterable[str],
    detail: dict[str, Any] | None = None,
) -> None:
    """Write down one change of many things, an entry for each."""
    AuditEntry.objects.bulk_create(
        AuditEntry(
            tenant=actor.tenant,
            actor=actor.name,
            address=actor.address,
            action=action,
            subject=subject,
            detail=detail or {},
        )
        for subject in subjects
    )


def record_own_audit(
    cursor: Cursor, *, tenant_id: int, action: str, subject: str, detail: dict[str, Any]
) -> None:
    """Write down what the platform did by itself, in the pipeline's transaction."""
    cursor.execute(
        """INSERT INTO tenants_auditentry
            (id, tenant_id, actor, action, subject, detail)
        VALUES (%s, %s, %s, %s, %s, %s::jsonb)""",
        [new_id(), tenant_id, PLATFORM, action, subject, json.dumps(detail)],
    )


@transaction.atomic
def create_tenant(
    *,
    slug: str,
    timezone: str,
    currency: str,
    admin_email: str,
    name: str = "",
    rate_limit_per_s: int | None = None,
) -> NewTenant:
    """
    Create a tenant with one admin and one admin key.

    Raises: TenantExists, SlugInvalid, TimezoneUnknown, CurrencyInvalid, EmailInvalid,
        EmailTaken, RateInvalid.
    """
    _check_slug(slug)
    _check_zone(timezone)
    _check_currency(currency)
    tenant = _insert_tenant(slug, name or slug, timezone, currency.upper())
    actor = operator(tenant)
    record_audit(actor=actor, action="tenant.created", subject=slug)
    if rate_limit_per_s is not None:
        set_rate_limit(tenant=tenant, actor=actor, rate_limit_per_s=rate_limit_per_s)
    password = secrets.token_urlsafe(15)
    add_person(
        tenant=tenant,
        actor=actor,
        email=admin_email,
        password=password,
        role=Role.ADMIN,
    )
    _, token = create_api_key(tenant=tenant, actor=actor, name="first", role=Role.ADMIN)
    return NewTenant(tenant, token, admin_email, password)


@transaction.atomic
def set_rate_limit(
    *, tenant: Tenant, actor: Actor, rate_limit_per_s: int | None
) -> None:
    """
    Set how many callbacks all of a tenant's sources may post in a second; None: any.

    Listeners obey it when they next look the sources up, seconds later.
    Raises: RateInvalid.
    """
    if rate_limit_per_s is not None and not 1 <= rate_limit_per_s <= RATE_LIMIT_PER_S:
        raise RateInvalid(f"A rate is from 1 to {RATE_LIMIT_PER_S}, or none.")
    Tenant.objects.filter(pk=tenant.pk).update(rate_limit_per_s=rate_limit_per_s)
    tenant.rate_limit_per_s = rate_limit_per_s
    record_audit(
        actor=actor,
        action="tenant.rate_limit_set",
        subject=tenant.slug,
        detail={"rate_limit_per_s": rate_limit_per_s},
    )


def _check_slug(slug: str) -> None:
    try:
        validate_slug(slug)
    except ValidationError as error:
        raise SlugInvalid(
            f"{slug!r} is not a slug: letters, digits, hyphens and underscores."
        ) from error


def _check_currency(currency: str) -> None:
    try:
        minor_unit = iso4217.Currency(currency.upper()).exponent
    except ValueError:
        minor_unit = None
    if minor_unit is None:
        raise CurrencyInvalid(
            f"{currency!r} is not an ISO 4217 code of money, such as EUR."
        )


def _check_zone(timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, KeyError) as error:
        raise TimezoneUnknown(
            f"{timezone!r} is not an IANA time zone, such as Europe/Brussels."
        ) from error


def _insert_tenant(slug: str, name: str, timezone: str, currency: str) -> Tenant:
    """Draw the id first: the row is only visible, and allowed, inside its tenant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('tenants_tenant_id_seq')")
        (tenant_id,) = cursor.fetchone()
    enter_tenant(tenant_id)
    try:
        with transaction.atomic():
            return Tenant.objects.create(
                pk=tenant_id, slug=slug, name=name, timezone=timezone, currency=currency
            )
    except IntegrityError as error:
        raise TenantExists(f"There is a tenant {slug!r} already.") from error


@transaction.atomic
def add_person(
    *, tenant: Tenant, actor: Actor, email: str, password: str, role: Role
) -> User:
    """
    Let a person sign in to this tenant's console.

    Raises: EmailInvalid, EmailTaken.
    """
    try:
        validate_email(email)
    except ValidationError as error:
        raise EmailInvalid(f"{email!r} is not an e-mail address.") from error
    try:
        with transaction.atomic():
            user = User.objects.create(
                email=email.lower(), password=make_password(password), is_staff=True
            )
    except IntegrityError as error:
        raise EmailTaken(f"{email} is in use already.") from error
    Membership.objects.create(tenant=tenant, user=user, role=role)
    record_audit(
        actor=actor, action="person.added", subject=email, detail={"role": role}
    )
    return user


@transaction.atomic
def create_api_key(
    *, tenant: Tenant, actor: Actor, name: str, role: Role
) -> tuple[ApiKey, str]:
    """Return a new key and its token, which is shown this once."""
    token = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name,
        role=role,
        prefix=token[:_SHOWN_CHARACTERS],
        digest=key_digest(token),
    )
    record_audit(
        actor=actor, action="api_key.created", subject=name, detail={"role": role}
    )
    return key, token


@transaction.atomic
def revoke_api_key(*, tenant: Tenant, actor: Actor, key: ApiKey, now: datetime) -> None:
    """End a key at once."""
    ApiKey.objects.filter(tenant=tenant, pk=key.pk, revoked_at=None).update(
        revoked_at=now
    )
    record_audit(actor=actor, action="api_key.revoked", subject=key.name)


def forget_expired(*, now: datetime) -> int:
    """Delete what is past its time; return how many replies to idempotency keys."""
    Session.objects.filter(expire_date__lt=now).delete()
    forget_mails(now=now)
    with pipeline() as lane:
        # A role that serves every tenant; it sees nothing of a reply but its age.
        return lane.execute(
            "DELETE FROM tenants_idempotentreply WHERE created_at < %s",
            [now - REPLY_RETENTION],
        ).rowcount
