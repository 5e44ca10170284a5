"""What a receiver repeats of a request is kept without its secrets."""

import json
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings

from subscriptions.batches import Verdict
from subscriptions.masking import MASK, forms_of, hidden, hidden_bytes
from subscriptions.models import Attempt
from subscriptions.sealing import Sealer
from subscriptions.services.delivering.claims import Claimed
from subscriptions.tests.delivering import (
    attempts,
    claimed_of,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_endpoint,
)
from tenants.models import Tenant

URL = "http://127.0.0.1:9/hook"
VALUE = "Basic dXNlcjpw/YXNz"
TOKEN = "tok-123456"  # noqa: S105 (nobody's)


def a_claim(tenant: Tenant) -> Claimed:
    endpoint, _ = make_endpoint(tenant, URL)
    sealer = Sealer(tenant.pk, endpoint.pk)
    set_endpoint(
        endpoint,
        sealed_headers=sealer.headers({"X-Api-Key": VALUE}),
        sealed_oauth2_token=sealer.oauth2_token(TOKEN),
    )
    publish_to(tenant)
    (claimed,) = claimed_of(tenant)
    # By the time that somebody looks, other secrets are in force.
    set_endpoint(endpoint, sealed_headers=b"", sealed_oauth2_token=b"")
    return claimed


def kept(tenant: Tenant, claimed: Claimed, came: Any, **fields: Any) -> Attempt:
    record_all([claimed], came, **fields)
    (attempt,) = attempts(tenant)
    return attempt


def test_what_an_answer_repeats_is_not_kept(tenant: Tenant) -> None:
    echo = {"key": VALUE, "user": VALUE.split()[1], "auth": f"Bearer {TOKEN}"}
    came = outcome(
        500,
        body=json.dumps(echo).encode() + b"\xff",
        head=f"HTTP/1.1 500 No\nX-Echo: {VALUE}, {TOKEN}",
    )
    attempt = kept(tenant, a_claim(tenant), came)
    masked = json.dumps(
        {"key": MASK, "user": MASK, "auth": f"Bearer {MASK}"}, ensure_ascii=False
    )
    assert bytes(attempt.response_excerpt) == masked.encode() + b"\xff"
    assert attempt.response_headers == f"HTTP/1.1 500 No\nX-Echo: {MASK}, {MASK}"
    assert attempt.error_detail == "The server answered 500."


def test_what_is_said_of_one_of_a_batch_is_kept_without_them(tenant: Tenant) -> None:
    attempt = kept(
        tenant,
        a_claim(tenant),
        outcome(200),
        batch_id=UUID(int=7),
        item=Verdict(401, f"{TOKEN} has expired"),
    )
    assert (attempt.status_code, attempt.error) == (401, "http_error")
    assert attempt.error_detail == f"{MASK} has expired"


def test_a_secret_that_the_bound_cuts_off_is_not_kept(tenant: Tenant) -> None:
    most = settings.RESPONSE_EXCERPT_BYTES
    came = outcome(500, body=b"x" * (most - 8) + TOKEN.encode())
    excerpt = bytes(kept(tenant, a_claim(tenant), came).response_excerpt)
    assert TOKEN[:4].encode() not in excerpt
    assert len(excerpt) <= most


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing of it", "nothing of it"),
        (r'{"a": "say \"friend\" twice"}', f'{{"a": "{MASK}"}}'),
        (r"a\/secret\/path", MASK),
        ("a/secret/path a/secret/pa", f"{MASK} {MASK}"),
        ("say not, frie", "say not, frie"),
        ("no way a/sec", f"no way {MASK}"),
    ],
)
def test_a_form_of_a_secret_is_hidden(text: str, expected: str) -> None:
    assert hidden(text, forms_of(['say "friend" twice', "a/secret/path"])) == expected


def test_without_secrets_everything_stays() -> None:
    assert forms_of(["", "abc"]) == ()
    assert hidden("abc", ()) == "abc"
    assert hidden_bytes(b"\xff\x00abc", ()) == b"\xff\x00abc"
