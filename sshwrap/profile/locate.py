"""The line of a key in a TOML text that is known to be valid, found with tomllib alone.

The text is cut into statements: from each first line, the shortest run of lines that tomllib takes
by itself (under its table's header). What keys a statement holds, tomllib says too.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

# How often the end of one statement is looked for: a stranger array is placed at its first line.
TRIES_MAX = 100

# What the last line of a statement over several lines ends with, but for a comment.
_ENDS = ("]", "}", '"""', "'''")

# What can be open at the end of a line of an array, innermost first.
_CLOSERS = ("", "]", "]]", "}", "}]", "]}", "}]}")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    first: int  # line, 1 is the first
    lines: tuple[str, ...]
    header: str
    data: dict[str, Any]

    @property
    def is_header(self) -> bool:
        return self.lines[0].lstrip().startswith("[")


class Lines:
    """Made once a text; then each key is looked up in the statements found."""

    def __init__(self, text: str) -> None:
        self._statements = read_statements(text)

    def line_of(self, path: Path) -> int:
        """The line where `path` (or as much of it as there is) first stands; 1 if nothing does."""
        for length in range(len(path), 0, -1):
            for statement in self._statements:
                if _holds(statement.data, path[:length]):
                    return _line_within(statement, path[:length])
        return 1


def read_statements(text: str) -> list[Statement]:
    """Each key with its value, and each header, with the lines it takes; comments are none."""
    found: list[Statement] = []
    lines = text.replace("\r\n", "\n").split("\n")
    header, at = "", 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        is_header = lines[at].lstrip().startswith("[")
        above = "" if is_header else header
        size, data = _shortest(lines, at, above)
        if data is not None:
            found.append(Statement(at + 1, tuple(lines[at : at + size]), above, data))
            if is_header:
                header = lines[at] + "\n"
        at += size
    return found


def _shortest(lines: list[str], at: int, header: str) -> tuple[int, dict[str, Any] | None]:
    tries = 0
    for end in range(at, len(lines)):
        if end > at and not _may_end(lines[end]):
            continue
        data = _loads(header + "\n".join(lines[at : end + 1]))
        if data is not None:
            return end + 1 - at, data
        tries += 1
        if tries == TRIES_MAX:
            break
    return 1, None


def _may_end(line: str) -> bool:
    parts = line.split("#")  # any of them may begin the comment
    heads = ("#".join(parts[:count]) for count in range(1, len(parts) + 1))
    return any(head.rstrip().endswith(_ENDS) for head in heads)


def _line_within(statement: Statement, path: Path) -> int:
    """In an array over several lines: the first line with which the element is there."""
    last = len(statement.lines)
    for size in range(1, min(last, TRIES_MAX)):
        begun = statement.header + "\n".join(statement.lines[:size])
        for closer in _CLOSERS:
            data = _loads(f"{begun}\n{closer}")
            if data is not None and _holds(data, path):
                return statement.first + size - 1
    # a string over several lines stands where it begins; the last element where the array ends
    return statement.first + (last - 1 if isinstance(path[-1], int) and last <= TRIES_MAX else 0)


def _holds(data: Any, path: Path) -> bool:
    for part in path:
        if isinstance(part, int):
            if not isinstance(data, list) or part >= len(data):
                return False
            data = data[part]
            continue
        if isinstance(data, list) and data:
            data = data[-1]  # under [[a.b]]
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _loads(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
