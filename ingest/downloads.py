"""A raw body as a file: bytes that no browser may take for a page."""

from django.http import HttpResponse

from ingest.models import Callback, CallbackBody


def body_etag(callback: Callback) -> str:
    """Return the entity tag of a callback's body: its SHA-256."""
    return f'"{bytes(callback.digest).hex()}"'


def body_file(callback: Callback, body: CallbackBody) -> HttpResponse:
    """Return the bytes as received, to be saved under the receipt's name."""
    name = f"{callback.public_id}.bin"
    return HttpResponse(
        bytes(body.body),
        content_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            "ETag": body_etag(callback),
            "Cache-Control": "private, no-store",
        },
    )
