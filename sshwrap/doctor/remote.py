"""The connection to the server: a master of our own or the running tunnel's, and what is asked.

Laws. One sign-in, or none over the control socket of a tunnel that is up; no call makes another.
The loop runs only while somebody waits for an answer, and never longer than the deadline given.
Nobody is asked for a password. What is opened here is closed by `close`: the forwards that were
asked for, the master, its socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sshwrap.doctor.line import Ran
from sshwrap.doctor.questions import ANSWER_BYTES, COMMAND
from sshwrap.doctor.sign_in import Heard
from sshwrap.profile.forward import Forward
from sshwrap.ssh.evidence import Progress, classify_line
from sshwrap.ssh.mux import Added, Refused, Unknown, Why, session_argv
from sshwrap.ssh.probe import Probed
from sshwrap.supervisor.child import Child, Exit, Source
from sshwrap.supervisor.control import Control
from sshwrap.supervisor.errand import Done, Errand
from sshwrap.supervisor.program import ssh_environ

_TURN = 0.004  # seconds between two looks whether the answer is there
_SETTLE = 0.05  # for lines of the log that were written before an answer came
_END_SECONDS = 1.0


class Pump:
    """An event loop that runs only inside `until`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def now(self) -> float:
        return self.loop.time()

    def until(self, fact: Callable[[], object], seconds: float) -> bool:
        """Run the loop until `fact()`, at most so long; what it is at the end."""
        deadline = self.loop.time() + seconds

        def look() -> None:
            if fact() or self.loop.time() >= deadline:
                self.loop.stop()
            else:
                self.loop.call_later(_TURN, look)

        self.loop.call_soon(look)
        self.loop.run_forever()
        return bool(fact())

    def close(self) -> None:
        """Does nothing the second time."""
        if not self.loop.is_closed():
            self.until(lambda: False, 0.0)
            self.loop.close()


class Program:
    """One program beside the loop; `done` once it has ended or its time was over."""

    def __init__(
        self,
        pump: Pump,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        seconds: float,
        stdin: bytes = b"",
        kept_bytes: int = 65536,
    ) -> None:
        self.done: Done | None = None
        try:
            Errand(
                argv,
                environ,
                loop=pump.loop,
                stdin=stdin,
                deadline=seconds,
                on_done=self._set,
                kept_bytes=kept_bytes,
            )
        except OSError as error:
            self.done = Done(127, None, b"", str(error).encode())

    def _set(self, done: Done) -> None:
        self.done = done


