"""Links between the documents: every file is there, every heading has the anchor asked for."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.sources import ROOT, project_files

DOCUMENTS = [path for path in project_files() if path.suffix == ".md"]
FENCE = re.compile(r"^( {0,3})(`{3,}|~{3,}).*?^ {0,3}\2`*~* *$", re.M | re.S)
INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^]]+\]:\s*<?([^\s>]+)>?", re.M)
ATTRIBUTE = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]+)\"", re.S)
ANCHOR = re.compile(r"<[a-z]+\b[^>]*?\b(?:id|name)=\"([^\"]+)\"")
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.M)


def links(text: str) -> list[str]:
    """Where a document points, code left out."""
    prose = INLINE_CODE.sub("", FENCE.sub("", text))
    return [*LINK.findall(prose), *DEFINITION.findall(prose), *ATTRIBUTE.findall(prose)]


def anchors(text: str) -> set[str]:
    """As forges make them: lower case, hyphens for blanks, no punctuation, repeats numbered."""
    text = FENCE.sub("", text)
    found = set(ANCHOR.findall(text))
    seen: dict[str, int] = {}
    for heading in HEADING.findall(text):
        shown = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        found.add(slug if number == 0 else f"{slug}-{number}")
    return found


@cache
def anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    dead = []
    for link in links(path.read_text()):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):  # of another site: not ours to keep
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.is_relative_to(ROOT):
            dead.append(f"{link}: outside of the project")
        elif not target.exists():
            dead.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors_of(target):
            dead.append(f"{link}: no such heading")
    assert dead == []


def test_every_document_can_be_found_from_the_readme() -> None:
    reached: set[Path] = set()
    queue = [ROOT / "README.md"]
    while queue:
        path = queue.pop()
        if path in reached or not path.is_file():
            continue
        reached.add(path)
        if path.suffix == ".md":
            found = [unquote(link).partition("#")[0] for link in links(path.read_text())]
            queue += [(path.parent / file).resolve() for file in found if file]
    docs = {path for path in DOCUMENTS if path.parent == ROOT / "docs"}
    assert sorted(str(path.relative_to(ROOT)) for path in docs - reached) == []


def test_links_in_code_are_not_links() -> None:
    text = (
        "[a](one.md) `[b](two.md)` <img alt='' src=\"three.svg\">\n"
        "```\n[c](four.md)\n```\n"
        "[d]: five.md#x\n"
        '[e](six.md "title")\n'
    )
    assert sorted(links(text)) == ["five.md#x", "one.md", "six.md", "three.svg"]


def test_anchors_are_made_as_forges_make_them() -> None:
    text = (
        "# What `up` does, and why\n## Twice\n## Twice\n"
        "## [A link](x.md)\n## 两家运营商\n```\n# a comment\n```\n"
        '<a id="by-hand"></a>\n'
    )
    assert anchors(text) == {
        *("what-up-does-and-why", "twice", "twice-1", "a-link", "两家运营商", "by-hand"),
    }
