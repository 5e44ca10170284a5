"""Receivers that speak TLS, with certificates that tests trust or not."""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from subscriptions.tests.certificates import certified, key_pem
from subscriptions.tests.receivers import Behaviour, Receiver, consenting, receiving


@dataclass
class Authority:
    """Who vouches for the certificates of a test."""

    folder: Path

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.bundle = self.folder / "authority.pem"
        self.bundle.write_text(certified("authority", self.key))

    def client(self, name: str) -> tuple[bytes, bytes]:
        """Return a client certificate and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = certified(name, key, issuer=("authority", self.key))
        return pem.encode(), key_pem(key).encode()

    def context(
        self, name: str = "localhost", *, is_ended: bool = False
    ) -> ssl.SSLContext:
        """Return how a server of that name speaks TLS."""
        now = datetime.now(tz=UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = certified(
            name,
            key,
            issuer=("authority", self.key),
            now=now - timedelta(days=3) if is_ended else now,
        )
        path = self.folder / f"{name}-{is_ended}.pem"
        path.write_text(pem + key_pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@contextmanager
def serving_tls(
    context: ssl.SSLContext, behave: Behaviour = consenting
) -> Generator[tuple[Receiver, str]]:
    """Run a receiver that speaks TLS for the block; yield it and its URL."""
    with receiving(behave) as receiver:
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        yield receiver, f"https://localhost:{receiver.server_port}/"
