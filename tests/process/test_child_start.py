"""Starts of supervisor/child.py that fail, or that have to cope: an OSError, and nothing left."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sshwrap.supervisor.child import Exit
from tests.support.children import World, clean_world, descriptors, has_children

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with clean_world(tmp_path) as world:
        yield world


def not_executable(folder: Path) -> Path:
    file = folder / "plain"
    file.write_text("#!/bin/sh\n")
    return file


def not_a_program(folder: Path) -> Path:
    file = folder / "garbage"
    file.write_bytes(b"\x00\x01garbage")
    file.chmod(0o755)
    return file


def no_interpreter(folder: Path) -> Path:
    file = folder / "lost"
    file.write_text("#!/nowhere/sh\n")
    file.chmod(0o755)
    return file


UNSTARTABLE: list[tuple[Callable[[Path], Path], int]] = [
    (lambda folder: folder / "missing", errno.ENOENT),
    (lambda _: Path("no-such-ssh"), errno.ENOENT),
    (lambda folder: folder, errno.EACCES),
    (not_executable, errno.EACCES),
    (not_a_program, errno.ENOEXEC),
    (no_interpreter, errno.ENOENT),
]


@pytest.mark.parametrize(("make", "number"), UNSTARTABLE)
def test_what_cannot_be_executed(
    world: World, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], number: int
) -> None:
    program = str(make(world.folder))
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    before = descriptors()
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        world.start([program, "-N"])
    assert caught.value.errno == number
    assert caught.value.filename == program
    gc.collect()
    assert descriptors() == before
    assert not has_children()
    assert not any(slept)


@pytest.mark.parametrize(
    ("arguments", "number"), [(["a\0b"], errno.EINVAL), (["x" * (1 << 21)], errno.E2BIG)]
)
def test_arguments_that_cannot_be_passed(world: World, arguments: list[str], number: int) -> None:
    before = descriptors()
    with pytest.raises(OSError, match=r"null byte|Argument list too long") as caught:
        world.start(["/bin/echo", *arguments])
    assert caught.value.errno == number
    assert descriptors() == before
    assert not has_children()


def test_a_program_without_arguments_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="has no argument"):
        world.start(["/bin/echo"])


def test_out_of_descriptors_at_every_step(world: World) -> None:
    """With none left, one left, two left …: an OSError that leaves nothing, until it is enough."""
    world.turn()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(descriptors())
    fillers = []
    while (filler := os.open(os.devnull, os.O_RDONLY)) < top:
        fillers.append(filler)
    fillers.append(filler)
    top = max(fillers[-1], top)
    numbers: list[int | None] = []
    try:
        for limit in itertools.count(top + 1):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                echo = world.start(["/bin/echo", "enough"])
            except OSError as error:
                numbers.append(error.errno)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                # One that had been started before the want showed is killed, and reaped here.
                world.run_until(lambda: not has_children())
                assert max(descriptors()) == top
            else:
                break
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
    assert len(numbers) >= 4
    assert set(numbers) == {errno.EMFILE}
    world.run_to_end(echo)
    assert echo.log == ["enough"]


@pytest.mark.parametrize("refused", [1, 2, 3])
@pytest.mark.parametrize("deaths", ["pidfd", "looks"])
def test_the_loop_takes_no_more_descriptors(
    world: World, monkeypatch: pytest.MonkeyPatch, deaths: str, refused: int
) -> None:
    """epoll has a limit of its own: fs.epoll.max_user_watches."""
    if deaths == "looks":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    before = descriptors()
    add_reader = world.loop.add_reader
    calls = itertools.count(1)

    def limited(*arguments: Any) -> None:
        if next(calls) == refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add_reader(*arguments)

    monkeypatch.setattr(world.loop, "add_reader", limited)
    if refused == 1 and deaths == "pidfd":  # there is another way to learn of the death
        echo = world.start(["/bin/echo", "one"])
        assert world.run_to_end(echo) == Exit(0, None)
    elif refused == 3 and deaths == "looks":  # two are all that it needs
        world.run_to_end(world.start(["/bin/echo", "one"]))
    else:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            world.start(["cat", "-"])
        world.run_until(lambda: not has_children())
    world.turn()
    assert descriptors() == before


SHORTAGE = """
import asyncio, os, resource, sys
from sshwrap.supervisor.child import Child

