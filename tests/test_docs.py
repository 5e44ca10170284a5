"""What the documentation promises is there."""

import re
from pathlib import Path

import pytest

from subscriptions.event_types import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_every_event_type_has_a_line() -> None:
    page = (ROOT / "docs" / "reference" / "messages.md").read_text()
    assert CATALOGUE
    assert [name for name in CATALOGUE if f"`{name}`" not in page] == []


def test_the_two_commands_of_the_readme_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in ("run", "test", "bench", "check"):
        assert f"\n{target}:" in makefile
        assert f"make {target}" in readme
