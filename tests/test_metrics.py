"""The figures of a listener: a scrape of a real one, and the page that lists them."""

import re
import signal
from collections.abc import Callable, Generator

import psutil
import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ingest.listener import metrics
from ingest.tests.listening import (
    Running,
    Sender,
    callback,
    new_sender,
    running_listener,
)
from tenants.models import Tenant
from tests.processes import ROOT, wait_until

pytestmark = pytest.mark.processes

PAGE = ROOT / "docs" / "reference" / "metrics.md"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """Two workers on one port."""
    with running_listener(tmp_path_factory.mktemp("pair"), workers=2) as running:
        yield running


@pytest.fixture
def sender(tenant: Tenant) -> Sender:
    return new_sender(tenant)


def scraped(running: Running) -> list[Sample]:
    answer = running.ask("/metrics", method="GET")
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return [sample for family in families for sample in family.samples]


def total(samples: list[Sample], name: str, **labels: str) -> float:
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def workers(samples: list[Sample]) -> set[str]:
    name = "process_start_time_seconds"
    return {sample.labels["worker"] for sample in samples if sample.name == name}


def soon(fact: Callable[[], bool]) -> None:
    assert wait_until(fact, timeout_s=15, pause_s=0.1)


def test_a_scrape_shows_what_all_workers_of_the_port_did(
    pair: Running, sender: Sender, tenant: Tenant
) -> None:
    bodies = [callback() for _ in range(20)]
    for body in bodies:
        assert pair.post(sender, body).status == 202
    assert pair.post(sender, bodies[0]).status == 200

    soon(lambda: workers(scraped(pair)) == {"1", "2"})
    soon(lambda: has_all(scraped(pair), tenant, bodies))


def has_all(samples: list[Sample], tenant: Tenant, bodies: list[bytes]) -> bool:
    """Whether the scrape has what was sent; one worker shows it a second later."""
    own = {"tenant": str(tenant.pk)}
    replies = "gridhook_listener_replies_total"
    lookups = "gridhook_listener_source_lookups_total"
    return (
        total(samples, "gridhook_listener_accepted_callbacks_total", **own)
        == len(bodies)
        and total(samples, "gridhook_listener_accepted_bytes_total", **own)
        == sum(map(len, bodies))
        and total(samples, replies, status="202", code="accepted") >= len(bodies)
        and total(samples, replies, status="200", code="duplicate") >= 1
        and total(samples, "gridhook_listener_request_seconds_count") > len(bodies)
        and total(samples, "gridhook_listener_batch_callbacks_sum") >= len(bodies)
        # Each worker looks a source up, and again when it hears that it is new.
        and total(samples, lookups, result="hit") >= len(bodies) - 4
        and total(samples, lookups, result="miss") >= 1
    )


def test_the_backlog_is_what_no_worker_has_finished(
    pair: Running, sender: Sender
) -> None:
    assert pair.post(sender, callback()).status == 202
    soon(lambda: total(scraped(pair), "gridhook_backlog_callbacks") >= 1)
    assert total(scraped(pair), "gridhook_backlog_age_seconds") > 0


def test_a_worker_that_died_is_no_longer_shown_and_the_next_takes_its_number(
    pair: Running,
) -> None:
    soon(lambda: workers(scraped(pair)) == {"1", "2"})
    before = started_at(scraped(pair))
    victim = psutil.Process(pair.process.pid).children()[0]
    victim.send_signal(signal.SIGKILL)
    soon(lambda: len(workers(scraped_or_nothing(pair))) == 1)
    soon(lambda: workers(scraped_or_nothing(pair)) == {"1", "2"})
    assert len(started_at(scraped(pair)) - before) == 1


def started_at(samples: list[Sample]) -> set[float]:
    name = "process_start_time_seconds"
    return {sample.value for sample in samples if sample.name == name}


def scraped_or_nothing(running: Running) -> list[Sample]:
    """What a scrape shows; nothing: it met the worker that was being killed."""
    try:
        return scraped(running)
    except OSError:
        return []


def test_the_page_lists_every_figure_with_its_labels_and_none_besides(
    pair: Running, sender: Sender
) -> None:
    pair.post(sender, callback())
    # Another process than the one that answered may be asked, a moment behind it.
    soon(lambda: total(scraped(pair), "gridhook_listener_replies_total") > 0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(
        pair.ask("/metrics", method="GET").body.decode()
    ):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {key for sample in family.samples for key in sample.labels}
        found[name] = labels - {"worker", "le"}
    listed = {
        name: set(filter(None, (labels or "").split(", ")))
        for name, labels in re.findall(
            r"^\| `(\w+?)(?:\{([\w, ]+)\})?` \|", PAGE.read_text(), re.MULTILINE
        )
    }
    ours = {name: labels for name, labels in found.items() if "gridhook" in name}
    assert listed == ours
    theirs = set(found) - set(ours)
    assert theirs
    assert [name for name in theirs if f"`{name}`" not in PAGE.read_text()] == []


def test_tenants_beyond_the_bound_are_counted_together() -> None:
    tenants = metrics.Tenants()
    for tenant_id in range(metrics.TENANTS_NAMED + 50):
        tenants.count(tenant_id, 300)
        tenants.count(tenant_id, 300)
    callbacks, sizes = tenants.collect()
    assert isinstance(callbacks, CounterMetricFamily)
    counts = {sample.labels["tenant"]: sample.value for sample in callbacks.samples}
    assert len(counts) == metrics.TENANTS_NAMED + 1
    assert counts["0"] == 2
    assert counts[metrics.OTHER] == 100
    assert sum(sample.value for sample in sizes.samples) == 150 * 600


def test_request_times_fall_into_the_bucket_that_prometheus_means() -> None:
    replies = metrics.Replies()
    for seconds in (0.001, 0.0011, 20.0):
        replies.count_time(seconds)
    _, times = replies.collect()
    found = {
        sample.labels.get("le", sample.name): sample.value for sample in times.samples
    }
    assert (found["0.001"], found["0.0025"], found["10.0"]) == (1, 2, 2)
    assert found["+Inf"] == 3


def test_what_workers_left_is_merged_by_family() -> None:
    metrics.count_reply(202, "accepted")
    text = metrics.merged([metrics.exposition(1), metrics.exposition(2)]).decode()
    heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} > {"gridhook_listener_replies"}
    for family in families:
        shown = {sample.labels["worker"] for sample in family.samples}
        assert shown in ({"1", "2"}, set())
