"""What may be dialled, and which URLs are taken."""

from ipaddress import ip_address, ip_network

import pytest

from subscriptions.http.addresses import _DENIED_V4, UrlInvalid, check_url, is_allowed

FORBIDDEN = [
    "0.0.0.0",  # noqa: S104 (judged, not bound)
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "192.175.48.1",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3ffe::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::5efe:7f00:1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
]

ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "3ffd::1",
    "3fff:1000::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_address_that_is_no_host_of_the_internet_is_refused(address: str) -> None:
    assert not is_allowed(ip_address(address))


@pytest.mark.parametrize("address", ALLOWED)
def test_address_of_the_internet_is_allowed(address: str) -> None:
    assert is_allowed(ip_address(address))


@pytest.mark.parametrize("cidr", _DENIED_V4)
def test_denied_range_is_denied_in_every_embedding(cidr: str) -> None:
    network = ip_network(cidr)
    for edge in (network.network_address, network.broadcast_address):
        assert not is_allowed(edge)
        for prefix in ("::ffff:", "64:ff9b::", "::"):
            assert not is_allowed(ip_address(f"{prefix}{edge}")), prefix


def test_operators_exception_opens_a_range_and_no_more() -> None:
    exceptions = ["127.0.0.0/8", "::1/128", "10.1.0.0/16"]
    for opened in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"):
        assert is_allowed(ip_address(opened), exceptions)
    for closed in ("10.2.0.1", "192.168.0.1", "::2"):
        assert not is_allowed(ip_address(closed), exceptions)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.1"),
        *("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "64:ff9b::a9fe:a9fe"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254"),
        *("fd00:42::42", "fe80::a9fe:a9fe", "224.0.0.1", "255.255.255.255"),
        *("fd00:c1::a9fe:a9fe", "fd00:a9fe:a9fe::1", "2002:a9fe:a9fe::1"),
        *("2001:0:a9fe:a9fe::", "2606:4700::5efe:a9fe:a9fe", "fd01::200:5efe:7f00:1"),
        *("64:ff9b:1::a9fe:a9fe", "::ffff:0:a9fe:a9fe", "fd01:64::169.254.169.254"),
        *("::", "ff02::1", "0.0.0.0"),  # noqa: S104 (judged, not bound)
    ],
)
def test_no_exception_opens_metadata_or_this_host(address: str) -> None:
    assert not is_allowed(ip_address(address), ["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize(
    "url",
    [
        "https://subscriber.example",
        "https://subscriber.example/",
        "https://Subscriber.EXAMPLE:8443/a/b%20c?d=e&f=g//@:",
        "https://subscriber.example?x=1",
        "https://xn--bcher-kva.example/",
        "https://a_b.example./x",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]:443/hook",
        "HTTPS://subscriber.example/",
    ],
)
def test_plain_https_url_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "begins with https://"),
        ("subscriber.example", "begins with https://"),
        ("ftp://subscriber.example/", "begins with https://"),
        ("file:///etc/passwd", "begins with https://"),
        ("gopher://subscriber.example:70/_x", "begins with https://"),
        ("http://subscriber.example/", "begins with https://"),
        ("http://1.1.1.1/", "begins with https://"),
        ("https://", "RFC 3986"),
        ("https:///path", "RFC 3986"),
        ("https:/subscriber.example/", "begins with https://"),
        ("https://user@subscriber.example/", "no user name"),
        ("https://user:pass@subscriber.example/", "no user name"),
        ("https://1.1.1.1@127.0.0.1/", "no user name"),
        ("https://subscriber.example/#fragment", "no fragment"),
        ("https://subscriber.example#@127.0.0.1/", "no "),
        ("https://subscriber.example\\@127.0.0.1/", "no user name"),
        ("https://subscriber.example/a b", "RFC 3986"),
        (" https://subscriber.example/", "begins with https://"),
        ("https://subscriber.example/\n", "RFC 3986"),
        ("https://subscriber.example/\r\nX: y", "RFC 3986"),
        ("https://subscriber.example/\x00", "RFC 3986"),
        ("https://subscriber.example:0/", "from 1 to 65535"),
        ("https://subscriber.example:65536/", "from 1 to 65535"),
        ("https://subscriber.example:99999999999/", "RFC 3986"),
        ("https://subscriber.example:/", "RFC 3986"),
        ("https://-a.example/", "RFC 3986"),
        ("https://a..example/", "RFC 3986"),
        ("https://%31%32%37.0.0.1/", "RFC 3986"),
        ("https://bücher.example/", "xn--"),
        ("https://①②⑦.0.0.1/", "ASCII"),
        ("https://127。0。0。1/", "ASCII"),
        ("https://\u212afc.example/", "ASCII"),
        ("https://127.0.0.1/", "may not point to 127.0.0.1"),
        ("https://[::1]/", "may not point to ::1"),
        ("https://[::1%25lo]/", "RFC 3986"),
        ("https://[::ffff:127.0.0.1]/", "may not point"),
        ("https://[::ffff:7f00:1]/", "may not point"),
        ("https://[64:ff9b::a9fe:a9fe]/", "may not point"),
        ("https://[1::2::3]/", "usual form"),
        ("https://localhost/", "may not point to 127.0.0.1"),
        ("https://LOCALHOST./", "may not point to 127.0.0.1"),
        ("https://hook.localhost/", "may not point to 127.0.0.1"),
        ("https://169.254.169.254/latest/meta-data/", "may not point"),
        ("https://2130706433/", "usual form"),
        ("https://0x7f000001/", "usual form"),
        ("https://0x7f.1/", "usual form"),
        ("https://0177.0.0.1/", "usual form"),
        ("https://127.1/", "usual form"),
        ("https://127.0.0.1./", "usual form"),
        ("https://1.1.1.256/", "usual form"),
        ("https://a.example.0x1/", "usual form"),
        ("https://subscriber.example/" + "x" * 2048, "2048 characters"),
        ("https://" + ".".join(["a" * 60] * 5) + "/", "too long"),
    ],
)
def test_other_url_is_refused_with_a_reason(url: str, words: str) -> None:
    with pytest.raises(UrlInvalid) as refused:
        check_url(url)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9000/", "http://localhost:9000/", "https://127.0.0.1/"],
)
def test_operators_exception_admits_plain_http_there(url: str) -> None:
    check_url(url, exceptions=["127.0.0.0/8"])
    with pytest.raises(UrlInvalid):
        check_url("http://subscriber.example/", exceptions=["127.0.0.0/8"])
