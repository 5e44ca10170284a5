"""Real meter files as callbacks: which format a file has, and what it says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.replaying import green_button, nem, opengrid
from ingest.replaying.posting import Posting

#: As much of a file as is looked at to tell its format.
_HEAD_CHARACTERS = 4096


class FileUnreadable(Exception):
    """The file cannot be replayed; the text names it and says why."""


@dataclass(frozen=True)
class MeterFormat:
    """A kind of file: what to call it, how to recognise and how to read it."""

    description: str
    recognises: Callable[[str], bool]
    postings: Callable[[Path, str], Iterator[Posting]]


FORMATS = {
    "opengrid": MeterFormat(
        "opengrid CSV (ts_utc, then <device>_mean_w, <device>_mean_lpm, <device>_lpm)",
        opengrid.recognises,
        opengrid.postings,
    ),
    "nem": MeterFormat("NEM12 or NEM13", nem.recognises, nem.postings),
    "green-button": MeterFormat(
        "Green Button XML", green_button.recognises, green_button.postings
    ),
}


def read(path: Path, format_name: str = "auto", prefix: str = "") -> Iterator[Posting]:
    """
    Return the file's callbacks, in the same order with the same bytes each time.

    Raises: FileUnreadable: no such file, an unknown format, or a line that is wrong.
    """
    try:
        meter_format = _format_of(path, format_name)
        yield from meter_format.postings(path, prefix)
    except UnicodeDecodeError as error:
        raise FileUnreadable(f"{path}: not a text file in UTF-8.") from error
    except OSError as error:
        raise FileUnreadable(f"{path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise FileUnreadable(f"{path}: {error}.") from error


def _format_of(path: Path, format_name: str) -> MeterFormat:
    if format_name != "auto":
        return FORMATS[format_name]
    with path.open(encoding="utf-8") as file:
        head = file.read(_HEAD_CHARACTERS)
    for meter_format in FORMATS.values():
        if meter_format.recognises(head):
            return meter_format
    known = "; ".join(known.description for known in FORMATS.values())
    raise ValueError(f"not a meter file that is understood, which are: {known}")
