"""Sources: the services behind them."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest.models import Source, SourceSecret
from ingest.services.sources import (
    SECRET_LIMIT,
    DeviceInvalid,
    DeviceNotRevoked,
    RevocationsExhausted,
    SecretsExhausted,
    SourceInvalid,
    create_source,
    restore_device,
    revoke_device,
    revoke_previous_secrets,
    rotate_secret,
    set_enabled,
    update_source,
)
from tenants import signing, vault
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, Tenant

NOW = datetime(2026, 3, 29, 1, 59, 59, tzinfo=UTC)


@pytest.fixture
def source(tenant: Tenant, actor: Actor) -> Source:
    with acting_for(tenant):
        source, _ = create_source(
            tenant=tenant, actor=actor, name="head-end 7", scheme="hub"
        )
    return source


def opened(source: Source) -> list[str]:
    """Return the secrets in the order in which they were made."""
    context = f"source:{source.tenant_id}:{source.pk}"
    with acting_for(source.tenant_id):
        sealed = [row.sealed for row in source.secrets.order_by("pk")]
    return [vault.unseal(bytes(secret), context=context).decode() for secret in sealed]


def trail(tenant: Tenant) -> list[tuple[str, str]]:
    with acting_for(tenant):
        entries = AuditEntry.objects.filter(action__startswith="source.")
        return list(entries.order_by("id").values_list("action", "subject"))


def test_a_new_source_has_a_secret_that_is_sealed_for_its_row(
    tenant: Tenant, actor: Actor
) -> None:
    with acting_for(tenant):
        source, secret = create_source(
            tenant=tenant, actor=actor, name=" gateway ", scheme="standard"
        )
        (stored,) = source.secrets.all()
    assert source.name == "gateway"
    assert secret.startswith("whsec_")
    assert len(signing.standard_key(secret)) == 32
    assert opened(source) == [secret]
    assert secret.encode() not in bytes(stored.sealed)
    assert stored.expires_at is None
    assert trail(tenant) == [("source.created", source.public_id)]


def test_the_secret_is_not_in_the_audit_trail(tenant: Tenant, actor: Actor) -> None:
    with acting_for(tenant):
        source, secret = create_source(
            tenant=tenant, actor=actor, name="x", scheme="hub"
        )
        rotated = rotate_secret(
            tenant=tenant, actor=actor, source=source, overlap_s=5, now=NOW
        )
        entries = str(list(AuditEntry.objects.values()))
    assert secret not in entries
    assert rotated not in entries


@pytest.mark.parametrize(
    ("cidr", "stored"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        (" 192.0.2.7 ", "192.0.2.7/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks_are_stored_in_their_usual_form(
    tenant: Tenant, actor: Actor, source: Source, cidr: str, stored: str
) -> None:
    with acting_for(tenant):
        changed = update_source(
            tenant=tenant,
            actor=actor,
            source=source,
            changes={"allowed_cidrs": [cidr]},
        )
    assert changed.allowed_cidrs == [stored]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"allowed_cidrs": ["192.0.2.1/24"]}, "host bits"),
        ({"allowed_cidrs": ["192.0.2.256"]}, "192.0.2.256"),
        ({"allowed_cidrs": ["example.com"]}, "example.com"),
        ({"allowed_cidrs": [""]}, "allowed_cidrs"),
        ({"allowed_cidrs": ["10.0.0.0/8"] * 101}, "at most 100"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"rate_limit_per_s": 0}, "rate_limit_per_s"),
        ({"rate_limit_per_s": 1_000_001}, "rate_limit_per_s"),
        ({"register_devices": "never"}, "register_devices"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    tenant: Tenant, actor: Actor, source: Source, changes: dict[str, object], says: str
) -> None:
    with acting_for(tenant), pytest.raises(SourceInvalid, match=says):
        update_source(tenant=tenant, actor=actor, source=source, changes=changes)  # type: ignore[arg-type]  # wrong on purpose
    with acting_for(tenant):
        assert Source.objects.get(pk=source.pk).name == "head-end 7"
    assert len(trail(tenant)) == 1


def test_an_unknown_scheme_is_refused(tenant: Tenant, actor: Actor) -> None:
    with acting_for(tenant), pytest.raises(SourceInvalid, match="hub, standard"):
        create_source(tenant=tenant, actor=actor, name="x", scheme="none")


def test_disabling_is_a_change_with_an_audit_entry(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        assert not set_enabled(
            tenant=tenant, actor=actor, source=source, enabled=False
        ).enabled
    assert trail(tenant)[-1] == ("source.changed", source.public_id)


def test_a_rotated_secret_ends_after_the_overlap(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    (old,) = opened(source)
    with acting_for(tenant):
        new = rotate_secret(
            tenant=tenant, actor=actor, source=source, overlap_s=60, now=NOW
        )
        ends = source.secrets.order_by("pk").values_list("expires_at", flat=True)
        assert list(ends) == [NOW + timedelta(seconds=60), None]
    assert opened(source) == [old, new]


def test_a_second_rotation_shortens_the_overlap_and_never_lengthens_it(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        ends = source.secrets.order_by("pk").values_list("expires_at", flat=True)
        for overlap_s in (60, 3600, 5):
            rotate_secret(
                tenant=tenant, actor=actor, source=source, overlap_s=overlap_s, now=NOW
            )
            if overlap_s == 3600:
                assert list(ends.all()) == [
                    NOW + timedelta(seconds=60),
                    NOW + timedelta(seconds=3600),
                    None,
                ]
        assert set(ends.all()) == {NOW + timedelta(seconds=5), None}


def test_an_overlap_of_zero_ends_the_old_secret_at_once(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        rotate_secret(tenant=tenant, actor=actor, source=source, overlap_s=0, now=NOW)
        # Gone, whatever the listeners' clock says.
        assert SourceSecret.objects.filter(source=source).count() == 1


def test_too_many_secrets_at_once_are_refused(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        for _ in range(SECRET_LIMIT - 1):
            rotate_secret(
                tenant=tenant, actor=actor, source=source, overlap_s=60, now=NOW
            )
        with pytest.raises(SecretsExhausted):
            rotate_secret(
                tenant=tenant, actor=actor, source=source, overlap_s=60, now=NOW
            )
        later = NOW + timedelta(seconds=60)
        rotate_secret(
            tenant=tenant, actor=actor, source=source, overlap_s=60, now=later
        )
        assert source.secrets.count() == 2


@pytest.mark.parametrize("overlap_s", [-1, 90 * 86_400 + 1])
def test_an_overlap_has_bounds(
    tenant: Tenant, actor: Actor, source: Source, overlap_s: int
) -> None:
    with acting_for(tenant), pytest.raises(SourceInvalid, match="overlap_s"):
        rotate_secret(
            tenant=tenant, actor=actor, source=source, overlap_s=overlap_s, now=NOW
        )


def test_ending_the_overlap_leaves_the_newest_secret_alone(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        made = [
            rotate_secret(
                tenant=tenant, actor=actor, source=source, overlap_s=60, now=NOW
            )
            for _ in range(2)
        ]
        ended = [
            revoke_previous_secrets(tenant=tenant, actor=actor, source=source)
            for _ in range(2)
        ]
    assert ended == [2, 0]
    assert opened(source) == made[1:]
    assert trail(tenant)[-1] == ("source.previous_secrets_revoked", source.public_id)


def test_each_revocation_of_a_device_is_in_the_trail_once(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        revoked = [
            revoke_device(
                tenant=tenant, actor=actor, source=source, device="WM-1", now=NOW
            )
            for _ in range(2)
        ]
        restore_device(tenant=tenant, actor=actor, source=source, device="WM-1")
        with pytest.raises(DeviceNotRevoked):
            restore_device(tenant=tenant, actor=actor, source=source, device="WM-1")
    assert revoked[0] == revoked[1]
    assert revoked[0].revoked_at == NOW
    assert [action for action, _ in trail(tenant)] == [
        "source.created",
        "source.device_revoked",
        "source.device_restored",
    ]


@pytest.mark.parametrize("device", ["", "x" * 256, "a\0"])
def test_only_a_devices_id_is_revoked_or_restored(
    tenant: Tenant, actor: Actor, source: Source, device: str
) -> None:
    with acting_for(tenant), pytest.raises(DeviceInvalid):
        revoke_device(tenant=tenant, actor=actor, source=source, device=device, now=NOW)
    with acting_for(tenant), pytest.raises(DeviceInvalid):
        restore_device(tenant=tenant, actor=actor, source=source, device=device)


def test_revoked_devices_are_bounded(
    tenant: Tenant, actor: Actor, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.services.sources.REVOKED_LIMIT", 2)

    def revoke(device: str) -> None:
        revoke_device(tenant=tenant, actor=actor, source=source, device=device, now=NOW)

    with acting_for(tenant):
        for device in ("a", "b", "a"):
            revoke(device)
        with pytest.raises(RevocationsExhausted):
            revoke("c")


def test_every_change_has_a_number_of_its_own(
    tenant: Tenant, actor: Actor, source: Source
) -> None:
    def number() -> int:
        with pipeline() as lane:
            row = lane.execute("SELECT version FROM ingest_sourceversion").fetchone()
        assert row
        return int(row[0])

    before = number()
    with acting_for(tenant):
        for enabled in (False, True):
            set_enabled(tenant=tenant, actor=actor, source=source, enabled=enabled)
        assert number() == before
    assert number() == before + 2
