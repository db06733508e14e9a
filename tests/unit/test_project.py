"""The files around the code agree with it and with each other."""

from __future__ import annotations

import re
import tomllib

import pytest

import sshwrap
from tests.support.sources import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
PIN = re.compile(
    r"^([a-z0-9-]+)==([^ ]+)(?: ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.M,
)


def pins(name: str) -> dict[str, str]:
    return {found[1]: found[2] for found in PIN.finditer((ROOT / name).read_text())}


def names(requirements: list[object]) -> set[str]:
    """Of PEP 508 lines; tables such as include-group left out."""
    return {
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower()
        for line in requirements
        if isinstance(line, str)
    }


def test_the_changelog_begins_with_this_version() -> None:
    heading = re.search(r"^## \[([^]]+)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heading is not None
    assert heading[1] == sshwrap.__version__


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_with_hashes_and_names_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    rest = [line for line in PIN.sub("", text).splitlines() if not line.lstrip().startswith("#")]
    assert rest == []
    assert "://" not in text


def test_what_is_pinned_is_what_the_project_asks_for() -> None:
    groups = PYPROJECT["dependency-groups"]
    run = names([*PYPROJECT["project"]["dependencies"], *groups["build"]])
    assert run - pins("requirements.txt").keys() == set()
    assert names(groups["dev"]) | run <= pins("requirements-dev.txt").keys()


def test_both_files_pin_the_same_versions() -> None:
    run, dev = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: dev.get(name) for name in run} == run


def test_sshwrap_needs_two_packages_to_run() -> None:
    assert names(PYPROJECT["project"]["dependencies"]) == {"pexpect", "rich"}


def test_bare_make_lists_every_target() -> None:
    targets = set(re.findall(r"^\.PHONY: ([a-z].*)$", MAKEFILE, re.M))
    listed = set(re.findall(r"^([a-z]+):[^#\n]*## \S", MAKEFILE, re.M))
    assert targets == listed
    assert {"demo", "test", "lint", "types", "bench", "docs", "clean"} <= targets
    assert {"up", "down", "status", "doctor"} <= targets
    assert ".DEFAULT_GOAL := help" in MAKEFILE


def test_what_make_runs_is_there() -> None:
    programs = set(re.findall(r"\bscripts/[a-z_-]+(?:\.py)?", MAKEFILE))
    assert programs
    assert [name for name in sorted(programs) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("name", [".ci/run", "scripts/setup", "scripts/pin"])
def test_programs_can_be_run(name: str) -> None:
    path = ROOT / name
    assert path.stat().st_mode & 0o111 == 0o111
    assert path.read_text().startswith("#!")


def test_the_version_stands_in_one_place() -> None:
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "sshwrap/__init__.py"
