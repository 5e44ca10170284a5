"""The table of formats is whole, and all there is: in code, examples and pages."""

import contextlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.decimals import exact_number
from ingest.formats.interface import Context, EnvelopeInvalid
from ingest.formats.native.readings import DETAILS as NATIVE_DETAILS
from ingest.formats.registry import FORMATS, find_format
from ingest.formats.senml.readings import DETAILS as SENML_DETAILS
from ingest.processing.parsing import parse_body
from ingest.tests.fixtures import FOLDER, Fixture, fixtures, folders, types_of

ROOT = FOLDER.parents[1]
PAGES = ROOT / "docs" / "reference" / "formats"
NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
CONTEXT = Context(now=NOW, received_at=NOW)

each_fixture = pytest.mark.parametrize(
    "example", fixtures(), ids=lambda one: f"{one.format_name}/{one.file_name}"
)
each_type = pytest.mark.parametrize("content_type", sorted(FORMATS))


def test_every_folder_is_in_the_table_and_has_examples() -> None:
    names = [folder.name for folder in folders()]
    assert len(names) >= 3
    assert sorted(FORMATS) == sorted(t for name in names for t in types_of(name))
    assert {one.format_name for one in fixtures()} == set(names)
    assert {one.content_type for one in fixtures()} == set(FORMATS)


def test_nothing_but_the_table_knows_a_format() -> None:
    names = "|".join(folder.name for folder in folders())
    table = re.compile(rf"formats(?:\.| import )({names})\b")
    users = [
        path.relative_to(ROOT)
        for app in ("ingest", "tenants", "subscriptions", "billing", "config", "bench")
        for path in (ROOT / app).rglob("*.py")
        if "tests" not in path.parts and table.search(path.read_text())
    ]
    outside = [path for path in users if not path.is_relative_to("ingest/formats")]
    assert outside == []
    crossing = [
        path
        for path in users
        if path.name != "registry.py"
        and set(table.findall((ROOT / path).read_text())) != {path.parent.name}
    ]
    assert crossing == []


def test_every_format_has_a_page_with_its_examples_and_a_line_in_the_index() -> None:
    index = (PAGES / "index.md").read_text()
    for folder in folders():
        page = (PAGES / f"{folder.name}.md").read_text()
        assert f"({folder.name}.md" in index
        for content_type in types_of(folder.name):
            assert f"| `{content_type}` |" in index
            assert f"`{content_type}`" in page
    for one in fixtures():
        page = (PAGES / f"{one.format_name}.md").read_text()
        assert f"```json\n{one.body.decode().rstrip()}\n```" in page


@pytest.mark.parametrize("details", [NATIVE_DETAILS, SENML_DETAILS])
def test_every_code_of_a_reading_has_a_line_in_the_reference(
    details: dict[str, str],
) -> None:
    text = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert [code for code in details if f"| `{code}` |" not in text] == []


@each_fixture
def test_an_example_is_read_and_parsed_without_an_error(example: Fixture) -> None:
    form = FORMATS[example.content_type]
    envelopes = form.read(example.body)
    assert len(envelopes) > 1 if example.is_batch else len(envelopes) == 1
    for envelope in envelopes:
        parsed = parse_body(
            form.parts_type or form.content_type,
            bytes(envelope.body),
            now=NOW,
            received_at=NOW,
        )
        assert parsed.readings
        assert parsed.errors == []


@pytest.mark.parametrize(
    "header",
    [
        "{}",
        "{}; charset=utf-8",
        "{};charset=UTF-8",
        " {} ",
        "{} ; a=b; c=d",
    ],
)
@each_type
def test_a_type_is_found_whatever_its_parameters_and_case(
    header: str, content_type: str
) -> None:
    for name in (content_type, content_type.upper(), content_type.title()):
        assert find_format(header.format(name)) is FORMATS[content_type]


@pytest.mark.parametrize(
    "header", [None, "", "json", "application/jsonx", "application/json,", "a/b"]
)
def test_another_type_is_not_found(header: str | None) -> None:
    assert find_format(header) is None


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@each_type
def test_any_bytes_are_an_envelope_or_a_refusal_and_never_stop_a_worker(
    content_type: str, body: bytes
) -> None:
    form = FORMATS[content_type]
    with contextlib.suppress(EnvelopeInvalid):
        form.read(body)
    parsed = form.parse(body, CONTEXT)
    assert parsed.rejected >= len(parsed.errors)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "bn",
                    "n",
                    "v",
                    "t",
                    "bt",
                    "bver",
                    "id",
                    "source",
                    "data",
                    "readings",
                    "_",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(value=json_values)
@each_type
def test_any_json_is_an_envelope_or_a_refusal_and_never_stops_a_worker(
    content_type: str, value: object
) -> None:
    body = json.dumps(value).encode()
    form = FORMATS[content_type]
    try:
        envelopes = form.read(body)
    except EnvelopeInvalid:
        envelopes = []
    for one in envelopes:
        form.parse(bytes(one.body), CONTEXT)
    form.parse(body, CONTEXT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"5",
        b"null",
        b'"x"',
        b"\xff",
        b"[\xff]",
        b'{"a": "\xed\xa0\x80"}',
        b'[{"n": "\\ud800", "v": 1}]',
        b'\xef\xbb\xbf{"readings": []}',
        b"[NaN]",
        b"[{}",
        b"[{}] x",
        b"[" * 100_000,
        b'[{"a":' * 50_000,
    ],
)
@each_type
def test_what_is_no_json_for_it_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(EnvelopeInvalid) as caught:
        FORMATS[content_type].read(body)
    assert caught.value.code in {"malformed_json", "invalid_event", "invalid_batch"}
    parsed = FORMATS[content_type].parse(body, CONTEXT)
    assert not parsed.readings
    assert parsed.rejected == 1


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_every_digit_or_is_refused(value: object) -> None:
    text = str(value).encode()
    found = exact_number(text)
    assert found == value or found in {"value_out_of_range", "value_invalid"}


def test_the_how_to_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "how-to" / "add-a-format.md").read_text()
    named = re.findall(r"`(ingest/[\w/]+\.py)`", text)
    assert len(named) >= 3
    assert [name for name in named if not (ROOT / name).exists()] == []
    for folder in folders():
        for part in ("envelope.py", "readings.py", "fixtures"):
            assert (Path(folder) / part).exists()
