"""Mails to admins: written with what they tell of, sent by a real mail server."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from django.db import ProgrammingError, connection, transaction
from django.test import override_settings
from django.utils import timezone

from tenants import mail
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Mail, Role, Tenant
from tenants.services import NewTenant, add_person, forget_expired
from tenants.smtp import SmtpUrlInvalid, parse_smtp_url
from tenants.tasks import send_due_mails
from tests.certificates import self_signed
from tests.processes import free_ports

PASSWORD = "p%ss:w@rd"  # noqa: S105 (of the test's own server)
FROM = "Gridhook <gridhook@utility.example>"


class Inbox:
    """What the server was handed, or the reply with which it refuses."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.refusal = ""

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        self.got.append(envelope)
        return "250 taken"

    def to(self, tenant: Tenant) -> list[EmailMessage | Message]:
        """The mails to one tenant: others' may be on their way too."""
        return [
            message_from_bytes(one.original_content or b"", policy=default)
            for one in self.got
            if any(
                address.endswith(f"@{tenant.slug}.example") for address in one.rcpt_tos
            )
        ]


@contextmanager
def serving(inbox: Inbox, **options: Any) -> Generator[int, None, None]:
    (port,) = free_ports(1)
    controller = Controller(inbox, hostname="localhost", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No mail of another test is due."""
    with pipeline() as lane:
        lane.execute("UPDATE tenants_mail SET next_attempt_at = now() + interval '1 d'")
    with override_settings(MAIL_FROM=FROM):
        yield


def write(tenant: Tenant, subject: str = "It failed", text: str = "A\nB") -> None:
    with pipeline() as lane, lane.cursor() as cursor:
        mail.mail_admins(cursor, tenant_id=tenant.pk, subject=subject, text=text)


def mail_of(tenant: Tenant) -> Mail:
    with acting_for(tenant):
        return Mail.objects.get(tenant=tenant)


def send(url: str) -> bool:
    with override_settings(SMTP_URL=url):
        return mail.send_mails()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SSLContext:
    """A server's certificate of localhost, which this process trusts."""
    certificate, key = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return server_side(certificate, key)


def server_side(certificate: Path, key: Path) -> SSLContext:
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def check_login(
    _: SMTP, __: Session, ___: Envelope, ____: str, data: Any
) -> AuthResult:
    is_right = data == LoginPassword(b"gridhook", PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


def test_a_mail_reaches_the_tenants_admins_and_nobody_else(
    tenant: Tenant, actor: Actor, stranger: NewTenant, trusted: SSLContext
) -> None:
    with acting_for(tenant):
        for name, role in (("second", Role.ADMIN), ("clerk", Role.CLERK)):
            email = f"{name}@{tenant.slug}.example"
            add_person(
                tenant=tenant, actor=actor, email=email, password="x" * 12, role=role
            )
    write(tenant, subject="Störung: 3 endpoints", text="Zähler\nsteht.")
    inbox = Inbox()
    with serving(
        inbox,
        tls_context=trusted,
        require_starttls=True,
        auth_required=True,
        authenticator=check_login,
    ) as port:
        url = f"smtp://gridhook:p%25ss%3Aw%40rd@localhost:{port}?starttls=1"
        assert send(url) is False
    (got,) = inbox.to(tenant)
    people = [f"admin@{tenant.slug}.example", f"second@{tenant.slug}.example"]
    assert inbox.got[0].rcpt_tos == people
    assert (got["Subject"], got["From"]) == ("Störung: 3 endpoints", FROM)
    assert got["Auto-Submitted"] == "auto-generated"
    assert isinstance(got, EmailMessage)
    assert got.get_content().splitlines() == ["Zähler", "steht."]
    kept = mail_of(tenant)
    assert (kept.status, kept.recipients, kept.last_error) == ("sent", people, "")
    assert kept.finished_at is not None
    assert inbox.to(stranger.tenant) == []


def test_smtps_speaks_tls_from_the_first_byte(
    tenant: Tenant, trusted: SSLContext
) -> None:
    write(tenant)
    inbox = Inbox()
    with serving(inbox, ssl_context=trusted) as port:
        send(f"smtps://localhost:{port}")
    assert len(inbox.to(tenant)) == 1


def test_a_server_whose_certificate_is_not_trusted_gets_neither_mail_nor_password(
    tenant: Tenant, tmp_path: Path
) -> None:
    write(tenant)
    inbox = Inbox()
    context = server_side(*self_signed(tmp_path))
    with serving(inbox, tls_context=context, require_starttls=True) as port:
        send(f"smtp://gridhook:secret@localhost:{port}?starttls=1")
    kept = mail_of(tenant)
    assert (inbox.got, kept.status) == ([], "waiting")
    assert "certificate verify failed" in kept.last_error
    assert "secret" not in kept.last_error


def test_a_refused_mail_is_tried_again_under_the_same_id_and_given_up_at_last(
    tenant: Tenant,
) -> None:
    write(tenant)
    inbox = Inbox()
    inbox.refusal = "451 the mailbox of hunter2 is full"
    with serving(inbox) as port:
        url = f"smtp://localhost:{port}"
        for number, pause_s in enumerate(mail.PAUSES_S, start=1):
            send(url)
            kept = mail_of(tenant)
            assert (kept.status, kept.attempt_count) == ("waiting", number)
            assert pause_s - 5 < due_in_s(kept) <= pause_s
            make_due(tenant)
        send(url)
    kept = mail_of(tenant)
    assert (kept.status, kept.attempt_count) == ("failed", len(mail.PAUSES_S) + 1)
    assert "451" in kept.last_error
    assert kept.finished_at is not None


def due_in_s(kept: Mail) -> float:
    with pipeline() as lane:
        row = lane.execute(
            "SELECT extract(epoch FROM %s - now())", [kept.next_attempt_at]
        ).fetchone()
    assert row is not None
    return float(row[0])


def make_due(tenant: Tenant, **columns: Any) -> None:
    with pipeline() as lane:
        lane.execute(
            """UPDATE tenants_mail SET next_attempt_at = now(),
                created_at = created_at - %s WHERE tenant_id = %s""",
            [columns.get("older_by", timedelta()), tenant.pk],
        )


def test_an_answer_that_echoes_the_password_is_kept_without_it(tenant: Tenant) -> None:
    write(tenant)
    inbox = Inbox()
    inbox.refusal = "554 hunter2 may not send here"
    with serving(inbox, auth_require_tls=False, authenticator=accept_all) as port:
        send(f"smtp://gridhook:hunter2@localhost:{port}")
    assert "554" in mail_of(tenant).last_error
    assert "hunter2" not in mail_of(tenant).last_error


def accept_all(*_: Any) -> AuthResult:
    return AuthResult(success=True)


def test_mails_wait_while_there_is_no_server(tenant: Tenant) -> None:
    write(tenant)
    with override_settings(SMTP_URL=""):
        send_due_mails(member_of_a_newer_release=1)
    assert (mail_of(tenant).status, mail_of(tenant).attempt_count) == ("waiting", 0)


def test_a_server_that_is_away_costs_an_attempt_of_each_mail(tenant: Tenant) -> None:
    write(tenant)
    (port,) = free_ports(1)
    send(f"smtp://localhost:{port}")
    kept = mail_of(tenant)
    assert (kept.status, kept.attempt_count) == ("waiting", 1)
    assert "refused" in kept.last_error


def test_a_mail_that_waited_a_week_is_not_sent(tenant: Tenant) -> None:
    write(tenant)
    make_due(tenant, older_by=timedelta(days=7, seconds=1))
    inbox = Inbox()
    with serving(inbox) as port:
        send(f"smtp://localhost:{port}")
    assert (inbox.to(tenant), mail_of(tenant).status) == ([], "failed")


def test_a_tenant_without_admins_is_said_so(tenant: Tenant) -> None:
    with acting_for(tenant), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tenants_membership SET role = 'clerk' WHERE tenant_id = %s",
            [tenant.pk],
        )
    write(tenant)
    inbox = Inbox()
    with serving(inbox) as port:
        send(f"smtp://localhost:{port}")
    kept = mail_of(tenant)
    assert (inbox.got, kept.status) == ([], "failed")
    assert "no admin" in kept.last_error


def test_a_worker_that_comes_back_late_changes_nothing(tenant: Tenant) -> None:
    write(tenant)
    (late,) = mail._claim()
    make_due(tenant)
    (current,) = mail._claim()
    mail._record([mail._Result(current, ["a@b.example"])])
    mail._record([mail._Result(late, [], "it failed")])
    assert (mail_of(tenant).status, mail_of(tenant).last_error) == ("sent", "")


@pytest.mark.parametrize(
    "subject",
    [
        "x\r\nBcc: thief@evil.example",
        "x\nBcc: thief@evil.example\n\nbody",
        "x\u2028y\0",
    ],
)
def test_a_subject_cannot_add_a_header(tenant: Tenant, subject: str) -> None:
    write(tenant, subject=subject, text="\0text\x1b[2J")
    inbox = Inbox()
    with serving(inbox) as port:
        send(f"smtp://localhost:{port}")
    (got,) = inbox.to(tenant)
    assert inbox.got[0].rcpt_tos == [f"admin@{tenant.slug}.example"]
    assert got["Bcc"] is None
    assert got["Subject"].startswith("x")
    assert mail_of(tenant).text == "text[2J"


def test_a_mail_of_an_undone_transaction_never_was(tenant: Tenant) -> None:
    with acting_for(tenant):
        mail.mail_admins(None, tenant_id=tenant.pk, subject="s", text="t")
        assert Mail.objects.filter(tenant=tenant).count() == 1
        transaction.set_rollback(True)
    with acting_for(tenant):
        assert not Mail.objects.filter(tenant=tenant).exists()


def test_another_tenant_sees_no_mail_and_the_console_changes_none(
    tenant: Tenant, stranger: NewTenant
) -> None:
    write(tenant)
    with acting_for(stranger.tenant):
        assert not Mail.objects.exists()
    for verb in ("UPDATE tenants_mail SET status = 'sent'", "DELETE FROM tenants_mail"):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            acting_for(tenant),
            connection.cursor() as cursor,
        ):
            cursor.execute(verb)


