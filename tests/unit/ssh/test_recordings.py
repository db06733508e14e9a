"""What real OpenSSH said, and what sshwrap makes of it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sshwrap.ssh.catalogue import CATALOGUE
from sshwrap.ssh.evidence import (
    Evidence,
    Progress,
    classify_line,
    classify_terminal_line,
    keep_words,
)
from sshwrap.ssh.failure import Failure, judge_exit
from sshwrap.ssh.lines import LineSplitter

RECORDINGS = Path(__file__).parents[2] / "recordings"
PATHS = sorted(RECORDINGS.glob("*/*.json"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in PATHS]


@cache
def load(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


@cache
def evidence_of(name: str) -> tuple[Evidence, ...]:
    """As the supervisor makes it: lines by stream, in the order in which they came."""
    splitters = {"log": LineSplitter(), "terminal": LineSplitter()}
    found = []
    for stream, text in load(name)["events"]:
        for line in splitters[stream].feed(text.encode()) + splitters[stream].flush():
            terminal = stream == "terminal"
            evidence = classify_terminal_line(line) if terminal else classify_line(line)
            evidence = evidence or keep_words(line, from_terminal=terminal)
            if evidence is not None:
                found.append(evidence)
    return tuple(found)


def was_up(evidence: tuple[Evidence, ...]) -> bool:
    kinds = {item.kind for item in evidence if not item.from_terminal}
    mark = Progress.ALL_CONFIRMED if Progress.EXPECTING in kinds else Progress.INTERACTIVE
    return mark in kinds


def judge(name: str, evidence: tuple[Evidence, ...] | None = None) -> Failure:
    recording = load(name)
    words = evidence_of(name) if evidence is None else evidence
    return judge_exit(
        words,
        exit_status=recording["exit"].get("status"),
        signal=recording["exit"].get("signal"),
        was_up=was_up(words),
        destination=recording["argv"][-1],
        profile="web",
    )


FAILURES = [name for name in NAMES if load(name)["expected"] is not None]
SUCCESSES = [name for name in NAMES if load(name)["expected"] is None]


@pytest.mark.parametrize("name", FAILURES)
def test_failure_is_recognised(name: str) -> None:
    found = judge(name)
    assert found.kind == load(name)["expected"], found
