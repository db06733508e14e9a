"""An error, and a failure of ssh, as a person reads them: the fact, the words said, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sshwrap.errors import UserError
from sshwrap.render.page import Line

PROGRAM = "sshwrap: "


def error_lines(error: UserError) -> list[Line]:
    """One line a fault, then the system's own words, then one thing to do."""
    return _lines("", error.message, "said", error.said, error.advice)


def failure_lines(failure: Mapping[str, Any], profile: str) -> list[Line]:
    """The failure of a snapshot or a journal entry: summary, ssh's words, advice."""
    said = str(failure["said"]).removeprefix("ssh: ")
    return _lines(f"{profile}: ", str(failure["summary"]), "ssh", said, str(failure["advice"]))


def note_lines(text: str) -> list[Line]:
    """Talk beside the answer: a warning, or what happens now."""
    return [(("dim", PROGRAM), ("", line)) for line in text.splitlines()]


def _lines(
    subject: str, message: str, speaker: str, said: str | None, advice: str | None
) -> list[Line]:
    lines: list[Line] = [
        (("bad", PROGRAM), ("", subject + line)) for line in message.splitlines() or [""]
    ]
    for mark, text in ((speaker, said), ("try", advice)):
        lines += [(("dim", f"  {mark}: "), ("", line)) for line in (text or "").splitlines()]
    return lines
