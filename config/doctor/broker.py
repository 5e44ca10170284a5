"""The broker: reachable, throws nothing away, and has somebody at each queue."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeVar

from celery import Celery
from django.conf import settings
from kombu import Connection
from kombu.exceptions import KombuError
from redis.exceptions import ResponseError

from config.doctor.findings import Finding, fail, ok, reason, warn

_TIMEOUT_S = 2
_MS_PER_S = 1000
Answer = TypeVar("Answer")
QUEUES = frozenset({"ingest", "deliver", "upkeep", "billing"})
#: Workers answer between two tasks, and a task takes two seconds' turns.
_PATIENCE_S = 2.5
_SAFE_POLICY = "noeviction"


class BrokerFailed(Exception):
    """The broker could not be asked; the text says why."""


def check_broker() -> list[Finding]:
    """Tell whether the broker answers, and what it does when its memory is full."""
    started = perf_counter()
    try:
        policy = _ask(_memory_policy)
    except BrokerFailed as error:
        return [
            fail(
                "broker.reachable",
                str(error),
                "Start that broker, correct BROKER_URL, or unset it to use the "
                "embedded Redis. Meanwhile callbacks are kept and processed later.",
            )
        ]
    took_ms = (perf_counter() - started) * _MS_PER_S
    return [ok("broker.reachable", f"{took_ms:.0f} ms"), judge_policy(policy)]


def _ask(question: Callable[[Connection], Answer]) -> Answer:
    """
    Return what the broker answers, whichever transport's errors it has.

    Raises: BrokerFailed.
    """
    options = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    try:
        broker = Connection(
            settings.BROKER_URL, connect_timeout=_TIMEOUT_S, transport_options=options
        )
        own_faults = broker.connection_errors + broker.channel_errors
    except (ImportError, KeyError) as error:
        raise BrokerFailed(f"BROKER_URL: {reason(error)}") from error
    faults: tuple[type[BaseException], ...] = (
        KombuError,
        OSError,
        ValueError,
        *own_faults,
    )
    try:
        return question(broker)
    except faults as error:
        raise BrokerFailed(reason(error)) from error
    finally:
        with contextlib.suppress(*faults):
            broker.release()


def _memory_policy(broker: Connection) -> tuple[str, int] | None:
    """Return a Redis's policy and limit; None: it is none, or keeps that to itself."""
    broker.ensure_connection(max_retries=1, timeout=_TIMEOUT_S)
    channel: Any = broker.default_channel
    if broker.transport.driver_type != "redis":
        return None
    channel.client.ping()
    try:
        known = channel.client.config_get("maxmemory*")
    except ResponseError:
        return None
    return str(known["maxmemory-policy"]), int(known["maxmemory"])


def judge_policy(policy: tuple[str, int] | None) -> Finding:
    """Judge what the broker does when its memory is full."""
    code = "broker.memory"
    if policy is None:
        return ok(code, "it has no policy of Redis's, or does not tell")
    name, limit_bytes = policy
    if name == _SAFE_POLICY or not limit_bytes:
        return ok(code, f"maxmemory {limit_bytes}, policy {name}")
    return warn(
        code,
        f"maxmemory {limit_bytes}, policy {name}",
        "A full Redis throws bells and rate buckets away: work comes late then. Set "
        "maxmemory-policy to noeviction.",
    )


def check_workers(app: Celery) -> Finding:
    """Tell whether each queue has a worker that answers."""

    def ask_all(broker: Connection) -> Mapping[str, Sequence[Any]] | None:
        asked = app.control.inspect(timeout=_PATIENCE_S, connection=broker)
        return asked.active_queues()

    try:
        answers = _ask(ask_all) or {}
    except BrokerFailed as error:
        return fail("broker.workers", str(error), "Look at the broker first.")
    return judge_workers(
        [queue["name"] for queues in answers.values() for queue in queues]
    )


def judge_workers(served: list[str]) -> Finding:
    """Judge which queues have workers."""
    code = "broker.workers"
    counts = ", ".join(f"{name} {served.count(name)}" for name in sorted(QUEUES))
    missing = QUEUES - set(served)
    if not missing:
        return ok(code, counts)
    judge = fail if missing == QUEUES else warn
    return judge(
        code,
        f"nobody answered at {', '.join(sorted(missing))}",
        "Start workers of these queues; one that is busy with a long task answers "
        "late: ask again.",
    )
