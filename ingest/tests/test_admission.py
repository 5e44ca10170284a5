"""Who may post, over real sockets: addresses, proxies, rates and device keys."""

import hmac
import json
import time
from base64 import b64decode
from collections.abc import Generator
from hashlib import sha256
from typing import Any

import pytest
from django.utils import timezone

from ingest.models import Source
from ingest.services.sources import (
    SourceChanges,
    restore_device,
    revoke_device,
    revoke_previous_secrets,
    rotate_secret,
    set_enabled,
    update_source,
)
from ingest.tests.listening import (
    Answer,
    Running,
    Sender,
    callback,
    new_sender,
    running_listener,
    settle,
    stored,
)
from tenants import signing
from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

pytestmark = pytest.mark.processes

HOME = "127.0.0.1"
ABROAD = "127.0.0.2"
PROXY = "127.0.1.1"
FORWARDED = "X-Forwarded-For"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running, None, None]:
    with running_listener(
        tmp_path_factory.mktemp("gate"),
        workers=2,
        environment={"GRIDHOOK_TRUSTED_PROXIES": "127.0.1.0/24"},
    ) as running:
        yield running


def change(sender: Sender, **changes: Any) -> None:
    with acting_for(sender.source.tenant_id):
        tenant = Tenant.objects.get(pk=sender.source.tenant_id)
        update_source(
            tenant=tenant,
            actor=operator(tenant),
            source=sender.source,
            changes=SourceChanges(**changes),  # type: ignore[typeddict-item]
        )


def post(
    gate: Running, sender: Sender, source_address: str = HOME, **headers: str
) -> Answer:
    body = callback()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gate.ask(
        sender.path,
        body,
        {**sender.hub(body), **named},
        source_address=source_address,
    )


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_only_listed_networks_may_post(gate: Running, sender: Sender) -> None:
    change(sender, allowed_cidrs=["127.0.0.1/32", "2001:db8::/32"])
    assert post(gate, sender).status == 202
    refused(post(gate, sender, ABROAD), 403, "address_not_allowed")
    change(sender, allowed_cidrs=["::ffff:127.0.0.2/128"])
    settle(lambda: post(gate, sender, ABROAD).status == 202)
    settle(lambda: post(gate, sender).status == 403)
    change(sender, allowed_cidrs=[])
    settle(lambda: post(gate, sender).status == 202)


def test_no_header_gets_a_stranger_in(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, allowed_cidrs=["127.0.0.1/32"])
    for name in (
        FORWARDED,
        "X-Real-IP",
        "Forwarded",
        "X-Client-IP",
        "CF-Connecting-IP",
    ):
        for value in (HOME, f"for={HOME}", f"{HOME}, {HOME}", "::ffff:127.0.0.1"):
            headers = {name: value}
            refused(post(gate, sender, ABROAD, **headers), 403, "address_not_allowed")
    assert stored(tenant) == []


def test_a_trusted_proxy_says_who_asks(gate: Running, sender: Sender) -> None:
    change(sender, allowed_cidrs=["127.0.0.1/32"])
    for value, status in (
        (HOME, 202),
        (f"{ABROAD}, {HOME}", 202),
        (f"{HOME}, 127.0.1.9", 202),
        (ABROAD, 403),
        (f"{HOME}, {ABROAD}", 403),
        (f"{HOME}, rubbish", 403),
        ("", 403),
    ):
        answer = post(gate, sender, PROXY, X_Forwarded_For=value)
        assert (value, answer.status) == (value, status)
    assert post(gate, sender, PROXY).status == 403


def test_what_a_client_writes_cannot_hide_what_the_proxy_says(
    gate: Running, sender: Sender
) -> None:
    change(sender, allowed_cidrs=["127.0.0.0/16"])
    settle(lambda: post(gate, sender, PROXY).status == 202)
    # The server shows no line that is not ASCII: it must not look like no line.
    for value in (f"\u00e9, {ABROAD}", "\u00e9"):
        answer = post(gate, sender, PROXY, X_Forwarded_For=value)
        refused(answer, 403, "address_not_allowed")


