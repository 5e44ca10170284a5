import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingest.replaying.meter_files import FileUnreadable, read

VALUES = ",".join(f"{number}.5" for number in range(48))
HEAD = "100,NEM12,200405011135,MDA1,Ret1\n200,NMI1,E1Q1,1,E1,N1,METER,kWh,30,\n"
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "nem12"


def readings(tmp_path: Path, text: str) -> dict[str, list[dict[str, Any]]]:
    path = tmp_path / "f.csv"
    path.write_text(text)
    return {p.transaction_id: json.loads(p.body)["readings"] for p in read(path)}


def test_a_day_is_a_callback_in_market_time(tmp_path: Path) -> None:
    found = readings(tmp_path, f"{HEAD}300,20040201,{VALUES},A,,,,\n900\n")

    ((name, day),) = found.items()
    assert name == "f.csv/NMI1/E1/2004-02-01"
    assert len(day) == 48
    assert day[1] == {
        "channel": "E1",
        "at": "2004-02-01T00:30:00+10:00",
        "duration_s": 1800,
        "unit": "kWh",
        "value": "1.5",
        "quality": "A",
    }


def test_a_varying_quality_is_told_by_the_400_rows(tmp_path: Path) -> None:
    parts = "400,1,20,F14,76,\n400,21,24,A,,\n400,25,48,N,,\n"

    found = readings(tmp_path, f"{HEAD}300,20040201,{VALUES},V,,,,\n{parts}900\n")

    (day,) = found.values()
    letters = "".join(reading["quality"] for reading in day)
    assert letters == "F" * 20 + "A" * 4 + "N" * 24
    assert "value" not in day[-1]


def test_a_day_that_comes_twice_in_a_file_has_two_ids(tmp_path: Path) -> None:
    row = f"300,20040201,{VALUES},A,,,,\n"

    found = readings(tmp_path, f"{HEAD}{row}{row}900\n")

    assert list(found) == ["f.csv/NMI1/E1/2004-02-01", "f.csv/NMI1/E1/2004-02-01/2"]


def test_an_accumulation_is_two_registers_and_the_quantity(tmp_path: Path) -> None:
    found = readings(
        tmp_path,
        "100,NEM13,200401101030,MDA1,Ret1\n"
        "250,VABC005890,11,1,11,11,METSER123,E,006342.8,20031005093055,A,,,007654.9,"
        "20040107100333,S,,,1312.1,kWh,20040407,20040108100333,\n900\n",
    )

    ((name, (before, after, quantity)),) = found.items()
    assert name == "f.csv/VABC005890/11/2004-01-07"
    assert (before["kind"], before["value"], before["quality"]) == (
        "register",
        "6342.8",
        "A",
    )
    assert (after["at"], after["value"]) == ("2004-01-07T10:03:33+10:00", "7654.9")
    assert (quantity["duration_s"], quantity["value"], quantity["quality"]) == (
        8_123_558,
        "1312.1",
        "S",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{HEAD}300,20040201,V,,,20040202120025,\n", "line 3: fewer than 48 values"),
        (
            f"{HEAD}300,20040201,{VALUES},V,,,,\n400,1,20,A,,\n",
            "line 3: quality V, but",
        ),
        (f"{HEAD}300,20040201,{VALUES},X,,,,\n", "line 3: quality 'X' is not known"),
        (f"{HEAD}300,20040231,{VALUES},A,,,,\n", "line 3: '20040231' is not a date"),
        (f"{HEAD}300,20040201,x{VALUES},A,,,,\n", "line 3: 'x0.5' is not a number"),
        (f"{HEAD}400,1,20,A,,\n", "line 3: a 400 row without its 300 row"),
        ("100,NEM12,,,\n300,20040201,1\n", "line 2: a 300 row before any 200 row"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(FileUnreadable) as caught:
        readings(tmp_path, text)

    assert why in str(caught.value)


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"{SAMPLES} is not there")
@pytest.mark.parametrize(
    ("name", "callbacks", "total"),
    [
        ("Example_NEM12_actual_interval.csv", 2, "159.984"),
        ("Example_NEM12_multiple_quality.csv", 1, None),
        ("Example_NEM12_month_solar.csv", 62, None),
        ("Example_NEM13_forward_estimate.csv", 2, None),
    ],
)
def test_the_market_s_own_examples_are_read(
    name: str, callbacks: int, total: str | None
) -> None:
    found = list(read(SAMPLES / name))

    assert len(found) == callbacks
    if total is not None:
        values = [Decimal(r["value"]) for p in found for r in readings_of(p.body)]
        assert sum(values, Decimal(0)) == Decimal(total)


def readings_of(body: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(body)["readings"]
    return found


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"{SAMPLES} is not there")
def test_the_incomplete_example_is_refused() -> None:
    with pytest.raises(FileUnreadable, match="line 3: fewer than 48 values"):
        list(read(SAMPLES / "invalid_incomplete_interval.csv"))
