"""`sshwrap doctor` in a lab's home: what it answers as JSON, and a terminal to type at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.netlab.home_cli import HomeCli
from tests.netlab.lab import Lab
from tests.support.command import Terminal

WITHIN = 120.0  # for one command, which signs in once or twice and waits for what gives no answer


class Report:
    """The answer of `doctor --json`: `report["gateway-ports"]` is that check's verdict."""

    def __init__(self, answer: dict[str, Any], status: int) -> None:
        self.answer = answer
        self.status = status
        self.findings: dict[str, dict[str, Any]] = {one["id"]: one for one in answer["findings"]}

    def __getitem__(self, check: str) -> str:
        return str(self.findings[check]["verdict"]) if check in self.findings else "none"

    def text(self, check: str) -> str:
        """All that is said of it."""
        found = self.findings[check]
        return "\n".join(str(found[key]) for key in ("seen", "why", "advice"))

    def wrong(self) -> set[str]:
        """The checks that fail or warn."""
        bad = ("fail", "warn")
        return {name for name, one in self.findings.items() if one["verdict"] in bad}

    def __repr__(self) -> str:
        rows = [f"{name}: {one['verdict']}: {one['seen']}" for name, one in self.findings.items()]
        return "\n".join([f"exit {self.status}", *rows, str(self.answer["summary"])])


def examine(cli: HomeCli, *words: str, name: str = "web") -> Report:
    done = cli("doctor", name, "--json", *words, within=WITHIN)
    assert done.out.startswith("{"), done
    assert not done.err, done
    report = Report(json.loads(done.out), done.status)
    assert report.answer["schema_version"] == 1
    failed = any(one["verdict"] == "fail" for one in report.findings.values())
    assert report.status == int(failed), report
    return report


@contextmanager
def terminal(cli: HomeCli, *words: str) -> Iterator[Terminal]:
    """A command with a terminal of its own, as somebody types it."""
    argv = cli._argv(words)
    found = Terminal(argv, cli.env | {"TERM": "xterm-256color"}, cli.folder, 60, 100)
    try:
        yield found
    finally:
        found.close()


def serve(lab: Lab, port: int = 8080) -> None:
    lab.serve_page(port)
