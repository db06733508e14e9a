"""What happened, one JSON object a line, one bounded file set a profile: written and read here.

Laws. `append` never raises and never waits: an entry that cannot be written is remembered, and
where there are too many of those, counted. An entry is one write(2) in append mode. A reader takes
any file as it finds it (cut lines, other versions, a rotation while it reads) and says what it
had to leave out.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

VERSION = 1
STRING_CHARACTERS = 4096  # a line of ssh is no longer than this (ssh/lines.py)
LIST_ITEMS = 1000
ENTRY_BYTES = 65536
REMEMBERED = 32  # entries of an outage kept in memory, per journal
_HEAD_BYTES = 128  # the first line's time stamp is in it: tells files with one inode number apart
_CHUNK_BYTES = 1 << 20


class Journal:
    """The writing end of one profile's journal.

    `max_bytes` bounds each file, `keep` the number of older ones beside it (NAME.jsonl.1 is the
    youngest). `on_trouble` is told once an outage, in one line, why nothing can be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int = 1_000_000,
        keep: int = 4,
        on_trouble: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._keep = keep
        self._on_trouble = on_trouble
        self._unwritten: deque[bytes] = deque()
        self._dropped = 0
        self._last_dropped = b""
        self._trouble = ""

    @property
    def unwritten(self) -> int:
        """Entries that wait for the disk; `flush` tries them again."""
        return len(self._unwritten) + self._dropped

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry; the caller gives `at`, `profile` and `event`, and this adds `v`."""
        if len(self._unwritten) >= REMEMBERED:
            self._last_dropped = self._unwritten.popleft()
            self._dropped += 1
        self._unwritten.append(encode_entry({"v": VERSION, **entry}))
        self.flush()

    def flush(self) -> bool:
        """Write what could not be written before; False where it still cannot."""
        try:
            if self._dropped:
                self._write(self._lost())
                self._dropped = 0
            while self._unwritten:
                self._write(self._unwritten[0])
                self._unwritten.popleft()
        except OSError as error:
            if not self._trouble:
                self._trouble = (error.strerror or str(error)).lower()
                self._on_trouble(f'journal "{self.path}" cannot be written: {self._trouble}')
            return False
        self._trouble = ""
        return True

    def _lost(self) -> bytes:
        last = json.loads(self._last_dropped)
        noun = "entry" if self._dropped == 1 else "entries"
        text = f"{self._dropped} {noun} before this could not be written: {self._trouble}"
        kept = {key: last.get(key) for key in ("v", "at", "profile")}
        return encode_entry(kept | {"event": "lost", "text": text})

    def _write(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        # Opened for each entry: 1,000 tunnels hold no descriptors, and a file that somebody
        # removed or rotated is simply there again.
        fd = os.open(self.path, flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and size + len(line) > self._max_bytes and self._rotate(fd):
                os.close(fd)
                fd = os.open(self.path, flags, 0o600)
                size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # after a line that a crash or a full disk has cut
            self._write_all(fd, line, size)
        finally:
            os.close(fd)

    def _write_all(self, fd: int, line: bytes, size: int) -> None:
        written = os.write(fd, line)
        if written == len(line):
            return
        try:
            os.write(fd, line[written:])  # a disk that has just filled up says so only now
        except OSError:
            with contextlib.suppress(OSError):  # else the cut line stays, and readers skip it
                if os.fstat(fd).st_size == size + written:
                    os.ftruncate(fd, size)
            raise

    def _rotate(self, fd: int) -> bool:
        """Move every file one further, unless another writer is just doing that."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        ours, there = os.fstat(fd), self.path.stat()
        if _identity(ours) == _identity(there):
            for number in range(self._keep - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    rotated(self.path, number).rename(rotated(self.path, number + 1))
            self.path.rename(rotated(self.path, 1))
        return True


def rotated(path: Path, number: int) -> Path:
    """The `number`th older file of a journal; 0 is the journal itself."""
    return path.with_name(f"{path.name}.{number}") if number else path


def encode_entry(entry: Mapping[str, Any]) -> bytes:
    """One line of at most ENTRY_BYTES, for anything: long parts cut, unknown types as text."""
    line = _encode(_bounded(entry, STRING_CHARACTERS, LIST_ITEMS))
    if len(line) > ENTRY_BYTES:
        line = _encode(_bounded(entry, 256, 50))
    if len(line) > ENTRY_BYTES:
        kept = {key: entry.get(key) for key in ("v", "at", "profile", "event")}
        line = _encode(_bounded(kept | {"text": "an entry too long to keep"}, 256, 50))
    return line


def _encode(entry: object) -> bytes:
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate (a path that is not UTF-8) becomes its JSON escape, and is read back as it.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _bounded(value: object, characters: int, items: int, depth: int = 4) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, Mapping):
        pairs = list(value.items())[:items]
        return {str(k)[:characters]: _bounded(v, characters, items, depth - 1) for k, v in pairs}
    if depth and isinstance(value, list | tuple):
        return [_bounded(item, characters, items, depth - 1) for item in value[:items]]
    text = str(value)
    return text if len(text) <= characters else text[: characters - 1] + "…"


