"""
Post a file as a signed callback, and try again until the platform has decided.

sign.py hub|standard URL KEY FILE [ID [DEVICE]]

KEY is the source's secret; with a DEVICE, that device's key (64 hex digits). ID is the
transaction id, which only `standard` needs here. Nothing but the standard library.
"""

import base64
import hashlib
import hmac
import random
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ATTEMPTS = 8
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 3600.0
#: Neither sender nor platform can tell whether it was stored: send it again.
UNDECIDED = {408, 429, 500, 502, 503, 504}


def device_key(secret_key: bytes, device: str) -> bytes:
    """Return a device's key; done where devices are provisioned, not on a device."""
    named = b"gridhook/device/v1\0" + device.encode()
    return hmac.digest(secret_key, named, "sha256")


def key_of(scheme: str, text: str, device: str) -> bytes:
    """Return the bytes of the key that a text stands for."""
    if device:
        return bytes.fromhex(text)
    if scheme == "hub":
        return text.encode()
    return base64.b64decode(text.removeprefix("whsec_"))


def hub(key: bytes, body: bytes) -> dict[str, str]:
    """Return the header that signs the body; no clock is needed."""
    digits = hmac.new(key, body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digits}"}


def standard(key: bytes, body: bytes, transaction_id: str) -> dict[str, str]:
    """Return the headers that sign id, moment and body; the clock is right to 300 s."""
    moment = str(int(time.time()))
    signed = b".".join([transaction_id.encode(), moment.encode(), body])
    digest = hmac.digest(key, signed, "sha256")
    return {
        "webhook-id": transaction_id,
        "webhook-timestamp": moment,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, float]:
    """Return status, reply and the pause that was asked for; status 0: no reply."""
    request = urllib.request.Request(url, body, headers)  # noqa: S310 (your own URL)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return reply.status, reply.read().decode(), 0.0
    except urllib.error.HTTPError as error:
        asked = error.headers.get("Retry-After", "")
        pause_s = float(asked) if asked.isdigit() else 0.0
        return error.code, error.read().decode(errors="replace"), pause_s
    except OSError as error:
        return 0, str(error), 0.0


def main() -> int:
    """Post until it is decided; 0: the platform has it."""
    scheme, url, text, file, *rest = sys.argv[1:]
    transaction_id, device = (*rest, "", "")[:2]
    key = key_of(scheme, text, device)
    body = Path(file).read_bytes()
    for attempt in range(ATTEMPTS):
        # Signed anew each time, for the moment changes; the body and the id never do.
        headers = (
            hub(key, body) if scheme == "hub" else standard(key, body, transaction_id)
        )
        headers |= {"Content-Type": "application/json"}
        headers |= {"X-Device-Id": device} if device else {}
        status, reply, asked_s = post(url, body, headers)
        sys.stdout.write(f"{reply}\n{status}\n")
        if status and status not in UNDECIDED:
            return 0 if status in {200, 202} else 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
        # Anywhere in the pause: a power cut's end must not bring all devices at once.
        time.sleep(asked_s + random.uniform(0, pause_s))  # noqa: S311 (no secret)
    return 1


if __name__ == "__main__":
    sys.exit(main())
