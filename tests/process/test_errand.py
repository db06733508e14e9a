"""supervisor/errand.py with real programs: every way in which one can end, or not end.

All run twice: with the kernel telling of a death (pidfd), and where it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshwrap.supervisor.errand import KEPT_BYTES, SESSION_BYTES, Done, Errand
from tests.support.children import descriptors, has_children, is_reaped
from tests.support.processes import process
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C"}


class World:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.errands: list[Errand] = []
        self.done: list[Done] = []

    def start(self, *argv: str, **more: Any) -> Errand:
        arguments = {"env": ENV, "deadline": 60.0, "on_done": self.done.append, **more}
        errand = Errand(argv, arguments.pop("env"), loop=self.loop, **arguments)
        self.errands.append(errand)
        return errand

    def sh(self, script: str, **more: Any) -> Errand:
        return self.start("sh", "-c", script, **more)

    def run_until(self, fact: Any, within: float = 60) -> None:
        deadline = self.loop.time() + within

        def look() -> None:
            if fact() or self.loop.time() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.002, look)

        self.loop.call_soon(look)
        self.loop.run_forever()
        assert fact(), self.done

    def turn(self, turns: int = 5) -> None:
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def result(self, script: str, **more: Any) -> Done:
        self.sh(script, **more)
        return self.end()

    def end(self) -> Done:
        """What it came to; told once."""
        self.run_until(lambda: self.done)
        self.turn()
        (done,) = self.done
        return done


@pytest.fixture(params=["pidfd", "looks"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """At its end nothing is left of it: no descriptor, no process, no zombie, no thread."""
    if request.param == "looks":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd here")
    before = descriptors()
    world = World()
    try:
        yield world
    finally:
        for errand in world.errands:
            errand.cancel()
        world.run_until(lambda: all(is_reaped(errand.pid) for errand in world.errands))
        world.loop.close()
    assert descriptors() == before
    assert not has_children()
    assert threading.active_count() == 1


def test_what_it_says_and_how_it_ends(world: World) -> None:
    assert world.result("echo out; echo err >&2; exit 7") == Done(7, None, b"out\n", b"err\n")


def test_nothing_is_told_from_the_constructor(world: World) -> None:
    errand = world.sh("exit 0")
    os.waitid(os.P_PID, errand.pid, os.WEXITED | os.WNOWAIT)
    assert world.done == []
    assert world.end().status == 0


def test_a_signal(world: World) -> None:
    assert world.result("kill -TERM $$") == Done(None, signal.SIGTERM, b"", b"")


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_it_is_fed(world: World, size: int) -> None:
    done = world.result("wc -c", stdin=b"x" * size)
    assert int(done.out) == size


def test_it_need_not_listen(world: World) -> None:
    done = world.result("exec <&-; echo deaf; exit 3", stdin=b"x" * (1 << 20))
    assert (done.status, done.out) == (3, b"deaf\n")


def test_it_may_listen_after_it_has_talked(world: World) -> None:
    done = world.result("head -c 300000 /dev/zero; wc -c >&2", stdin=b"x" * (1 << 20))
    assert int(done.err) == 1 << 20


def test_what_it_says_is_bounded(world: World) -> None:
    done = world.result("head -c 12582912 /dev/zero; head -c 200000 /dev/zero >&2; echo end")
    assert (done.status, len(done.out), len(done.err)) == (0, KEPT_BYTES, KEPT_BYTES)


def test_who_writes_more_than_it_may_is_ended(world: World) -> None:
    """Long before its deadline; what it wrote first is kept."""
    done = world.result("echo first; exec cat /dev/zero", most_bytes=SESSION_BYTES)
    assert (done.status, done.signal, done.timed_out, done.flooded) == (None, None, False, True)
    assert done.out.startswith(b"first\n")
    assert len(done.out) == KEPT_BYTES


def test_on_stderr_too(world: World) -> None:
    done = world.result("exec yes >&2", most_bytes=SESSION_BYTES, dies_with_us=True)
    assert (done.flooded, len(done.err)) == (True, KEPT_BYTES)


def test_a_long_answer_is_no_flood(world: World) -> None:
    done = world.result("head -c 1000000 /dev/zero; exit 3", most_bytes=SESSION_BYTES)
    assert (done.status, done.flooded) == (3, False)


def test_on_a_terminal_of_ours_it_says_the_same(world: World) -> None:
    script = "cat; printf 'one\ntwo\n' >&2; test -t 2 && : 3<> /dev/tty && exit 7"
    assert world.result(script, stdin=b"fed", dies_with_us=True) == Done(
        7, None, b"fed", b"one\ntwo\n"
    )


def test_on_a_terminal_of_ours_its_last_words_are_heard(world: World) -> None:
    done = world.result("printf '%60000s' end >&2; exit 2", dies_with_us=True)
    assert (done.status, len(done.err), done.err[-3:]) == (2, 60000, b"end")


def test_what_cannot_be_started_leaves_no_terminal(world: World) -> None:
    with pytest.raises(OSError, match="No such file"):
        world.start("/no/such/program", dies_with_us=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a terminal has to be asked for")
def test_it_dies_with_us_though_we_are_killed(world: World, tmp_path: Path) -> None:
    """A sign-in that hangs on its server, and what it has started (a ProxyJump's ssh)."""
    pids = tmp_path / "pids"
    code = (
        "import asyncio, os; from sshwrap.supervisor.errand import Errand;"
        "loop = asyncio.new_event_loop();"
        "script = 'tail -f /dev/null > /dev/null & "
        f"echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait';"
        "Errand(['sh', '-c', script], dict(os.environ), loop=loop, deadline=600.0, on_done=print,"
        " dies_with_us=True); loop.run_forever()"
    )
    us = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_for(pids.exists)
        both = [int(pid) for pid in pids.read_text().split()]
        assert all(process(pid) for pid in both)
    finally:
        us.kill()
        us.wait()
    wait_for(lambda: not any(process(pid) for pid in both))


def test_the_deadline(world: World, tmp_path: Path) -> None:
    """Deaf to TERM, with a child of its own, and with words from before."""
    pid = tmp_path / "pid"
    script = f"trap '' TERM; echo said; (echo $$; exec tail -f /dev/null) & echo $! > {pid}; wait"
    done = world.result(script, deadline=2.0)
    assert done.timed_out
    assert (done.status, done.signal) == (None, None)
    assert done.out.startswith(b"said\n")
    grandchild = int(pid.read_text())
    world.run_until(lambda: process(grandchild) is None)


def test_a_stopped_one_is_ended_too(world: World) -> None:
    done = world.result("kill -STOP $$", deadline=0.3)
    assert done.timed_out


def test_a_deadline_is_told_before_the_death(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nothing can kill (a process in the kernel's hands) is not waited for."""
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: killed.append(group))
    errand = world.sh("exec tail -f /dev/null", deadline=0.05)
    assert world.end().timed_out
    assert killed == [errand.pid]
    assert process(errand.pid) is not None
    monkeypatch.undo()


def test_a_grandchild_that_holds_the_pipes_is_not_waited_for(world: World, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid}; exec tail -f /dev/null' & "
    done = world.result(f"{script} while ! [ -s {pid} ]; do :; done; echo out; exit 4")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert (done.status, done.out) == (4, b"out\n")


def test_a_grandchild_that_talks_for_ever(world: World, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid}; exec yes' & while ! [ -s {pid} ]; do :; done"
    done = world.result(f"{script}; exit 4")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert done.status == 4


def test_the_end_of_its_output_is_not_its_own(world: World, tmp_path: Path) -> None:
    go = tmp_path / "go"
    world.sh(f"exec >&- 2>&-; while ! [ -e {go} ]; do :; done; exit 5")
    world.turn(50)
    assert world.done == []
    go.touch()
    assert world.end().status == 5


def test_cancelled_it_tells_nothing(world: World) -> None:
    errand = world.sh("echo out; exec tail -f /dev/null", deadline=0.05)
    errand.cancel()
    errand.cancel()
    world.run_until(lambda: is_reaped(errand.pid))
    begun = world.loop.time()
    world.run_until(lambda: world.loop.time() > begun + 0.1)  # its deadline is past
    assert world.done == []


def test_cancelled_when_it_has_ended(world: World) -> None:
    errand = world.sh("exit 0")
    os.waitid(os.P_PID, errand.pid, os.WEXITED | os.WNOWAIT)
    errand.cancel()
    world.run_until(lambda: is_reaped(errand.pid))
    assert world.done == []


def test_cancel_after_the_end_signals_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    errand = world.sh("exit 0")
    world.end()
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("signalled"))
    errand.cancel()
    monkeypatch.undo()


def test_another_may_be_started_by_who_is_told(world: World) -> None:
    world.sh("exit 1", on_done=lambda done: world.sh("exit 2") and None)
    assert world.end().status == 2


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/dev/null"])
def test_what_cannot_be_started_leaves_nothing(world: World, program: str) -> None:
    with pytest.raises(OSError, match=r"No such file|Permission denied"):
        world.start(program)


def test_no_descriptor_to_be_had(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pipe
    made = iter(range(2))

    def pipe() -> tuple[int, int]:
        if next(made, None) is None:
            raise OSError(24, "Too many open files")
        return real()

    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(OSError, match="Too many"):
        world.sh("exit 0")


def test_its_environment_and_its_world(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The given environment, three descriptors, a session of its own, no signal ignored."""
    monkeypatch.setenv("NOT_ITS_OWN", "1")
    code = (
        "import os, signal;"
        "ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN];"
        "print(dict(os.environ) == {'A': 'b c', 'LC_ALL': 'C.UTF-8'}, os.getsid(0) == os.getpid(),"
        " signal.SIGHUP in ignored, signal.pthread_sigmask(signal.SIG_BLOCK, ()),"
        " sorted(int(n) for n in os.listdir('/proc/self/fd'))[:3])"
    )
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.ExitStack() as undo:
        undo.callback(signal.signal, signal.SIGHUP, hangup)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        world.start(sys.executable, "-ISc", code, env={"A": "b c", "LC_ALL": "C.UTF-8"})
    done = world.end()
    assert done.err == b""
    assert done.out == b"True True False set() [0, 1, 2]\n"


def test_deaths_that_nobody_may_hear_of(world: World) -> None:
    """Whoever started us may have had SIGCHLD ignored: the kernel then reaps our children."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert world.result("exit 6").status == 6
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_reaped_behind_our_back(world: World) -> None:
    errand = world.sh("echo out; exit 6")
    os.waitpid(errand.pid, 0)
    assert world.end() == Done(None, None, b"out\n", b"")


def test_a_hundred_at_once(world: World) -> None:
    for number in range(100):
        world.sh(f"cat; exit {number}", stdin=str(number).encode())
    world.run_until(lambda: len(world.done) == 100)
    assert sorted((done.status, int(done.out)) for done in world.done) == [
        (number, number) for number in range(100)
    ]


# --- one that may tidy up first, in a directory of its own, with nothing to read ---


def test_it_is_told_to_end_before_it_is_killed(world: World) -> None:
    world.sh(
        "trap 'echo tidied; exit 0' TERM; echo ready; sleep 600 & wait", deadline=60, grace=0.5
    )
    (errand,) = world.errands
    world.run_until(lambda: b"ready" in bytes(errand._kept[errand._outputs[0]]))
    errand.end()
    errand.end()
    done = world.end()
    assert (done.timed_out, done.status, done.out) == (True, None, b"ready\ntidied\n")


def test_what_it_has_started_is_ended_with_it(world: World, tmp_path: Path) -> None:
    """Also what is deaf to TERM, and outlives its parent, which is not."""
    deaf = f"trap '' TERM; echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 600"
    world.sh(f'sh -c "{deaf.replace("$", chr(92) + "$")}" & wait', deadline=60, grace=0.3)
    world.run_until((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    world.errands[0].end()
    assert world.end().timed_out
    wait_for(lambda: (one := process(pid)) is None or one.state == "Z")


def test_one_that_is_being_ended_can_be_killed_at_once(world: World) -> None:
    errand = world.sh("trap '' TERM; echo ready; while :; do sleep 600; done", grace=600.0)
    world.run_until(lambda: b"ready" in bytes(errand._kept[errand._outputs[0]]))
    errand.end()
    world.turn()
    errand.cancel()
    world.run_until(lambda: is_reaped(errand.pid))
    assert world.done == []


def test_it_starts_in_its_directory_and_reads_nothing(world: World) -> None:
    before = Path.cwd()
    done = world.result("pwd; readlink /proc/self/fd/0; cat", stdin=None, directory="/")
    assert (done.status, done.out) == (0, b"/\n/dev/null\n")
    assert Path.cwd() == before


def test_one_that_cannot_be_started_there(world: World) -> None:
    before = Path.cwd()
    with pytest.raises(FileNotFoundError):
        world.start("/no/such/program", stdin=None, directory="/")
    assert Path.cwd() == before


def test_from_a_directory_that_is_gone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert world.result("pwd", directory="/").out == b"/\n"
