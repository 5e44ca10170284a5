"""
Ending connections that have gone silent.

Each waiting that the server knows has an end: for a request's head, for a body, for a
reply. What it has no clock for is ended here, by what the kernel says of the socket: a
connection that never said anything, a handshake that stopped, an HTTP/2 session without
requests, a peer that is gone. Each of them would hold a place for ever.
"""

import asyncio
import contextlib
import os
import socket
import stat
import struct
import sys
from pathlib import Path

#: Seconds that a connection has for its first byte …
FIRST_BYTE_S = 5
#: … and may be silent later: longer than any request may take.
SILENCE_S = 30
#: Seconds between looks.
LOOK_S = 2.0
_FILES = Path("/proc/self/fd")
#: Of Linux' `struct tcp_info`: `tcpi_last_data_recv`, `tcpi_bytes_received`.
_SILENT_MS = struct.Struct("=I"), 52
_RECEIVED = struct.Struct("=Q"), 128
_INFO_BYTES = 136


class SilentConnections:
    """Ends the silent connections of this process to one port; on Linux alone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if sys.platform == "linux":
            self._task = asyncio.create_task(self._run(), name="connections")

    async def close(self) -> None:
        """End that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            # Thousands of them take milliseconds.
            await asyncio.to_thread(end_silent, self._port)


def end_silent(port: int) -> int:
    """Shut the connections to this port that have been silent; return how many."""
    count = 0
    for name in os.listdir(_FILES):
        with contextlib.suppress(OSError):
            count += _end_if_silent(int(name), port)
    return count


def _end_if_silent(number: int, port: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        return False
    # A copy, so that nobody else's file is closed; what is shut is the connection.
    with socket.socket(fileno=os.dup(number)) as link:
        if link.family not in {socket.AF_INET, socket.AF_INET6}:
            return False
        if link.getsockname()[1] != port or not link.getpeername():
            return False
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        if not _is_silent(info):
            return False
        link.shutdown(socket.SHUT_RDWR)
    return True


def _is_silent(info: bytes) -> bool:
    if len(info) < _INFO_BYTES:
        return False
    silent_s = _read(info, *_SILENT_MS) / 1000
    limit_s = SILENCE_S if _read(info, *_RECEIVED) else FIRST_BYTE_S
    return silent_s >= limit_s


def _read(info: bytes, form: struct.Struct, offset: int) -> int:
    value: int = form.unpack_from(info, offset)[0]
    return value
