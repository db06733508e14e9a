"""A loop with children in it (supervisor/child.py) and all that they told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sshwrap.supervisor.child import Child, Exit, Source
from tests.support import scenarios


class Watched:
    """One child and what it told, in order: (Source, line) …, then its Exit."""

    def __init__(self, loop: asyncio.AbstractEventLoop, argv: Sequence[str], env: dict[str, str]):
        self.told: list[tuple[Source, str] | Exit] = []
        self.batches: list[tuple[Source, int]] = []
        self.react: Callable[[], None] = lambda: None
        self.child = Child(argv, env, loop=loop, on_lines=self._lines, on_exit=self._exit)

    def _lines(self, source: Source, lines: list[str]) -> None:
        assert lines
        self.batches.append((source, sum(len(line) for line in lines)))
        self.told += [(source, line) for line in lines]
        self.react()

    def _exit(self, ended: Exit) -> None:
        self.told.append(ended)
        self.react()

    @property
    def ended(self) -> Exit | None:
        return next((told for told in self.told if isinstance(told, Exit)), None)

    def lines(self, source: Source) -> list[str]:
        return [told[1] for told in self.told if isinstance(told, tuple) and told[0] is source]

    @property
    def log(self) -> list[str]:
        return self.lines(Source.LOG)

    @property
    def terminal(self) -> list[str]:
        return self.lines(Source.TERMINAL)


class World:
    """A loop, a folder, and the children started in it; nothing of it is left at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.program = str(scenarios.install(folder))
        self.children: list[Watched] = []
        self._numbers = itertools.count(1)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def start(self, argv: Sequence[str], **env: str) -> Watched:
        env = {"PATH": os.environ["PATH"], **env}
        watched = Watched(self.loop, argv, env)
        self.children.append(watched)
        return watched

    def ssh(self, *steps: list[Any]) -> Watched:
        file = self.folder / f"scenario-{next(self._numbers)}.json"
        scenarios.put(file, steps)
        argv = [self.program, "-N", "-E", "/dev/stdout", "--", "vps"]
        return self.start(argv, FAKE_SSH_SCENARIO=str(file))

    def run_until(self, fact: Callable[[], object], within: float = 60) -> None:
        deadline = self.loop.time() + within

        def look() -> None:
            if fact() or self.loop.time() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.002, look)

        self.loop.call_soon(look)
        self.loop.run_forever()
        assert fact(), [watched.told[-20:] for watched in self.children]

    def run_to_end(self, watched: Watched) -> Exit:
        self.run_until(lambda: watched.ended)
        assert watched.ended is not None
        return watched.ended

    def turn(self, turns: int = 5) -> None:
        """Let the loop do all that is due."""
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def end(self) -> None:
        for watched in self.children:
            watched.child.close()
        self.run_until(lambda: all(is_reaped(watched.child.pid) for watched in self.children))
        self.loop.close()


def is_reaped(pid: int) -> bool:
    return not Path("/proc", str(pid)).exists()


def descriptors() -> dict[int, str]:
    """Ours, and what each is."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that reads the folder
            found[int(entry.name)] = str(entry.readlink())
    return found


def has_children() -> bool:
    """Zombies count."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


@contextlib.contextmanager
def clean_world(folder: Path) -> Iterator[World]:
    """A World that has to leave no descriptor, no process and no zombie."""
    before = descriptors()
    world = World(folder)
    try:
        yield world
    finally:
        world.end()
    assert descriptors() == before
    assert not has_children()
