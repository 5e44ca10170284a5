"""What is kept for a time only."""

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from tenants.database import acting_for, pipeline
from tenants.models import IdempotentReply, Tenant
from tenants.services import NewTenant


def keep_reply(tenant: Tenant, key: str, *, age: timedelta) -> None:
    with acting_for(tenant):
        IdempotentReply.objects.create(
            tenant=tenant,
            key=key,
            request_digest=b"x",
            created_at=timezone.now() - age,
        )


def kept(tenant: Tenant) -> list[str]:
    with acting_for(tenant):
        return list(IdempotentReply.objects.values_list("key", flat=True))


def test_replies_are_forgotten_after_a_day_in_every_tenant(
    tenant: Tenant, stranger: NewTenant
) -> None:
    for one in (tenant, stranger.tenant):
        keep_reply(one, "old", age=timedelta(hours=24, seconds=1))
        keep_reply(one, "young", age=timedelta(hours=23, minutes=59))
    call_command("maintain", stdout=StringIO())
    assert kept(tenant) == kept(stranger.tenant) == ["young"]


def test_ended_sessions_are_deleted() -> None:
    sessions = [SessionStore(), SessionStore()]
    for session, age_s in zip(sessions, (-1, 60), strict=True):
        session.set_expiry(timezone.now() + timedelta(seconds=age_s))
        session.create()
    call_command("maintain", stdout=StringIO())
    ended, open_one = (
        Session.objects.filter(session_key=session.session_key).exists()
        for session in sessions
    )
    assert (ended, open_one) == (False, True)


def test_the_pipeline_reads_no_kept_reply() -> None:
    with pytest.raises(InsufficientPrivilege), pipeline() as lane:
        lane.execute("SELECT sealed_body FROM tenants_idempotentreply")
