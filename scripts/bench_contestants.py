"""Those who are measured: bare ssh, autossh, a loop of the shell, and sshwrap in three ways.

Laws. ssh gets the same options from all of them, but for what is each one's nature: sshwrap adds
-v, a control socket and its guards against a user's ssh_config. Each ends with all that it started.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.bench_world import World
from tests.support.processes import Process, descendants, process, processes
from tests.support.waiting import wait_for

SUPERVISOR = "sshwrap.supervisor"
SSHWRAP = Path(sys.executable).with_name("sshwrap")
ROWS_AND_COLUMNS = (40, 120)

# What sshwrap's command line has that changes what ssh does on the line (see `sshwrap show`).
COMMON = {
    "BatchMode": "yes",
    "ExitOnForwardFailure": "yes",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
    "ConnectTimeout": "10",
    "ConnectionAttempts": "1",
}


def forward(port: int, target: int) -> str:
    return f"127.0.0.1:{port}:127.0.0.1:{target}"


def ssh_arguments(world: World, port: int, target: int) -> list[str]:
    options = [word for key, value in COMMON.items() for word in ("-o", f"{key}={value}")]
    config = str(world.server.config)
    end = ["-R", forward(port, target), "--", world.server.alias]
    return ["-N", "-T", *options, "-F", config, *end]


class Keeper:
    """A process that keeps one ssh: ended by TERM, and with it, whatever it left."""

    def __init__(self, argv: Sequence[str], world: World, **environ: str) -> None:
        self._child = subprocess.Popen(
            argv,
            env=world.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def ssh(self) -> int:
        """The pid of the ssh that it keeps now."""
        return ssh_below(self.pid)

    def wait(self) -> None:
        """Until it ends by itself, as it should."""
        status = self._child.wait(timeout=60)
        if status != 0:
            raise RuntimeError(f"{self._child.args}: {status}")

    def stop(self) -> None:
        below = descendants(self.pid)
        self._child.terminate()
        self._child.wait(timeout=10)
        end(below)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def bare_ssh(world: World, port: int, target: int) -> Keeper:
    return Keeper(["ssh", *ssh_arguments(world, port, target)], world)


def talking_ssh(world: World, port: int, target: int) -> Keeper:
    """Bare ssh with -v, and nobody who reads it."""
    return Keeper(["ssh", "-v", "-E", os.devnull, *ssh_arguments(world, port, target)], world)


def autossh(world: World, port: int, target: int) -> Keeper:
    """-M 0: without its own monitoring port, as is usual with ServerAliveInterval."""
    return Keeper(["autossh", "-M", "0", *ssh_arguments(world, port, target)], world)


def shell_loop(world: World, port: int, target: int) -> Keeper:
    command = shlex.join(["ssh", *ssh_arguments(world, port, target)])
    return Keeper(["sh", "-c", f"while :; do {command}; sleep 1; done"], world)


class Background:
    """A background supervisor of sshwrap with a state directory and a profiles file of its own."""

    def __init__(self, world: World, name: str, forwards: Sequence[tuple[int, int]]) -> None:
        """`forwards`: (port, target port) of the profiles t0, t1, …"""
        folder = world.folder / name
        folder.mkdir(mode=0o700)
        self.profiles = [f"t{number}" for number in range(len(forwards))]
        text = f'[defaults]\nssh_config = "{world.server.config}"\n'
        for profile, (port, target) in zip(self.profiles, forwards, strict=True):
            text += f'[profile.{profile}]\ndestination = "{world.server.alias}"\n'
            text += f'remote_forward = "{forward(port, target)}"\n'
        (folder / "profiles.toml").write_text(text)
        self.environ = world.environ | {
            "SSHWRAP_PROFILES": str(folder / "profiles.toml"),
            "SSHWRAP_STATE_DIR": str(folder / "state"),
        }

    def command(self, *words: str) -> list[str]:
        return [str(SSHWRAP), *words]

    def run(self, *words: str) -> None:
        """A command of sshwrap that has to do what it is asked."""
        done = subprocess.run(
            self.command(*words),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise RuntimeError(f"sshwrap {shlex.join(words)}: {done.returncode}\n{said}")

    def up(self, names: Sequence[str] = ()) -> None:
        self.run("up", "-d", "-q", "--timeout", "120", *names)

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        found = self._supervisors()
        if len(found) != 1:
            raise RuntimeError(f"not one supervisor: {found}")
        return found[0].pid

    def _supervisors(self) -> list[Process]:
        """Those of this state directory, which no other process of the machine has."""
        mark = f"SSHWRAP_STATE_DIR={self.environ['SSHWRAP_STATE_DIR']}"
        return processes(lambda one: SUPERVISOR in one.argv and mark in environ_of(one.pid))

    def _tunnels(self) -> list[dict[str, Any]]:
        argv = self.command("status", "--json")
        said = subprocess.run(argv, env=self.environ, capture_output=True, check=False).stdout
        tunnels: list[dict[str, Any]] = json.loads(said)["tunnels"]
        return tunnels

    def ssh(self, profile: str) -> int:
        """The pid of this profile's ssh now."""
        found = {tunnel["profile"]: tunnel["ssh_pid"] for tunnel in self._tunnels()}
        return int(found[profile])

    def stop(self) -> None:
        """Down, and return when the supervisor has ended, whatever has become of the command."""
        keepers = self._supervisors()
        try:
            self.run("down")
        except BaseException:
            for one in keepers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGTERM)
            raise
        finally:
            wait_for(lambda: not any(map(lives, keepers)), within=20, what="the supervisor ends")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class OnTerminal:
    """A program on a terminal of its own; `drain` reads what it shows, so that it never waits."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *ROWS_AND_COLUMNS, 0, 0))
            self._child = subprocess.Popen(
                argv, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
            )
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while os.read(self._master, 65536):
                pass

    def wait(self) -> int:
        """Read to the end of what it shows; its exit status."""
        os.set_blocking(self._master, True)
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            while os.read(self._master, 65536):
                pass
        return self._child.wait(timeout=10)

    def stop(self) -> None:
        below = descendants(self._child.pid)
        if self._child.poll() is None:
            self._child.terminate()
        self.wait()
        os.close(self._master)
        end(below)


@contextlib.contextmanager
def on_terminal(argv: Sequence[str], environ: dict[str, str]) -> Iterator[OnTerminal]:
    program = OnTerminal(argv, environ)
    try:
        yield program
    finally:
        program.stop()


# --- processes ----------------------------------------------------------------------------------


def ssh_below(pid: int) -> int:
    found = [one for one in descendants(pid) if Path(one.argv[0]).name == "ssh"]
    if len(found) != 1:
        raise RuntimeError(f"not one ssh below {pid}: {found}")
    return found[0].pid


def environ_of(pid: int) -> list[str]:
    """What it was started with, "NAME=value" each; nothing where it is gone or another user's."""
    try:
        return Path("/proc", str(pid), "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def kill(pid: int) -> float:
    """KILL an ssh; when (monotonic)."""
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return begun


def lives(one: Process) -> bool:
    found = process(one.pid)
    return found is not None and found.started == one.started


def end(below: Sequence[Process]) -> None:
    """What a keeper left behind when it ended, if anything."""
    for one in below:
        if lives(one):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: not any(lives(one) for one in below), what="what it started is gone")
