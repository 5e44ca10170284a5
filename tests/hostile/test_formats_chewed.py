"""Every format, given what chance makes of all formats' fixtures."""

from tests.hostile.chewing import KINDS, chew, seeds
from tests.hostile.mutation import Chance

SEED = 8428
EACH = 10_000


def test_no_bytes_bring_a_format_down() -> None:
    chance = Chance(SEED, [])
    bodies = seeds()
    for kind in KINDS:
        for number in range(EACH):
            chew(kind, chance.mutated(bodies[number % len(bodies)]))


def test_no_odd_values_bring_a_format_down() -> None:
    chance = Chance(SEED, [])
    bodies = seeds()
    taken = sum(
        chew(kind, chance.odd(bodies[number % len(bodies)]))
        for kind in KINDS
        for number in range(EACH)
    )
    # Enough of them reach the parsers, or this would show nothing.
    assert taken > EACH // 2


def test_the_fixtures_are_taken_as_what_they_are() -> None:
    for kind in KINDS:
        assert any(chew(kind, body) for body in seeds())
