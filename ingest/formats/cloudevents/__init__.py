"""CloudEvents 1.0 in JSON, one or a batch: docs/reference/formats/cloudevents.md."""

from collections.abc import Mapping
from functools import partial

from ingest.formats.cloudevents.envelope import read, read_batch
from ingest.formats.cloudevents.readings import parse
from ingest.formats.interface import Format, Naming

EVENT_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"


def around(inner: Mapping[str, Format]) -> tuple[Format, Format]:
    """Return the formats of an event, and of a batch, whose data is in one of these."""
    event = Format(
        EVENT_TYPE,
        read=partial(read, inner=inner),
        parse=partial(parse, inner=inner),
        naming=Naming.EVENT,
    )
    batch = Format(
        BATCH_TYPE,
        read=partial(read_batch, inner=inner),
        parse=partial(parse, inner=inner),
        naming=Naming.EVENT,
        parts_type=EVENT_TYPE,
    )
    return event, batch
