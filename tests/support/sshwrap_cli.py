"""The `sshwrap` command of the running interpreter, with a home, state and profiles of its own.

Laws. What a test learns, it learns from the command: `status --json`, `logs --json`, exit status,
stdout and stderr. Its processes are found by their HOME, which is nobody else's, and only those are
ever signalled, by pid. At the end nothing of it may be left: no supervisor, no ssh, no socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sshwrap.paths import Places, find_places
from tests.support.processes import Process, process, processes
from tests.support.sshd import Sshd
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
Tunnel = dict[str, Any]  # one of the tunnels of `status --json`
Fact = Callable[[Tunnel], object]


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


class Sshwrap:
    """`cli = Sshwrap(folder, server); cli.profiles(web={"remote_forward": …}); cli.up("web")`.

    `env` may be changed before a command: it is the whole of what the command sees.
    """

    def __init__(self, folder: Path, server: Sshd) -> None:
        self.server = server
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.profiles_file = folder / "profiles.toml"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "SSHWRAP_PROFILES": str(self.profiles_file),
            "SSHWRAP_STATE_DIR": str(folder / "state"),
        }
        self._fronts: list[Front] = []
        self._known: dict[int, int] = {}  # pid -> started, of processes that were ours

    # --- profiles ------------------------------------------------------------------------------

    def profiles(self, **profiles: Mapping[str, object]) -> None:
        """Write the profiles file: every profile for our server unless it says otherwise."""
        text = ""
        for name, given in profiles.items():
            keys = {"destination": self.server.alias, "ssh_config": str(self.server.config)}
            text += f'[profile."{name}"]\n'
            for key, value in (keys | dict(given)).items():
                text += f"{key} = {_toml(value)}\n"
        # Beside and renamed: whoever reads meanwhile has the old or the new one.
        part = self.profiles_file.with_suffix(".part")
        part.write_text(text)
        part.chmod(0o600)
        part.rename(self.profiles_file)

    def ssh_config(self, *lines: str) -> Path:
        """An ssh_config that holds these lines for our server, before the server's own."""
        path = self.folder / "ssh_config"
        text = "".join(f"    {line}\n" for line in lines)
        path.write_text(f"Host {self.server.alias}\n{text}\n{self.server.config.read_text()}")
        return path

    # --- commands ------------------------------------------------------------------------------

    def __call__(self, *words: str, within: float = 60) -> Done:
        """Run one command to its end."""
        done = subprocess.run(
            self._argv(words),
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def up(self, *names: str) -> Tunnel:
        """`up -d` that has to succeed; the tunnel of the first name."""
        done = self("up", "-d", *names)
        assert done.status == 0, (done, self.journals())
        return self.tunnel(names[0])

    def front(self, *words: str) -> Front:
        """A command that goes on, its stdout and stderr in pipes."""
        front = Front(self._argv(words), self.env, self.folder)
        self._fronts.append(front)
        return front

    def _argv(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "sshwrap", *words]

    # --- what it tells -------------------------------------------------------------------------

    def tunnels(self) -> dict[str, Tunnel]:
        """`status --json`, by name."""
        done = self("status", "--json")
        assert done.status in (0, 1), done
        answer = json.loads(done.out)
        assert answer["schema_version"] == 1
        return {tunnel["profile"]: tunnel for tunnel in answer["tunnels"]}

    def tunnel(self, name: str) -> Tunnel:
        return self.tunnels()[name]

    def wait(
        self, name: str, fact: str | Fact, *, within: float = 40, what: str | None = None
    ) -> Tunnel:
        """The tunnel once it is in that state, or once that holds of it."""
        last: list[Tunnel] = []

        def holds() -> Tunnel | None:
            tunnel = self.tunnels().get(name)
            last[:] = [tunnel] if tunnel else []
            if tunnel is None:
                return None
            found = tunnel["state"] == fact if isinstance(fact, str) else fact(tunnel)
            return tunnel if found else None

        def story() -> str:
            entries = "\n".join(map(str, self.journal(name)))
            return f"{name}: {what or fact}\nlast: {last}\njournal:\n{entries}"

        # Each look is a process, and whoever is waited for needs the processor too.
        found = wait_for(holds, within=within, what=story, every=0.2)
        assert found is not None
        return found

    def journal(self, name: str, event: str | None = None) -> list[dict[str, Any]]:
        """Its entries, oldest first, as they are on disk; those of one event."""
        file = Path(self.places().journal_file(name))
        lines = file.read_text().splitlines() if file.exists() else []
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if event is None or entry["event"] == event]

    def journals(self) -> dict[str, list[dict[str, Any]]]:
        return {name: self.journal(name) for name in self.places().journal_names()}

    def wait_for_entry(
        self, name: str, event: str, *, count: int = 1, within: float = 40
    ) -> dict[str, Any]:
        """The `count`th entry of that event, once it is written."""

        def written() -> list[dict[str, Any]]:
            entries = self.journal(name, event)
            return entries[count - 1 : count]

        def story() -> str:
            entries = "\n".join(map(str, self.journal(name)))
            return f"{name}: entry {count} of {event!r}:\n{entries}"

        return wait_for(written, within=within, what=story)[0]

    # --- what there is of it -------------------------------------------------------------------

    def places(self) -> Places:
        return find_places(self.env)

    def own_processes(self) -> list[Process]:
        """Whoever was started by us or below us, and lives."""
        mark = b"HOME=" + os.fsencode(self.home)
        return self._and_known(
            processes(lambda one: one.pid != os.getpid() and mark in _environ(one.pid))
        )

    def _and_known(self, found: list[Process]) -> list[Process]:
        """With those that were ours before and are still there: in the middle of an exec, and at
        its end as long as its files and locks are its own, a process has no environment."""
        here = {one.pid: one for one in found}
        for pid, started in list(self._known.items()):
            one = process(pid)
            if one is None or one.started != started:
                del self._known[pid]
            else:
                here.setdefault(pid, one)
        self._known |= {one.pid: one.started for one in here.values()}
        return sorted(here.values(), key=lambda one: one.pid)

    def own_ssh(self) -> list[Process]:
        """Those that keep a tunnel, not those that answer -V or -G: a supervisor that is just
        starting asks for the version, and ends after that where it has nothing to keep."""
        return [
            one
            for one in self.own_processes()
            if Path(one.argv[0]).name == "ssh" and "-N" in one.argv and "-G" not in one.argv
        ]

    def sockets(self) -> list[str]:
        """Of supervisors and of ssh, wherever the path was short enough."""
        places = self.places()
        folders = {Path(places.socket_dir), Path(places.state_dir), Path(places.control_dir)}
        found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return sorted(path.name for path in found if path.is_socket())

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """TERM to every supervisor; AssertionError where anything is left after that."""
        told: set[tuple[int, int]] = set()

        def are_gone() -> bool:
            ours = self.own_processes()
            for one in ours:  # one that was only being started when we first looked is told later
                if "sshwrap" in one.title and (one.pid, one.started) not in told:
                    told.add((one.pid, one.started))
                    _signal(one.pid, signal.SIGTERM)
            return not ours

        try:
            wait_for(
                are_gone,
                within=40,
                what=lambda: f"nothing is left of it: {[o.title for o in self.own_processes()]}",
            )
            sockets = self.sockets()
            assert sockets == [], f"sockets are left: {sockets}"
            log = Path(self.places().state_dir, "supervisor.log")
            assert not log.exists(), f"a supervisor met a bug:\n{log.read_text()}"
        finally:
            for one in self.own_processes():
                _signal(one.pid, signal.SIGKILL)
            for front in self._fronts:
                front.close()
            socket_dir = self.places().socket_dir
            if socket_dir != self.places().state_dir:
                shutil.rmtree(socket_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Front:
    """A command in front, and what it has said so far."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self._child = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C of whoever runs the tests is not the command's
        )
        self.pid = self._child.pid
        self._said = {"out": b"", "err": b""}
        for stream in (self._child.stdout, self._child.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)

    @property
    def out(self) -> str:
        return self._read("out")

    @property
    def err(self) -> str:
        return self._read("err")

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def wait(self, *, within: float = 40) -> int:
        """Its exit status, negative for a signal."""
        wait_for(
            lambda: self._child.poll() is not None,
            within=within,
            what=lambda: f"{self._child.args!r} ends\n{self.out}\n{self.err}",
        )
        return self._child.wait()

    def wait_for_words(self, text: str, *, within: float = 40) -> None:
        """Until it has said so, on either stream."""
        wait_for(
            lambda: text in self.out + self.err,
            within=within,
            what=lambda: f"{self._child.args!r} says {text!r}\n{self.out}\n{self.err}",
        )

    def close(self) -> None:
        self._child.kill()
        self._child.wait(timeout=20)
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def _read(self, name: str) -> str:
        stream = getattr(self._child, "stdout" if name == "out" else "stderr")
        while not stream.closed and (data := stream.read1(65536)):
            self._said[name] += data
        return self._said[name].decode(errors="replace")  # the last character may be cut in two


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _environ(pid: int) -> list[bytes]:
    try:
        return Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or not ours
        return []


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value)
