"""The words for error codes, in the console and in the documentation."""

import re
from pathlib import Path

import pytest

from ingest.error_codes import (
    BODY_CODES,
    READING_CODES,
    UNDESCRIBED,
    Meaning,
    meaning,
)
from ingest.formats.native import readings as native
from ingest.formats.senml import readings as senml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("head", "codes"),
    [
        ("| code | the reading is refused because | what to do |", READING_CODES),
        ("| code | the whole callback is rejected because | what to do |", BODY_CODES),
    ],
)
def test_the_documentation_has_the_consoles_words(
    head: str, codes: dict[str, Meaning]
) -> None:
    _, found, rest = PAGE.read_text().partition(head)
    assert found
    table = rest.partition("\n\n")[0]
    assert {code: Meaning(why, what) for code, why, what in ROW.findall(table)} == codes


def test_every_code_that_a_format_refuses_with_is_described() -> None:
    used = set(native.DETAILS) | set(senml.DETAILS)
    assert used - set(READING_CODES) - set(BODY_CODES) == set()


def test_a_code_that_nobody_described_has_words_all_the_same() -> None:
    assert meaning("from_the_future") is UNDESCRIBED
    assert "`" not in meaning("value_invalid").plain().why
