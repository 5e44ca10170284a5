"""JSON as RFC 8259 has it, alone and inside a callback that is in order (R38)."""

import json
from typing import NoReturn

import pytest

from ingest.listener.replies import Reply
from ingest.models import CallbackState
from ingest.processing.batch import process_batch
from ingest.tests.listening import Sender, callback, stored
from tenants.database import pipeline
from tenants.models import Tenant
from tests.hostile.inprocess import Wire, signed
from tests.hostile.json_cases import MAY_TAKE, MUST_REFUSE, MUST_TAKE

STATES = "SELECT transaction_id, state FROM ingest_callback WHERE tenant_id = %s"


def pasted(name: str, text: bytes) -> bytes:
    """Return a callback with the text as the value of a member nobody knows."""
    return callback(name, payload="@").replace(b'"@"', text)


def told(wire: Wire, sender: Sender, bodies: dict[str, bytes]) -> dict[str, Reply]:
    """Return the reply to each body."""
    replies = wire.ask_all(signed(sender, body) for body in bodies.values())
    return dict(zip(bodies, replies, strict=True))


def names_with(replies: dict[str, Reply], *statuses: int) -> set[str]:
    return {name for name, reply in replies.items() if reply.status in statuses}


def test_there_are_cases_enough() -> None:
    texts = [*MUST_TAKE.values(), *MUST_REFUSE.values(), *MAY_TAKE.values()]
    assert len(texts) >= 240
    assert len(set(texts)) == len(texts)


def test_pythons_own_parser_agrees_with_the_table() -> None:
    """The table is not the listener's own opinion."""
    refused = {name for name, text in MUST_REFUSE.items() if not is_json(text)}
    taken = {name for name, text in MUST_TAKE.items() if is_json(text)}
    assert refused == set(MUST_REFUSE)
    assert taken == set(MUST_TAKE)


def is_json(text: bytes) -> bool:
    try:
        json.loads(text.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def refuse(text: str) -> NoReturn:
    raise ValueError(text)


def test_no_text_alone_is_a_callback(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    for cases in (MUST_TAKE, MUST_REFUSE, MAY_TAKE):
        replies = told(wire, sender, cases)
        assert names_with(replies, 400) == set(cases)
    assert stored(tenant) == []


def test_what_is_valid_inside_a_callback_is_kept_byte_for_byte_and_worked_off(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    bodies = {name: pasted(name, text) for name, text in MUST_TAKE.items()}
    replies = told(wire, sender, bodies)
    assert names_with(replies, 202) == set(bodies)
    assert {row[0]: bytes(row[1]) for row in stored(tenant)} == bodies
    assert states_after_work(tenant).keys() == bodies.keys()


def test_what_is_invalid_inside_a_callback_is_refused_and_nothing_is_stored(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    bodies = {name: pasted(name, text) for name, text in MUST_REFUSE.items()}
    replies = told(wire, sender, bodies)
    assert names_with(replies, 400) == set(bodies)
    assert {reply.code for reply in replies.values()} == {"malformed_json"}
    assert stored(tenant) == []


def test_what_may_be_either_is_worked_off_once_it_was_taken(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    bodies = {name: pasted(name, text) for name, text in MAY_TAKE.items()}
    replies = told(wire, sender, bodies)
    assert names_with(replies, 202, 400) == set(bodies)
    assert states_after_work(tenant).keys() == names_with(replies, 202)


@pytest.mark.parametrize("member", ["transaction_id", "device", "readings"])
def test_no_text_in_a_member_that_counts_brings_more_than_a_refusal(
    wire: Wire, tenant: Tenant, sender: Sender, member: str
) -> None:
    for cases in (MUST_TAKE, MUST_REFUSE, MAY_TAKE):
        bodies = {name: replaced(name, member, text) for name, text in cases.items()}
        replies = told(wire, sender, bodies)
        # A number of cases name one id: as "transaction_id" they are the same callback.
        assert names_with(replies, 200, 202, 400, 409) == set(cases)
        if cases is MUST_REFUSE:
            assert names_with(replies, 400) == set(cases)
    states_after_work(tenant)


def replaced(name: str, member: str, text: bytes) -> bytes:
    """Return a callback whose member has the text as its value."""
    document = json.loads(callback(f"{name}/{member}")) | {member: "@"}
    return json.dumps(document).encode().replace(b'"@"', text)


def states_after_work(tenant: Tenant) -> dict[str, int]:
    """Have everything settled; return the states by id, each of them final."""
    while process_batch(500).callbacks:
        pass
    with pipeline() as lane:
        states = dict(lane.execute(STATES, [tenant.pk]).fetchall())
    assert CallbackState.ACCEPTED not in states.values()
    return states
