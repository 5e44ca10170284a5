"""`manage.py up`: the whole platform under one supervisor."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from kombu import Connection

from config import processes
from config.demo import Demo
from config.embedded import (
    EmbeddedPostgres,
    EmbeddedRedis,
    ServerUnavailable,
    make_keys,
)
from config.supervisor import (
    Service,
    StartFailed,
    Supervisor,
    end_leftovers,
    take_lock,
)

SERVERS = settings.VAR / "run" / "servers.json"
LOOPBACK = "127.0.0.0/8,::1/128"
STATE = settings.VAR / "run" / "processes.json"


class Command(BaseCommand):
    """Run everything on this machine until Ctrl-C."""

    help = (
        "Run PostgreSQL and Redis (embedded unless DATABASE_URL and BROKER_URL are "
        "set), migrations, listener, console, workers and beat, until Ctrl-C."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--demo", action="store_true", help="with a demo utility at work"
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=1,
            help="processes that turn callbacks into readings",
        )
        parser.add_argument(
            "--listeners", type=int, default=1, help="processes that answer devices"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped; a failure to start is one line."""
        if min(options["workers"], options["listeners"]) < 1:
            raise CommandError("--workers and --listeners are at least 1.")
        if options["demo"]:
            # The sample subscriber is on this machine.
            os.environ.setdefault("GRIDHOOK_CALLBACK_ALLOW_CIDRS", LOOPBACK)
        try:
            with take_lock(settings.VAR / "run" / "up.lock"):
                end_leftovers(STATE)
                _check_ports()
                asyncio.run(_run(options))
        except (StartFailed, ServerUnavailable) as error:
            raise CommandError(str(error)) from error
        except PermissionError as error:
            raise CommandError(
                f"{error.filename} cannot be written. It was made by another user: run "
                f"as that user, or set GRIDHOOK_VAR to a folder of your own."
            ) from error


async def _run(options: dict[str, Any]) -> None:
    supervisor = Supervisor(state=STATE)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.request_stop)
    # Who stops a service may have a proxy in front of it; who presses Ctrl-C waits.
    loop.add_signal_handler(
        signal.SIGTERM, partial(supervisor.request_stop, drain=True)
    )
    try:
        await _start_servers(supervisor)
        await _start_platform(supervisor, options)
        demo = await _start_demo(supervisor) if options["demo"] else None
        if not supervisor.is_stopping:
            supervisor.say(_banner(demo))
        await supervisor.wait()
    finally:
        supervisor.say("Stopping …")
        await supervisor.stop()
        SERVERS.unlink(missing_ok=True)


async def _start_servers(supervisor: Supervisor) -> None:
    """Start the servers that no URL names, and let children and commands find them."""
    make_keys(settings.VAR)
    addresses = {
        "listener_port": str(settings.LISTENER_PORT),
        "console_port": str(settings.CONSOLE_PORT),
    }
    if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"):
        await asyncio.to_thread(_check_database)
    else:
        postgres = EmbeddedPostgres(settings.VAR)
        await asyncio.to_thread(postgres.prepare)
        await supervisor.start(
            Service(
                name="postgres",
                command=postgres.command(),
                is_ready=postgres.is_ready,
                stop_signal=signal.SIGINT,
                user=postgres.user,
                is_server=True,
            )
        )
        addresses["database_url"] = postgres.url()
    if os.environ.get("BROKER_URL") or os.environ.get("BROKER_URL_FILE"):
        await asyncio.to_thread(_check_broker)
    else:
        redis = EmbeddedRedis(settings.VAR)
        await supervisor.start(
            Service(
                name="redis",
                command=redis.command(),
                is_ready=redis.is_ready,
                is_server=True,
            )
        )
        addresses["broker_url"] = redis.url
    _publish(addresses)


