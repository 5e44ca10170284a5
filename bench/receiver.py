"""
A callback URL that costs little: consents, answers 204, and counts.

`python -m bench.receiver` prints its port, and at SIGTERM one JSON object. POSTs to
`/hang` get no answer. With the name of a file, in which the endpoint's secret stands
by the first POST, it verifies every message with the `standardwebhooks` library and
notes when each callback's outcome arrived.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

import uvloop
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_CONSENT = (
    b"HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_HANGS = b"POST /hang"


class Notary:
    """Verifies messages and notes when they came."""

    def __init__(self, secret_file: Path) -> None:
        self._secret_file = secret_file
        self._webhook: Webhook | None = None
        self.refused = 0
        #: Transaction id to seconds since the epoch, of the first arrival.
        self.arrivals: dict[str, float] = {}

    def note(self, request: bytes) -> None:
        """Take a request that is whole."""
        head, _, body = request.partition(_END_OF_HEAD)
        lines = (line.partition(":") for line in head.decode().splitlines()[1:])
        headers = {name.lower(): value.strip() for name, _, value in lines}
        if self._webhook is None:
            self._webhook = Webhook(self._secret_file.read_text())
        try:
            message: Any = self._webhook.verify(body, headers)
        except WebhookVerificationError:
            self.refused += 1
            return
        name = message["data"].get("transaction_id", message["id"])
        self.arrivals.setdefault(name, time.time())


class Receiver(asyncio.Protocol):
    """One connection."""

    posts = 0
    notary: Notary | None = None

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transport is one by shape, not by class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._rest += data
        while (size := self._whole()) and self._transport is not None:
            request, self._rest = self._rest[:size], self._rest[size:]
            self._answer(request, self._transport)

    def _answer(self, request: bytes, transport: asyncio.WriteTransport) -> None:
        is_post = request.startswith(b"POST ")
        Receiver.posts += is_post
        if request.startswith(_HANGS):
            return
        if is_post and Receiver.notary is not None:
            Receiver.notary.note(request)
        transport.write(_TAKEN if is_post else _CONSENT)

    def _whole(self) -> int:
        """Return the length of the first request; 0: it is not whole."""
        head_end = self._rest.find(_END_OF_HEAD)
        if head_end < 0:
            return 0
        size = head_end + len(_END_OF_HEAD)
        head = self._rest[:head_end].lower()
        at = head.find(_LENGTH)
        if at >= 0:
            size += int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        return size if len(self._rest) >= size else 0


async def serve() -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    server = await loop.create_server(Receiver, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await over.wait()
    notary = Receiver.notary
    found = {"refused": notary.refused, "arrivals": notary.arrivals} if notary else {}
    sys.stdout.write(json.dumps({"posts": Receiver.posts, **found}) + "\n")


def main() -> None:
    """Serve as the arguments say."""
    if len(sys.argv) > 1:
        Receiver.notary = Notary(Path(sys.argv[1]))
    uvloop.run(serve())


if __name__ == "__main__":
    main()
