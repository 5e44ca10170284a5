"""The mail server that GRIDHOOK_SMTP_URL names."""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_PORTS = {"smtp": 25, "smtps": 465}
_STARTTLS = {"0": False, "1": True}


class SmtpUrlInvalid(ValueError):
    """The URL names no mail server. The text never has the password."""


@dataclass(frozen=True)
class SmtpServer:
    """How mails are handed in."""

    host: str
    port: int
    username: str
    password: str
    #: TLS from the first byte, or after STARTTLS; without either: clear text.
    is_tls: bool
    is_starttls: bool


def parse_smtp_url(url: str) -> SmtpServer:
    """
    Return the server of `smtp://user:password@host:587?starttls=1` or `smtps://…`.

    Raises: SmtpUrlInvalid.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Its text may quote the part with the password.
        raise SmtpUrlInvalid("It cannot be read as a URL.") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise SmtpUrlInvalid("It begins with smtp:// or smtps:// and names a host.")
    options = parse_qs(parts.query)
    asked = options.pop("starttls", ["0"])[-1]
    if options or asked not in _STARTTLS or parts.path.strip("/"):
        raise SmtpUrlInvalid("Behind the host stands nothing but ?starttls=1.")
    if parts.scheme == "smtps" and _STARTTLS[asked]:
        raise SmtpUrlInvalid("smtps:// is TLS from the first byte: no starttls=1.")
    return SmtpServer(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        is_tls=parts.scheme == "smtps",
        is_starttls=_STARTTLS[asked],
    )
