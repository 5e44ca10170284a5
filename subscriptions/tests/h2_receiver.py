"""A receiver that speaks HTTP/2 alone: a real server on hyper's state machine."""

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded


@dataclass
class H2Receiver:
    """What it got, by stream, and over how many connections."""

    port: int
    connections: int = 0
    #: Requests that are answered together once there are as many; 1: each at once.
    together: int = 1
    bodies: list[bytes] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)

    def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Serve until the listener is closed."""
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(
                target=self._converse, args=(plain, context), daemon=True
            ).start()

    def _converse(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as peer:
                connection = H2Connection(H2Configuration(client_side=False))
                connection.initiate_connection()
                peer.sendall(connection.data_to_send())
                waiting: dict[int, bytes] = {}
                whole: list[int] = []
                while data := peer.recv(65536):
                    self._take(connection, data, waiting, whole)
                    if len(whole) >= self.together:
                        self._answer(connection, whole)
                    peer.sendall(connection.data_to_send())
        except OSError:
            plain.close()

    def _take(
        self,
        connection: H2Connection,
        data: bytes,
        waiting: dict[int, bytes],
        whole: list[int],
    ) -> None:
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                names = {
                    bytes(name).decode(): bytes(value).decode()
                    for name, value in event.headers
                }
                self.heads.append(names)
                waiting[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                waiting[event.stream_id] += event.data
                connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, StreamEnded):
                self.bodies.append(waiting.pop(event.stream_id))
                whole.append(event.stream_id)

    def _answer(self, connection: H2Connection, whole: list[int]) -> None:
        while whole:
            stream_id = whole.pop()
            connection.send_headers(stream_id, [(":status", "200"), ("x-h2", "yes")])
            connection.send_data(stream_id, b"taken", end_stream=True)


@contextmanager
def receiving_h2(context: ssl.SSLContext, together: int = 1) -> Generator[H2Receiver]:
    """Run one for the block."""
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = H2Receiver(listener.getsockname()[1], together=together)
    thread = threading.Thread(
        target=receiver.serve, args=(listener, context), daemon=True
    )
    thread.start()
    try:
        yield receiver
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
