"""Settings come from the environment or from files, and fail loudly."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import environment as env


def test_a_file_stands_in_for_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    monkeypatch.setenv("GRIDHOOK_THING_FILE", str(secret))
    assert env.text("GRIDHOOK_THING") == "from a file"


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDHOOK_THING_FILE", "/nowhere/secret")
    with pytest.raises(ImproperlyConfigured, match="GRIDHOOK_THING_FILE: /nowhere"):
        env.text("GRIDHOOK_THING")


def test_a_word_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDHOOK_THING", "eighty")
    with pytest.raises(ImproperlyConfigured, match="whole number, not 'eighty'"):
        env.integer("GRIDHOOK_THING", 80)


def test_a_word_is_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDHOOK_THING", "1,soon")
    with pytest.raises(ImproperlyConfigured, match="soon"):
        env.numbers("GRIDHOOK_THING", "")


def test_every_setting_has_a_line_in_the_reference() -> None:
    code = (env.ROOT / "config" / "settings.py").read_text()
    page = (env.ROOT / "docs" / "reference" / "settings.md").read_text()
    names = {
        part.split('"')[0]
        for part in code.split('"')
        if part.startswith("GRIDHOOK_") or part in {"DATABASE_URL", "BROKER_URL"}
    }
    assert len(names) > 20
    assert {name for name in names if f"`{name}`" not in page} == set()