def test_the_log_names_the_address_that_was_judged(
    gate: Running, sender: Sender
) -> None:
    change(sender, allowed_cidrs=["192.0.2.0/24"])

    def logged(answer: Answer) -> dict[str, Any]:
        asked_for = answer.headers["x-request-id"]

        def lines() -> list[dict[str, Any]]:
            text = gate.output.read_text().splitlines()
            return [json.loads(line) for line in text if asked_for in line]

        settle(lambda: len(lines()) == 1)
        return lines()[0]

    direct = logged(post(gate, sender, ABROAD, X_Forwarded_For="192.0.2.1"))
    proxied = logged(post(gate, sender, PROXY, X_Forwarded_For="203.0.113.5"))
    assert direct["client"].startswith(ABROAD)
    assert proxied["client"] == "203.0.113.5"
    assert (direct["code"], proxied["code"]) == ("address_not_allowed",) * 2


def test_too_many_a_second_are_refused_and_told_when(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, rate_limit_per_s=5)
    settle(lambda: "ratelimit" in post(gate, sender).headers)
    time.sleep(1.1)
    answers = [post(gate, sender) for _ in range(25)]
    accepted = [answer for answer in answers if answer.status == 202]
    others = [answer for answer in answers if answer.status != 202]
    assert 5 <= len(accepted) < 25
    for answer in others:
        refused(answer, 429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["ratelimit"] == '"source";r=0;t=1'
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == '"source";q=5;w=1'
    assert accepted[0].headers["ratelimit"] == '"source";r=4;t=1'


def test_a_tenants_limit_counts_all_its_sources(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    other = new_sender(tenant)
    with acting_for(tenant):
        Tenant.objects.filter(pk=tenant.pk).update(rate_limit_per_s=3)
    statuses = [post(gate, one).status for _ in range(4) for one in (sender, other)]
    assert statuses.count(202) < 7
    answer = post(gate, sender)
    assert answer.headers["ratelimit-policy"] == '"tenant";q=3;w=1'


def test_no_limit_tells_that_a_disabled_source_is_there(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, allowed_cidrs=["192.0.2.0/24"], rate_limit_per_s=1)
    with acting_for(tenant):
        set_enabled(
            tenant=tenant,
            actor=operator(tenant),
            source=sender.source,
            enabled=False,
        )
    nobody = Sender(Source(), sender.secret)
    for _ in range(5):
        answers = [post(gate, one) for one in (sender, nobody)]
        for answer in answers:
            refused(answer, 401, "signature_invalid")
        assert answers[0].body == answers[1].body
        assert answers[0].headers.keys() == answers[1].headers.keys()


def derived(sender: Sender, device: str) -> bytes:
    """Return a device's key, made by nothing of the product."""
    key = sender.secret.encode()
    if sender.source.scheme == "standard":
        key = b64decode(sender.secret.removeprefix("whsec_"))
    return hmac.new(key, b"gridhook/device/v1\0" + device.encode(), sha256).digest()


def hub(gate: Running, sender: Sender, key: bytes, *names: str, **members: Any) -> int:
    """Post by the hub scheme, signed by this key, with these names of a device."""
    body = callback(**members)
    lines = [f"X-Device-Id: {name}\r\n" for name in names]
    answer = gate.raw(
        (
            f"POST {sender.path} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Hub-Signature-256: sha256={hmac.new(key, body, sha256).hexdigest()}\r\n"
            f"{''.join(lines)}\r\n"
        ).encode()
        + body
    )
    if answer.status == 401:
        refused(answer, 401, "signature_invalid")
    return answer.status


def signed_by(tenant: Tenant) -> set[str | None]:
    with pipeline() as lane:
        rows = lane.execute(
            "SELECT signed_by FROM ingest_callbackbody WHERE tenant_id = %s",
            [tenant.pk],
        ).fetchall()
    return {name for (name,) in rows}


def test_each_device_signs_with_its_own_key(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, device_keys=True)
    for device, header in (
        ("WM-1", "WM-1"),
        ("WM 1/\u00e9%", "WM 1/%C3%A9%25"),
        ("WM 1/\u00e9%", "%57M%201%2F%c3%a9%25"),
        ("x" * 255, "x" * 255),
    ):
        assert hub(gate, sender, derived(sender, device), header, device=device) == 202
    assert signed_by(tenant) == {"WM-1", "WM 1/\u00e9%", "x" * 255}


def test_a_doubt_about_the_device_is_a_wrong_signature(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, device_keys=True)
    key, own = derived(sender, "WM-1"), sender.secret.encode()
    assert hub(gate, sender, key, "WM-1") == 202
    for used, names in (
        (own, ("WM-1",)),
        (own, ()),
        (key, ()),
        (key, ("WM-2",)),
        (key, ("wm-1",)),
        (key, ("WM-1", "WM-1")),
        (key, ("WM-1, WM-1",)),
        (key, ("WM-1\u00e9",)),
        (derived(sender, ""), ("",)),
        (derived(sender, "x" * 256), ("x" * 256,)),
        (derived(sender, "a%"), ("a%",)),
        (derived(sender, "a\0"), ("a%00",)),
        (derived(sender, "a%zz"), ("a%zz",)),
        (derived(sender, "\u00e9"), ("%E9",)),
        (key.hex().encode(), ("WM-1",)),
    ):
        assert hub(gate, sender, used, *names) == 401
    assert len(stored(tenant)) == 1


def test_a_device_key_signs_by_standard_webhooks(
    gate: Running, tenant: Tenant, standard: Sender
) -> None:
    change(standard, device_keys=True)
    body, now = b'{"device": "WM-1", "readings": []}', int(time.time())
    for key, status in ((derived(standard, "WM-1"), 202), (b"x", 401)):
        headers = {
            "webhook-id": "m1",
            "webhook-timestamp": str(now),
            "webhook-signature": signing.sign_standard(key, "m1", now, body),
            "X-Device-Id": "WM-1",
            "Content-Type": "application/json",
        }
        assert gate.ask(standard.path, body, headers).status == status
    assert signed_by(tenant) == {"WM-1"}


def test_without_device_keys_the_header_means_nothing(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    assert post(gate, sender, X_Device_Id="%%%").status == 202
    assert signed_by(tenant) == {None}


def test_one_device_is_revoked_alone_and_restored(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, device_keys=True)
    whom: dict[str, Any] = {
        "tenant": tenant,
        "actor": operator(tenant),
        "source": sender.source,
        "device": "WM-1",
    }
    first, second = derived(sender, "WM-1"), derived(sender, "WM-2")
    assert hub(gate, sender, first, "WM-1") == 202
    with acting_for(tenant):
        revoke_device(**whom, now=timezone.now())
    settle(lambda: {hub(gate, sender, first, "WM-1") for _ in range(4)} == {401})
    assert hub(gate, sender, second, "WM-2") == 202
    with acting_for(tenant):
        restore_device(**whom)
    settle(lambda: {hub(gate, sender, first, "WM-1") for _ in range(4)} == {202})


def test_in_an_overlap_two_keys_of_a_device_are_good_until_it_is_ended(
    gate: Running, tenant: Tenant, sender: Sender
) -> None:
    change(sender, device_keys=True)
    whom: dict[str, Any] = {
        "tenant": tenant,
        "actor": operator(tenant),
        "source": sender.source,
    }
    old = derived(sender, "WM-1")
    assert hub(gate, sender, old, "WM-1") == 202
    with acting_for(tenant):
        secret = rotate_secret(**whom, overlap_s=60, now=timezone.now())
    new = derived(Sender(sender.source, secret), "WM-1")
    settle(lambda: hub(gate, sender, new, "WM-1") == 202)
    assert hub(gate, sender, old, "WM-1") == 202
    with acting_for(tenant):
        revoke_previous_secrets(**whom)
    settle(lambda: {hub(gate, sender, old, "WM-1") for _ in range(4)} == {401})
    assert hub(gate, sender, new, "WM-1") == 202
