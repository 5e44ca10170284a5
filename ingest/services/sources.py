"""
Writes about sources: who may post callbacks, and with which secrets.

Each change is counted and announced to the listeners in its own transaction, so that
they act on it as soon as it is committed, and notice one whose announcement was lost.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict

from django.db import connection, transaction
from django.db.models import Q

from ingest.models import (
    RevokedDevice,
    Scheme,
    Source,
    SourceSecret,
    UnknownDevices,
)
from tenants import signing, vault
from tenants.actors import Actor
from tenants.addresses import parse_network
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import record_audit

CHANNEL = "gridhook_sources"
_ANNOUNCE = """
WITH change AS (UPDATE ingest_sourceversion SET version = version + 1 RETURNING version)
SELECT pg_notify(%s, %s || ' ' || version) FROM change
"""
NAME_LIMIT = 100
NETWORK_LIMIT = 100
RATE_LIMIT_PER_S = 1_000_000
OVERLAP_LIMIT_S = 90 * 86_400
#: Secrets of a source that are in force at once; each costs an HMAC per callback.
SECRET_LIMIT = 5
DEVICE_LIMIT = 255
#: Revoked devices of a source; each listener has them in memory.
REVOKED_LIMIT = 10_000


class SourceInvalid(Problem):
    """A part of a source is not what it must be; the text says which."""

    code = "source_invalid"
    title = "The source is not valid"


class SecretsExhausted(Conflict):
    """Too many secrets are in force; one must run out first."""

    code = "secrets_exhausted"


class DeviceInvalid(Problem):
    """The text is no device's id."""

    code = "device_invalid"


class RevocationsExhausted(Conflict):
    """The source has as many revoked devices as it may."""

    code = "revocations_exhausted"


class DeviceNotRevoked(NotFound):
    """The device is not among the source's revoked ones."""

    code = "device_not_revoked"


class SourceChanges(TypedDict, total=False):
    """What can be changed about a source."""

    name: str
    enabled: bool
    allowed_cidrs: Sequence[str]
    rate_limit_per_s: int | None
    register_devices: str
    device_keys: bool


@transaction.atomic
def create_source(  # noqa: PLR0913 (a source has this many parts)
    *,
    tenant: Tenant,
    actor: Actor,
    name: str,
    scheme: str,
    allowed_cidrs: Sequence[str] = (),
    rate_limit_per_s: int | None = None,
    register_devices: str = UnknownDevices.AUTO,
    device_keys: bool = False,
    enabled: bool = True,
) -> tuple[Source, str]:
    """
    Return a new source and its secret, which is shown this once.

    Raises: SourceInvalid.
    """
    if scheme not in Scheme.values:
        raise SourceInvalid(f"scheme is one of {', '.join(Scheme.values)}.")
    parts = _checked(
        {
            "name": name,
            "allowed_cidrs": allowed_cidrs,
            "rate_limit_per_s": rate_limit_per_s,
            "register_devices": register_devices,
            "device_keys": device_keys,
            "enabled": enabled,
        }
    )
    source = Source.objects.create(tenant=tenant, scheme=scheme, **parts)
    secret = _add_secret(source)
    record_audit(
        actor=actor,
        action="source.created",
        subject=source.public_id,
        detail={"scheme": scheme, **parts},
    )
    _announce(source)
    return source, secret


@transaction.atomic
def update_source(
    *, tenant: Tenant, actor: Actor, source: Source, changes: SourceChanges
) -> Source:
    """
    Change parts of a source; listeners act on it at once.

    Raises: SourceInvalid.
    """
    parts = _checked(changes)
    Source.objects.filter(tenant=tenant, pk=source.pk).update(**parts)
    record_audit(
        actor=actor,
        action="source.changed",
        subject=source.public_id,
        detail=dict(parts),
    )
    _announce(source)
    return Source.objects.get(tenant=tenant, pk=source.pk)


def set_enabled(
    *, tenant: Tenant, actor: Actor, source: Source, enabled: bool
) -> Source:
    """Let a source post, or stop it at once."""
    return update_source(
        tenant=tenant, actor=actor, source=source, changes={"enabled": enabled}
    )


@transaction.atomic
def rotate_secret(
    *, tenant: Tenant, actor: Actor, source: Source, overlap_s: int, now: datetime
) -> str:
    """
    Return a new secret, shown this once; the ones before run out after the overlap.

    Raises: SourceInvalid, SecretsExhausted.
    """
    if not 0 <= overlap_s <= OVERLAP_LIMIT_S:
        raise SourceInvalid(f"overlap_s is from 0 to {OVERLAP_LIMIT_S}.")
    # Two rotations at once would each leave a secret without an end.
    Source.objects.select_for_update().get(tenant=tenant, pk=source.pk)
    secrets = SourceSecret.objects.filter(tenant=tenant, source=source)
    ends_at = now + timedelta(seconds=overlap_s)
    secrets.filter(Q(expires_at=None) | Q(expires_at__gt=ends_at)).update(
        expires_at=ends_at
    )
    # Gone, not ended: then nobody's clock can find them in force.
    secrets.filter(expires_at__lte=now).delete()
    if secrets.filter(expires_at__gt=now).count() >= SECRET_LIMIT:
        raise SecretsExhausted(
            f"{SECRET_LIMIT} secrets are in force. Wait until one runs out, or rotate "
            f"with overlap_s 0."
        )
    secret = _add_secret(source)
    record_audit(
        actor=actor,
        action="source.secret_rotated",
        subject=source.public_id,
        detail={"overlap_s": overlap_s},
    )
    _announce(source)
    return secret


