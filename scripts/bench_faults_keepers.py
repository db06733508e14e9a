"""Those who keep a tunnel in the lab's home: sshwrap, autossh, a loop of the shell.

Laws. ssh gets the same options from all of them, but for what is each one's nature; each has one
port of the server. Processes are found by what they descend from, and are of the lab alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from scripts.bench_contestants import SSHWRAP, SUPERVISOR, end, environ_of, lives
from sshwrap.paths import Places
from tests.netlab.hosts import Program
from tests.netlab.lab import Lab
from tests.netlab.server import Server
from tests.support.processes import Process, descendants, process
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[1]
TARGET = 8080
ANSWERS_WITHIN = 10.0
DESTINATION = "tunnel@vps4.example.com"
# See bench_world.py: autossh is to try again at once after a run of ten seconds, as sshwrap does.
AUTOSSH = {"AUTOSSH_GATETIME": "0", "AUTOSSH_POLL": "100"}


class Keeper(Protocol):
    """`ssh`: the pids (as seen from outside) of what keeps its tunnel now: one, or none."""

    name: str
    port: int

    @abstractmethod
    def start(self) -> None: ...
    @abstractmethod
    def ssh(self) -> list[int]: ...
    @abstractmethod
    def processes(self) -> list[Process]: ...
    @abstractmethod
    def stop(self) -> None: ...


def forward(port: int) -> str:
    return f"*:{port}:localhost:{TARGET}"


def ssh_command(port: int, interval: int, count: int) -> list[str]:
    """What sshwrap's own command line has that changes what ssh does on the line."""
    options = {
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
        "ServerAliveInterval": str(interval),
        "ServerAliveCountMax": str(count),
        "ConnectTimeout": "10",
        "ConnectionAttempts": "1",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ["-N", "-T", *words, "-R", forward(port), "--", DESTINATION]


class Command:
    """A program that keeps one ssh below it: autossh, or a loop of the shell."""

    def __init__(self, lab: Lab, name: str, port: int, argv: Sequence[str]) -> None:
        self.name, self.port = name, port
        self._lab = lab
        self._argv = argv
        self._program: Program | None = None

    def start(self) -> None:
        assert self._program is None
        self._program = self._lab.home.popen(*self._argv, env=AUTOSSH)

    def processes(self) -> list[Process]:
        if self._program is None or not self._program.is_alive:
            return []
        own = process(self._program.pid)
        return [*([own] if own else []), *descendants(self._program.pid)]

    def ssh(self) -> list[int]:
        return [one.pid for one in self.processes() if is_ssh(one)]

    def stop(self) -> None:
        below = self.processes()
        program, self._program = self._program, None
        if program is not None:
            program.signal(signal.SIGCONT)
            program.stop()
        end(below)


def autossh(lab: Lab, port: int, interval: int, count: int) -> Command:
    return Command(
        lab, "autossh", port, ["autossh", "-M", "0", *ssh_command(port, interval, count)]
    )


def shell_loop(lab: Lab, port: int, interval: int, count: int) -> Command:
    command = shlex.join(["ssh", *ssh_command(port, interval, count)])
    return Command(lab, "shell loop", port, ["sh", "-c", f"while :; do {command}; sleep 1; done"])


class Sshwrap:
    """A background supervisor with a state directory and a profiles file of its own.

    `ports`: of its profiles t0, t1, …; as a `Keeper` it is the one of the first. `more`: lines of
    TOML that all of them have.
    """

    name = "sshwrap"

    def __init__(
        self,
        lab: Lab,
        ports: Sequence[int],
        interval: int,
        count: int,
        *,
        folder: str = "ours",
        more: str = "",
    ) -> None:
        self._lab = lab
        self.ports = list(ports)
        self.port = self.ports[0]
        self.folder = f"/srv/{folder}"
        lab.home.put(self.folder, None, mode=0o700)
        text = f"[defaults]\nserver_alive_interval = {interval}\nserver_alive_count_max = {count}\n"
        text += more
        for number, port in enumerate(self.ports):
            text += f'[profile.t{number}]\ndestination = "{DESTINATION}"\n'
            text += f'remote_forward = "{forward(port)}"\n'
        lab.home.put(f"{self.folder}/profiles.toml", text)
        self.environ = {
            "PATH": f"{SSHWRAP.parent}:{lab.home.environ()['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "SSHWRAP_PROFILES": f"{self.folder}/profiles.toml",
            "SSHWRAP_STATE_DIR": f"{self.folder}/state",
        }

    def command(self, *words: str, check: bool = True) -> str:
        """The answer of a command of sshwrap in the home."""
        done = self._lab.home.run(str(SSHWRAP), *words, env=self.environ, check=False, within=120)
        if check and done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise RuntimeError(f"sshwrap {shlex.join(words)}: {done.returncode}: {said}")
        return done.stdout

    def start(self) -> None:
        # 1: not up yet, which it need not be.
        self.command("up", "-d", "-q", "--timeout", "0.1", check=False)
        wait_for(self.supervisors, what=lambda: f"a supervisor: {self.command('status')}")

    def status(self) -> list[dict[str, Any]]:
        """The tunnels of `status --json`, asked of the supervisor itself, which costs no process.

        OSError where there is none.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWERS_WITHIN)
            client.connect(self.places().background_socket)
            client.sendall(b'{"v": 1, "op": "status"}\n')
            with client.makefile("rb") as stream:
                answer = json.loads(stream.readline() or b"{}")
        if "tunnels" not in answer:
            raise OSError(f"no answer: {answer}")
        tunnels: list[dict[str, Any]] = answer["tunnels"]
        return tunnels

    def places(self) -> Places:
        """As seen from outside; by a way that is short enough for a socket."""
        folder = self._lab.home.root / self.folder.lstrip("/")
        return Places(str(folder / "profiles.toml"), str(folder / "state"))

    def supervisors(self) -> list[Process]:
        mark = f"SSHWRAP_STATE_DIR={self.folder}/state"
        return [
            one
            for one in self._lab.home.processes()
            if SUPERVISOR in one.argv and mark in environ_of(one.pid)
        ]

    def processes(self) -> list[Process]:
        found = self.supervisors()
        return found + [below for one in found for below in descendants(one.pid)]

    def ssh(self) -> list[int]:
        """Of the first tunnel; what else it runs for a moment (a look, a sign-in) has no -N."""
        return self.tunnels_ssh(self.ports[:1])

    def tunnels_ssh(self, ports: Sequence[int]) -> list[int]:
        asked = {forward(port) for port in ports}
        return [
            one.pid
            for one in self.processes()
            if is_ssh(one) and "-N" in one.argv and asked & set(one.argv)
        ]

    def stop(self) -> None:
        below = self.processes()
        for one in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGCONT)
        if below:
            self.command("down", check=False)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not any(map(lives, below)), within=20, what="it ends")
        end(below)


# --- the server ----------------------------------------------------------------------------------


def stop_sshd(server: Server) -> None:
    """With its sessions, of which one may end by itself just before it is ended."""
    try:
        server.stop_sshd()
    except ProcessLookupError:
        server.stop_sshd()


# --- processes -----------------------------------------------------------------------------------


def is_ssh(one: Process) -> bool:
    return Path(one.argv[0]).name == "ssh"