@dataclass(slots=True)
class Reading:
    """Entries in order of time, and how many lines were left out and why."""

    entries: list[Entry] = field(default_factory=list)
    damaged: int = 0
    newer: int = 0  # of a later version of the journal

    def take(self, line: bytes) -> None:
        """Add one line (without its newline) as what it turns out to be."""
        if not line.strip():
            return
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("not an object")
            version = entry.get("v")
            if isinstance(version, int) and version > VERSION:
                self.newer += 1
                return
            if version != VERSION:
                raise ValueError("no version")
            time_of(entry)
        except (ValueError, RecursionError):
            self.damaged += 1
        else:
            self.entries.append(entry)


def time_of(entry: Mapping[str, Any]) -> datetime:
    """The entry's `at`, aware; raises ValueError where it has none."""
    at = entry.get("at")
    moment = datetime.fromisoformat(at) if isinstance(at, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f'no time: "{at}"')
    return moment


def read_entries(
    paths: Iterable[str | Path], *, since: datetime | None = None, until: datetime | None = None
) -> Reading:
    """Every entry of these journals and their older files, both bounds (aware) included.

    Entries of one journal stay in the order in which they were written, whatever the clock did.
    """
    found = list(paths)
    follower = Follower(lambda: found)
    reading = follower.poll(final=True)
    earliest = since or datetime.min.replace(tzinfo=UTC)
    latest = until or datetime.max.replace(tzinfo=UTC)
    reading.entries = [e for e in reading.entries if earliest <= time_of(e) <= latest]
    return reading


@dataclass(slots=True)
class _Position:
    """Where in a journal's files we left off: behind the last line that had its end."""

    identity: tuple[int, int] = (-1, -1)
    head: bytes = b""
    offset: int = 0

    def is_in(self, fd: int) -> bool:
        status = os.fstat(fd)
        if _identity(status) != self.identity or status.st_size < self.offset:
            return False
        return os.pread(fd, len(self.head), 0) == self.head


class Follower:
    """Journals read as they grow: the first `poll` gives all there is, each later one the news.

    `find` names the journals there are by now, so that new profiles join in. Nothing is held open
    between two polls; a rotation, a truncation or a removal in between loses no entry that is
    still in a file, and gives none twice.
    """

    def __init__(self, find: Callable[[], Iterable[str | Path]]) -> None:
        self._find = find
        self._positions: dict[Path, _Position] = {}

    def poll(self, *, final: bool = False) -> Reading:
        """What came since the last time; with `final` a last line without its end counts too."""
        parts = [self._poll_journal(Path(path), final) for path in self._find()]
        return Reading(
            entries=list(heapq.merge(*(part.entries for part in parts), key=time_of)),
            damaged=sum(part.damaged for part in parts),
            newer=sum(part.newer for part in parts),
        )

    def _poll_journal(self, path: Path, final: bool) -> Reading:
        reading = Reading()
        position = self._positions.setdefault(path, _Position())
        with contextlib.suppress(OSError):
            status = path.stat()
            if (_identity(status), status.st_size) == (position.identity, position.offset):
                return reading
        with contextlib.ExitStack() as stack:
            files = _open_since(path, position, stack)
            for age in range(len(files) - 1, -1, -1):
                if not position.is_in(files[age]):
                    position = _Position(_identity(os.fstat(files[age])))
                _read_on(files[age], position, reading, final=final or age > 0)
        self._positions[path] = position
        return reading


def _open_since(path: Path, position: _Position, stack: contextlib.ExitStack) -> list[int]:
    """The journal's files, youngest first, back to the one in which we left off.

    Opened in this order a rotation meanwhile can never hide a file, only show the youngest twice,
    and the second time there is nothing new in it.
    """
    opened: list[int] = []
    for number in range(10):  # past a gap: a rotation has one while it goes on
        try:
            fd = os.open(rotated(path, number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        stack.callback(os.close, fd)
        opened.append(fd)
        if position.is_in(fd):
            break
    return opened


def _read_on(fd: int, position: _Position, reading: Reading, *, final: bool) -> None:
    end, rest = position.offset, b""
    while chunk := os.pread(fd, _CHUNK_BYTES, end):
        end += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            reading.take(line)
        if len(rest) > 2 * ENTRY_BYTES:
            rest = b""  # no entry of ours; what is left of it is damaged once its end comes
    if final:
        reading.take(rest)
    position.offset = end - len(rest)
    if len(position.head) < _HEAD_BYTES:
        position.head = os.pread(fd, min(_HEAD_BYTES, position.offset), 0)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
