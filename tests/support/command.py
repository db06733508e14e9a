"""The `sshwrap` command beside a fake ssh: what servers say is written down, nothing is asked.

Laws. As of tests/support/sshwrap_cli.py. Waiting is done on what is on disk (the journal, what the
fake ssh was started with) or on the supervisor's own answers, which cost no process each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyte

from sshwrap.profile.forward import Forward, Kind
from sshwrap.supervisor import ipc
from tests.support import scenarios
from tests.support.processes import Process, process
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Done, Front, Sshwrap, Tunnel
from tests.support.waiting import wait_for

HOST = "vps.example.com"
SPEC = "*:12345:localhost:8080"
WEB = Forward(
    Kind.REMOTE,
    SPEC,
    listen_host="*",
    listen_port=12345,
    connect_host="localhost",
    connect_port=8080,
)
PROFILE: Mapping[str, object] = {"destination": f"root@{HOST}", "remote_forward": SPEC}
DENIED = scenarios.failing(
    [
        "debug1: SSH2_MSG_SERVICE_ACCEPT received",
        "debug1: Authentications that can continue: publickey",
        f"root@{HOST}: Permission denied (publickey).",
    ]
)
THROTTLED = scenarios.failing(
    [
        "debug1: kex_exchange_identification: banner line 0: Not allowed at this time",
        "kex_exchange_identification: Connection closed by remote host",
    ]
)


class FakeCli(Sshwrap):
    """`cli.server(scenarios.up([WEB]))`, `cli.profiles(web={})`, `cli.up("web")`.

    A profile says what differs from PROFILE. The server is up for everybody unless told otherwise.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, cast(Sshd, None))  # nobody asks for it: see `profiles`
        self.fake = folder / "server"
        self.env["SSHWRAP_SSH"] = str(scenarios.install(folder))
        self.env["FAKE_SSH_SCENARIO"] = str(self.fake)
        self.server_says(scenarios.up([WEB]))
        self._terminals: list[Terminal] = []

    def server_says(self, *starts: scenarios.Steps, host: str = "", **said: Any) -> None:
        """One scenario a start from now on, the last for all later ones; of one host alone.

        None: as before. `said` is what -V and -G say (scenarios.write).
        """
        folder = self.fake / host
        before = scenarios.starts(folder) if folder.is_dir() else 0
        said.setdefault("effective", [f"hostname {host or HOST}", "port 22"])
        if not starts:
            scenarios.write(folder, **said)
            return
        # The starts that were keep their numbers.
        past = [scenarios.up([WEB])] * before
        scenarios.write(folder, *past, *starts, **said)
        for file in folder.glob("[0-9]*.json"):
            if int(file.stem) > len(past) + len(starts):
                file.unlink()

    def starts(self, host: str = "") -> int:
        return scenarios.starts(self.fake / host)

    def wait_for_starts(self, count: int, host: str = "", *, within: float = 40) -> None:
        wait_for(
            lambda: self.starts(host) >= count,
            within=within,
            what=lambda: f"{count} starts, not {self.starts(host)}",
        )

    def profiles(self, **profiles: Mapping[str, object]) -> None:
        text = ""
        for name, given in profiles.items():
            text += f'[profile."{name}"]\n'
            for key, value in (dict(PROFILE) | dict(given)).items():
                text += f"{key} = {_toml(value)}\n"
        self.write_profiles(text)

    def write_profiles(self, text: str) -> None:
        # Beside and renamed: whoever reads meanwhile has the old or the new one.
        part = self.profiles_file.with_suffix(".part")
        part.write_text(text)
        part.chmod(0o600)
        part.rename(self.profiles_file)

    def up(self, *names: str) -> Tunnel:
        """`up -d` that has to succeed; what its supervisor says of the first name."""
        done = self("up", "-d", *names)
        assert done.status == 0, (done, self.journals())
        return self.asked(names[0])

    # --- asked without a process ---------------------------------------------------------------

    def ask(self, path: str = "", **message: object) -> dict[str, Any]:
        """One request to the background supervisor, or to the one at `path`."""
        request = {"v": ipc.VERSION, **message}
        return ipc.request(path or self.places().background_socket, request, 20.0)

    def asked(self, name: str, path: str = "") -> Tunnel:
        tunnels = self.ask(path, op="status")["tunnels"]
        return next(tunnel for tunnel in tunnels if tunnel["profile"] == name)

    def wait_until(
        self, name: str, fact: str | Callable[[Tunnel], object], *, path: str = "", within: int = 40
    ) -> Tunnel:
        """What its supervisor says of it, once that is in the state, or the fact holds."""
        last: list[object] = []

        def holds() -> Tunnel | None:
            try:
                tunnel = self.asked(name, path)
            except (ipc.IpcError, StopIteration) as error:
                last[:] = [error]
                return None
            last[:] = [tunnel]
            found = tunnel["state"] == fact if isinstance(fact, str) else fact(tunnel)
            return tunnel if found else None

        found = wait_for(holds, within=within, what=lambda: f"{name}: {fact}: {last}", every=0.02)
        assert found is not None
        return found

    def front_socket(self, pid: int) -> str:
        return self.places().front_socket(pid)

    def events(self, name: str) -> list[str]:
        return [entry["event"] for entry in self.journal(name)]

    def wait_until_gone(self, are_gone: Callable[[], bool] | None = None) -> None:
        wait_for(
            are_gone or (lambda: not self.own_processes()),
            within=40,
            what=lambda: f"{[one.title for one in self.own_processes()]} end",
        )

    def into_a_closed_pipe(self, *words: str) -> Done:
        """Run one command whose reader has gone before its first word."""
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                self._argv(words),
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(writing)
        return Done(done.returncode, "", done.stderr)

    # --- processes -----------------------------------------------------------------------------

    def own_processes(self) -> list[Process]:
        """As of Sshwrap, ten times as fast: every test looks several times."""
        mark = b"\0HOME=" + os.fsencode(self.home) + b"\0"
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                    ours = mark in b"\0" + file.read()
            except OSError:  # gone, or not ours
                continue
            if ours and int(pid) != os.getpid() and (one := process(int(pid))) is not None:
                found.append(one)
        return self._and_known(found)

    def own_ssh(self) -> list[Process]:
        """The fakes that are a tunnel, not those that answer -V or -G."""
        return [
            one
            for one in self.own_processes()
            if "-N" in one.argv and any(word.endswith("/fake_ssh.py") for word in one.argv)
        ]

    def supervisors(self) -> list[Process]:
        """Those in the background."""
        return [one for one in self.own_processes() if "sshwrap.supervisor" in one.argv]

    def terminal(self, *words: str, rows: int = 24, columns: int = 100) -> Terminal:
        """A command at a terminal of its own."""
        env = self.env | {"TERM": self.env.get("TERM", "xterm-256color")}
        terminal = Terminal(self._argv(words), env, self.folder, rows, columns)
        self._terminals.append(terminal)
        return terminal

    def close(self) -> None:
        """TERM to every command and supervisor, and never to a fake: that is their work."""
        told: set[tuple[int, int]] = set()

        def are_gone() -> bool:
            ours = self.own_processes()
            for one in ours:  # one that was only being started when we first looked is told later
                module = one.argv[one.argv.index("-m") + 1] if "-m" in one.argv else ""
                if module.startswith("sshwrap") and (one.pid, one.started) not in told:
                    told.add((one.pid, one.started))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one.pid, signal.SIGCONT)
                        os.kill(one.pid, signal.SIGTERM)
            return not ours

        try:
            self.wait_until_gone(are_gone)
        finally:
            super().close()
            for terminal in self._terminals:
                terminal.close()