@transaction.atomic
def revoke_previous_secrets(*, tenant: Tenant, actor: Actor, source: Source) -> int:
    """End every secret but the newest, at once; return how many that were."""
    # The newest is the one without an end.
    secrets = SourceSecret.objects.filter(tenant=tenant, source=source)
    ended, _ = secrets.exclude(expires_at=None).delete()
    record_audit(
        actor=actor,
        action="source.previous_secrets_revoked",
        subject=source.public_id,
        detail={"secrets": ended},
    )
    _announce(source)
    return ended


@transaction.atomic
def revoke_device(
    *, tenant: Tenant, actor: Actor, source: Source, device: str, now: datetime
) -> RevokedDevice:
    """
    Refuse what one device signs from now on; again is no error.

    Raises: DeviceInvalid, RevocationsExhausted.
    """
    _check_device(device)
    # Two at once could pass the limit together.
    Source.objects.select_for_update().get(tenant=tenant, pk=source.pk)
    revoked = RevokedDevice.objects.filter(tenant=tenant, source=source)
    found = revoked.filter(device=device).first()
    if found is not None:
        return found
    if revoked.count() >= REVOKED_LIMIT:
        raise RevocationsExhausted(
            f"{REVOKED_LIMIT} devices of this source are revoked. Rotate its secret: "
            f"that ends the keys of all its devices."
        )
    made = RevokedDevice.objects.create(
        tenant=tenant, source=source, device=device, revoked_at=now
    )
    _record_device(actor, "source.device_revoked", source, device)
    _announce(source)
    return made


@transaction.atomic
def restore_device(
    *, tenant: Tenant, actor: Actor, source: Source, device: str
) -> None:
    """
    Take what the device signs again.

    Raises: DeviceInvalid, DeviceNotRevoked.
    """
    _check_device(device)
    deleted, _ = RevokedDevice.objects.filter(
        tenant=tenant, source=source, device=device
    ).delete()
    if not deleted:
        raise DeviceNotRevoked("This device is not revoked.")
    _record_device(actor, "source.device_restored", source, device)
    _announce(source)


def _check_device(device: str) -> None:
    if not 1 <= len(device) <= DEVICE_LIMIT or "\0" in device:
        raise DeviceInvalid(f"device is 1 to {DEVICE_LIMIT} characters.")


def _record_device(actor: Actor, action: str, source: Source, device: str) -> None:
    record_audit(
        actor=actor, action=action, subject=source.public_id, detail={"device": device}
    )


def _add_secret(source: Source) -> str:
    secret = signing.new_secret()
    SourceSecret.objects.create(
        tenant_id=source.tenant_id,
        source=source,
        sealed=vault.seal(
            secret.encode(), context=f"source:{source.tenant_id}:{source.pk}"
        ),
    )
    return secret


def _announce(source: Source) -> None:
    """Count the change; its number is in the announcement. Changes commit in turn."""
    with connection.cursor() as cursor:
        cursor.execute(_ANNOUNCE, [CHANNEL, str(source.pk)])


def _checked(changes: SourceChanges) -> SourceChanges:
    """
    Return the parts as they are stored.

    Raises: SourceInvalid.
    """
    parts = changes.copy()
    if "name" in parts:
        parts["name"] = _checked_name(parts["name"])
    if "allowed_cidrs" in parts:
        parts["allowed_cidrs"] = _checked_networks(parts["allowed_cidrs"])
    rate = parts.get("rate_limit_per_s")
    if rate is not None and not 1 <= rate <= RATE_LIMIT_PER_S:
        raise SourceInvalid(
            f"rate_limit_per_s is from 1 to {RATE_LIMIT_PER_S}, or null for none."
        )
    policy = parts.get("register_devices", UnknownDevices.AUTO)
    if policy not in UnknownDevices.values:
        raise SourceInvalid(
            f"register_devices is one of {', '.join(UnknownDevices.values)}."
        )
    return parts


def _checked_name(name: str) -> str:
    stripped = name.strip()
    if not 1 <= len(stripped) <= NAME_LIMIT or not stripped.isprintable():
        raise SourceInvalid(f"name is 1 to {NAME_LIMIT} printable characters.")
    return stripped


def _checked_networks(cidrs: Sequence[str]) -> list[str]:
    if len(cidrs) > NETWORK_LIMIT:
        raise SourceInvalid(f"allowed_cidrs has at most {NETWORK_LIMIT} networks.")
    return [_checked_network(cidr) for cidr in cidrs]


def _checked_network(cidr: str) -> str:
    try:
        return str(parse_network(cidr.strip()))
    except ValueError as error:
        raise SourceInvalid(f"allowed_cidrs: {error}.") from error
