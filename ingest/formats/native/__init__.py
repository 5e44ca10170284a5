"""Gridhook's own JSON: docs/reference/formats/native.md."""

from ingest.formats.interface import Format, Naming
from ingest.formats.native.envelope import read
from ingest.formats.native.readings import parse

FORMAT = Format("application/json", read=read, parse=parse, naming=Naming.STATED)
