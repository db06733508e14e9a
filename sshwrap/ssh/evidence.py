"""A line of ssh's log -> what it proves, by the table of rows.py.

Laws. Only lines of ssh's own log (`-E`) can be evidence of progress; what comes over the terminal
(the server's banner, a ProxyJump's ssh, usage errors) can only explain a failure. A line that no
row knows is None, never a guess. Everything a server prints is data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sshwrap.ssh.messages import Progress as Progress
from sshwrap.ssh.messages import Row, Where
from sshwrap.ssh.rows import ROWS


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line understood. `kind` is a Progress or the name of a failure (ssh/failure.py).

    `detail` holds what the row's groups caught, by the names that stand behind each Progress;
    `said` is the whole line, clean (no CR, control characters visible).
    """

    kind: str
    said: str
    detail: tuple[tuple[str, str], ...] = ()
    is_failure: bool = False
    from_terminal: bool = False

    def get(self, name: str) -> str | None:
        for key, value in self.detail:  # at most a handful, and asked eight times a visitor
            if key == name:
                return value
        return None


def classify_line(line: str) -> Evidence | None:
    """What a line of ssh's log (`-v`) proves, or None."""
    return _LOG.classify(line)


def classify_terminal_line(line: str) -> Evidence | None:
    """What a line that ssh or a ProxyJump's ssh wrote to the terminal explains; only failures."""
    return _TERMINAL.classify(line)


def keep_words(line: str, *, from_terminal: bool = False) -> Evidence | None:
    """A line that no row knows, of kind "unknown": so that `judge_exit` can show it word for word.

    None for debug lines, and on the terminal for what a ProxyJump's ssh says while all is well.
    """
    if re.match(r"debug\d: ", line) or (from_terminal and _LOG.classify(line) is not None):
        return None
    return Evidence("unknown", line, is_failure=True, from_terminal=from_terminal)


_DEBUG = "debug1: "
_KEY = 8  # characters behind _DEBUG that choose the rows worth trying
_DEBUG_KEY = len(_DEBUG) + _KEY


class _Try(NamedTuple):
    match: Callable[[str], re.Match[str] | None]
    names: tuple[str, ...]
    kind: str
    is_failure: bool


class Index:
    """Rows, found by how a line begins; the same answer as trying all of them in order.

    A busy tunnel says five lines a visitor, half of which no row knows: those cost two look-ups.
    """

    def __init__(self, rows: Iterable[Row], *, from_terminal: bool) -> None:
        self._rows = tuple(rows)
        self._from_terminal = from_terminal
        self._keys = {_key(row.literal) for row in self._rows}
        self._tries: dict[str, tuple[_Try, ...]] = {}

    def classify(self, line: str) -> Evidence | None:
        is_debug = line.startswith(_DEBUG)
        key = line[: _DEBUG_KEY if is_debug else _KEY]
        tries = self._tries.get(key)
        if tries is None:
            if key not in self._keys:
                key = _DEBUG if is_debug else ""
            tries = self._tries.get(key)
            if tries is None:
                tries = self._compile(key)
        for match, names, kind, is_failure in tries:
            found = match(line)
            if found is not None:
                detail = tuple(zip(names, found.groups(), strict=True))
                return Evidence(kind, line, detail, is_failure, self._from_terminal)
        return None

    def _compile(self, key: str) -> tuple[_Try, ...]:
        # On first use: compiling every row would cost 30 ms at the start of each supervisor.
        shared = _shared_key(key)
        rows = [row for row in self._rows if _key(row.literal) in (key, shared)]
        patterns = [re.compile(row.pattern) for row in rows]
        tries = self._tries[key] = tuple(
            _Try(pattern.fullmatch, tuple(pattern.groupindex), row.kind, row.is_failure)
            for pattern, row in zip(patterns, rows, strict=True)
        )
        return tries


def _key(literal: str) -> str:
    """What `classify` cuts off a line that begins with `literal`."""
    length = _DEBUG_KEY if literal.startswith(_DEBUG) else _KEY
    return literal[:length] if len(literal) >= length else _shared_key(literal)


def _shared_key(text: str) -> str:
    """The key of the rows that are tried whatever a line goes on with."""
    return _DEBUG if text.startswith(_DEBUG) else ""


_LOG = Index((row for row in ROWS if row.where is not Where.TERMINAL), from_terminal=False)
_TERMINAL = Index(
    (row for row in ROWS if row.is_failure and row.where is not Where.LOG), from_terminal=True
)
