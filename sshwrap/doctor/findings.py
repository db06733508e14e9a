"""What doctor says: findings, one a check, and the words that all of them share.

Laws. A check's id never changes (`doctor --json` and docs/doctor.md are written to it); its title
states the healthy condition. A finding that is not ok says what was seen, why it matters, and what
to do, in words that can be pasted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Section(StrEnum):
    HERE = "here"
    PATH = "path"
    ACCOUNT = "account"
    SERVER = "server"
    PORT = "port"
    LIVE = "live"


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`seen` is one line on the fold; `why` and `advice` are "" where it is ok. `advice` may have
    several lines: a sentence, then commands, each on its own line, indented by four; `seen` too,
    for the lines of files that it quotes. `fold` is what the section's one line says of it, "" for
    nothing. `cause` is the id of the finding that explains this one, which is not opened then."""

    id: str
    section: Section
    title: str
    verdict: Verdict
    seen: str
    why: str = ""
    advice: str = ""
    fold: str = ""
    cause: str = ""
