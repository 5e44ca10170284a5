"""
Mails to a tenant's admins: a row in the transaction that they tell of, sent after it.

Claim (commit), send, record, as with deliveries: a worker that dies leaves its mails to
their leases, and each goes out again under the same `Message-ID`. Without a mail server
they wait and are shown.
"""

import logging
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.db import connection

from tenants.database import Cursor, acting_for, pipeline
from tenants.identifiers import first_id, new_id
from tenants.queries import admin_addresses
from tenants.smtp import SmtpServer, parse_smtp_url

log = logging.getLogger(__name__)

#: Seconds after each attempt that failed; then the mail is given up.
PAUSES_S = (60, 300, 1800, 7200, 21_600, 43_200, 86_400)
#: A mail that could not be sent for so long would only confuse.
TOO_OLD = timedelta(days=7)
#: How long ended mails are kept.
RETENTION = timedelta(days=90)
#: Mails that one turn sends, and seconds that it may take over them.
BATCH = 5
_LEASE_S = 600
_TIMEOUT_S = 15
#: What a server, or the way to it, may raise.
_FAULTS = (smtplib.SMTPException, OSError, ValueError)
SUBJECT_LIMIT = 200
TEXT_LIMIT = 20_000
_ERROR_LIMIT = 500
_FORGET_STEP = 5_000


@dataclass(frozen=True)
class _Claimed:
    mail_id: UUID
    tenant_id: int
    subject: str
    text: str
    attempt: int
    claim_id: UUID


@dataclass(frozen=True)
class _Result:
    """What came of a mail; `error` empty: it is with the server."""

    mail: _Claimed
    recipients: list[str]
    error: str = ""
    is_final: bool = False


def mail_admins(
    cursor: Cursor | None, *, tenant_id: int, subject: str, text: str
) -> None:
    """
    Write a mail to the tenant's admins, in the transaction that is open.

    `cursor`: the pipeline's; None: the console's own transaction. No secrets in it.
    """
    values: list[Any] = [new_id(), tenant_id, _one_line(subject), _plain(text)]
    if cursor is None:
        with connection.cursor() as own:
            own.execute(_INSERT, values)
    else:
        cursor.execute(_INSERT, values)


_INSERT = """
INSERT INTO tenants_mail
    (id, tenant_id, subject, text, status, recipients, attempt_count, last_error)
VALUES (%s, %s, %s, %s, 'waiting', '{}', 0, '')
"""


def _one_line(text: str) -> str:
    """Return the text as it may stand in a header: no line of its own."""
    return " ".join(_plain(text).split())[:SUBJECT_LIMIT]


def _plain(text: str) -> str:
    """Return the text without what neither the database nor a mail can carry."""
    some = text[:TEXT_LIMIT]
    kept = "".join(sign for sign in some if sign.isprintable() or sign in "\n\t")
    return kept.encode("utf-8", "replace").decode()


def send_mails() -> bool:
    """
    Send the mails that are due; without a mail server they wait.

    Returns whether more may be due.
    """
    if not settings.SMTP_URL:
        return False
    server = parse_smtp_url(settings.SMTP_URL)
    claimed = _claim()
    if claimed:
        _record(_send(server, claimed))
    return len(claimed) == BATCH


def _claim() -> list[_Claimed]:
    with pipeline() as lane, lane.cursor() as cursor:
        cursor.execute(
            """UPDATE tenants_mail SET status = 'failed', finished_at = now(),
                last_error = 'It had waited too long to be of use.'
            WHERE status = 'waiting' AND claim_id IS NULL
                AND created_at < now() - %s""",
            [TOO_OLD],
        )
        # By index mail_due. The lease is the next due time: who comes back after it
        # finds another claim_id.
        cursor.execute(
            """UPDATE tenants_mail m SET claim_id = %s,
                attempt_count = attempt_count + 1,
                next_attempt_at = now() + %s * interval '1 s'
            FROM (SELECT id FROM tenants_mail
                WHERE status = 'waiting' AND next_attempt_at <= now()
                ORDER BY next_attempt_at LIMIT %s FOR UPDATE SKIP LOCKED) due
            WHERE m.id = due.id
            RETURNING m.id, tenant_id, subject, text, attempt_count, claim_id""",
            [uuid4(), _LEASE_S, BATCH],
        )
        return [_Claimed(*row) for row in cursor.fetchall()]


def _send(server: SmtpServer, mails: Sequence[_Claimed]) -> list[_Result]:
    """Hand the mails in over one connection; without one they share its error."""
    backend = _backend(server)
    try:
        backend.open()
        return [_send_one(backend, mail, server.password) for mail in mails]
    except _FAULTS as error:
        reason = _reason(error, server.password)
        return [_Result(mail, [], reason) for mail in mails]
    finally:
        backend.close()


def _backend(server: SmtpServer) -> EmailBackend:
    return EmailBackend(
        host=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.is_starttls,
        use_ssl=server.is_tls,
        timeout=_TIMEOUT_S,
    )


def _send_one(backend: EmailBackend, mail: _Claimed, password: str) -> _Result:
    with acting_for(mail.tenant_id):
        recipients = admin_addresses(mail.tenant_id)
    if not recipients:
        return _Result(mail, [], "The tenant has no admin to send it to.", True)
    message = EmailMessage(
        subject=mail.subject,
        body=mail.text,
        from_email=settings.MAIL_FROM,
        to=recipients,
        headers={
            "Message-ID": f"<{mail.mail_id.hex}@gridhook>",
            "Auto-Submitted": "auto-generated",
        },
        connection=backend,
    )
    try:
        # Opens another one if the mail before lost it.
        message.send()
    except _FAULTS as error:
        backend.close()
        return _Result(mail, recipients, _reason(error, password))
    return _Result(mail, recipients)


def _reason(error: Exception, password: str) -> str:
    """Return what went wrong in words, without the password if a server echoes it."""
    said = f"{type(error).__name__}: {error}"
    if password:
        said = said.replace(password, "…")
    return _one_line(said)[:_ERROR_LIMIT]


def _record(results: Sequence[_Result]) -> None:
    with pipeline() as lane, lane.cursor() as cursor:
        for result in results:
            cursor.execute(
                """UPDATE tenants_mail SET status = %(status)s::text, claim_id = NULL,
                    recipients = %(recipients)s, last_error = %(error)s,
                    next_attempt_at = now() + %(pause_s)s * interval '1 s',
                    finished_at = CASE WHEN %(status)s::text <> 'waiting' THEN now() END
                WHERE id = %(id)s AND claim_id = %(claim)s""",
                _row(result),
            )
            if result.error:
                log.warning(
                    "Mail %s was not sent: %s", result.mail.mail_id, result.error
                )


def _row(result: _Result) -> dict[str, Any]:
    pauses = PAUSES_S[result.mail.attempt - 1 :]
    is_over = result.is_final or not pauses
    return {
        "status": ("failed" if is_over else "waiting") if result.error else "sent",
        "recipients": result.recipients if not result.error else [],
        "error": result.error,
        "pause_s": pauses[0] if pauses else 0,
        "id": result.mail.mail_id,
        "claim": result.mail.claim_id,
    }


def forget_mails(*, now: datetime) -> int:
    """Delete ended mails that are past their retention; return how many."""
    with pipeline() as lane:
        # In the order of the primary key, which is that of time.
        return lane.execute(
            """DELETE FROM tenants_mail WHERE status <> 'waiting' AND id IN (
                SELECT id FROM tenants_mail WHERE id < %s ORDER BY id LIMIT %s)""",
            [first_id(now - RETENTION), _FORGET_STEP],
        ).rowcount
