"""Secrets at rest."""

import pytest
from django.test import override_settings

from tenants.vault import KeysInvalid, SealBroken, is_current, parse_keys, seal, unseal

ONE = "1:" + "QUFB" * 10 + "QUE="
TWO = "2:" + "QkJC" * 10 + "QkI="


def test_a_secret_opens_in_its_own_row_alone() -> None:
    sealed = seal(b"secret", context="source:1:a")
    assert b"secret" not in sealed
    assert unseal(sealed, context="source:1:a") == b"secret"
    with pytest.raises(SealBroken):
        unseal(sealed, context="source:2:a")


def test_a_changed_seal_is_broken() -> None:
    sealed = bytearray(seal(b"secret", context="x"))
    sealed[-1] ^= 1
    with pytest.raises(SealBroken):
        unseal(bytes(sealed), context="x")


def test_a_rotated_key_still_opens_and_no_longer_seals() -> None:
    with override_settings(ENCRYPTION_KEYS=ONE):
        old = seal(b"secret", context="x")
    with override_settings(ENCRYPTION_KEYS=f"{TWO},{ONE}"):
        assert unseal(old, context="x") == b"secret"
        assert not is_current(old)
        assert is_current(seal(b"secret", context="x"))
    with override_settings(ENCRYPTION_KEYS=TWO), pytest.raises(SealBroken):
        unseal(old, context="x")


@pytest.mark.parametrize(
    "text", ["", "1:", "1:AAAA", "nokey", ":" + "QUFB" * 10 + "QUE="]
)
def test_unusable_keys_are_refused(text: str) -> None:
    with pytest.raises(KeysInvalid):
        parse_keys(text)
