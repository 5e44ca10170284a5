"""Callbacks in the console: found, read, and decided about when they were set aside."""

from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import reverse

from ingest.bodies import SHOWN_BYTES
from ingest.models import Callback, CallbackState, Source
from ingest.services import callbacks as services
from ingest.services.sources import create_source
from ingest.tests.accepting import Inlet
from ingest.tests.setting_aside import rejection, set_aside, state
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.identifiers import public_id
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

LISTING = "admin:ingest_callbackrejection_changelist"
REPROCESS = "admin:ingest_callbackrejection_reprocess_many"
DISCARD = "admin:ingest_callbackrejection_discard_many"


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


@pytest.fixture
def source(tenant: Tenant, actor: Actor) -> Source:
    with acting_for(tenant):
        made, _ = create_source(tenant=tenant, actor=actor, name="North", scheme="hub")
    return made


def page_of(callback_id: UUID) -> str:
    return reverse("admin:ingest_callbackrejection_change", args=[callback_id])


def do(browser: Client, callback_id: UUID, button: str) -> Any:
    address = reverse("admin:ingest_callbackrejection_do", args=[callback_id, button])
    return browser.post(address, follow=True)


def shown(browser: Client, query: str = "") -> str:
    return browser.get(reverse(LISTING) + query).content.decode()


def context(page: Any) -> dict[str, Any]:
    found: dict[str, Any] = page.context_data
    return found


def answer(page: Any, **more: Any) -> dict[str, Any]:
    """Return what the page's form sends."""
    form = context(page)["form"]
    values = {field.html_name: field.value() for field in form}
    return {name: "" if v is None else v for name, v in {**values, **more}.items()}


def test_a_callback_is_found_by_transaction_id_and_by_receipt(
    browser: Client, source: Source
) -> None:
    wanted, other = set_aside(source), set_aside(source)
    for listing in (reverse("admin:ingest_callback_changelist"), reverse(LISTING)):
        for term in (f"north/{wanted}", f"rcp_{wanted.hex}"):
            found = browser.get(listing, {"q": term}).content.decode()
            assert f"north/{wanted}" in found
            assert f"north/{other}" not in found


def test_a_text_that_cannot_be_stored_is_no_filter(browser: Client) -> None:
    assert browser.get(reverse(LISTING) + "?code=%00").status_code == 400
    assert browser.get(reverse(REPROCESS) + "?code=%00").status_code == 404


def test_a_long_body_is_shown_in_part(browser: Client, source: Source) -> None:
    found = set_aside(source, body=b"x" * (SHOWN_BYTES + 1))
    page = browser.get(reverse("admin:ingest_callback_change", args=[found]))
    text = page.content.decode()
    assert "x" * SHOWN_BYTES in text
    assert "x" * (SHOWN_BYTES + 1) not in text
    assert "its beginning" in text


def test_a_body_is_shown_indented_and_none_of_it_is_markup(
    browser: Client, source: Source
) -> None:
    found = set_aside(source, body=b'{"device":"<script>alert(1)</script>","n":1.10}')
    text = browser.get(page_of(found)).content.decode()
    assert "<script>alert(1)" not in text
    assert "&quot;n&quot;: 1.10" in text
    assert "<script>alert(1)" not in shown(browser)


def test_bytes_that_are_no_text_are_shown_as_hex(
    browser: Client, source: Source
) -> None:
    found = set_aside(source, body=b"\x00\xffmeter")
    assert "00 ff 6d 65 74 65 72" in browser.get(page_of(found)).content.decode()


