"""A supervisor that is killed leaves no ssh behind: its children end with their terminal.

The supervisor here is a program of a few lines that starts children by supervisor/child.py. Zombies
do not count: whoever inherits them reaps them in its own time.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import scenarios
from tests.support.processes import Process, descendants, process, processes
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]

# Starts every argv of its argument as a Child, tells their pids and lines, and goes on for ever.
SUPERVISOR = """
import asyncio, json, os, sys
from sshwrap.supervisor.child import Child
loop = asyncio.new_event_loop()
ready = set()
def speaks(number):
    def on_lines(_, lines):
        if any("READY" in line for line in lines) and number not in ready:
            ready.add(number)
            print("ready", number, flush=True)
    return on_lines
children = [
    Child(argv, dict(os.environ), loop=loop, on_lines=speaks(number), on_exit=print)
    for number, argv in enumerate(json.loads(sys.argv[1]))
]
print(json.dumps([child.pid for child in children]), flush=True)
loop.run_forever()
"""

# Never stops starting children, so that a kill meets one in the middle of its start.
STARTER = """
import asyncio, os, sys
from sshwrap.supervisor.child import Child
loop = asyncio.new_event_loop()
def more(_=None):
    child = Child(["sh", "-c", "read line", sys.argv[1]], dict(os.environ), loop=loop,
                  on_lines=print, on_exit=lambda _: None)
    print("started", flush=True)
    loop.call_soon(more)
