"""supervisor/child.py on real ptys, against tests/support/fake_ssh.py: every trap once.

All run twice: with the kernel telling of a death (pidfd), and where it does not.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshwrap.supervisor.child import Exit, Source
from tests.support.children import World, clean_world, descriptors, is_reaped
from tests.support.processes import process
from tests.support.waiting import wait_for


@pytest.fixture(params=["pidfd", "looks"])
def deaths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a death is learned."""
    if request.param == "looks":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd here")
    return str(request.param)


@pytest.fixture
def world(tmp_path: Path, deaths: str) -> Iterator[World]:
    with clean_world(tmp_path) as world:
        yield world


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails where anything of pexpect's sleeps."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    yield
    assert not any(slept)


# --- what it says ------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sleep")
def test_log_and_terminal_come_apart_and_the_exit_comes_last(world: World) -> None:
    ssh = world.ssh(
        ["log", "debug1: Connection established."],
        ["terminal", "debug1: remote forward success for: listen 1, connect localhost:1"],
        ["log", "Authenticated"],
        ["exit", 255],
    )
    assert world.run_to_end(ssh) == Exit(255, None)
    assert ssh.log == ["debug1: Connection established.", "Authenticated"]
    assert ssh.terminal == ["debug1: remote forward success for: listen 1, connect localhost:1"]
    world.turn()
    assert ssh.told.index(Exit(255, None)) == len(ssh.told) - 1


def test_what_the_log_holds_comes_before_what_the_terminal_holds(world: World) -> None:
    # 60 kB of log: all that a pipe holds, and more than one line of it
    ssh = world.ssh(
        ["terminal", "first"],
        *[["log", f"{number:03} " + "x" * 195] for number in range(300)],
        ["terminal", "second"],
        ["touch", world.path("said")],
        ["wait"],
    )
    wait_for(Path(world.path("said")).exists)
    world.run_until(lambda: len(ssh.terminal) == 2)
    assert [line[:3] for line in ssh.log] == [f"{number:03}" for number in range(300)]
    assert ssh.told.index((Source.TERMINAL, "first")) == 300
    assert {source for source, _ in ssh.batches[: len(ssh.batches) - 1]} == {Source.LOG}


@pytest.mark.parametrize("where", ["log", "terminal"])
def test_lines_in_pieces(world: World, where: str) -> None:
    go = world.path("go")
    ssh = world.ssh(
        ["raw", where, "whole\r\nhal"],
        ["wait_for", go],
        ["raw", where, "f\r\r\nlone\nno end"],
    )
    source = Source(where)
    world.run_until(lambda: ssh.lines(source) == ["whole"])
    Path(go).touch()
    world.run_to_end(ssh)
    assert ssh.lines(source) == ["whole", "half", "lone", "no end"]
    assert isinstance(ssh.told[-1], Exit)


def test_chatter_is_read_in_bounded_turns_and_whole(world: World) -> None:
    ssh = world.ssh(["chatter", "log", 12 << 20], ["terminal", "done"], ["exit", 0])
    turns = itertools.count()

    def beat() -> None:
        next(turns)
        if ssh.ended is None:
            world.loop.call_soon(beat)

    beat()
    world.run_to_end(ssh)
    numbers = [int(line.split()[2]) for line in ssh.log]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) * 100 >= 12 << 20
    assert max(size for _, size in ssh.batches) <= 65536 + 4096
    assert next(turns) >= (12 << 20) / 65536  # others had their turn between any two reads
    assert ssh.terminal == ["done"]


def test_chatter_on_the_terminal(world: World) -> None:
    ssh = world.ssh(["chatter", "terminal", 1 << 20], ["log", "done"])
    world.run_to_end(ssh)
    numbers = [int(line.split()[2]) for line in ssh.terminal]
    assert numbers == list(range(len(numbers)))
    assert ssh.log == ["done"]


# --- how it ends -------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sleep")
@pytest.mark.parametrize("closed", [["log"], ["terminal"], ["log", "terminal"]])
def test_an_end_of_file_is_not_a_death(world: World, closed: list[str]) -> None:
    # pexpect's isalive() would wait here, blocking, for a death that never comes
    go = world.path("go")
    ssh = world.ssh(
        ["log", "before"],
        ["raw", "terminal", "prompt: "],
        *[["close", where] for where in closed],
        ["touch", world.path("closed")],
        ["wait_for", go],
        ["exit", 3],
    )
    wait_for(Path(world.path("closed")).exists)
    world.run_until(lambda: ssh.log == ["before"])
    if "terminal" in closed:
        world.run_until(lambda: ssh.terminal == ["prompt: "])
    world.turn(50)
    assert ssh.ended is None
    Path(go).touch()
    assert world.run_to_end(ssh) == Exit(3, None)
    assert ssh.terminal == ["prompt: "]


