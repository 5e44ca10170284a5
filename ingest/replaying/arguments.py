"""The arguments that `replay` and `simulate` share."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from ingest.replaying.posting import SCHEMES, Target
from ingest.replaying.sending import Sender

_CONCURRENCY_LIMIT = 500


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the source and the manner of sending."""
    parser.add_argument("--scheme", choices=SCHEMES, default="hub")
    parser.add_argument(
        "--concurrency", type=_connections, default=32, help="connections at once"
    )
    parser.add_argument(
        "--ca-file", default="", help="authority of the listener's certificate"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def sender(options: dict[str, Any], *, url: str, secret: str) -> Sender:
    """
    Return the sender that the arguments ask for.

    Raises: ValueError: the secret is not one of the scheme's.
    """
    return Sender(
        Target(url, secret, options["scheme"]),
        concurrency=options["concurrency"],
        rate=options["rate"],
        ca_file=options["ca_file"],
    )


def rate(text: str) -> float | None:
    """Return callbacks a second; None: as many as are taken."""
    if text == "max":
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is neither a number above 0 nor max")
    return number


def _connections(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= _CONCURRENCY_LIMIT:
        raise ArgumentTypeError(f"{text!r} is not within 1 to {_CONCURRENCY_LIMIT}")
    return number
