"""
A load generator that speaks what libcurl does: TLS 1.3 and HTTP/2, or clear HTTP/1.1.

Closed loop over a few connections with many streams each. Slower than `bench.load`, so
it compares the two ways with each other. `python -m bench.tls_load '{json}'` prints one
JSON object.
"""

import json
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO

import pycurl

from bench.bodies import SHAPES, Bodies, signature

_CONNECTIONS = 4
_WAIT_S = 0.1


@dataclass(frozen=True)
class Plan:
    """What to send where, how long."""

    url: str
    secret: str
    run: str
    seconds: float
    #: Requests on their way at once.
    streams: int
    first: int = 0
    #: The listener's certificate, for https.
    certificate: str = ""


@dataclass
class Result:
    """What came of it."""

    sent: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    #: HTTP versions seen, by libcurl's number: 2 is 1.1, 3 is 2.
    versions: Counter[str] = field(default_factory=Counter)
    per_second: float = 0.0
    cpu_s: float = 0.0


class Load:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._key = plan.secret.encode()
        self._bodies = Bodies(
            SHAPES["small"], run=plan.run, devices=1000, first=plan.first
        )
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        if plan.certificate:
            self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, _CONNECTIONS)
        self.result = Result()

    def run(self) -> Result:
        """Send until the time is over."""
        started_s = time.perf_counter()
        ends_s = started_s + self._plan.seconds
        for _ in range(self._plan.streams):
            self._send(self._new())
        busy = self._plan.streams
        while busy:
            self._multi.perform()
            for handle in self._finished():
                if time.perf_counter() < ends_s:
                    self._send(handle)
                else:
                    busy -= 1
            self._multi.select(_WAIT_S)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        took_s = time.perf_counter() - started_s
        self.result.per_second = round(self.result.replies["202"] / took_s, 1)
        self.result.cpu_s = round(usage.ru_utime + usage.ru_stime, 3)
        return self.result

    def _new(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.URL, self._plan.url)
        handle.setopt(pycurl.POST, 1)
        handle.setopt(pycurl.PIPEWAIT, 1)
        if self._plan.certificate:
            handle.setopt(pycurl.CAINFO, self._plan.certificate)
            handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        return handle

    def _send(self, handle: pycurl.Curl) -> None:
        body = self._bodies.next()
        handle.setopt(pycurl.POSTFIELDS, body)
        handle.setopt(
            pycurl.HTTPHEADER,
            [
                "Content-Type: application/json",
                f"X-Hub-Signature-256: {signature(self._key, body).decode()}",
            ],
        )
        handle.setopt(pycurl.WRITEDATA, BytesIO())
        self.result.sent += 1
        self._multi.add_handle(handle)

    def _finished(self) -> list[pycurl.Curl]:
        _, succeeded, failed = self._multi.info_read()
        for handle in succeeded:
            self.result.replies[str(handle.getinfo(pycurl.RESPONSE_CODE))] += 1
            self.result.versions[str(handle.getinfo(pycurl.INFO_HTTP_VERSION))] += 1
        for handle, _, words in failed:
            self.result.replies[f"broken: {words}"] += 1
            succeeded.append(handle)
        for handle in succeeded:
            self._multi.remove_handle(handle)
        return succeeded


def main() -> None:
    """Run the plan of the first argument."""
    plan = Plan(**json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(vars(Load(plan).run())) + "\n")


if __name__ == "__main__":
    main()
