"""Callbacks that ruin their worker, and a database lost at any statement: R20."""

import json
import sys
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from tests.chaos.postgres import post_all
from tests.chaos.site import Beside, Site
from tests.chaos.staging import Report, Stage, settle
from tests.chaos.workers import WORKERS, pending, worker
from tests.oracle import source_id
from tests.posting import Client, exchange
from tests.processes import PlatformFailed, wait_until

POISONS = ("memory", "recursion", "exit", "loop")
#: Those that a short form has time for: no worker has to start again.
SHORT = POISONS[:2]
HEALTHY = 40
#: Callbacks for as many statements, each lost once before and once after it was done.
CALLBACKS = 160
_REJECTED = 3


def swallowed(stage: Stage) -> Report:
    """Give workers callbacks that end, exhaust, overrun or hold up their process."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    # The judge's own source has the healthy ones alone.
    other = site.new_source()
    client = Client(source, ledger)
    kinds = SHORT if stage.is_short else POISONS
    changes = "poison" + (",stubborn" if stage.is_control else "")
    pair = [worker(site, f"poisoned{n}", changes) for n in range(2)]
    with site.stopped(*WORKERS), ExitStack() as stack:
        post_all(client, range(HEALTHY // 2), threads=8)
        for kind in kinds:
            exchange(urlsplit(other.url), other.secret, _poison(kind))
        post_all(client, range(HEALTHY // 2, HEALTHY), threads=8)
        for one in pair:
            one.start()
            stack.callback(one.kill)
        began_s = time.monotonic()
        wait_until(lambda: _revived(pair) and not pending(site, source), timeout_s=120)
        report.figures["all done after, s"] = time.monotonic() - began_s
    aside = site.platform.rows(
        """SELECT errors FROM ingest_callback WHERE source_id = %s AND state = %s""",
        source_id(other),
        _REJECTED,
    )
    codes = [error["code"] for (errors,) in aside for error in errors]
    report.least("set aside", codes.count("processing_failed"), len(kinds))
    client.stop()
    settle(stage, report, source, ledger)
    return report


def cut_anywhere(stage: Stage) -> Report:
    """Lose the database's connection at the nth statement of a batch, for every n."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    cutter = _cutter(site)
    with site.stopped(*WORKERS):
        post_all(client, range(CALLBACKS), threads=8)
        cutter.start()
        cutter.wait(120)
    said = [line for line in cutter.log.splitlines() if line.startswith("{")]
    if not said:
        raise PlatformFailed(cutter.log[-4000:])
    found: dict[str, Any] = json.loads(said[-1])
    for what, value in found.items():
        report.figures[what] = value
    report.least("covered before", found["before"], 10)
    report.least("covered after", found["after"], 10)
    report.most("not cleanly", found["unclean"], 0)
    client.stop()
    settle(stage, report, source, ledger)
    return report


def _cutter(site: Site) -> Beside:
    """Return a worker that finds the database through a proxy; it is not started."""
    folder = site.platform.var / "cut"
    folder.mkdir(exist_ok=True)
    url = urlsplit(site.platform.database_url)
    (server,) = parse_qs(url.query)["host"]
    query = f"host={quote(str(folder), safe='')}"
    return site.beside(
        "cutter",
        [sys.executable, "-m", "tests.chaos.cutting", str(folder), server],
        {"DATABASE_URL": urlunsplit(url._replace(query=query))},
    )


def _revived(pair: list[Beside]) -> bool:
    """Start again what has ended, as the supervisor would."""
    for one in pair:
        if one.has_ended:
            one.start()
    return True


def _poison(kind: str) -> bytes:
    body = {
        "transaction_id": f"poison/{kind}",
        "device": f"poison/{kind}",
        "readings": [{"at": "2026-01-01T00:00:00Z", "duration_s": 60, "value": "1"}],
    }
    return json.dumps(body).encode()
