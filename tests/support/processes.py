"""Processes of this machine, as /proc shows them; a zombie is not alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """`started` is in clock ticks since the boot: with it a pid is not mistaken for a later one."""

    pid: int
    parent: int
    state: str  # R, S, D, T, Z …
    started: int
    argv: tuple[str, ...]

    @property
    def title(self) -> str:
        """The command line as ps shows it; sshd writes over its own, with blanks at the end."""
        return " ".join(self.argv).strip()


def process(pid: int) -> Process | None:
    """The process with this pid, None if it is gone or a zombie."""
    folder = Path("/proc", str(pid))
    try:
        stat = folder.joinpath("stat").read_text(errors="replace")
        argv = folder.joinpath("cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # proc(5): the name, in brackets, may hold anything
    state, parent, started = fields[0], int(fields[1]), int(fields[19])
    if state in "ZX":
        return None
    return Process(pid, parent, state, started, tuple(argv.rstrip("\0").split("\0")))


def processes(predicate: Callable[[Process], bool] = lambda _: True) -> list[Process]:
    """Every living process that `predicate` likes, by pid."""
    return sorted((found for found in _all() if predicate(found)), key=lambda found: found.pid)


def descendants(pid: int) -> list[Process]:
    """The living children of a process, theirs, and so on."""
    children: dict[int, list[Process]] = {}
    for found in _all():
        children.setdefault(found.parent, []).append(found)
    result: list[Process] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        result += below
        queue += [child.pid for child in below]
    return result


def _all() -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (found := process(int(folder.name))) is not None:
            yield found
