"""The listener facing the network itself: TLS 1.3 and HTTP/2."""

import json
import socket
import ssl
from io import BytesIO
from pathlib import Path

import pycurl
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from ingest.listener import command
from ingest.tests.listening import Running, Sender, callback, running_listener, stored
from tenants.models import Tenant
from tests.certificates import self_signed

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_a_key_in_another_form_is_refused_with_what_to_do(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    old_form = PrivateFormat.TraditionalOpenSSL
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, old_form, NoEncryption()
        )
    )
    for path, says in ((key, "openssl pkcs8"), (tmp_path / "none", "No such file")):
        with (
            override_settings(TLS_CERT="cert.pem", TLS_KEY=str(path)),
            pytest.raises(ImproperlyConfigured, match=says),
        ):
            command(1)


def test_it_speaks_http_2_over_tls_1_3_and_nothing_older(
    tmp_path: Path, certificate: tuple[Path, Path], tenant: Tenant, sender: Sender
) -> None:
    cert, key = map(str, certificate)
    body = callback("over-h2")
    with (
        override_settings(TLS_CERT=cert, TLS_KEY=key),
        running_listener(tmp_path) as running,
    ):
        version, status, answer = over_curl(running, sender, body, cert)
        assert (version, status) == (pycurl.CURL_HTTP_VERSION_2_0, 202)
        assert json.loads(answer)["status"] == "accepted"
        old = ssl.create_default_context(cafile=cert)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", running.port), 10) as link,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(link, server_hostname="localhost")
    assert [row[0] for row in stored(tenant)] == ["over-h2"]


def over_curl(
    running: Running, sender: Sender, body: bytes, cert: str
) -> tuple[int, int, bytes]:
    curl = pycurl.Curl()
    answer = BytesIO()
    curl.setopt(pycurl.URL, f"https://localhost:{running.port}{sender.path}")
    curl.setopt(pycurl.RESOLVE, [f"localhost:{running.port}:127.0.0.1"])
    curl.setopt(pycurl.CAINFO, cert)
    curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_3)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    curl.setopt(pycurl.POSTFIELDS, body)
    curl.setopt(
        pycurl.HTTPHEADER,
        [f"{name}: {value}" for name, value in sender.hub(body).items()],
    )
    curl.setopt(pycurl.WRITEDATA, answer)
    curl.setopt(pycurl.TIMEOUT, 20)
    curl.perform()
    found = curl.getinfo(pycurl.INFO_HTTP_VERSION), curl.getinfo(pycurl.RESPONSE_CODE)
    curl.close()
    return (*found, answer.getvalue())
