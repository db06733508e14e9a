"""What documents repeat of the code is what the code says; `make docs` makes it anew."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from scripts import architecture_docs, commands_docs
from scripts.generated import fill
from sshwrap.errors import ExitStatus
from sshwrap.tunnel.machine import TRANSITIONS
from sshwrap.tunnel.model import State
from tests.support.sources import ROOT

ARCHITECTURE = architecture_docs.PAGE.read_text(encoding="utf-8")
COMMANDS = commands_docs.PAGE.read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
README_CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))


def test_the_architecture_page_is_up_to_date() -> None:
    assert architecture_docs.page(ARCHITECTURE) == ARCHITECTURE, "run make docs"


def test_the_commands_page_is_up_to_date() -> None:
    assert commands_docs.page(COMMANDS) == COMMANDS, "run make docs"


def test_the_diagram_has_every_way_out_of_every_state() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+):", architecture_docs.diagram(), re.M))
    ways = {(state, to) for (state, _), targets in TRANSITIONS.items() for to in targets}
    assert drawn == {(state, to) for state, to in ways if state is not to}
    assert {state for state, _ in drawn} == set(State)


def test_every_event_has_a_word() -> None:
    assert {event for _, event in TRANSITIONS} == architecture_docs.EVENTS.keys()


def test_every_verb_has_a_section() -> None:
    headings = re.findall(r"^## (\w+)$", COMMANDS, re.M)
    assert [verb for verb in commands_docs.verbs() if verb not in headings] == []


@pytest.mark.parametrize("text", [README, README_CHINESE], ids=["README.md", "README.zh-CN.md"])
def test_the_readme_has_every_verb_and_exit_status(text: str) -> None:
    verbs = [verb for verb in commands_docs.verbs() if f"sshwrap {verb}" not in text]
    assert verbs == []
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)}
    assert rows == {int(status) for status in ExitStatus}


@pytest.mark.parametrize("text", [README, README_CHINESE], ids=["README.md", "README.zh-CN.md"])
def test_the_readme_promises_no_command_that_is_not_there(text: str) -> None:
    said = set(re.findall(r"(?:^|\$ |`)sshwrap ([a-z]+)", text, re.M))
    assert said - commands_docs.verbs().keys() == set()


def test_the_rooms_that_the_architecture_names_are_there() -> None:
    named = re.findall(r"`((?:sshwrap/)?[a-z_]+/(?:[a-z_]+\.py)?)`", ARCHITECTURE)
    assert len(named) > 20
    missing = [
        name
        for name in named
        if not (ROOT / name).exists() and not (ROOT / "sshwrap" / name).exists()
    ]
    assert sorted(set(missing)) == ["ssh/"] * ("ssh/" in missing)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_asks_nobody_for_anything(path: object) -> None:
    text = ROOT.joinpath(str(path)).read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314 - a file of our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert re.findall(r"@font-face|@import|href|url\(", text) == []


def test_every_picture_is_shown_somewhere_and_there_is_no_other() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    shown = re.findall(r"!\[[^]]+\]\((?:docs/)?pictures/([a-z-]+\.svg)\)", text)
    assert len(shown) == 5
    assert sorted(shown) == [path.name for path in PICTURES]


def test_a_part_is_made_anew_in_its_place() -> None:
    text = "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb\n"
    new = fill(text, {"x": "new"}, document="page.md")
    assert new == "a\n<!-- generated: x -->\nnew\n<!-- end: x -->\nb\n"
    assert fill(new, {"x": "new"}, document="page.md") == new


def test_a_part_without_a_place_is_an_error() -> None:
    with pytest.raises(SystemExit, match=r"page\.md: no place for the generated part 'x'"):
        fill("a\n", {"x": "new"}, document="page.md")
