"""
What may come of any request at all, judged by nothing of the platform's own code.

The judge verifies signatures with the standard library and reads JSON with Python's
own parser: what was accepted must pass both.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NoReturn

from ingest.tests.listening import Sender
from tests.hostile.mutation import Sent

#: The statuses that a sender's input can bring.
EXPECTED = {200, 202, 400, 401, 403, 404, 405, 409, 413, 415, 429}
SUCCESSES = {200, 202}
PROBES = {b"/healthz", b"/readyz", b"/metrics"}


def faults(sent: Sent, status: int, reply: bytes, secrets: Mapping[str, Sender]) -> str:
    """Return what is wrong with a reply; empty: nothing."""
    if status not in EXPECTED:
        return f"{status}"
    if sent.target in PROBES:
        return ""
    if status in SUCCESSES:
        return _faults_of_success(sent, reply, secrets)
    document = json.loads(reply) if reply else {}
    if reply and document["status"] != status:
        return f"{status} says {document}"
    return _echoes(sent, reply)


def _echoes(sent: Sent, reply: bytes) -> str:
    told = [value for _, value in sent.headers if len(value) > _RECOGNIZABLE]
    told += [sent.body[at : at + 40] for at in range(0, len(sent.body), 40)]
    told += _IDENTIFIER.findall(sent.body)
    return "echoes" if any(len(t) > _RECOGNIZABLE and t in reply for t in told) else ""


_IDENTIFIER = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Texts shorter than this may be in a reply by chance ("application/json").
_RECOGNIZABLE = 20


def _faults_of_success(sent: Sent, reply: bytes, secrets: Mapping[str, Sender]) -> str:
    sender = secrets.get(sent.target.decode("latin-1").partition("?")[0])
    if sender is None:
        return f"taken without a source: {sent.target!r}"
    if not _is_signed(sent, sender):
        return "taken without a signature"
    try:
        document = json.loads(sent.body.decode(), parse_constant=_refuse)
    except ValueError as error:
        return f"taken although it is no JSON: {error}"
    if not isinstance(document.get("readings"), list):
        return "taken without readings"
    identifier = json.loads(reply)["transaction_id"]
    if identifier != _identifier(sent, sender, document):
        return f"taken as {identifier}"
    return ""


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _identifier(sent: Sent, sender: Sender, document: dict[str, Any]) -> Any:
    if sender.source.scheme == "standard":
        return _only(sent, b"webhook-id").decode("latin-1")
    return document["transaction_id"]


def _only(sent: Sent, *names: bytes) -> bytes:
    """Return the value of the one header of these names; empty: none, or several."""
    values = [value for name, value in sent.headers if name.lower() in names]
    return values[0].strip(b" \t") if len(values) == 1 else b""


def _is_signed(sent: Sent, sender: Sender) -> bool:
    if sender.source.scheme == "standard":
        key = base64.b64decode(sender.secret.removeprefix("whsec_"))
        head = _only(sent, b"webhook-id"), _only(sent, b"webhook-timestamp")
        tag = hmac.new(key, b".".join([*head, sent.body]), sha256).digest()
        signatures = _only(sent, b"webhook-signature").split(b" ")
        return b"v1," + base64.b64encode(tag) in signatures
    digits = hmac.new(sender.secret.encode(), sent.body, sha256).hexdigest()
    given = _only(sent, b"x-hub-signature-256", b"x-hub-signature")
    return given[:7] == b"sha256=" and given[7:].lower() == digits.encode()