class Terminal:
    """A command with a terminal: what it wrote there (`raw`), and what stands there (`screen`)."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], folder: Path, rows: int, columns: int
    ) -> None:
        self._fd, there = os.openpty()
        termios.tcsetwinsize(there, (rows, columns))
        self._child = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=folder,
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(there)
        os.set_blocking(self._fd, False)
        self.pid = self._child.pid
        self._raw = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def raw(self) -> bytes:
        """Everything written so far."""
        while self._fd >= 0:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                break
            except OSError:  # EIO: nobody has it open any more
                break
            self._raw += data
            self._stream.feed(data)
        return self._raw

    @property
    def screen(self) -> str:
        """What a person sees."""
        assert self.raw is not None
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def type(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def hang_up(self) -> None:
        """The terminal is gone."""
        assert self.raw is not None
        os.close(self._fd)
        self._fd = -1

    def wait_for_words(self, text: str, *, within: float = 40) -> None:
        """Until they stand on the screen."""
        wait_for(
            lambda: text in self.screen,
            within=within,
            what=lambda: f"{text!r} on the screen\n{self.screen}\n{self._raw!r}",
        )

    def wait(self, *, within: float = 40) -> int:
        """The exit status."""

        def ended() -> bool:
            assert self.raw is not None  # a full terminal would keep it from ending
            return self._child.poll() is not None

        wait_for(ended, within=within, what=lambda: f"it ends\n{self.screen}")
        assert self.raw is not None
        return self._child.wait()

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait(timeout=10)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def stop_reading(front: Front) -> None:
    """From now on it writes into a closed pipe."""
    stream = front._child.stdout
    assert stream is not None
    stream.close()


def says_one_thing(done: Done) -> str:
    """The fact of the one error that a command ended with: one line, perhaps words and advice."""
    lines = done.err.splitlines()
    facts = [line for line in lines if line.startswith("sshwrap: ")]
    assert len(facts) == 1, done
    assert all(line.startswith(("sshwrap: ", "  said: ", "  try: ", "  ssh: ")) for line in lines)
    fact = facts[0].removeprefix("sshwrap: ")
    assert not fact.endswith("."), done
    return fact


def _toml(value: object) -> str:
    import json

    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(str(value) if isinstance(value, Path) else value)
