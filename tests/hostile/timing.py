"""
`python -m tests.hostile.timing`: does the time of a refusal tell what was wrong?

Two kinds of wrong signatures are verified in turn, in random order, 100,000 of each,
in five rounds; the slowest tenth of both is dropped (the machine did something else),
and the middle round's Welch's t is printed. |t| < 4.5: nothing is told. The control
compares digit by digit. Exit 0 when every pair stays below it and the control does not.
"""

import hmac
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from math import sqrt
from time import perf_counter_ns
from typing import NamedTuple

from tenants import signing

THRESHOLD = 4.5
SAMPLES = 100_000
#: What a place in memory or a busy machine does to one round, it does not do to most.
ROUNDS = 5
SEED = 32
_KEY = b"k" * 50
_BODY = b"x" * 360
_KEPT = 0.9
_COPIES = 256
Verify = Callable[[str], bool]
#: A verifier, and the header it is shown.
Kind = tuple[Verify, str]


class Result(NamedTuple):
    """Welch's t of two kinds, and their medians."""

    t: float
    first_ns: float
    second_ns: float


def _wrong_at(place: int) -> str:
    digits = hmac.digest(_KEY, _BODY, "sha256").hex()
    other = "0" if digits[place] != "0" else "1"
    return "sha256=" + digits[:place] + other + digits[place:][1:]


def _hub(key: bytes, header: str) -> Kind:
    return lambda given: signing.verify_hub([key], given, _BODY), header


def _standard(signature: str) -> Kind:
    def verify(given: str) -> bool:
        return signing.verify_standard(
            [_KEY],
            message_id="m",
            timestamp="1000",
            header=given,
            body=_BODY,
            now_s=1000.0,
        )

    return verify, signature


def _base64_wrong_at(place: int) -> str:
    good = signing.sign_standard(_KEY, "m", 1000, _BODY)
    other = "A" if good[place] != "A" else "B"
    return good[:place] + other + good[place + 1 :]


def _ordinary(header: str) -> Kind:
    """Return the negative control: a comparison that ends at the first difference."""
    expected = hmac.digest(_KEY, _BODY, "sha256").hex()

    def verify(given: str) -> bool:
        pairs = zip(expected, given[7:], strict=True)
        return all(one == other for one, other in pairs)

    return verify, header


#: The two kinds of each pair.
PAIRS: dict[str, tuple[Kind, Kind]] = {
    "hub: first digit, last digit": (
        _hub(_KEY, _wrong_at(0)),
        _hub(_KEY, _wrong_at(63)),
    ),
    "hub: wrong key, stand-in for an unknown source": (
        _hub(b"o" * 50, _wrong_at(0)),
        _hub(b"d" * 32, _wrong_at(0)),
    ),
    "standard: first letter, last letter": (
        _standard(_base64_wrong_at(3)),
        _standard(_base64_wrong_at(45)),
    ),
}
CONTROL = (_ordinary(_wrong_at(0)), _ordinary(_wrong_at(63)))


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Welch's t of two samples."""
    spread = statistics.variance(first) / len(first)
    spread += statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / sqrt(spread)


def compare(pair: str, *, samples: int) -> Result:
    """Measure a pair."""
    return _compare(PAIRS[pair], samples)


def _compare(pair: tuple[Kind, Kind], samples: int) -> Result:
    """Return the middle one of several rounds, by t."""
    rounds = [_round(pair, samples // ROUNDS, SEED + n) for n in range(ROUNDS)]
    return sorted(rounds)[ROUNDS // 2]


def _round(pair: tuple[Kind, Kind], samples: int, seed: int) -> Result:
    chance = random.Random(seed)  # noqa: S311 (a seed, no secret)
    order = [0] * samples + [1] * samples
    chance.shuffle(order)
    copies = [[_copy(header) for _, header in pair] for _ in range(_COPIES)]
    taken: tuple[list[int], list[int]] = [], []
    for kind in order:
        verify, header = pair[kind][0], chance.choice(copies)[kind]
        started_at = perf_counter_ns()
        verify(header)
        taken[kind].append(perf_counter_ns() - started_at)
    first, second = map(_without_the_slowest, taken)
    medians = statistics.median(first), statistics.median(second)
    return Result(welch(first, second), *medians)


def _copy(header: str) -> str:
    """Return an equal text at another place in memory, which has a speed of its own."""
    return header[:1] + header[1:]


def _without_the_slowest(samples: list[int]) -> list[float]:
    return [float(one) for one in sorted(samples)[: int(len(samples) * _KEPT)]]


def main() -> int:
    """Print a line for each pair and for the control."""
    results = {name: _compare(pair, SAMPLES) for name, pair in PAIRS.items()}
    control = _compare(CONTROL, SAMPLES)
    for name, result in {**results, "control, ends at the first": control}.items():
        sys.stdout.write(
            f"{name:50} t = {result.t:8.2f}, "
            f"medians {result.first_ns:.0f} and {result.second_ns:.0f} ns\n"
        )
    holds = all(abs(result.t) < THRESHOLD for result in results.values())
    return 0 if holds and abs(control.t) > THRESHOLD else 1


if __name__ == "__main__":
    sys.exit(main())
