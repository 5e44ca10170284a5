"""The examples for devices, run as they stand in the documentation."""

import hmac
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from conftest import make_tenant
from ingest.services.sources import create_source
from ingest.tests.listening import (
    Running,
    Sender,
    callback,
    new_sender,
    running_listener,
    stored,
)
from tenants import signing
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant

pytestmark = pytest.mark.processes

DEVICES = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "devices"
PAGE = DEVICES.parent / "sign-from-a-device.md"
#: What an example is given: scheme, URL, key, file, id, device.
Arguments = tuple[str, str, str, Path, str, str]
TAKEN = 202

#: Signs with the module for Web Crypto, and posts.
WEB = """
import { readFile } from 'node:fs/promises';
import { webcrypto } from 'node:crypto';
globalThis.crypto ??= webcrypto;
const [module, scheme, url, key, file, id, device] = process.argv.slice(1);
const web = await import(module);
const secret = scheme === 'hub' ? web.hubKey(key) : web.standardKey(key);
const bytes = device ? Uint8Array.from(Buffer.from(key, 'hex')) : secret;
const body = await readFile(file);
const headers = await web[scheme](bytes, body, id);
if (device) headers['X-Device-Id'] = device;
headers['Content-Type'] = 'application/json';
const reply = await fetch(url, { method: 'POST', headers, body });
console.log(await reply.text());
console.log(reply.status);
"""


def needs(*programs: str) -> None:
    """Skip, and say so, where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: this example was not run.")


def output_of(*command: object, given: bytes | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def by_shell(arguments: Arguments, _folder: Path) -> str:
    needs("sh", "curl", "openssl")
    return output_of("sh", DEVICES / "sign.sh", *arguments)


def by_python(arguments: Arguments, _folder: Path) -> str:
    return output_of(sys.executable, DEVICES / "sign.py", *arguments)


def by_node(arguments: Arguments, _folder: Path) -> str:
    needs("node")
    return output_of("node", DEVICES / "sign.mjs", *arguments)


def by_web_crypto(arguments: Arguments, _folder: Path) -> str:
    needs("node")
    module = (DEVICES / "sign-web.mjs").as_uri()
    return output_of("node", "--input-type=module", "-e", WEB, module, *arguments)


def by_c(arguments: Arguments, folder: Path) -> str:
    needs("cc", "curl")
    scheme, url, key, file, *rest = arguments
    program = compiled(folder)
    headers = output_of(program, scheme, key, file, *rest).encode()
    ask = ["curl", "-sS", "-w", "\n%{http_code}\n", "-H", "@-", "--data-binary"]
    return output_of(*ask, f"@{file}", url, given=headers)


def compiled(folder: Path) -> Path:
    """Return the C example as a program."""
    program = folder / "sign"
    probe = folder / "probe.c"
    probe.write_text("#include <mbedtls/md.h>\n")
    found = subprocess.run(
        [str(shutil.which("cc")), "-fsyntax-only", str(probe)],
        capture_output=True,
        check=False,
    )
    if found.returncode != 0:
        pytest.skip("libmbedtls-dev is not installed: the C example was not run.")
    strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
    output_of("cc", *strict, DEVICES / "sign.c", "-o", program, "-lmbedcrypto")
    return program


EXAMPLES: dict[str, Callable[[Arguments, Path], str]] = {
    "shell": by_shell,
    "python": by_python,
    "c": by_c,
    "node": by_node,
    "web crypto": by_web_crypto,
}


@pytest.fixture(scope="module")
def listener(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Running, None, None]:
    """A listener that devices reach."""
    with running_listener(tmp_path_factory.mktemp("examples")) as running:
        yield running


@pytest.fixture(scope="module")
def owner() -> Tenant:
    """The utility whose devices they are."""
    return make_tenant().tenant


def reply_to(printed: str) -> tuple[int, dict[str, str]]:
    """Return status and document of what an example printed last."""
    *document, status = printed.strip().splitlines()
    reply: dict[str, str] = json.loads("".join(document))
    return int(status), reply


@pytest.mark.parametrize("scheme", ["hub", "standard"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken_and_its_bytes_arrive(
    listener: Running, owner: Tenant, tmp_path: Path, example: str, scheme: str
) -> None:
    sender = new_sender(owner, scheme)
    identifier = f"{example.replace(' ', '-')}/{uuid4().hex}"
    file = tmp_path / "body.json"
    # Bytes that a shell, a parser or a line reader would change.
    body = callback(identifier, note="caf\u00e9 $HOME 'x' %s \\n") + b" \r\n\n"
    file.write_bytes(body)
    url = f"http://127.0.0.1:{listener.port}{sender.path}"
    arguments = (scheme, url, sender.secret, file, identifier, "")
    status, reply = reply_to(EXAMPLES[example](arguments, tmp_path))
    assert (status, reply["transaction_id"]) == (TAKEN, identifier)
    assert (identifier, body, "application/json") in stored(owner)


@pytest.mark.parametrize("scheme", ["hub", "standard"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_signs_with_a_devices_own_key(
    listener: Running, owner: Tenant, tmp_path: Path, example: str, scheme: str
) -> None:
    with acting_for(owner):
        source, secret = create_source(
            tenant=owner,
            actor=operator(owner),
            name="meters",
            scheme=scheme,
            device_keys=True,
        )
    key = output_of("sh", DEVICES / "device_key.sh", scheme, secret, "WM-1").strip()
    identifier = uuid4().hex
    file = tmp_path / "body.json"
    file.write_bytes(callback(identifier))
    url = f"http://127.0.0.1:{listener.port}{Sender(source, secret).path}"
    arguments = (scheme, url, key, file, identifier, "WM-1")
    status, reply = reply_to(EXAMPLES[example](arguments, tmp_path))
    assert (status, reply["transaction_id"]) == (TAKEN, identifier)


@pytest.mark.parametrize("scheme", ["hub", "standard"])
def test_a_devices_key_is_what_the_platform_makes_of_it(
    scheme: str,
) -> None:
    needs("sh", "openssl")
    secret = signing.new_secret()
    keys = {"hub": signing.hub_key(secret), "standard": signing.standard_key(secret)}
    printed = output_of("sh", DEVICES / "device_key.sh", scheme, secret, "WM/1 \u00e9")
    named = b"gridhook/device/v1\0" + "WM/1 \u00e9".encode()
    assert printed.strip() == hmac.new(keys[scheme], named, sha256).hexdigest()


def test_the_vector_on_the_page_is_right() -> None:
    key = hmac.new(b"secret", b"gridhook/device/v1\0WM-1", sha256).hexdigest()
    assert f"`{key}`" in PAGE.read_text()


def test_the_page_has_every_example_as_it_is_run() -> None:
    page = PAGE.read_text()
    files = sorted(path for path in DEVICES.iterdir() if path.is_file())
    assert len(files) == 6
    for path in files:
        assert f"```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n" in page


LANGUAGES = {".sh": "sh", ".py": "python", ".c": "c", ".mjs": "js"}


def test_a_wrong_secret_ends_the_python_example_at_once(
    listener: Running, owner: Tenant, tmp_path: Path
) -> None:
    sender = new_sender(owner)
    file = tmp_path / "body.json"
    file.write_bytes(callback())
    url = f"http://127.0.0.1:{listener.port}{sender.path}"
    done = subprocess.run(
        [sys.executable, DEVICES / "sign.py", "hub", url, "wrong", file],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert reply_to(done.stdout.decode())[0] == 401