@pytest.mark.parametrize("step", ["grandchild", "grandchild_chatter"])
def test_a_death_is_told_while_a_grandchild_holds_everything(world: World, step: str) -> None:
    file = Path(world.path("grandchild"))
    ssh = world.ssh([step, str(file)], ["log", "last"], ["raw", "terminal", "words"], ["exit", 255])
    try:
        assert world.run_to_end(ssh) == Exit(255, None)
        # Two that write to one pipe may cut each other's lines.
        assert any("last" in line for line in ssh.log)
        assert ssh.terminal == ["words"]
        told = len(ssh.told)
        grandchild = int(file.read_text())
        if step == "grandchild":
            assert process(grandchild) is not None  # it does still hold them
        else:
            wait_for(lambda: process(grandchild) is None)  # nobody reads it any more
        world.turn()
        assert len(ssh.told) == told
    finally:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def test_a_grandchild_that_writes_faster_than_we_read(world: World) -> None:
    sh = world.start(["sh", "-c", "trap '' HUP; yes & echo $! >&2"])
    wait_for(lambda: process(sh.child.pid) is None)
    assert world.run_to_end(sh) == Exit(0, None)
    # What the pipe held, and not all that yes had to say while that was read.
    assert 1 <= sum(size for _, size in sh.batches) <= 512 << 10
    [yes] = map(int, sh.terminal)
    wait_for(lambda: process(yes) is None)  # nobody reads it any more


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP])
def test_a_death_by_signal(world: World, number: signal.Signals) -> None:
    ssh = world.ssh(["log", "here"], ["die", number.name.removeprefix("SIG")])
    assert world.run_to_end(ssh) == Exit(None, number)
    assert ssh.log == ["here"]


def test_somebody_else_has_reaped_it(world: World) -> None:
    ssh = world.ssh(["log", "here"], ["exit", 7])
    os.waitpid(ssh.child.pid, 0)
    assert world.run_to_end(ssh) == Exit(None, None)
    assert ssh.log == ["here"]


# --- signals -----------------------------------------------------------------------------------


def test_established_ssh_ends_on_term(world: World) -> None:
    ssh = world.ssh(["established"], ["log", "up"], ["wait"])
    world.run_until(lambda: ssh.log)
    ssh.child.signal(signal.SIGTERM)
    assert world.run_to_end(ssh) == Exit(0, None)


def test_one_that_is_deaf_to_term_is_killed(world: World) -> None:
    ssh = world.ssh(["ignore", "TERM"], ["on", "USR1", [["log", "alive"]]], ["log", "up"], ["wait"])
    world.run_until(lambda: ssh.log == ["up"])
    ssh.child.signal(signal.SIGTERM)
    ssh.child.signal(signal.SIGUSR1)
    world.run_until(lambda: ssh.log == ["up", "alive"])
    assert ssh.ended is None
    ssh.child.signal(signal.SIGKILL)
    assert world.run_to_end(ssh) == Exit(None, signal.SIGKILL)


def test_a_signal_to_the_dead_does_nothing(world: World) -> None:
    ssh = world.ssh(["exit", 1])
    wait_for(lambda: process(ssh.child.pid) is None)
    ssh.child.signal(signal.SIGTERM)  # dead, and nobody has noticed yet
    assert world.run_to_end(ssh) == Exit(1, None)
    ssh.child.signal(signal.SIGTERM)
    ssh.child.close()


def test_signals_start_at_their_defaults(world: World) -> None:
    numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE]
    numbers += [signal.SIGCHLD, signal.SIGUSR1, signal.SIGTSTP, signal.SIGTTOU, signal.SIGALRM]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    try:
        assert not mask  # as a start before this test has left it
        grep = world.start(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGTERM, signal.SIGUSR2}
        ended = world.run_to_end(grep)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    # An ignored SIGCHLD of ours would have made the kernel throw this status away.
    assert ended == Exit(0, None)
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in grep.log}
    # Up to 31: what glibc keeps for itself (32, 33) is beyond anybody's reach.
    assert {name: mask & 0x7FFFFFFF for name, mask in masks.items()} == {
        "SigBlk": 0,
        "SigIgn": 0,
    }


# --- what it is started with -------------------------------------------------------------------


