"""What a sender cannot use is refused before anything is sent."""

import pytest

from gridhook_client import Client

SECRET = "whsec_ZkqqFwMul4WatUXJCQuzArCDun5GdmYkGqAN/1al6VM="  # noqa: S105 (a key of these tests alone)


@pytest.mark.parametrize(
    ("url", "secret", "scheme", "device"),
    [
        ("ftp://host/", SECRET, "hub", ""), ("http:///x", SECRET, "hub", ""),
        ("http://me@host/", SECRET, "hub", ""), ("http://host:x/", SECRET, "hub", ""),
        ("http://host/é", SECRET, "hub", ""), ("http://host/a b", SECRET, "hub", ""),
        ("http://h/\r\nX: y", SECRET, "hub", ""), ("http://h/#x", SECRET, "hub", ""),
        ("http://host/", "", "hub", ""),
        ("http://host/", "whsec_!", "standard", ""), ("http://h/", SECRET, "md5", ""),
        ("http://host/", SECRET, "hub", "WM-1"), ("http://h/", "00" * 31, "hub", "é"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_at_once(
    url: str, secret: str, scheme: str, device: str
) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        Client(url, secret, scheme, device=device)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("transaction_id", ["", "x" * 256])
def test_a_transaction_id_has_a_length(transaction_id: str) -> None:
    sender = Client("http://127.0.0.1:9/", SECRET)
    with pytest.raises(ValueError, match="1 to 255"):
        sender.send_bytes(transaction_id, b"{}")


def test_a_batch_is_refused_for_its_reply_is_another() -> None:
    sender = Client("http://127.0.0.1:9/", SECRET)
    kind = "application/CloudEvents-batch+json; charset=utf-8"
    with pytest.raises(ValueError, match="one by one"):
        sender.send_bytes("t/1", b"[]", content_type=kind)


@pytest.mark.parametrize("transaction_id", ["é", "a\nb", " a", "a\r\nX: y"])
def test_with_standard_the_id_is_a_header(transaction_id: str) -> None:
    sender = Client("http://127.0.0.1:9/", SECRET, "standard")
    with pytest.raises(ValueError, match="printable ASCII"):
        sender.send_bytes(transaction_id, b"{}")
