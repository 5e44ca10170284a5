"""Journeys of an admin who hears that nothing arrives, in a real browser."""

import json
from collections.abc import Generator
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from subscriptions.tests.receivers import Received, Receiver, Reply, receiving
from tests.browser.people import PATIENCE_MS, Console

pytestmark = [pytest.mark.browser, pytest.mark.processes]
DOWN = Reply(503, b"<b id='injected'>down for repairs</b>", {"Set-Cookie": "sid=abc"})


class Subscriber:
    """A receiver that consents, and answers messages as it is told."""

    def __init__(self) -> None:
        self.answer = DOWN
        self.receiver: Receiver

    def __call__(self, received: Received) -> Reply:
        if received.method == "OPTIONS":
            return Reply(200, headers={"WebHook-Allowed-Origin": "*"})
        return self.answer


@pytest.fixture(scope="module")
def subscriber() -> Generator[Subscriber]:
    """The subscriber of the whole module."""
    told = Subscriber()
    with receiving(told) as receiver:
        told.receiver = receiver
        yield told


@pytest.fixture(scope="module")
def endpoint_page(console: Console, subscriber: Subscriber) -> str:
    """The path of the page of an endpoint that has consented."""
    wanted = {"url": subscriber.receiver.url, "event_types": ["*"]}
    api = console.platform.api
    status, made = api(console.api_key, "POST", "/endpoints/", wanted)
    assert status == 201, made
    with console.signed_in(console.admin) as page:
        page.goto(console.address("/admin/subscriptions/endpoint/"))
        page.locator("#result_list").get_by_role("link").first.click()
        expect(page.locator("#status")).to_have_text("Active", timeout=PATIENCE_MS)
        return page.url


def last_body(subscriber: Subscriber) -> Received:
    return subscriber.receiver.posts()[-1]


def send_test(page: Page) -> None:
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("A test is on its way")).to_be_visible()


def newest(page: Page, status: str) -> None:
    """Wait until the newest delivery of the log stands so."""
    row = page.locator("#delivery-log tbody tr").first
    expect(row).to_have_attribute("data-status", status, timeout=PATIENCE_MS)


def test_why_nothing_arrives_is_read_and_mended(
    console: Console, subscriber: Subscriber, endpoint_page: str
) -> None:
    subscriber.answer = DOWN
    with console.signed_in(console.admin) as page:
        page.goto(endpoint_page)
        send_test(page)
        newest(page, "dead")
        expect(page.locator("[data-tile='given up'] b")).to_have_text("1")
        expect(page.locator("#last-error")).to_contain_text("503")
        expect(page.locator("canvas[data-chart='attempts-series']")).to_be_visible()
        expect(page.locator("canvas[data-chart='latency-series']")).to_be_visible()
        a_marked_text_is_left_alone(page)

        page.get_by_role("link", name="Undelivered").click()
        dead = page.locator("#dead tbody tr")
        expect(dead).to_contain_text("503: The receiver is not available")
        dead.get_by_role("link", name="1", exact=True).click()
        page.get_by_role("link", name="endpoint.test").first.click()
        read_why(page)

        subscriber.answer = Reply(204)
        page.get_by_role("link", name="Undelivered").click()
        page.locator("#dead").get_by_role("link", name="Recover").click()
        page.get_by_role("button", name="Recover").click()
        expect(page.locator("#redeliveries")).to_contain_text("1 of 1, completed")
        newest(page, "delivered")
        page.get_by_role("link", name="Undelivered").click()
        expect(page.locator("#all-well")).to_be_visible()


def a_marked_text_is_left_alone(page: Page) -> None:
    """Mark a reason, as for copying it: the page does not renew itself meanwhile."""
    renews = """document.getElementById('live').dispatchEvent(
        new CustomEvent('htmx:beforeRequest', {bubbles: true, cancelable: true}))"""
    assert page.evaluate(renews)
    page.evaluate("getSelection().selectAllChildren(document.getElementById('health'))")
    assert not page.evaluate(renews)
    page.evaluate("getSelection().removeAllRanges()")


def read_why(page: Page) -> None:
    """Read a delivery's story, its attempts, and what the last one was answered."""
    expect(page.locator("#story")).to_contain_text("Refused 3 times, given up")
    attempts = page.locator("#timeline [data-kind='attempt']")
    expect(attempts).to_have_count(3)
    attempts.last.get_by_text("Request and answer").click()
    exchange = attempts.last.locator("details")
    expect(exchange).to_contain_text("webhook-signature: v1,•••")
    expect(exchange).to_contain_text("HTTP/1.1 503")
    expect(exchange).to_contain_text("<b id='injected'>down for repairs</b>")
    expect(exchange).not_to_contain_text("sid=abc")
    expect(page.locator("#injected")).to_have_count(0)


def test_a_window_holds_messages_until_it_is_ended(
    console: Console, subscriber: Subscriber, endpoint_page: str
) -> None:
    subscriber.answer = Reply(204)
    with console.signed_in(console.admin) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(endpoint_page)
        page.get_by_role("link", name="Plan a window").click()
        start = datetime.fromisoformat(page.get_by_label("From").input_value())
        # The form offers the next full hour; an hour before it has passed: it is now.
        begun = start - timedelta(hours=2)
        page.get_by_label("From").fill(f"{begun:%Y-%m-%dT%H:%M}")
        page.get_by_label("Reason").fill("new racks")
        page.get_by_role("button", name="Plan it").click()
        expect(page.locator("#hindrances")).to_contain_text(
            "A maintenance window is on"
        )
        posts = len(subscriber.receiver.posts())
        send_test(page)
        newest(page, "pending")
        page.get_by_role("button", name="End now").click()
        newest(page, "delivered")
        expect(page.locator("#windows")).to_contain_text("None is planned")
        assert len(subscriber.receiver.posts()) == posts + 1


def test_settings_and_credentials_change_what_arrives(
    console: Console, subscriber: Subscriber, endpoint_page: str
) -> None:
    subscriber.answer = Reply(204)
    with console.signed_in(console.admin) as page:
        page.goto(endpoint_page)
        page.locator("#settings").get_by_role("link", name="Change").click()
        page.get_by_label("Payload").select_option("thin")
        page.get_by_label("Description").fill("the new portal")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#settings")).to_contain_text("Ids alone")
        page.get_by_role("link", name="Credentials").click()
        page.get_by_label("Headers", exact=True).fill("X-Api-Key: open sesame")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#settings")).to_contain_text("X-Api-Key: •••")
        assert "open sesame" not in page.content()
        send_test(page)
        newest(page, "delivered")
    received = last_body(subscriber)
    assert received.headers["x-api-key"] == "open sesame"
    assert "url" in json.loads(received.body)["data"]
    assert "note" not in json.loads(received.body)["data"]
