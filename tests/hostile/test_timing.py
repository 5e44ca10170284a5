"""
Signatures are compared in constant time (R32).

The short form is the rule that a linter does not know: a tag is only ever compared by
`hmac.compare_digest`, on bytes. `python -m tests.hostile.timing` measures the rest.
"""

import ast
from pathlib import Path

import pytest

from tests.hostile.timing import PAIRS, THRESHOLD, compare, welch

ROOT = Path(__file__).resolve().parent.parent.parent
#: What is computed from a key, by the functions that compute it.
_MAKERS = {"digest", "hexdigest", "b64encode", "sign_hub", "sign_standard", "hex"}
_NAMES = {"expected", "signature", "tag", "digest", "mac", "given", "digits"}


def comparisons(path: Path) -> list[str]:
    """Return where a file compares something like a tag with an operator."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and isinstance(
            node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn
        ):
            sides = [node.left, *node.comparators]
            if any(map(is_tag, sides)):
                found.append(f"{path.name}:{node.lineno}")
    return found


def is_tag(node: ast.expr) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        return node.id in _NAMES
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _MAKERS
    )


def test_tags_are_only_compared_in_constant_time() -> None:
    modules = [
        ROOT / "tenants" / "signing.py",
        ROOT / "ingest" / "listener" / "admission.py",
        ROOT / "ingest" / "listener" / "sources.py",
        ROOT / "subscriptions" / "sample_subscriber.py",
        ROOT / "clients" / "python" / "src" / "gridhook_client" / "signatures.py",
    ]
    assert [line for path in modules for line in comparisons(path)] == []
    assert "hmac.compare_digest(" in modules[0].read_text()


def test_the_rule_sees_an_ordinary_comparison(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("expected == b\nhmac.digest(k, b, 'sha256') != d\ntag[:9] == d\n")
    assert comparisons(wrong) == ["wrong.py:1", "wrong.py:2", "wrong.py:3"]


def test_welch_tells_two_speeds_apart() -> None:
    fast = [100.0 + n % 7 for n in range(2_000)]
    slow = [sample + 1 for sample in fast]
    assert abs(welch(fast, slow)) > THRESHOLD
    assert abs(welch(fast, list(reversed(fast)))) < THRESHOLD


@pytest.mark.parametrize("pair", PAIRS)
def test_a_wrong_signature_takes_as_long_wherever_it_is_wrong(pair: str) -> None:
    """A tenth of the long form: enough to see an early return, not a busy machine."""
    medians = compare(pair, samples=10_000)
    assert abs(medians.first_ns - medians.second_ns) < 0.2 * medians.first_ns