def test_what_a_child_is_given(world: World) -> None:
    leak = os.open(os.devnull, os.O_RDONLY)
    high = 300
    os.dup2(leak, high, inheritable=True)  # as somebody who started us may have left one
    os.set_inheritable(leak, True)
    file = world.path("record")
    try:
        others = [world.ssh(["wait"]), world.ssh(["wait"])]
        ssh = world.ssh(["record", file], ["exit", 0])
        world.run_to_end(ssh)
    finally:
        os.close(leak)
        os.close(high)
    assert len(others) == 2
    found = json.loads(Path(file).read_text())
    assert found["pid"] == ssh.child.pid
    assert found["parent"] == os.getpid()
    assert found["argv"][1:] == ["-N", "-E", "/dev/stdout", "--", "vps"]
    extra = {"LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD"}  # Python's, and those of the sh before it
    assert set(found["env"]) - extra == {"PATH", "FAKE_SSH_SCENARIO"}
    assert found["cwd"] == str(Path.cwd())
    assert found["terminals"] == [0, 2]
    assert found["leads_session"]
    assert found["has_controlling_terminal"]
    log = found["descriptors"]["1"]
    assert log.startswith("pipe:")
    terminal = found["descriptors"]["0"]
    assert re.fullmatch(r"/dev/pts/\d+", terminal)
    beyond = [where for number, where in found["descriptors"].items() if int(number) > 2]
    # The log once more, by -E; and the folder of descriptors itself.
    assert [where for where in beyond if not where.endswith("/fd")] == [log]


def test_no_child_holds_another_ones_terminal_or_log(world: World) -> None:
    """Else it would live on when we are killed, or its log would never end."""
    before = descriptors()
    first, second = (world.ssh(["log", "up"], ["wait"]) for _ in range(2))
    world.run_until(lambda: first.log and second.log)
    held = [
        {str(entry.readlink()) for entry in Path("/proc", str(each.child.pid), "fd").iterdir()}
        for each in (first, second)
    ]
    assert not held[0] & held[1]
    assert not any("ptmx" in where for where in held[0] | held[1])
    ours = set(descriptors()) - set(before)
    assert len(ours) >= 4
    assert not any(os.get_inheritable(number) for number in ours)


def test_the_terminal_does_not_echo(world: World) -> None:
    stty = world.start(["stty", "-a"])
    assert world.run_to_end(stty) == Exit(0, None)
    text = " ".join(stty.log)
    assert " -echo " in text
    assert "rows 24; columns 80" in text


def test_the_program_is_looked_up_on_the_path_given(world: World) -> None:
    odd = world.folder / "a b %h"
    odd.mkdir()
    shutil.copy("/bin/echo", odd / "my ssh")
    by_name = world.start(["my ssh", "one"], PATH=f"/nowhere:{odd}")
    by_path = world.start([str(odd / "my ssh"), "two  three", ""])
    world.run_until(lambda: by_name.ended and by_path.ended)
    assert (by_name.log, by_path.log) == (["one"], ["two  three "])


# --- giving up ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sleep")
def test_close_kills_and_nothing_is_told(world: World) -> None:
    ssh = world.ssh(["ignore", "TERM", "HUP"], ["log", "up"], ["wait"])
    world.run_until(lambda: ssh.log)
    told = list(ssh.told)
    ssh.child.close()
    ssh.child.close()
    world.run_until(lambda: is_reaped(ssh.child.pid))
    world.turn()
    assert ssh.told == told


@pytest.mark.parametrize("last", [["wait"], ["exit", 0]])
def test_close_while_being_told(world: World, last: list[Any]) -> None:
    ssh = world.ssh(["raw", "log", "one\ntwo"], ["terminal", "three"], last)
    ssh.react = lambda: ssh.child.close()
    world.run_until(lambda: is_reaped(ssh.child.pid))
    world.turn()
    assert ssh.told == [(Source.LOG, "one")]


def test_an_error_in_a_callback_loses_no_exit(world: World) -> None:
    caught: list[str] = []
    world.loop.set_exception_handler(lambda _, context: caught.append(str(context["exception"])))
    ssh = world.ssh(["raw", "log", "begun"], ["exit", 4])

    def fail() -> None:
        raise RuntimeError("boom")

    ssh.react = fail
    assert world.run_to_end(ssh) == Exit(4, None)
    assert set(caught) == {"boom"}


# --- many --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sleep")
def test_two_hundred_children(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
    # cat waits for a terminal that never speaks
    script = "echo log; echo terminal >&2; exec cat"
    children = [world.start(["sh", "-c", script]) for _ in range(200)]
    world.run_until(lambda: all(child.log and child.terminal for child in children), within=60)
    assert threading.active_count() == 1
    assert not any(child.ended for child in children)
    for child in children[::2]:
        os.kill(child.child.pid, signal.SIGKILL)  # from outside
    for child in children[1::2]:
        child.child.signal(signal.SIGTERM)
    world.run_until(lambda: all(child.ended for child in children), within=60)
    assert {child.ended for child in children[::2]} == {Exit(None, signal.SIGKILL)}
    assert {child.ended for child in children[1::2]} == {Exit(None, signal.SIGTERM)}
    assert all(len(child.told) == 3 for child in children)
