import json
from pathlib import Path

import pytest

from ingest.replaying.meter_files import FileUnreadable, read

HOURLY = """ts_utc,9afa_mean_w,a805_mean_lpm
2016-01-01T22:00:00Z,107.53,0.05102
2016-01-01T23:00:00Z,,0.00212
2016-01-02T00:00:00Z,95.42,0
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_callback_is_a_device_and_a_utc_day_under_the_file_name(
    tmp_path: Path,
) -> None:
    found = list(read(write(tmp_path / "two.csv", HOURLY)))

    assert [item.transaction_id for item in found] == [
        "two.csv/9afa/2016-01-01",
        "two.csv/a805/2016-01-01",
        "two.csv/9afa/2016-01-02",
        "two.csv/a805/2016-01-02",
    ]
    assert json.loads(found[0].body) == {
        "transaction_id": "two.csv/9afa/2016-01-01",
        "device": "9afa",
        "readings": [
            {
                "channel": "main",
                "at": "2016-01-01T22:00:00Z",
                "duration_s": 3600,
                "unit": "Wh",
                "value": "107.53",
                "quality": "A",
            },
            {
                "channel": "main",
                "at": "2016-01-01T23:00:00Z",
                "duration_s": 3600,
                "unit": "Wh",
                "quality": "N",
            },
        ],
    }


def test_the_same_file_gives_the_same_bytes_and_a_prefix_other_ids(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "two.csv", HOURLY)

    assert list(read(path)) == list(read(path))
    assert next(read(path, prefix="P/")).transaction_id == ("P/two.csv/9afa/2016-01-01")


@pytest.mark.parametrize(
    ("column", "step", "cell", "unit", "value"),
    [
        ("d_mean_w", "01:00", "107.53", "Wh", "107.53"),
        ("d_mean_w", "00:15", "107.53", "Wh", "26.8825"),
        ("d_mean_w", "00:01", "100", "Wh", "1.666666666666667"),
        ("d_mean_lpm", "01:00", "0.05102", "l", "3.06120"),
        ("d_lpm", "00:01", "0.0012", "l", "0.0012"),
    ],
)
def test_a_mean_becomes_the_quantity_of_the_interval(
    tmp_path: Path, column: str, step: str, cell: str, unit: str, value: str
) -> None:
    text = f"ts_utc,{column}\n2016-01-01T00:00Z,{cell}\n2016-01-01T{step}Z,{cell}\n"

    (found,) = read(write(tmp_path / "f.csv", text))

    reading = json.loads(found.body)["readings"][0]
    assert (reading["unit"], reading["value"]) == (unit, value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ts_utc,d_mean_v\n", "line 1: column 'd_mean_v' is none of"),
        ("ts_utc,d_lpm\n2016-01-01T00:00Z,1\n", "fewer than two rows"),
        (
            "ts_utc,d_lpm\n2016-01-01T00:00Z,1\n2016-01-01T01:00Z,x\n",
            "line 3: 'x' is not a number",
        ),
        (
            "ts_utc,d_lpm\n2016-01-01T00:00Z,1\n2016-01-01T01:00Z,NaN\n",
            "line 3: 'NaN' is not a number",
        ),
        ("ts_utc,d_lpm\n2016-01-01T00:00,1\n", "line 2: '2016-01-01T00:00' has no"),
        ("ts_utc,d_lpm\n2016-01-01T00:00Z,1,2\n", "line 2: 3 cells, not 2"),
        (
            "ts_utc,d_lpm\n2016-01-01T00:00Z,1\n2016-01-01T01:00Z,1\n"
            "2016-01-02T00:00Z,1\n2016-01-01T02:00Z,1\n",
            "line 5: the times are not in order",
        ),
        ("time;power\n", "not a meter file that is understood"),
        ("", "not a meter file that is understood"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    path = write(tmp_path / "wrong.csv", text)

    with pytest.raises(FileUnreadable) as caught:
        list(read(path))

    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(FileUnreadable, match="No such file or directory"):
        list(read(tmp_path / "none.csv"))
    with pytest.raises(FileUnreadable, match="not a text file in UTF-8"):
        list(read(tmp_path / "bytes"))
