"""Sensor Measurement Lists, RFC 8428, in JSON: docs/reference/formats/senml.md."""

from ingest.formats.interface import Format, Naming
from ingest.formats.senml.envelope import read
from ingest.formats.senml.readings import parse

FORMAT = Format("application/senml+json", read=read, parse=parse, naming=Naming.CONTENT)
