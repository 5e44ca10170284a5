"""The wheel: built, installed apart, and its page's examples run with it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest

import gridhook_client
from gridhook_client.sending import USER_AGENT
from ingest.tests.listening import new_sender, running_listener, stored
from subscriptions.models import Delivery, Endpoint
from subscriptions.services.consenting import ask_consent
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.endpoints import create_endpoint, send_test
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.identifiers import created_at
from tenants.models import Tenant
from tests.processes import free_ports, listens, wait_until

pytestmark = pytest.mark.processes

CLIENT = Path(__file__).resolve().parent.parent
ROOT = CLIENT.parent.parent
PAGE = (CLIENT / "README.md").read_text()
SEND, RECEIVE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
#: The versions that the package says it runs on.
NAMED = re.findall(r"Python :: (3\.\d+)", (CLIENT / "pyproject.toml").read_text())
VERIFY = """
import time
from gridhook_client import Verifier, challenge_answer, made_at, signatures
name = "msg_" + "01" * 16
body = (b'{"id":"%s","type":"endpoint.test","timestamp":"2026-11-23T18:21:00.123456Z",'
        b'"tenant":"acme","data":{"value":0.10753}}' % name.encode())
signed = signatures.standard_headers(b"key", name, int(time.time()), body)
message = Verifier(["whsec_a2V5"]).verify(signed, body)
assert made_at(name).year > 1970 and challenge_answer("hub.mode=subscribe") is None
print(message.data["value"])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has the wheel installed, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy: building must leave nothing in the tree.
    source = shutil.copytree(CLIENT, folder / "source")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    pip("install", "--no-index", "--target", folder / "site", wheel)
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    version = gridhook_client.__version__
    assert wheel.name == f"gridhook_client-{version}-py3-none-any.whl"
    assert wheel.name in PAGE
    assert f"gridhook-client/{version}" == USER_AGENT
    assert "gridhook_client/py.typed" in names
    assert f"gridhook_client-{version}.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if "test" in name]
    return folder / "site"


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [*command, *map(str, arguments), "--no-deps"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def alone(installed: Path, **environment: object) -> dict[str, str]:
    """Return an environment with the wheel alone: -S keeps the project's venv out."""
    named = {name: str(value) for name, value in environment.items()}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), **named}


def run(
    installed: Path, code: str, python: str = sys.executable, **environment: object
) -> str:
    done = subprocess.run(
        [python, "-S", "-W", "error", "-c", code],
        env=alone(installed, **environment),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_for_senders_is_taken_by_a_real_listener(
    installed: Path, tenant: Tenant, tmp_path: Path
) -> None:
    sender = new_sender(tenant)
    with running_listener(tmp_path) as listener:
        url = f"http://127.0.0.1:{listener.port}{sender.path}"
        options = {"SOURCE_URL": url, "SOURCE_SECRET": sender.secret}
        first = run(installed, SEND, **options).split()
        second = run(installed, SEND, **options).split()
        wrong = run(installed, SEND, **options | {"SOURCE_SECRET": "whsec_AAAA"})
    assert first[0] == "accepted"
    assert second == ["duplicate", first[1]]
    assert wrong.startswith("refused: 401 signature_invalid")
    ((identifier, body, _),) = stored(tenant)
    assert identifier == "head-end-7/000123"
    assert b'"value":"0.10753"' in body


def pythons() -> list[str]:
    """Return those of the named versions that are installed here."""
    found = []
    for version in NAMED:
        path = shutil.which(f"python{version}") or ""
        # Of a version manager's own command only a try tells whether it is there.
        if path and subprocess.run([path, "-c", ""], check=False).returncode == 0:
            found.append(path)
    return found


def test_every_python_that_is_named_and_here_sends_and_verifies(
    installed: Path, tenant: Tenant, tmp_path: Path
) -> None:
    sender = new_sender(tenant)
    here = pythons() or [sys.executable]
    with running_listener(tmp_path) as listener:
        url = f"http://127.0.0.1:{listener.port}{sender.path}"
        options = {"SOURCE_URL": url, "SOURCE_SECRET": sender.secret}
        said = [run(installed, SEND, python, **options).split() for python in here]
    assert [one[0] for one in said] == ["accepted", *["duplicate"] * (len(said) - 1)]
    for python in here:
        assert run(installed, VERIFY, python) == "0.10753\n"


@contextmanager
def subscriber(installed: Path, secret: str) -> Generator[tuple[int, Path]]:
    """Run the page's receiver; yield its port and what it prints."""
    (port,) = free_ports(1)
    output = installed.parent / f"received-{port}"
    with output.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-S", "-c", RECEIVE],
            env=alone(installed, ENDPOINT_SECRETS=secret, PORT=port),
            cwd="/",
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
    try:
        assert wait_until(lambda: listens(port), timeout_s=20, pause_s=0.05)
        yield port, output
    finally:
        server.kill()
        server.wait(10)


def test_the_example_for_receivers_takes_what_the_platform_sends(
    installed: Path, tenant: Tenant, actor: Actor
) -> None:
    with acting_for(tenant):
        endpoint, secret = create_endpoint(
            tenant=tenant, actor=actor, url="http://127.0.0.1:1/", event_types=["*"]
        )
    with subscriber(installed, secret) as (port, output):
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(
                url=f"http://127.0.0.1:{port}/"
            )
        ask_consent()
        with acting_for(tenant):
            delivery = send_test(
                tenant=tenant,
                actor=actor,
                endpoint=endpoint,
                now=created_at(endpoint.pk),
            )
        deliver()
        with acting_for(tenant):
            sent = Delivery.objects.select_related("message").get(pk=delivery.pk)
    assert sent.status == "delivered"
    assert sent.last_status_code == 204
    assert f"endpoint.test {sent.message.public_id}" in output.read_text()


def test_the_licence_is_the_projects() -> None:
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_works_without_the_library_for_public_keys(installed: Path) -> None:
    code = "from gridhook_client import Verifier; Verifier(public_keys=['whpk_AAAA'])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=alone(installed),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: Public keys need gridhook-client[ed25519]" in done.stderr
