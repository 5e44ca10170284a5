"""The machine and its settings: keys, queues of the kernel, files, disks."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from psycopg import Connection, errors
from psycopg.rows import TupleRow

from config.checks import check_settings
from config.doctor.database import one
from config.doctor.findings import Bounds, Finding, fail, ok, warn
from ingest.listener import BACKLOG
from tenants.vault import KeysInvalid, SealBroken, parse_keys, unseal

SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_FEWEST_FILES = 4096
_GIB = 1024**3
#: The share of a disk that is taken.
_FULL = Bounds(warn=0.9, fail=0.97)
_LEAST_FREE_BYTES = _GIB // 2

#: Both keys, and the database: they have codes of their own here.
_CHECKED_ELSEWHERE = {"gridhook.E001", "gridhook.E002", "gridhook.E003"}

#: The newest secret of each kind, with the context that it was sealed under.
_SECRETS = """
(SELECT 'source:' || tenant_id || ':' || source_id, sealed
 FROM ingest_sourcesecret ORDER BY id DESC LIMIT 1)
UNION ALL
(SELECT 'endpoint:' || tenant_id || ':' || endpoint_id, sealed
 FROM subscriptions_endpointsecret ORDER BY id DESC LIMIT 1)
"""


def check_configuration() -> list[Finding]:
    """Return what the system checks say of the settings."""
    found = [
        (fail if message.is_serious() else warn)(
            f"settings.{str(message.id).rpartition('.')[2]}",
            str(message.msg),
            str(message.hint),
        )
        for message in check_settings(None)
        if message.id not in _CHECKED_ELSEWHERE
    ]
    return found or [ok("settings.checks", "no setting is wrong")]


def check_keys() -> list[Finding]:
    """Tell whether both keys are there."""
    return [_secret_key(), _encryption_key()]


def _secret_key() -> Finding:
    try:
        is_set = bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        is_set = False
    if is_set:
        return ok("keys.secret", "set")
    return fail(
        "keys.secret",
        "not set",
        "Set GRIDHOOK_SECRET_KEY; `up` makes one under var/keys.",
    )


def _encryption_key() -> Finding:
    try:
        known = parse_keys(settings.ENCRYPTION_KEYS)
    except KeysInvalid as error:
        return fail(
            "keys.encryption",
            str(error),
            "Set GRIDHOOK_ENCRYPTION_KEYS as it was when the secrets were stored.",
        )
    return ok("keys.encryption", f"{len(known)} set")


def check_secrets(lane: Connection[Any]) -> Finding:
    """Tell whether what is stored opens with the keys at hand."""
    rows: list[TupleRow] = lane.execute(_SECRETS).fetchall()
    try:
        for context, sealed in rows:
            unseal(sealed, context=context)
    except (SealBroken, KeysInvalid) as error:
        return fail(
            "keys.unseal",
            str(error),
            "Put the key that sealed it back into GRIDHOOK_ENCRYPTION_KEYS, behind "
            "the first one; `manage.py reseal` then carries secrets over.",
        )
    return ok("keys.unseal", f"{len(rows)} stored secrets open" if rows else "none yet")


def check_backlog() -> Finding:
    """Tell how many connections the kernel keeps for a listener."""
    code = "machine.somaxconn"
    try:
        length = int(SOMAXCONN.read_text())
    except OSError:
        return ok(code, "this kernel does not tell")
    if length >= BACKLOG:
        return ok(code, str(length))
    return warn(
        code,
        f"{length}, a listener asks for {BACKLOG}",
        f"sysctl -w net.core.somaxconn={2 * BACKLOG}, and the same in "
        "/etc/sysctl.d: bursts of new connections are refused otherwise.",
    )


def check_files() -> Finding:
    """Tell how many files and connections a listener may have open."""
    whose, limit = _file_limit()
    seen = f"{whose}: {'any' if limit < 0 else limit}"
    if limit < 0 or limit >= _FEWEST_FILES:
        return ok("machine.files", seen)
    return warn(
        "machine.files",
        seen,
        f"ulimit -n {16 * _FEWEST_FILES} before it starts, or LimitNOFILE= in its "
        "unit: each connection is a file.",
    )


def _file_limit() -> tuple[str, int]:
    """Return the running listener's limit; this process's, where none is known."""
    record = settings.VAR / "run" / "processes.json"
    try:
        pid, _ = json.loads(record.read_text())["listener"]
        soft, _ = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return "this process", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return "the listener", soft


def check_own_disk() -> Finding:
    """Tell how full the disk of GRIDHOOK_VAR is."""
    place = settings.VAR
    while not place.exists():
        place = place.parent
    return judge_disk("disk.var", place)


def check_data_disk(lane: Connection[Any]) -> Finding:
    """Tell how full the database's disk is, where it is this machine's."""
    unseen = ok("disk.data", "not to be seen from here: watch it where it is")
    try:
        place = Path(one(lane, "SHOW data_directory"))
        return judge_disk("disk.data", place) if place.exists() else unseen
    except (errors.InsufficientPrivilege, OSError):
        return unseen


def judge_disk(code: str, place: Path) -> Finding:
    """Judge the disk that a folder is on."""
    space = shutil.disk_usage(place)
    seen = f"{space.free / _GIB:.1f} GiB free of {space.total / _GIB:.0f} at {place}"
    advice = "Make room, or keep bodies for fewer days (GRIDHOOK_BODY_RETENTION_DAYS)."
    if space.free < _LEAST_FREE_BYTES:
        return fail(code, seen, advice)
    return _FULL.judge(code, 1 - space.free / space.total, seen, advice)
