"""Rules of the house that no linter counts."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "config", "tenants", "subscriptions", "ingest", "billing", "bench", "tests",
    "clients",
)  # fmt: skip
LINE_LIMIT = 400
BANNED = {"utils.py", "helpers.py", "common.py", "misc.py"}


def sources() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "migrations" not in path.parts
    ]


def test_no_file_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources()
        if (count := len(path.read_text().splitlines())) > LINE_LIMIT
    }
    assert long == {}


def test_no_file_is_named_for_nothing() -> None:
    assert [path for path in sources() if path.name in BANNED] == []


def test_the_readme_is_short() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.fail("There is no README.md.")
    assert len(readme.read_text().splitlines()) <= 150
