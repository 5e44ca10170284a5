"""Transaction ids that come again: R07, R08, R09."""

import json
import threading
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.postgres import post_all
from tests.chaos.staging import Report, Stage, settle
from tests.oracle import entries, source_id
from tests.posting import Answer, Client, callback_name, exchange
from tests.processes import Source

CLIENTS = 64
RIVALS = 32
#: In the short form the storm has so many callbacks, and so many for each second more.
STORM = 10
_AGE = (
    """SELECT ingest_make_partition('ingest_callbackbody', to_char(day, 'YYYYMMDD'),
        day, day + interval '1 day')
    FROM (SELECT DISTINCT date_trunc('day', received_at - %(age)s::interval, 'UTC')
        AS day FROM ingest_callback WHERE source_id = %(source)s) AS days""",
    """UPDATE ingest_callbackbody b SET received_at = b.received_at - %(age)s::interval
    FROM ingest_callback c WHERE c.source_id = %(source)s
        AND b.tenant_id = c.tenant_id AND b.callback_id = c.id""",
    """UPDATE ingest_callback SET received_at = received_at - %(age)s::interval
    WHERE source_id = %(source)s""",
    "SELECT ingest_drop_bodies_before(current_date - 90)",
)
_ACCEPTED, _DUPLICATE, _CONFLICT = 202, 200, 409


def stormed(stage: Stage) -> Report:
    """Have 64 clients post the same callbacks to both listeners at once."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    if stage.is_control:
        _replace_unique(stage, "tenant_id, source_id, transaction_id, id")
    client = Client(source, ledger, urls=site.urls(source))
    callbacks = max(STORM, round(stage.seconds * STORM))
    start = threading.Barrier(CLIENTS)

    def post(number: int) -> None:
        for turn in range(callbacks):
            if turn < STORM:
                start.wait(30)
            client.post_number(turn, turn=number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(post, range(CLIENTS)))
    client.stop()
    seen = [one["status"] for one in entries(ledger)]
    report.figures["posts"] = len(seen)
    others = sum(status not in {_ACCEPTED, _DUPLICATE} for status in seen)
    report.most("neither 202 nor 200", others, 0)
    settle(stage, report, source, ledger)
    return report


def reused(stage: Stage) -> Report:
    """Use an id for other bytes, in another source and tenant, or nearly."""
    report = Report()
    source = stage.site.new_source()
    others = [stage.site.new_source(), stage.site.new_stranger()]
    if stage.is_control:
        _replace_unique(stage, "transaction_id")
    rounds = max(5, round(stage.seconds))
    for turn in range(rounds):
        _contest(stage, report, source, f"contest/{turn}")
    for other in others:
        answer = _post(stage, other, _named("contest/0", "other"))
        _require(report, answer.status == _ACCEPTED, "the same id is free elsewhere")
    for name in _spellings("Zähler/Ärger/ﬁ/K"):
        answer = _post(stage, source, _named(name, "spelling"))
        _require(report, answer.status == _ACCEPTED, f"{name!a} is another id")
    return report


def reused_late(stage: Stage) -> Report:
    """Post again after a midnight, a month, the body's retention, restarts."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger, urls=site.urls(source))
    post_all(client, range(20))
    settle(stage, report, source, ledger)
    seen: list[int] = []
    for days in (1, 31, 100):
        _age(stage, source, days)
        if stage.is_control:
            _forget(stage, source)
        seen += post_all(client, range(20))
        body = json.dumps({"transaction_id": callback_name(0), "readings": []})
        conflict = _post(stage, source, body.encode())
        _require(report, conflict.status == _CONFLICT, f"409 after {days} days")
    site.platform.kill("postgres")
    site.second.restart()
    site.await_whole()
    seen += post_all(client, range(20))
    client.stop()
    report.most("not answered 200", sum(one != _DUPLICATE for one in seen), 0)
    ((rows, names),) = site.platform.rows(
        """SELECT count(*), count(DISTINCT transaction_id) FROM ingest_callback
        WHERE source_id = %s""",
        source_id(source),
    )
    report.most("rows more than ids", rows - names, 0)
    return report


def _contest(stage: Stage, report: Report, source: Source, name: str) -> None:
    """Post two bodies under one id from many sides at once: one of them wins."""
    bodies = [_named(name, "a"), _named(name, "b")]
    start = threading.Barrier(RIVALS)

    def post(number: int) -> tuple[int, Answer]:
        start.wait(30)
        side = number % 2
        return side, _post(stage, source, bodies[side], turn=number // 2)

    with ThreadPoolExecutor(RIVALS) as pool:
        answers = list(pool.map(post, range(RIVALS)))
    winners = {side for side, one in answers if one.status in {_ACCEPTED, _DUPLICATE}}
    receipts = {one.receipt for _, one in answers if one.receipt}
    losers = {one.status for side, one in answers if side not in winners}
    _require(report, len(winners) == len(receipts) == 1, "one body wins")
    _require(report, losers == {_CONFLICT}, "the other is told 409")
    stored = stage.site.platform.rows(
        "SELECT encode(b.body, 'escape') FROM ingest_callback c "
        "JOIN ingest_callbackbody b ON b.tenant_id = c.tenant_id "
        "AND b.callback_id = c.id WHERE c.source_id = %s AND c.transaction_id = %s",
        source_id(source),
        name,
    )
    kept = [bodies[side].decode() for side in winners]
    _require(report, [row[0] for row in stored] == kept, "the first stays untouched")


def _require(report: Report, holds: bool, what: str) -> None:
    report.figures["checks"] = report.figures.get("checks", 0) + 1
    if not holds:
        report.broken.append(f"not so: {what}")


def _named(name: str, device: str) -> bytes:
    reading: dict[str, Any] = {
        "at": "2026-01-01T00:00:00Z", "duration_s": 3600, "value": "1", "unit": "kWh",
    }  # fmt: skip
    body = {"transaction_id": name, "device": device, "readings": [reading]}
    return json.dumps(body).encode()


def _spellings(name: str) -> Sequence[str]:
    """Return the same letters composed otherwise, in another case, with a space."""
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC")]
    return [*dict.fromkeys([*forms, name.upper(), name.lower(), f"{name} "])]


def _post(stage: Stage, source: Source, body: bytes, *, turn: int = 0) -> Answer:
    urls = stage.site.urls(source)
    return exchange(urlsplit(urls[turn % len(urls)]), source.secret, body)


def _age(stage: Stage, source: Source, days: int) -> None:
    """Make what is stored this much older; past its retention, drop the bodies."""
    values = {"age": f"{days} days", "source": source_id(source)}
    with stage.site.platform.database() as owner:
        for statement in _AGE:
            owner.execute(statement, values)


def _forget(stage: Stage, source: Source) -> None:
    """Forget the ids with their bodies, as a ledger kept too short would."""
    with stage.site.platform.database() as owner:
        owner.execute(
            "DELETE FROM ingest_callback WHERE source_id = %s", [source_id(source)]
        )


def _replace_unique(stage: Stage, columns: str) -> None:
    """Let another rule decide what "the same callback" is."""
    statement = (
        "ALTER TABLE ingest_callback DROP CONSTRAINT callback_transaction_unique, "
        f"ADD CONSTRAINT callback_transaction_unique UNIQUE ({columns})"
    )
    with stage.site.platform.database() as owner:
        owner.execute(statement.encode())
