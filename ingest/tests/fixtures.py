"""The examples beside the formats: their bytes, and the content type they have."""

from pathlib import Path
from typing import NamedTuple

from ingest.formats import cloudevents, registry
from ingest.formats.interface import Format

FOLDER = Path(registry.__file__).resolve().parent


class Fixture(NamedTuple):
    """An example of a format."""

    format_name: str
    file_name: str
    content_type: str
    body: bytes

    @property
    def is_batch(self) -> bool:
        """Whether each part is a callback of its own."""
        return registry.FORMATS[self.content_type].parts_type is not None


def folders() -> list[Path]:
    """Return the folder of each format."""
    return sorted(path.parent for path in FOLDER.glob("*/__init__.py"))


def _content_types(name: str) -> list[str]:
    return [
        one.content_type
        for one in registry.FORMATS.values()
        if f"formats.{name}." in _module_of(one)
    ]


def _module_of(one: Format) -> str:
    read = getattr(one.read, "func", one.read)
    return str(read.__module__)


def _fixture(name: str, path: Path) -> Fixture:
    types = _content_types(name)
    is_batch = path.stem.startswith("batch")
    (content_type,) = [
        one for one in types if (one == cloudevents.BATCH_TYPE) is is_batch
    ]
    return Fixture(name, path.name, content_type, path.read_bytes())


def fixtures() -> list[Fixture]:
    """Return every example of every format."""
    return [
        _fixture(folder.name, path)
        for folder in folders()
        for path in sorted((folder / "fixtures").iterdir())
    ]


def types_of(name: str) -> list[str]:
    """Return the content types that a folder's code reads."""
    return _content_types(name)
