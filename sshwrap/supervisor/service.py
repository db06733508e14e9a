"""A supervisor as a process: its lock and socket, its signals, and its end.

Laws. TERM and INT end every ssh and leave nothing behind; a second one does so at once. What was
wanted stays wanted unless a person ended it (Ctrl-C, `down`). A bug in one tunnel's handling is
written down and does not end the others.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sshwrap.errors import UserError
from sshwrap.paths import tidy
from sshwrap.supervisor.ipc_server import Server
from sshwrap.supervisor.lock import is_locked, try_lock
from sshwrap.supervisor.loop import Supervisor
from sshwrap.supervisor.requests import Requests
from sshwrap.supervisor.wanted import remove_file

if TYPE_CHECKING:
    from sshwrap.paths import Places
    from sshwrap.supervisor.lock import Lock

END_AFTER = 1.0  # with nothing wanted and nobody asking
LOG_BYTES = 1_000_000
LOOK_PAUSE = 5.0  # at our own lock and socket


class Service:
    """One supervisor with its socket, in a loop of its own. `kind` is "background" or "front"."""

    def __init__(
        self,
        places: Places,
        environ: Mapping[str, str],
        *,
        kind: str,
        socket_path: str,
        what: str,
        lock: Lock,
        ends_when_idle: bool,
        on_change: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None] | None = None,
        on_entry: Callable[[dict[str, Any]], None] | None = None,
        on_lines: Callable[[str, list[str]], None] | None = None,
    ) -> None:
        raise_descriptor_limit()
        remove_dead_fronts(places)
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._bug)
        self.exit_status: int = 0
        self._places = places
        self._ends_when_idle = ends_when_idle
        self._had_terminal = kind == "front" and os.isatty(0)
        self._on_change = on_change
        self._on_entry = on_entry
        self._ending = False
        self._idle: asyncio.TimerHandle | None = None
        self._reloading = False
        self._reload_again = False
        self.requests = Requests(kind, stop=lambda: self.end("down"))
        self.supervisor = Supervisor(
            self.loop,
            places,
            environ,
            what=what,
            on_change=self._changed,
            on_entry=self._entry,
            on_lines=on_lines,
        )
        self.requests.supervisor = self.supervisor
        # Before there is anything that a signal could leave behind.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            self.loop.add_signal_handler(number, self._signal, number)
        self._lock = lock
        self._socket_path = socket_path
        self._server = Server(self.loop, socket_path, self.requests.handle)

    def run(self) -> None:
        """Serve until it is told to end, or there is nothing left to do."""
        try:
            self._rest()
            self.loop.call_later(LOOK_PAUSE, self._look)
            self.loop.run_forever()
        finally:
            self.close()

    def close(self) -> None:
        """End every ssh at once and take the socket away; does nothing the second time."""
        self.supervisor.kill()
        self.supervisor.close()
        self._server.close()
        self.loop.close()
        tidy(self._places)

    def end(self, by: str, *, keep_wanted: bool = False) -> None:
        """End every tunnel, then the supervisor; asked once more: at once."""
        if self._ending:
            self.supervisor.kill()
            self.loop.stop()
            return
        self._ending = True
        for name in list(self.supervisor.units):
            self.supervisor.down(name, by, keep_wanted=keep_wanted)
        if not self.supervisor.units:
            self._stop_soon()

    # --- what happens --------------------------------------------------------

    def _signal(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self.supervisor.poke(restart=True)
        elif number == signal.SIGHUP and not (self._had_terminal and not _terminal_lives()):
            self._reload()
        elif number == signal.SIGINT:
            self.exit_status = 130
            self.end("ctrl-c")
        else:
            self.end("supervisor ended", keep_wanted=True)

    def _changed(self, changed: list[dict[str, Any]], gone: list[dict[str, Any]]) -> None:
        self.requests.changed(changed, gone)
        if self._on_change is not None:
            self._on_change(changed, gone)
        if not self.supervisor.units:
            if self._ending:
                self._stop_soon()
            else:
                self._rest()

    def _look(self) -> None:
        """Whether we can still be found. A socket that somebody removed (a cleaner of /tmp) is made
        anew; without its lock a supervisor is nobody's, and another one may be started beside it:
        it ends, rather than keep tunnels that nobody can see or end."""
        self.loop.call_later(LOOK_PAUSE, self._look)
        if self._ending:
            return
        if not self._lock.is_in_place():
            self.end("its state directory was removed", keep_wanted=True)
        elif not os.path.exists(self._socket_path):  # noqa: PTH110
            self._server.close()
            try:
                self._places.prepare_state_dir()
                self._server = Server(self.loop, self._socket_path, self.requests.handle)
            except (OSError, UserError) as error:
                write_log(self._places, f"the socket cannot be made anew: {error}\n")

    def _stop_soon(self) -> None:
        # Not at once: what was just answered has still to be written.
        self.loop.call_later(0.02, self.loop.stop)

    def _entry(self, entry: dict[str, Any]) -> None:
        self.requests.entry(entry)
        if self._on_entry is not None:
            self._on_entry(entry)

    def _rest(self) -> None:
        """With nothing wanted a supervisor ends, unless something comes in a moment."""
        if self._ends_when_idle and self._idle is None:
            self._idle = self.loop.call_later(END_AFTER, self._end_if_idle)

    def _end_if_idle(self) -> None:
        self._idle = None
        if self.supervisor.units:
            return
        if self.requests.busy:
            self._rest()
            return
        self.loop.stop()

    # --- reload --------------------------------------------------------------

    def _reload(self) -> None:
        """Read the profiles anew, in a process of its own: parsing them, and asking ssh what its
        configuration makes of them, would stop this loop and stay in its memory."""
        if self._reloading:  # one more, when this one is done, sees all that was edited by now
            self._reload_again = True
            return
        self._reloading = True
        argv = [sys.executable, "-m", "sshwrap", "reload"]
        environ = dict(os.environ) | {"SSHWRAP_STATE_DIR": self._places.state_dir}
        environ["SSHWRAP_PROFILES"] = self._places.profiles_file
        process = subprocess.Popen(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if process.stderr is None:
            return
        said: list[bytes] = []
        fd = process.stderr.fileno()
        os.set_blocking(fd, False)
        self.loop.add_reader(fd, self._reload_said, process, fd, said)

    def _reload_said(self, process: subprocess.Popen[bytes], fd: int, said: list[bytes]) -> None:
        data = os.read(fd, 4096)
        if data:
            said.append(data)
            del said[16:]
            return
        self.loop.remove_reader(fd)
        if process.stderr is not None:
            process.stderr.close()
        self._reload_done(process, b"".join(said).decode(errors="replace"))

    def _reload_done(self, process: subprocess.Popen[bytes], said: str) -> None:
        if process.poll() is None:
            self.loop.call_later(0.05, self._reload_done, process, said)
            return
        if process.returncode != 0:
            first = said.strip().splitlines()[:1]
            for name in list(self.supervisor.units):
                self.supervisor.note(name, "reload changed nothing: " + " ".join(first))
        self._reloading = False
        if self._reload_again:
            self._reload_again = False
            self._reload()

    # --- bugs ----------------------------------------------------------------

    def _bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = context.get("message", "") + "\n"
        if isinstance(error, BaseException):
            text += "".join(traceback.format_exception(error))
        write_log(self._places, text)


def remove_dead_fronts(places: Places) -> None:
    """What supervisors in front that were killed have left: a lock nobody holds, and a socket."""
    for pid in places.front_pids():
        path = places.front_lock(pid)
        try:
            lock = None if is_locked(path) else try_lock(path)
        except UserError:  # no lock of ours, or one that cannot be read: not ours to remove
            continue
        if lock is not None:
            remove_file(places.front_socket(pid))
            lock.release(remove=True)


def write_log(places: Places, text: str) -> None:
    """What nobody was meant to see: to STATE/supervisor.log (bounded), and to stderr."""
    path = os.path.join(places.state_dir, "supervisor.log")  # noqa: PTH118
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
        with open(fd, "w") as file:  # noqa: PTH123 - a descriptor
            if os.fstat(fd).st_size > LOG_BYTES:
                os.ftruncate(fd, 0)
            file.write(text)
    except OSError:
        pass
    sys.stderr.write(text)


def raise_descriptor_limit() -> None:
    """Three descriptors a tunnel: the soft limit of 1,024 would end at 340."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _terminal_lives() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