def test_ended_mails_are_forgotten_after_90_days_and_waiting_ones_never(
    tenant: Tenant,
) -> None:
    write(tenant, "ended")
    with pipeline() as lane:
        lane.execute(
            "UPDATE tenants_mail SET status = 'sent' WHERE tenant_id = %s", [tenant.pk]
        )
    write(tenant, "waits")
    for days, expected in ((89, {"ended", "waits"}), (91, {"waits"})):
        forget_expired(now=timezone.now() + timedelta(days=days))
        with acting_for(tenant):
            subjects = Mail.objects.filter(tenant=tenant).values_list("subject")
            assert {subject for (subject,) in subjects} == expected


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://u:hunter2@host:99999",
        "smtp://u:hunter2@[::1",
        "smtp://u:hunter2@host/path",
        "smtp://u:hunter2@host?starttls=yes",
        "smtp://u:hunter2@host?tls=1",
        "smtps://u:hunter2@host?starttls=1",
    ],
)
def test_what_names_no_server_is_refused_without_showing_the_password(
    url: str,
) -> None:
    with pytest.raises(SmtpUrlInvalid) as caught:
        parse_smtp_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_ports_are_those_of_the_schemes() -> None:
    assert parse_smtp_url("smtp://host").port == 25
    assert parse_smtp_url("smtps://host").port == 465
    assert parse_smtp_url("smtp://host:587?starttls=1").is_starttls
