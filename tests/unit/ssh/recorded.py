"""The recordings of real OpenSSH, read as the supervisor reads ssh."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

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
VERSIONS = ("8.4", "9.2", "10.0")
CONSTRUCTED = json.loads((RECORDINGS / "constructed.json").read_text())["lines"]


@cache
def recordings() -> dict[str, Any]:
    """By "9.2/port-taken"."""
    return {
        f"{path.parent.name}/{path.stem}": json.loads(path.read_text())
        for path in sorted(RECORDINGS.glob("*/*.json"))
    }


@cache
def lines_of(name: str) -> tuple[tuple[str, str], ...]:
    splitters = {"log": LineSplitter(), "terminal": LineSplitter()}
    return tuple(
        (stream, line)
        for stream, text in recordings()[name]["events"]
        for line in splitters[stream].feed(text.encode()) + splitters[stream].flush()
    )


def understood(stream: str, line: str) -> Evidence | None:
    """As the supervisor does it."""
    is_terminal = stream == "terminal"
    evidence = classify_terminal_line(line) if is_terminal else classify_line(line)
    return evidence or keep_words(line, from_terminal=is_terminal)


@cache
def evidence_of(name: str) -> tuple[Evidence, ...]:
    found = (understood(stream, line) for stream, line in lines_of(name))
    return tuple(item for item in found if item is not None)


def was_up(evidence: tuple[Evidence, ...]) -> bool:
    kinds = {item.kind for item in evidence}
    mark = Progress.ALL_CONFIRMED if Progress.EXPECTING in kinds else Progress.INTERACTIVE
    return mark in kinds


def judge(name: str, evidence: tuple[Evidence, ...] | None = None) -> Failure:
    recording = recordings()[name]
    words = evidence_of(name) if evidence is None else evidence
    return judge_exit(
        words,
        exit_status=recording["exit"].get("status"),
        signal=recording["exit"].get("signal"),
        was_up=was_up(words),
        destination=recording["argv"][-1],
        profile="web",
    )


def failing() -> list[str]:
    return [name for name, recording in recordings().items() if recording["expected"]]


def coming_up() -> list[str]:
    return [name for name, recording in recordings().items() if not recording["expected"]]


def details(name: str, kind: str) -> list[dict[str, str]]:
    return [dict(item.detail) for item in evidence_of(name) if item.kind == kind]
