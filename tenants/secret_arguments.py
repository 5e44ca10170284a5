"""Secrets for commands: from files or the environment, as others see arguments."""

import argparse
import os
from pathlib import Path
from typing import Any

ENVIRONMENT = "GRIDHOOK_SECRET"


def add_arguments(parser: "argparse._ActionsContainer", *, whose: str) -> None:
    """Declare where secrets come from; each argument may be repeated."""
    parser.add_argument(
        "--secret-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"holds {whose} secret; or set {ENVIRONMENT}, or {ENVIRONMENT}_FILE",
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        help="the secret itself; others on this machine can read it",
    )


def secrets(options: dict[str, Any]) -> list[str]:
    """
    Return the secrets that the arguments name; without any, the environment's.

    A file, and the environment, may have several, with white space between them.
    Raises: OSError, ValueError: a file cannot be read.
    """
    found = list(options["secret"])
    for path in options["secret_file"]:
        found += path.read_text(encoding="utf-8").split()
    if found:
        return found
    file = os.environ.get(f"{ENVIRONMENT}_FILE", "")
    text = os.environ.get(ENVIRONMENT, "")
    return (Path(file).read_text(encoding="utf-8") if file else text).split()


def secret(options: dict[str, Any]) -> str:
    """
    Return the one secret; empty: none is given.

    Raises: OSError, ValueError: there are several, or a file cannot be read.
    """
    # On the command line a secret may have any characters at all.
    found = options["secret"] or secrets(options)
    if len(found) > 1:
        raise ValueError("Several secrets are given; a sender signs with one.")
    return str(found[0]) if found else ""
