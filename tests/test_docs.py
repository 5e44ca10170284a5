"""What the documentation promises is there."""

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from subscriptions.catalogue import CATALOGUE
from subscriptions.http.outcomes import diagnosis
from subscriptions.serializers.endpoints import (
    EndpointSerializer,
    NewEndpointSerializer,
)
from subscriptions.views import EndpointViewSet
from tenants.problems import Problem

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "clients" / "python" / "README.md",
    *(ROOT / "docs").rglob("*.md"),
]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
#: What a page of the console says, as guides quote it: *Endpoints → +*.
LABEL = re.compile(r"(?<![*\w])\*([A-Z][^*`\n]+)\*(?![*\w])")
#: A test as pytest names it: the file and the function.
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_every_label_that_a_guide_quotes_is_on_a_page() -> None:
    apps = ("tenants", "subscriptions", "ingest", "billing", "config", "templates")
    code = "".join(
        path.read_text()
        for app in apps
        for path in (ROOT / app).rglob("*")
        if path.suffix in {".py", ".html"} and "tests" not in path.parts
    )
    guides = [page for page in PAGES if page.parent.name in {"how-to", "tutorial"}]
    quoted = {
        (page.name, label)
        for page in guides
        for text in LABEL.findall(page.read_text())
        for label in text.split(" → ")
    }
    assert len(quoted) > 40
    assert {one for one in quoted if one[1] not in code} == set()


def test_the_glossary_has_each_word_once() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"\*\*([^*]+)\*\*", page)
    assert len(words) > 50
    assert sorted(set(words)) == sorted(words)


def test_every_event_type_has_a_line() -> None:
    page = (ROOT / "docs" / "reference" / "messages.md").read_text()
    assert CATALOGUE
    assert [name for name in CATALOGUE if f"`{name}`" not in page] == []


def test_every_member_and_action_of_an_endpoint_has_a_line() -> None:
    page = (ROOT / "docs" / "reference" / "endpoints.md").read_text()
    members = {*NewEndpointSerializer().fields, *EndpointSerializer().fields}
    assert len(members) > 30
    assert {name for name in members if f"`{name}`" not in page} == set()
    words = set(re.findall(r"[a-z-]+", page))
    actions = [
        str(vars(one)["url_path"]) for one in EndpointViewSet.get_extra_actions()
    ]
    assert len(actions) > 12
    assert [path for path in actions if path.split("/")[0] not in words] == []


def test_every_error_of_an_attempt_has_a_line() -> None:
    page = (ROOT / "docs" / "reference" / "messages.md").read_text()
    table = page.partition("## Errors of attempts")[2].partition("\n## ")[0]
    codes = {diagnosis(code, "", 0)[0] for code in range(1, 120)}
    assert len(codes) > 6
    assert {code for code in codes if f"`{code}`" not in table} == set()


def domain_errors(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Every error that a service, a query or a command may raise."""
    for error in base.__subclasses__():
        yield error
        yield from domain_errors(error)


def test_every_error_code_has_a_line() -> None:
    for app in ("tenants", "subscriptions", "ingest", "billing"):
        package = import_module(app)
        for module in pkgutil.walk_packages(package.__path__, f"{app}."):
            if not module.name.endswith((".rsgi", ".tests")) and (
                ".tests." not in module.name
            ):
                import_module(module.name)
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    codes = {error.code for error in domain_errors()}
    assert len(codes) > 30
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_the_two_commands_of_the_readme_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in ("run", "test", "bench", "check"):
        assert f"\n{target}:" in makefile
        assert f"make {target}" in readme


def test_every_case_of_delivery_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "explanation" / "delivery-cases.md").read_text()
    numbers = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 51)]
    named = TEST.findall(page)
    assert len(named) == page.count("::")
    functions = {
        path: set(re.findall(r"(?m)^def (test_\w+)\(", (ROOT / path).read_text()))
        for path, _ in named
    }
    assert [one for one in named if one[1] not in functions[one[0]]] == []