def start(loop, ends):
    return Child(["/bin/cat", "-"], {}, loop=loop, on_lines=print, on_exit=ends)

def descriptors():
    return sorted(os.listdir("/dev/fd"))

loop = asyncio.new_event_loop()
before = descriptors()
held = []
"""
NO_PTYS = """
while True:
    try:
        held += os.openpty()
    except OSError:
        break
"""
NO_PROCESSES = """
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.setuid(65534)
"""
FAILS = """
full = descriptors()
for _ in range(3):
    try:
        start(loop, print)
    except OSError as error:
        assert descriptors() == full, (full, descriptors())
        print("refused", error.errno, flush=True)
"""
FREED = """
for descriptor in held:
    os.close(descriptor)
child = start(loop, lambda _: loop.stop())
child.signal(15)
loop.run_forever()
assert descriptors() == before, (before, descriptors())
print("started")
"""


def run_program(argv: list[str], *parts: str) -> list[str]:
    done = subprocess.run(
        [*argv, sys.executable, "-c", "".join((SHORTAGE, *parts))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a /dev/pts of its own")
def test_out_of_ptys() -> None:
    mount = "mount -t devpts -o newinstance,ptmxmode=0666,max=3 devpts /dev/pts"
    bind = "mount --bind /dev/pts/ptmx /dev/ptmx"
    argv = ["unshare", "--mount", "sh", "-c", f'{mount} && {bind} && exec "$@"', "sh"]
    assert run_program(argv, NO_PTYS, FAILS, FREED) == [
        *[f"refused {errno.ENOSPC}"] * 3,
        "started",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user who may have no more processes")
def test_out_of_processes() -> None:
    assert run_program([], NO_PROCESSES, FAILS) == [f"refused {errno.EAGAIN}"] * 3


def test_a_thread_beside_a_start_is_an_error_here(world: World) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="surprise")
    thread.start()
    try:
        with pytest.raises(RuntimeWarning, match=r"beside threads: .*surprise"):
            world.start(["/bin/echo", "one"])
        with pytest.warns(RuntimeWarning, match="beside threads"):  # and for a person it works
            echo = world.start(["/bin/echo", "one"])
    finally:
        stop.set()
        thread.join()
    assert world.run_to_end(echo) == Exit(0, None)


def test_stdin_stdout_and_stderr_are_closed(tmp_path: Path) -> None:
    """New descriptors take the numbers 0, 1, 2 then, and a fork puts the terminal over them."""
    program = textwrap.dedent(
        """
        import asyncio, json, os, pathlib, subprocess, sys
        from sshwrap.supervisor.child import Child, Source
        out = pathlib.Path(sys.argv[1])
        loop = asyncio.new_event_loop()
        os.closerange(0, 3)
        told, left = [], [1, 2]
        def ended(_):
            left.pop()
            if not left:
                loop.stop()
        for _ in list(left):
            Child(["sh", "-c", "echo log; echo terminal >&2"], {"PATH": "/usr/bin:/bin"},
                  loop=loop, on_lines=lambda source, lines: told.append([source.value, *lines]),
                  on_exit=ended)
        inherited = subprocess.run(["readlink", "/proc/self/fd/0"], stdout=subprocess.PIPE)
        loop.call_later(20, loop.stop)
        loop.run_forever()
        out.write_text(json.dumps([sorted(told), inherited.stdout.decode().strip()]))
        """
    )
    out = tmp_path / "out"
    argv = [sys.executable, "-c", program, str(out)]
    subprocess.run(argv, check=True, cwd=ROOT, timeout=60)
    told, inherited = json.loads(out.read_text())
    assert told == [["log", "log"]] * 2 + [["terminal", "terminal"]] * 2
    assert inherited == "/dev/null"
