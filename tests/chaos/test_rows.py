"""The rows in their short form, one after the other on one platform."""

import random
import secrets
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.chaos.__main__ import cells
from tests.chaos.rows import ROWS
from tests.chaos.site import Site, opened
from tests.chaos.staging import Stage

pytestmark = pytest.mark.processes

RATE = 100.0


@pytest.fixture(scope="module")
def site() -> Generator[Site]:
    with opened() as site:
        yield site


Broken = list[str]


@pytest.fixture
def broken(site: Site, tmp_path: Path) -> Callable[[str], Broken]:
    """What did not hold in a row."""

    def run(name: str) -> Broken:
        row = ROWS[name]
        if row.missing:
            pytest.skip(f"{name} needs {row.missing}")
        seed = secrets.randbits(32)
        print(f"SEED={seed}")
        site.await_whole()
        luck = random.Random(f"{seed}/{name}")  # noqa: S311 (no secret)
        report = row.run(Stage(site, tmp_path, row.short_s, RATE, luck))
        print(cells(row, report), report.figures)
        return report.broken

    return run


Row = Callable[[str], Broken]


def test_killing_either_listener_loses_nothing_and_is_not_seen(broken: Row) -> None:
    assert broken("R01") == []


def test_killing_the_database_loses_nothing(broken: Row) -> None:
    assert broken("R02") == []


def test_nothing_is_acknowledged_before_its_flush(broken: Row) -> None:
    assert broken("R03") == []


def test_a_failed_flush_is_not_acknowledged_and_its_retry_decided(broken: Row) -> None:
    assert broken("R04") == []


def test_a_full_disk_is_503_until_there_is_room(broken: Row) -> None:
    assert broken("R05") == []


def test_a_frozen_database_costs_an_answer_in_time_and_nothing_else(
    broken: Row,
) -> None:
    assert broken("R06") == []


def test_64_clients_at_once_make_one_row_of_each_callback(broken: Row) -> None:
    assert broken("R07") == []


def test_an_id_is_bytes_of_one_source_and_its_first_body_stays(broken: Row) -> None:
    assert broken("R08") == []


def test_an_id_is_known_after_its_body_is_dropped(broken: Row) -> None:
    assert broken("R09") == []


def test_what_a_sender_did_not_hear_is_decided_by_its_retry(broken: Row) -> None:
    assert broken("R10") == []


def test_a_listener_killed_ten_times_is_started_an_eleventh(broken: Row) -> None:
    assert broken("R11a") == []


def test_listeners_restarted_in_turn_refuse_nobody(broken: Row) -> None:
    assert broken("R11b") == []


def test_without_a_broker_callbacks_are_taken_as_fast(broken: Row) -> None:
    assert broken("R12") == []


def test_an_emptied_broker_leaves_no_work_undone(broken: Row) -> None:
    assert broken("R13") == []


def test_no_reply_waits_for_a_broker_that_hangs(broken: Row) -> None:
    assert broken("R14") == []


def test_killed_workers_leave_every_effect_once(broken: Row) -> None:
    assert broken("R16") == []


def test_a_bell_that_dies_with_its_worker_is_made_up_for(broken: Row) -> None:
    assert broken("R17") == []


def test_a_worker_stopped_in_its_batch_holds_up_nobody_else(broken: Row) -> None:
    assert broken("R18a") == []


def test_results_that_come_after_the_lease_are_refused(broken: Row) -> None:
    assert broken("R18b") == []


def test_a_message_given_twice_has_one_effect(broken: Row) -> None:
    assert broken("R19") == []


def test_callbacks_that_ruin_their_worker_are_set_aside(broken: Row) -> None:
    assert broken("R20a") == []


def test_a_database_lost_at_any_statement_costs_a_clean_retry(broken: Row) -> None:
    assert broken("R20b") == []


def test_leases_do_not_mind_wrong_clocks(broken: Row) -> None:
    assert broken("R22") == []


def test_bad_receivers_and_a_dying_deliverer_lose_no_message(broken: Row) -> None:
    assert broken("R24a") == []


def test_a_deliverer_killed_mid_post_leaves_every_message_arrived(broken: Row) -> None:
    assert broken("R24b") == []
