"""Reading settings from the environment: `NAME`, or a file named by `NAME_FILE`."""

import json
import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parent.parent


def text(name: str, default: str = "") -> str:
    """
    Return the setting's text.

    Raises: ImproperlyConfigured: `NAME_FILE` names a file that cannot be read.
    """
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return os.environ.get(name, default)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ImproperlyConfigured(f"{name}_FILE: {path}: {reason}.") from error


def integer(name: str, default: int) -> int:
    """
    Return the setting as a whole number.

    Raises: ImproperlyConfigured: it is something else.
    """
    raw = text(name) or str(default)
    try:
        return int(raw)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is a whole number, not {raw!r}.") from error


def items(name: str, default: str = "") -> list[str]:
    """Return the parts of a comma-separated setting."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def numbers(name: str, default: str) -> list[float]:
    """
    Return the numbers of a comma-separated setting.

    Raises: ImproperlyConfigured: one of them is none.
    """
    try:
        return [float(part) for part in items(name, default)]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} is a list of numbers such as 5,300,1800: {error}."
        ) from error


def var_directory() -> Path:
    """Return the folder that holds everything the platform writes."""
    return Path(text("GRIDHOOK_VAR") or ROOT / "var").expanduser().resolve()


def stored_key(name: str, file_name: str) -> str:
    """Return a secret: as set, or as `manage.py up` keeps it under `var/keys`."""
    stored = var_directory() / "keys" / file_name
    if name in os.environ or f"{name}_FILE" in os.environ:
        return text(name)
    if not stored.exists():
        return ""
    try:
        return stored.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{stored} belongs to another user. Run as that user, or set {name}."
        ) from error


def running_server(name: str) -> str:
    """Return where `manage.py up` has started a server; empty: it has not."""
    state = var_directory() / "run" / "servers.json"
    try:
        address = json.loads(state.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError):
        return ""
    return str(address)