more()
loop.run_forever()
"""

Begin = Callable[..., "Supervisor"]


class Supervisor:
    """The program, running; `pids` are its children, `below` all that descends from it."""

    def __init__(self, argv: Sequence[str], ignored: Sequence[signal.Signals]) -> None:
        # A shell that ignores signals hands that on, as nohup does, and as every shell does with
        # INT and QUIT for what it runs in the background.
        names = " ".join(number.name.removeprefix("SIG") for number in ignored)
        trap = f"trap '' {names}; " if names else ""
        self.popen = subprocess.Popen(
            ["sh", "-c", f"{trap}exec {shlex.join(argv)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.pids: list[int] = []

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def begun(self, speaking: int) -> None:
        self.pids = json.loads(self.line())
        said = {self.line() for _ in range(speaking)}
        assert len(said) == speaking, said

    def kill(self) -> list[Process]:
        """SIGKILL; all that descended from it at that moment, still alive or not."""
        below = descendants(self.popen.pid)
        self.popen.kill()
        self.popen.wait()
        return below

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a Supervisor; ends whatever a failed test has left of it."""
    begun: list[Supervisor] = []

    def begin(
        argvs: Sequence[Sequence[str]],
        *,
        speaking: int,
        ignored: Sequence[signal.Signals] = (),
        before: Sequence[str] = (),
    ) -> Supervisor:
        argv = [*before, sys.executable, "-c", SUPERVISOR, json.dumps([list(a) for a in argvs])]
        supervisor = Supervisor(argv, ignored)
        begun.append(supervisor)
        supervisor.begun(speaking)
        return supervisor

    yield begin
    for supervisor in begun:
        supervisor.close()
        for pid in supervisor.pids:
            if process(pid) is not None:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The command line of a fake ssh with these steps."""
    program = scenarios.install(tmp_path)

    def command(*steps: list[Any]) -> list[str]:
        scenarios.put(tmp_path / "scenario.json", steps)
        monkeypatch.setenv("FAKE_SSH_SCENARIO", str(tmp_path / "scenario.json"))
        return [str(program), "-N", "-E", "/dev/stdout", "--", "vps"]

    return command


def assert_gone(below: Sequence[Process]) -> None:
    def left() -> list[Process]:
        found = [process(each.pid) for each in below]
        return [one for one in found if one is not None and one in below]

    wait_for(lambda: not left(), what=lambda: f"still alive: {left()}")


@pytest.mark.parametrize(
    "ignored",
    [
        [],
        [signal.SIGHUP],
        [signal.SIGINT, signal.SIGQUIT],
        [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD],
    ],
    ids=lambda ignored: "+".join(number.name for number in ignored) or "none",
)
def test_a_killed_supervisor_leaves_no_ssh(
    begin: Begin, fake: Callable[..., list[str]], ignored: list[signal.Signals]
) -> None:
    ssh = fake(["established"], ["log", "READY"], ["wait"])
    supervisor = begin([ssh] * 5, speaking=5, ignored=ignored)
    below = supervisor.kill()
    assert {each.pid for each in below} == set(supervisor.pids)
    assert_gone(below)


def test_a_supervisor_killed_under_nohup_leaves_no_ssh(
    begin: Begin, fake: Callable[..., list[str]]
) -> None:
    ssh = fake(["established"], ["log", "READY"], ["wait"])
    supervisor = begin([ssh] * 5, speaking=5, before=["nohup"])
    status = Path("/proc", str(supervisor.popen.pid), "status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")]
    assert int(mask, 16) >> (signal.SIGHUP - 1) & 1  # so there was something to undo
    below = supervisor.kill()
    assert len(below) == 5
    assert_gone(below)


@pytest.mark.parametrize(
    "steps",
    [
        [["ignore", "TERM", "INT", "QUIT"], ["log", "READY"], ["wait"]],
        [["log", "READY"], ["close", "log"], ["wait"]],
        [["log", "READY"], ["chatter", "log", 1 << 40]],
        [["log", "READY"], ["chatter", "terminal", 1 << 40]],
    ],
    ids=["deaf", "log closed", "log flooded", "terminal flooded"],
)
def test_whatever_it_is_doing(
    begin: Begin, fake: Callable[..., list[str]], steps: list[list[Any]]
) -> None:
    supervisor = begin([fake(*steps)], speaking=1)
    below = supervisor.kill()
    assert [each.pid for each in below] == supervisor.pids
    assert_gone(below)


def test_a_stopped_child_goes_too(begin: Begin, fake: Callable[..., list[str]]) -> None:
    supervisor = begin([fake(["log", "READY"], ["wait"])], speaking=1)
    [pid] = supervisor.pids
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: (found := process(pid)) is not None and found.state == "T")
    assert_gone(supervisor.kill())


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs the system's ssh")
@pytest.mark.parametrize("proxied", [False, True])
def test_a_real_ssh_and_its_proxy_command(begin: Begin, tmp_path: Path, proxied: bool) -> None:
    """Towards a server that never says a word: ssh waits for its banner."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        argv = ["ssh", "-F", "/dev/null", "-N", "-T", "-n", "-v", "-E", "/dev/stdout"]
        argv += ["-o", "BatchMode=yes", "-p", str(port)]
        if proxied:
            proxy = tmp_path / "proxy"
            proxy.write_text("#!/bin/sh\necho READY >&2\nexec tail -f /dev/null\n")
            proxy.chmod(0o755)
            argv += ["-o", f"ProxyCommand='{proxy}'"]
        else:
            argv += ["-o", f"IdentityFile={tmp_path / 'READY'}"]  # which it tells
        supervisor = begin([[*argv, "127.0.0.1"]], speaking=1)
        below = supervisor.kill()
        assert [each.pid for each in below[:1]] == supervisor.pids
        assert len(below) == (2 if proxied else 1)
        assert_gone(below)


@pytest.mark.parametrize("starts", range(1, 9))
def test_killed_while_it_starts_one(starts: int) -> None:
    mark = f"sshwrap-test-{uuid.uuid4()}"
    supervisor = Supervisor([sys.executable, "-c", STARTER, mark], [])
    try:
        for _ in range(starts):
            assert supervisor.line() == "started\n"
        supervisor.popen.kill()
        supervisor.popen.wait()
        # A copy of the supervisor that is not a sh yet carries the mark as well.
        wait_for(lambda: not processes(lambda each: mark in each.argv))
    finally:
        supervisor.close()
