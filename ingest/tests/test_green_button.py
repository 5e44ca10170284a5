import json
from pathlib import Path

import pytest

from ingest.replaying.meter_files import FileUnreadable, read

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "greenbutton"
FEED = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <entry>
    <link rel="self" href="/UsagePoint/7/MeterReading/1"/>
    <link rel="related" href="/ReadingType/0"/>
    <content><MeterReading xmlns="http://naesb.org/espi"/></content>
  </entry>
  <entry>
    <link rel="self" href="/ReadingType/0"/>
    <content><ReadingType xmlns="http://naesb.org/espi">
      <powerOfTenMultiplier>-3</powerOfTenMultiplier><uom>169</uom>
    </ReadingType></content>
  </entry>
  <entry>
    <link rel="self" href="/UsagePoint/7/MeterReading/1/IntervalBlock/173"/>
    <content><IntervalBlock xmlns="http://naesb.org/espi">
      <IntervalReading>
        <ReadingQuality><quality>8</quality></ReadingQuality>
        <timePeriod><duration>3600</duration><start>1293868800</start></timePeriod>
        <value>37001</value>
      </IntervalReading>
    </IntervalBlock></content>
  </entry>
</feed>
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_block_is_a_callback_in_the_unit_of_its_reading_type(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "f.xml", FEED))

    assert found.transaction_id == "f.xml/7/1/173"
    assert json.loads(found.body)["device"] == "7"
    assert json.loads(found.body)["readings"] == [
        {
            "channel": "1",
            "at": "2011-01-01T08:00:00Z",
            "duration_s": 3600,
            "unit": "therm",
            "value": "37.001",
            "quality": "E",
        }
    ]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("/ReadingType/0", "/ReadingType/1", None),
        ('related" href="/ReadingType/0"', 'related" href="/x"', "no reading type"),
        ("<value>37001", "<value>many", "value 'many' is not a number"),
        ("<start>1293868800", "<start>", "start '' is not a whole number"),
        ("</feed>", "", "not XML"),
        ("<feed", "<!DOCTYPE feed [<!ENTITY a 'b'>]><feed", "a document type"),
        ("/UsagePoint/7/MeterReading/1/I", "/I", "belongs to no MeterReading"),
    ],
)
def test_a_feed_that_is_wrong_is_refused_with_the_reason(
    tmp_path: Path, before: str, after: str, why: str | None
) -> None:
    path = write(tmp_path / "f.xml", FEED.replace(before, after))

    if why is None:
        assert len(list(read(path))) == 1
        return
    with pytest.raises(FileUnreadable) as caught:
        list(read(path))
    assert why in str(caught.value)


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"{SAMPLES} is not there")
@pytest.mark.parametrize(
    ("name", "callbacks", "readings", "unit"),
    [
        ("electric_containerized.xml", 2, 8, "Wh"),
        ("ngma_natural_gas_billing.xml", 1, 35, "therm"),
    ],
)
def test_real_downloads_are_read(
    name: str, callbacks: int, readings: int, unit: str
) -> None:
    found = [json.loads(item.body)["readings"] for item in read(SAMPLES / name)]

    assert len(found) == callbacks
    assert sum(map(len, found)) == readings
    assert {reading["unit"] for block in found for reading in block} == {unit}
