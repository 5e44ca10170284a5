"""`Idempotency-Key`: the same POST twice is carried out once."""

import hashlib
from collections.abc import Callable

from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from psycopg.errors import LockNotAvailable

from tenants.actors import Actor
from tenants.models import IdempotentReply
from tenants.problems import plain_problem
from tenants.vault import seal, unseal

KEY_LIMIT = 255
#: When a request is worth a try again whose first one is still under way.
RETRY_AFTER_S = 5
#: Of a reply's headers, those that its body does not say.
_KEPT_HEADERS = ("Content-Type", "Location")
_REFUSED = 400


class IdempotencyMiddleware:
    """
    Answer a repeated POST with the first one's reply.

    The key's row is written in the request's own transaction: a second request with
    the key waits for the first, as long as any lock is waited for, and a first one that
    was refused or failed leaves no key behind: it is corrected and sent under the same.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, or repeat the answer."""
        key = request.headers.get("Idempotency-Key")
        actor: Actor | None = getattr(request, "actor", None)
        if key is None or request.method != "POST" or actor is None:
            return self._get_response(request)
        if not key or len(key) > KEY_LIMIT or "\0" in key:
            return plain_problem(
                status=400,
                code="idempotency_key_invalid",
                title="The Idempotency-Key cannot be used",
                detail=f"It has 1 to {KEY_LIMIT} characters.",
            )
        digest = _request_digest(actor, request)
        try:
            is_first = _reserve(actor, key, digest)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            return _under_way()
        if not is_first:
            return _repeat(actor, key, digest)
        response = self._get_response(request)
        _keep(actor, key, response)
        return response


def _request_digest(actor: Actor, request: HttpRequest) -> bytes:
    # With the caller: a kept reply may hold a secret that another role may not see.
    head = f"{actor.role} {actor.name}\n{request.method} {request.get_full_path()}\n"
    return hashlib.sha256(head.encode() + request.body).digest()


def _reserve(actor: Actor, key: str, digest: bytes) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO tenants_idempotentreply
                (tenant_id, key, request_digest, headers)
            VALUES (%s, %s, %s, '{}')
            ON CONFLICT ON CONSTRAINT idempotent_reply_unique DO NOTHING""",
            [actor.tenant.pk, key, digest],
        )
        return bool(cursor.rowcount)


def _under_way() -> HttpResponse:
    reply = plain_problem(
        status=409,
        code="idempotency_key_in_use",
        title="The first request under this Idempotency-Key is still under way",
        detail="Send this one again in a while: it will have the first one's reply.",
    )
    reply["Retry-After"] = str(RETRY_AFTER_S)
    return reply


def _context(actor: Actor, key: str) -> str:
    return f"reply:{actor.tenant.pk}:{key}"


def _keep(actor: Actor, key: str, response: HttpResponse) -> None:
    """Keep the reply; one that refuses did nothing, and frees its key."""
    kept = IdempotentReply.objects.filter(tenant=actor.tenant, key=key)
    if response.status_code >= _REFUSED:
        kept.delete()
        return
    kept.update(
        status=response.status_code,
        sealed_body=seal(response.content, context=_context(actor, key)),
        headers={
            name: response[name] for name in _KEPT_HEADERS if response.has_header(name)
        },
    )


def _repeat(actor: Actor, key: str, digest: bytes) -> HttpResponse:
    kept = IdempotentReply.objects.get(tenant=actor.tenant, key=key)
    if bytes(kept.request_digest) != digest:
        return plain_problem(
            status=409,
            code="idempotency_key_reused",
            title="The Idempotency-Key was used for another request",
            detail="Use a fresh key for a new request.",
        )
    headers = {**kept.headers, "Idempotency-Replayed": "true"}
    body = unseal(bytes(kept.sealed_body or b""), context=_context(actor, key))
    return HttpResponse(body, status=kept.status or 200, headers=headers)