class Connection:
    """A `Line` (line.py). `path` is the control socket's; its name is at most CONTROL_NAME_BYTES
    in a directory that is nobody else's. Without `argv` it is the running tunnel's, and has no log.
    """

    def __init__(
        self,
        pump: Pump,
        path: str,
        *,
        ssh: str,
        environ: Mapping[str, str],
        argv: Sequence[str] | None = None,
    ) -> None:
        self.heard = Heard()
        self.exit: Exit | None = None
        self.round_trips = 0
        self._pump = pump
        self._path = path
        self._ssh = ssh
        self._environ = ssh_environ(environ)
        self._control = Control(path, ssh, self._environ, loop=pump.loop)
        self._child: Child | None = None
        self._owns = argv is not None
        self._open: dict[Forward, None] = {}
        if argv is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - a leftover would disable our master
            self._child = Child(
                argv,
                self._environ,
                loop=pump.loop,
                on_lines=self._lines,
                on_exit=self._exited,
            )

    # --- the sign-in ---------------------------------------------------------

    @property
    def over_tunnel(self) -> bool:
        return not self._owns

    @property
    def is_up(self) -> bool:
        return self.exit is None and (
            not self._owns or (self.heard.is_ready and Path(self._path).exists())
        )

    def _lines(self, source: Source, lines: list[str]) -> None:
        now = self._pump.now()
        for line in lines:
            self.heard = self.heard.hear(line, now, from_terminal=source is Source.TERMINAL)
            if source is Source.LOG and self._control.listens:
                evidence = classify_line(line)
                if evidence is not None:
                    self._control.hear(evidence)

    def _exited(self, ended: Exit) -> None:
        self.exit = ended

    # --- questions -----------------------------------------------------------

    def run(self, command: str, stdin: bytes, deadline: float) -> Ran:
        """Over the control socket: no new sign-in (line.py)."""
        self.round_trips += 1
        argv = session_argv(self._path, command, ssh=self._ssh)
        program = Program(
            self._pump,
            argv,
            self._environ,
            seconds=deadline,
            stdin=stdin,
            kept_bytes=ANSWER_BYTES,
        )
        self._pump.until(lambda: program.done is not None, deadline + 1.0)
        done = program.done or Done(None, None, b"", b"", timed_out=True)
        return Ran(done.status, done.out, done.err, done.timed_out)

    def script(self, script: bytes, deadline: float) -> Ran:
        """Run a POSIX script by `sh`, whatever the login shell is."""
        return self.run(COMMAND, script, deadline)

    def add(self, forwards: Sequence[Forward], deadline: float) -> list[Added | Refused | Unknown]:
        """Ask for these, all at the same time."""
        answers: list[Added | Refused | Unknown | None] = [None] * len(forwards)

        def keep(index: int) -> Callable[[Added | Refused | Unknown], None]:
            def set_answer(answer: Added | Refused | Unknown) -> None:
                answers[index] = answer

            return set_answer

        for index, forward in enumerate(forwards):
            self.round_trips += 1
            self._open[forward] = None  # an answer that is late may still be a listener
            self._control.add(forward, keep(index), deadline=deadline)
        self._pump.until(lambda: None not in answers, deadline + 0.5)
        self._pump.until(lambda: False, _SETTLE)
        late = Unknown(Why.SILENT, "no answer from the server in time")
        return [late if answer is None else answer for answer in answers]

    def cancel(self, forwards: Iterable[Forward], deadline: float) -> bool:
        """Take them back, each as it was asked for; whether the master has passed it on."""
        wanted = [forward for forward in forwards if forward in self._open]
        if not wanted:
            return True
        self.round_trips += 1
        answers: list[Unknown | None] = []
        self._control.cancel(wanted, answers.append, deadline=deadline)
        self._pump.until(lambda: answers, deadline + 0.5)
        if answers != [None]:
            return False
        for forward in wanted:
            del self._open[forward]
        return True

    def probe(self, forward: Forward, address: str, port: int, deadline: float) -> Probed | None:
        """One connection from the server to its own `address`; None where there is no log of the
        master to hear, or no answer."""
        if not self._owns:
            return None
        self.round_trips += 1
        answers: list[Probed] = []
        self._control.probe(forward, address, port, answers.append, deadline=deadline)
        self._pump.until(lambda: answers, deadline + 2.5)  # the log may be read late
        return answers[0] if answers else None

    # --- the end -------------------------------------------------------------

    def leave(self) -> None:
        """Take back what is open and end our own master; the loop can go on."""
        if self._open and self.is_up:
            self.cancel(tuple(self._open), _END_SECONDS)
        self._control.close()
        child, self._child = self._child, None
        if child is not None:
            child.signal(signal.SIGTERM)
            self._pump.until(lambda: self.exit is not None, _END_SECONDS)
            child.close()
            self._pump.until(lambda: _is_reaped(child.pid), _END_SECONDS)
        if self._owns:
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108

    def close(self) -> None:
        """`leave`, and nothing can be asked any more."""
        self.leave()
        self._pump.close()


def _is_reaped(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def key_options_words(heard: Heard) -> str:
    """As `ssh.look.forces_command` takes them."""
    found = heard.first(Progress.KEY_OPTIONS)
    return (found.get("options") or "") if found is not None else ""
