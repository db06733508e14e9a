"""ssh's control socket: the look at the listeners, the loop probe, liveness, forwards changed live.

Laws. Every question is a short client of the tunnel's own master (ssh/mux.py): no new sign-in is
ever made, nothing here waits, and whoever asked is answered once, from the loop, unless the control
is closed first. No answer ever says that the line is dead: `SILENT` is a suspicion, `GONE` is not
even that. Connections from the server are made one at a time, since only the master's log tells
what became of them: give every line of it to `hear`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sshwrap.ssh.look import COMMAND, Look, forces_command, look_script, read_look
from sshwrap.ssh.mux import (
    Added,
    Refused,
    Unknown,
    Why,
    cancel_argv,
    forward_argv,
    no_master,
    read_forward,
    session_argv,
    stdio_argv,
)
from sshwrap.ssh.probe import Probe, Probed
from sshwrap.supervisor.errand import SESSION_BYTES, Done, Errand

if TYPE_CHECKING:
    import asyncio

    from sshwrap.profile.forward import Forward
    from sshwrap.ssh.evidence import Evidence

LOOK_SECONDS = 3.0  # a shell with a slow greeting; a tunnel is not up before the look is done
PROBE_SECONDS = 3.0
FORWARD_SECONDS = 10.0
LOG_SECONDS = 2.0  # the log may be read later than the client ends: a busy machine
# Where hardly ever anybody listens; a refusal is the answer that is wanted.
_CLOSED = ("127.0.0.1", 1)


class Control:
    """The control socket of one running ssh; `close` it when that has ended.

    `ssh` is the program, `environ` the whole environment of its clients.
    """

    def __init__(
        self, path: str, ssh: str, environ: Mapping[str, str], *, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._path = path
        self._ssh = ssh
        self._environ = environ
        self._loop = loop
        self._errands: set[Errand] = set()
        self._waiting: deque[_Connection] = deque()
        self._connection: _Connection | None = None
        self._closed = False

    def look(
        self,
        ports: Collection[int],
        on_look: Callable[[Look | Unknown], None],
        *,
        paths: Sequence[str] = (),
        key_options: str = "",
        deadline: float = LOOK_SECONDS,
    ) -> None:
        """Who listens at these TCP ports and socket paths of the server.

        `key_options` is what ssh's log has said of the key: where it holds a command a session
        would run that, and none is opened.
        """
        if forces_command(key_options):
            reason = "the key runs a command of its own in every session"
            self._soon(on_look, Unknown(Why.FORCED, reason))
            return
        nonce = os.urandom(16).hex()

        def done(done: Done) -> None:
            on_look(
                read_look(
                    nonce,
                    done.status,
                    done.out,
                    done.err,
                    timed_out=done.timed_out,
                    flooded=done.flooded,
                )
            )

        argv = session_argv(self._path, COMMAND, ssh=self._ssh)
        self._run(argv, done, deadline, on_look, stdin=look_script(nonce, ports, paths))

    def probe(
        self,
        forward: Forward,
        address: str,
        port: int,
        on_probed: Callable[[Probed], None],
        *,
        deadline: float = PROBE_SECONDS,
    ) -> None:
        """Connect from the server to its own `address`:`port`, where `forward` should listen.

        Never writes. Not for a forward whose target is an sshd: that counts who leaves unheard.
        """
        probe = Probe(forward, address, port)

        def answer(trouble: Unknown | None) -> None:
            on_probed(probe.end(trouble))

        self._connect(_Connection(probe, (address, port), deadline, answer, needs_log=True))

    def alive(
        self, on_answer: Callable[[Unknown | None], None], *, deadline: float = PROBE_SECONDS
    ) -> None:
        """Whether the server answers over this line: None is yes. Needs no shell there.

        `deadline` counts from its turn among the connections.
        """
        probe = Probe(None, *_CLOSED)
        self._connect(_Connection(probe, _CLOSED, deadline, on_answer, needs_log=False))

    def add(
        self,
        forward: Forward,
        on_answer: Callable[[Added | Refused | Unknown], None],
        *,
        deadline: float = FORWARD_SECONDS,
    ) -> None:
        """Ask for a forward. That it was granted is no look: the same spec again is granted
        unasked, and one family is enough for sshd."""

        def done(done: Done) -> None:
            on_answer(read_forward(done.status, done.out, done.err, timed_out=done.timed_out))

        argv = forward_argv(self._path, forward, ssh=self._ssh)
        self._run(argv, done, deadline, on_answer)

    def cancel(
        self,
        forwards: Iterable[Forward],
        on_answer: Callable[[Unknown | None], None],
        *,
        deadline: float = FORWARD_SECONDS,
    ) -> None:
        """Take forwards back, in every spelling that was asked for; None when the master has
        passed it on. sshd does it before it answers a later look, which alone can tell what
        listens afterwards."""

        def done(done: Done) -> None:
            on_answer(no_master(done.status, done.err, timed_out=done.timed_out))

        argv = cancel_argv(self._path, forwards, ssh=self._ssh)
        self._run(argv, done, deadline, on_answer)

    def hear(self, evidence: Evidence) -> bool:
        """A line of the master's log; True where it is about a probe of ours alone: no visitor."""
        connection = self._connection
        if connection is None:
            return False
        is_ours = connection.probe.hear(evidence)
        if connection.probe.result is not None:
            self._answered(connection)
        if connection.probe.is_over:
            self._turn_over(connection)
        return is_ours

    @property
    def listens(self) -> bool:
        """Whether a line of the log may be about a connection of ours."""
        return self._connection is not None

    def close(self) -> None:
        """Ask nothing more and tell nothing more; kills what is under way."""
        self._closed = True
        self._waiting.clear()
        if self._connection is not None and self._connection.timer is not None:
            self._connection.timer.cancel()
        self._connection = None
        for errand in self._errands:
            errand.cancel()
        self._errands.clear()

    # --- connections from the server, one at a time --------------------------

    def _connect(self, connection: _Connection) -> None:
        self._waiting.append(connection)
        if self._connection is None:
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            return
        connection = self._connection = self._waiting.popleft()

        def done(done: Done) -> None:
            connection.errand = None
            trouble = no_master(done.status, done.err, timed_out=done.timed_out)
            if trouble is not None or not connection.needs_log:
                connection.tell(trouble)
            if trouble is not None and trouble.why is Why.GONE:
                self._turn_over(connection)  # it came to no master: no line is to come
            else:
                self._await_log(connection)

        def failed(trouble: Unknown) -> None:
            connection.tell(trouble)
            self._turn_over(connection)

        argv = stdio_argv(self._path, *connection.target, ssh=self._ssh)
        connection.errand = self._run(argv, done, connection.deadline, failed)

    def _answered(self, connection: _Connection) -> None:
        """The log has said what there is to know: the client has nothing more to do."""
        if connection.errand is not None:
            connection.errand.cancel()
            self._errands.discard(connection.errand)
            connection.errand = None
            self._await_log(connection)
        connection.tell(None)

    def _await_log(self, connection: _Connection) -> None:
        """The log may be read later than the client's end: the next client's lines must not be
        taken for those of this one."""
        if connection.timer is None and not connection.probe.is_over:
            connection.timer = self._loop.call_later(LOG_SECONDS, self._turn_over, connection)

    def _turn_over(self, connection: _Connection) -> None:
        if self._connection is not connection:
            return
        if connection.timer is not None:
            connection.timer.cancel()
        self._connection = None
        connection.tell(Unknown(Why.SILENT, "ssh has not said what became of it"))
        if self._connection is None:  # who was told may have asked again
            self._next()

    # --- errands -------------------------------------------------------------

    def _run(
        self,
        argv: Sequence[str],
        on_done: Callable[[Done], None],
        deadline: float,
        on_trouble: Callable[[Unknown], None],
        *,
        stdin: bytes = b"",
    ) -> Errand | None:
        """Start a client; `on_trouble` instead of `on_done` where that fails."""
        errand: Errand | None = None

        def done(done: Done) -> None:
            if errand is not None:
                self._errands.discard(errand)
            on_done(done)

        if self._closed:
            return None
        try:
            errand = Errand(
                argv,
                self._environ,
                loop=self._loop,
                stdin=stdin,
                deadline=deadline,
                on_done=done,
                most_bytes=SESSION_BYTES,
            )
        except OSError as error:
            trouble = Unknown(Why.FAILED, f'"{argv[0]}" cannot be started', str(error))
            self._soon(on_trouble, trouble)
            return None
        self._errands.add(errand)
        return errand

    def _soon(self, on_answer: Callable[[Unknown], None], answer: Unknown) -> None:
        def tell() -> None:
            if not self._closed:
                on_answer(answer)

        self._loop.call_soon(tell)


class _Connection:
    """One client that connects from the server; `tell` answers once, who asked and no more."""

    __slots__ = ("_answer", "deadline", "errand", "needs_log", "probe", "target", "timer")

    def __init__(
        self,
        probe: Probe,
        target: tuple[str, int],
        deadline: float,
        answer: Callable[[Unknown | None], None],
        *,
        needs_log: bool,
    ) -> None:
        self.probe = probe
        self.target = target
        self.deadline = deadline
        self.needs_log = needs_log
        self.errand: Errand | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._answer: Callable[[Unknown | None], None] | None = answer

    def tell(self, trouble: Unknown | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(trouble)