def _publish(addresses: dict[str, str]) -> None:
    SERVERS.unlink(missing_ok=True)
    descriptor = os.open(SERVERS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(addresses, file)


async def _start_platform(supervisor: Supervisor, options: dict[str, Any]) -> None:
    migrate = [*processes.MANAGE, "migrate", "--database", "owner", "--verbosity", "0"]
    steps: Iterable[list[str]] = (
        [*processes.MANAGE, "check", "--fail-level", "ERROR"],
        migrate,
        [*processes.MANAGE, "maintain"],
    )
    for step in steps:
        if supervisor.is_stopping:
            return
        await supervisor.run_once(step[2], step)
    services = [
        *(processes.worker("ingest", n + 1) for n in range(options["workers"])),
        processes.worker("deliver"),
        processes.worker("upkeep"),
        processes.worker("billing"),
        processes.beat(),
        processes.listener(options["listeners"]),
        processes.console(),
    ]
    for service in services:
        if not supervisor.is_stopping:
            await supervisor.start(service)


async def _start_demo(supervisor: Supervisor) -> Demo | None:
    """Set the demo utility to work: subscriber, fleet, and last month's bills."""
    if supervisor.is_stopping:
        return None
    port = str(_free_port(settings.LISTENER_PORT + 1000))
    await supervisor.run_once("demo", [*processes.MANAGE, "demo", "prepare", port])
    demo = Demo.load()
    command, environment = demo.subscriber(port)
    await supervisor.start(
        Service(
            name="subscriber",
            command=command,
            environment=environment,
            is_ready=lambda: not _is_free(int(port)),
        )
    )
    steps = (("fleet", demo.history()), ("demo", [*processes.MANAGE, "demo", "bill"]))
    for name, step in steps:
        if not supervisor.is_stopping:
            await supervisor.run_once(name, step)
    if not supervisor.is_stopping:
        await supervisor.start(Service(name="fleet", command=demo.fleet()))
    return demo


def _check_ports() -> None:
    for name in ("GRIDHOOK_LISTENER_PORT", "GRIDHOOK_CONSOLE_PORT"):
        port = getattr(settings, name.removeprefix("GRIDHOOK_"))
        if not _is_free(port):
            raise StartFailed(
                f"Port {port} on {settings.BIND} is taken. Stop what uses it, or set "
                f"{name} to a free one."
            )


def _is_free(port: int) -> bool:
    family = socket.AF_INET6 if ":" in settings.BIND else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.BIND, port))
        except OSError:
            return False
    return True


def _free_port(wanted: int) -> int:
    if _is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_database() -> None:
    try:
        psycopg.connect(settings.DATABASE_URL, connect_timeout=5).close()
    except (psycopg.Error, UnicodeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise StartFailed(
            f"DATABASE_URL: {reason}. Start that server, correct the URL, or unset it "
            f"to use the embedded PostgreSQL."
        ) from error


def _check_broker() -> None:
    try:
        with Connection(settings.BROKER_URL, connect_timeout=5) as broker:
            broker.ensure_connection(max_retries=1, timeout=5)
    except Exception as error:
        # Each transport has errors of its own, and none may end in a traceback.
        raise StartFailed(
            f"BROKER_URL: {error}. Start that broker, correct the URL, or unset it to "
            f"use the embedded Redis."
        ) from error


def _banner(demo: Demo | None) -> str:
    lines = [
        "",
        "Gridhook is running.",
        f"  Console   {settings.CONSOLE_URL}/admin/",
        f"  API       {settings.CONSOLE_URL}/api/v1/docs/",
        f"  Listener  {settings.LISTENER_URL}/v1/callbacks/<source>",
    ]
    if demo is None:
        lines += [
            "  Next      create a tenant, in another terminal:",
            f"            {sys.executable} manage.py create_tenant acme --timezone "
            "Europe/Brussels --currency EUR --admin-email you@example.org",
        ]
    else:
        lines += demo.banner()
    return "\n".join([*lines, "  Ctrl-C stops everything.", ""])