def test_the_whole_body_is_a_file_of_its_bytes_and_the_trail_says_who_took_it(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    body = b"<html>" + bytes(range(256)) * 300
    found = set_aside(source, body=body)
    file = browser.get(reverse("admin:ingest_callback_body", args=[found]))
    assert file.content == body
    assert file["Content-Type"] == "application/octet-stream"
    assert file["X-Content-Type-Options"] == "nosniff"
    assert file["Content-Disposition"].startswith("attachment; filename=")
    with acting_for(tenant):
        entry = AuditEntry.objects.get(action="callback.body_downloaded")
    assert entry.subject == public_id("rcp", found)
    assert entry.actor.startswith("admin")


def test_a_body_that_is_gone_is_no_file(browser: Client, source: Source) -> None:
    found = set_aside(source, body=None)
    address = reverse("admin:ingest_callback_body", args=[found])
    assert "The body is gone" in browser.get(address, follow=True).content.decode()


def test_others_take_no_body(
    tenant: Tenant, stranger: NewTenant, source: Source
) -> None:
    address = reverse("admin:ingest_callback_body", args=[set_aside(source)])
    assert visitor(stranger.tenant).get(address).status_code == 404
    assert visitor(tenant, Role.CLERK).get(address).status_code == 403
    assert visitor(tenant, Role.AUDITOR).get(address).status_code == 200


def test_the_summary_counts_what_waits_by_reason(
    browser: Client, source: Source
) -> None:
    for code in ("device_unknown", "device_unknown", "processing_failed"):
        set_aside(source, code=code)
    page = browser.get(reverse(LISTING))
    assert [
        (row["code"], row["count"], row["percent"]) for row in context(page)["summary"]
    ] == [("device_unknown", "2", 100), ("processing_failed", "1", 50)]
    text = page.content.decode()
    assert "approve the device" in text
    assert 'id="rejected-summary"' not in shown(browser, "?status=discarded")


def test_the_list_is_narrowed_by_decision_reason_and_source(
    browser: Client, tenant: Tenant, actor: Actor, source: Source
) -> None:
    with acting_for(tenant):
        south, _ = create_source(tenant=tenant, actor=actor, name="S", scheme="hub")
    first = set_aside(source, code="device_unknown")
    second = set_aside(south)
    third = set_aside(source)
    browser.post(
        reverse("admin:ingest_callbackrejection_discard", args=[third]),
        {"reason": "a test bench"},
    )
    for query, expected in (
        ("", {first, second}),
        ("?status=discarded", {third}),
        ("?status=all", {first, second, third}),
        ("?code=device_unknown", {first}),
        (f"?source={south.public_id}", {second}),
        ("?source=src_nonsense", set()),
        (f"?status=all&source={source.public_id}&code=unit_unknown", {third}),
    ):
        text = shown(browser, query)
        found = {one for one in (first, second, third) if f"north/{one}" in text}
        assert found == expected, query


def test_the_list_names_the_device_that_signed_or_that_the_body_names(
    browser: Client, source: Source
) -> None:
    set_aside(source, body=b'{"device": "WM-17", "readings": [{"device": "WM-18"}]}')
    set_aside(source, body=b"garbage", signed_by="GM-4")
    set_aside(source, body=b"garbage")
    text = shown(browser)
    assert "WM-17, WM-18" in text
    assert "GM-4" in text


def test_nothing_set_aside_says_what_that_means(browser: Client) -> None:
    assert "Nothing waits for a decision" in shown(browser)


def test_errors_say_which_reading_why_and_what_to_do(
    browser: Client, lane: Inlet
) -> None:
    row = lane.settle([{"at": "never"}, {"at": "2016-01-01T00:00:00Z"}])
    text = browser.get(page_of(row.id)).content.decode()
    assert "at is absent, malformed, or has no offset" in text
    assert "correct the sender, discard this" in text
    assert bytes(row.digest).hex() in text


def test_a_poisoned_callback_says_what_became_of_its_workers(
    browser: Client, source: Source, tenant: Tenant
) -> None:
    found = set_aside(source, code="processing_failed", detail="WorkerLost")
    with acting_for(tenant):
        errors = [{"index": None, "code": "processing_failed", "detail": "WorkerLost"}]
        Callback.objects.filter(pk=found).update(errors=errors)
    text = browser.get(page_of(found)).content.decode()
    assert "Three workers were lost" in text
    assert "the body is kept" in text


def test_one_is_processed_again(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    first, second = set_aside(source), set_aside(source)
    reply = do(browser, first, "reprocess")
    assert reply.redirect_chain[-1][0].endswith(f"/callback/{first}/change/")
    assert "Put back into the queue" in reply.content.decode()
    assert state(tenant, first) == CallbackState.ACCEPTED
    assert state(tenant, second) == CallbackState.REJECTED


def test_a_discard_needs_a_reason_stays_and_is_undone(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    found = set_aside(source)
    form = reverse("admin:ingest_callbackrejection_discard", args=[found])
    assert "This field is required" in browser.post(form, {}).content.decode()
    browser.post(form, {"reason": "a test bench"})
    kept = rejection(tenant, found)
    assert kept is not None
    assert kept.discarded_at is not None
    assert kept.discard_reason == "a test bench"
    text = browser.get(page_of(found)).content.decode()
    assert "Discarded: a test bench" in text
    assert "Process again" not in text
    do(browser, found, "reopen")
    opened = rejection(tenant, found)
    assert opened is not None
    assert (opened.discarded_at, opened.discard_reason) == (None, None)
    with acting_for(tenant):
        actions = AuditEntry.objects.filter(subject=public_id("rcp", found))
        assert [one.action for one in actions.order_by("id")] == [
            "callback.discarded",
            "callback.reopened",
        ]


def test_those_of_a_reason_are_processed_again_after_a_question(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    wanted = [set_aside(source, code="device_unknown") for _ in range(2)]
    other = set_aside(source)
    address = reverse(REPROCESS) + "?code=device_unknown"
    page = browser.get(address)
    assert context(page)["total"] == "2"
    assert {state(tenant, one) for one in wanted} == {CallbackState.REJECTED}
    done = browser.post(address, answer(page), follow=True)
    assert "2 callbacks put back into the queue." in done.content.decode()
    assert {state(tenant, one) for one in wanted} == {CallbackState.ACCEPTED}
    assert state(tenant, other) == CallbackState.REJECTED


@pytest.mark.parametrize("address", [REPROCESS, DISCARD])
def test_many_are_decided_step_by_step_and_progress_is_shown(
    browser: Client,
    tenant: Tenant,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    monkeypatch.setattr(services, "STEP", 2)
    ids = [set_aside(source) for _ in range(4)]
    gone = set_aside(source, body=None)
    reply = browser.get(reverse(address))
    reason = {"reason": "a test bench"} if address == DISCARD else {}
    reply = browser.post(reverse(address), answer(reply, **reason))
    assert context(reply)["done"].startswith("2 of 5 ")
    # Whoever leaves here has decided about two; whoever stays is asked nothing more.
    left = [one for one in ids if rejection(tenant, one)]
    assert len(left) == (2 if address == REPROCESS else 4)
    reply = browser.post(reverse(address), answer(reply))
    assert context(reply)["done"].startswith("4 of 5 ")
    reply = browser.post(reverse(address), answer(reply), follow=True)
    if address == REPROCESS:
        assert "4 callbacks put back" in reply.content.decode()
        assert "1 left as they were" in reply.content.decode()
        assert rejection(tenant, gone) is not None
    else:
        assert "5 callbacks discarded" in reply.content.decode()
    with acting_for(tenant):
        steps = AuditEntry.objects.filter(action__startswith="rejections.")
        assert [one.detail["count"] for one in steps.order_by("id")] == (
            [2, 2] if address == REPROCESS else [2, 2, 1]
        )


def test_ticked_ones_are_asked_about_and_decided(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    first, second, third = (set_aside(source) for _ in range(3))
    for name, ids, address in (
        ("reprocess_ticked", [first], REPROCESS),
        ("discard_ticked", [second], DISCARD),
    ):
        asked = {"action": name, "_selected_action": [str(one) for one in ids]}
        page = browser.post(reverse(LISTING), asked, follow=True)
        where = page.redirect_chain[-1][0]
        assert where.startswith(reverse(address))
        browser.post(where, answer(page, reason="a test bench"))
    assert state(tenant, first) == CallbackState.ACCEPTED
    discarded, untouched = rejection(tenant, second), rejection(tenant, third)
    assert discarded is not None
    assert discarded.discarded_at is not None
    assert untouched is not None
    assert untouched.discarded_at is None


@pytest.mark.parametrize("query", ["ids=x", "source=x", "ids=1,2"])
def test_an_address_that_names_nothing_is_not_found(
    browser: Client, query: str
) -> None:
    assert browser.get(f"{reverse(REPROCESS)}?{query}").status_code == 404


def test_others_decide_nothing_here(
    tenant: Tenant, stranger: NewTenant, source: Source
) -> None:
    found = set_aside(source)
    sent = {"after": "", "done": "0", "left": "0", "total": "1", "reason": "x"}
    for address in (REPROCESS, DISCARD):
        for query in ("", f"?ids={found.hex}", "?code=unit_unknown"):
            page = reverse(address) + query
            for role in (Role.AUDITOR, Role.CLERK):
                visit = visitor(tenant, role)
                assert visit.get(page).status_code == 403
                assert visit.post(page, sent).status_code == 403
            visitor(stranger.tenant).post(page, sent)
    ticked = {"action": "reprocess_ticked", "_selected_action": [str(found)]}
    auditor = visitor(tenant, Role.AUDITOR)
    assert auditor.post(reverse(LISTING), ticked).status_code != 302
    assert "reprocess" not in auditor.get(reverse(LISTING)).content.decode()
    kept = rejection(tenant, found)
    assert kept is not None
    assert kept.discarded_at is None
    assert state(tenant, found) == CallbackState.REJECTED


def test_a_step_without_its_numbers_is_refused(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    found = set_aside(source)
    reply = browser.post(reverse(REPROCESS), {"after": "x", "done": "-1"})
    assert reply.status_code == 200
    assert state(tenant, found) == CallbackState.REJECTED
