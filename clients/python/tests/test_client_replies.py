"""What is made of any reply at all."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from gridhook_client import Refused, SendFailed
from gridhook_client.replies import receipt_of
from gridhook_client.sending import retry_after

DAY_S = 86_400
DOCUMENTS = st.dictionaries(st.text(), st.text()).map(json.dumps).map(str.encode)


def kind_of(status: int, body: bytes) -> str:
    """Return what the sender is told."""
    try:
        return receipt_of(status, body, "t/1").status
    except Refused:
        return "refused"
    except SendFailed:
        return "undecided"


@given(status=st.integers(200, 599), body=st.binary() | DOCUMENTS)
def test_any_reply_at_all_is_one_of_the_errors_and_no_receipt(
    status: int, body: bytes
) -> None:
    is_refused = 400 <= status < 500 and status not in {408, 429}
    assert kind_of(status, body) == ("refused" if is_refused else "undecided")


@given(text=st.text())
def test_no_retry_after_raises(text: str) -> None:
    assert 0 <= retry_after(text) <= DAY_S


def test_retry_after_is_seconds_or_a_date_and_nothing_else() -> None:
    soon = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < retry_after(soon) <= 90
    assert retry_after("120") == 120
    for text in ("86401", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"):
        assert retry_after(text) == DAY_S
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    for text in ("", "soon", "-5", "1.5", "\u0661", past, "Mon, 99 Foo 2001", "0"):
        assert retry_after(text) == 0
