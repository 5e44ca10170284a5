"""
`python -m tests.hostile.guided -max_total_time=60`: bytes that find new ways through.

Coverage decides which mutations are kept, by Atheris (`pip install atheris`, where it
has a wheel; tests and checks do not need it). The formats and the signatures are
looked at; whatever they may not raise ends the run with the bytes that did it.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ingest.formats", "tenants.signing"]):
    from tenants import signing
    from tests.hostile.chewing import KINDS, chew, seeds


def one(data: bytes) -> None:
    """Give the bytes behind the first one to the format that the first one names."""
    if not data:
        return
    chew(KINDS[data[0] % len(KINDS)], data[1:])
    header = data.decode("latin-1")
    assert not signing.verify_hub([b"k"], header, data)
    assert not signing.verify_standard(
        [b"k"],
        message_id=header[:64],
        timestamp=header[-12:],
        header=header,
        body=data,
        now_s=0.0,
    )


def main() -> None:
    """Begin with every format's fixtures, as every content type."""
    with tempfile.TemporaryDirectory() as corpus:
        for kind in range(len(KINDS)):
            for number, body in enumerate(seeds()):
                path = Path(corpus, f"{kind}-{number}")
                path.write_bytes(bytes([kind]) + body)
        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
