"""Sign-ins beside a tunnel: to end our own dead session, to see whose the port is, to doubt a line.

Laws. A tunnel has one of them at a time, a server few. What is asked there is asked once for each
outage, unless an answer has failed to come; what may be ended is proved by the record alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sshwrap.errors import UserError
from sshwrap.profile.forward import Kind
from sshwrap.ssh.end import Ended, Outcome
from sshwrap.ssh.look import COMMAND, Look, forces_command, look_script, read_look
from sshwrap.ssh.side import side_argv, side_seconds
from sshwrap.supervisor.errand import SESSION_BYTES, Done, Errand
from sshwrap.supervisor.reclaim import (
    Reclaim,
    make_record,
    read_record,
    remove_record,
    why_not_now,
    write_record,
)
from sshwrap.supervisor.sign_in import SignedIn, SignIn
from sshwrap.tunnel.events import PortHeld, Reclaimed, Reclaiming
from sshwrap.tunnel.holder import holder_text

if TYPE_CHECKING:
    from sshwrap.ssh.version import Version
    from sshwrap.supervisor.run import Keeper
    from sshwrap.supervisor.unit import Unit

AGAIN = 5.0  # after a reclaim that had no answer
HOLDER_AGAIN = 600.0  # it may be somebody else by then
LOOK_SECONDS = 10.0
MOST_SIGN_INS = 4  # to one server at a time; sshd begins to drop at ten (MaxStartups)
ASK_FROM = "echo $SSH_CONNECTION"  # two plain words to any shell


class Beside:
    def __init__(
        self,
        keeper: Keeper,
        program: Callable[[], tuple[Version, str]],
        environ_of: Callable[[Unit], Mapping[str, str]],
    ) -> None:
        self._keeper = keeper
        self._loop = keeper.loop
        self._program = program
        self._environ_of = environ_of
        self._under_way: dict[str, tuple[str, Reclaim | Errand]] = {}  # by profile; server
        self._not_before: dict[str, float] = {}
        self._signing_in: Counter[str] = Counter()  # by server

    def leave(self, name: str) -> None:
        """It is tried, or nobody wants it: what is asked for it is of no more use."""
        errand = self._over(name)
        if isinstance(errand, Reclaim):
            errand.close()
        elif errand is not None:
            errand.cancel()

    def forget(self, name: str) -> None:
        """It is up, or gone: the next outage is another one."""
        self._not_before.pop(name, None)

    # --- the record ----------------------------------------------------------

    def seen(self, unit: Unit, look: Look) -> None:
        """Write down which session on the server is ours, for when it outlives its line."""
        profile = unit.order.profile
        if unit.run is None or not profile.reclaim or not _ports(unit):
            return
        record = make_record(unit.order, look, unit.run.pid, self._keeper.places)
        if record is None:
            return
        try:
            write_record(self._keeper.places, record)
        except OSError as error:
            text = f"which session is ours could not be written down: {error.strerror}"
            self._keeper.record(unit, {"event": "notice", "text": text})

    # --- the port is taken ---------------------------------------------------

    def line_died(self, unit: Unit) -> None:
        """Its session still stands on the server: end that before a try is refused the port."""
        self.port_taken(unit, may_ask=False)

    def port_taken(self, unit: Unit, *, may_ask: bool = True) -> None:
        """End our own dead session where it may be that; else see whose the port is, once."""
        profile = unit.order.profile
        name = profile.name
        if not profile.run_on_server or name in self._under_way:
            return
        if forces_command(unit.key_options):
            return  # a session would run that
        if self._loop.time() < self._not_before.get(name, 0.0):
            return
        if self._signing_in[unit.order.server] >= MOST_SIGN_INS:
            return  # the next refusal is soon enough
        places = self._keeper.places
        record = read_record(places, name) if profile.reclaim else None
        why_not = None if record is None else why_not_now(record, unit.order, places)
        if why_not is not None:
            record = None
            if name not in self._not_before:  # once for an outage
                text = f"our session of before is left alone: {why_not}"
                self._keeper.record(unit, {"event": "notice", "text": text})
        try:
            version, path = self._program()
            argv = side_argv(profile, version, COMMAND, ssh=path)
            environ = self._environ_of(unit)
        except UserError:
            return  # ssh is gone: its next start says so
        if record is None:
            if may_ask:
                self._ask_holder(unit, argv, environ)
            return

        def done(ended: Ended) -> None:
            self._over(name)
            self._reclaimed(unit, ended, record.session_uid)

        self._keeper.apply(unit, Reclaiming())
        reclaim = Reclaim(argv, environ, record, _ports(unit), loop=self._loop, on_done=done)
        self._began(unit, reclaim)

    def _began(self, unit: Unit, errand: Reclaim | Errand) -> None:
        self._under_way[unit.name] = (unit.order.server, errand)
        self._signing_in[unit.order.server] += 1

    def _over(self, name: str) -> Reclaim | Errand | None:
        server, errand = self._under_way.pop(name, (None, None))
        if server is not None:
            self._signing_in[server] -= 1
        return errand

    def _reclaimed(self, unit: Unit, ended: Ended, our_uid: int) -> None:
        name = unit.name
        if ended.outcome in (Outcome.FAILED, Outcome.NO_SHELL):
            pause = AGAIN if ended.outcome is Outcome.FAILED else HOLDER_AGAIN
            self._not_before[name] = self._loop.time() + pause
        else:
            try:
                remove_record(self._keeper.places, name)
            except OSError:
                pass  # it proves nothing any more: the next one says so again
        ports = " and ".join(str(port) for port in sorted(_ports(unit)))
        text = f"{ended.reason}{': ' + ended.said if ended.said else ''}"
        if ended.outcome is Outcome.ENDED:
            how = ended.reason.replace("our old session on the server", "it")
            text = f"our dead session still held port {ports}: {how}"
        is_done = ended.outcome in (Outcome.ENDED, Outcome.GONE)
        free = is_done and not ended.taken
        self._keeper.apply(unit, Reclaimed(str(ended.outcome), text, free))
        if ended.taken:
            self._held(unit, [(one.port, one.uid) for one in ended.taken], our_uid)

    def _ask_holder(self, unit: Unit, argv: tuple[str, ...], environ: Mapping[str, str]) -> None:
        """Whose the port is; a sign-in of its own, so not at each refusal."""
        name = unit.name
        if unit.tunnel.streak.count < 2:
            return  # most are free by then
        self._not_before[name] = self._loop.time() + HOLDER_AGAIN
        nonce = os.urandom(16).hex()

        def done(done: Done) -> None:
            self._over(name)
            seen = read_look(
                nonce,
                done.status,
                done.out,
                done.err,
                timed_out=done.timed_out,
                flooded=done.flooded,
            )
            if isinstance(seen, Look):
                self._held(unit, [(one.port, one.uid) for one in seen.listeners], seen.uid)

        try:
            errand = Errand(
                argv,
                environ,
                loop=self._loop,
                stdin=look_script(nonce, _ports(unit)),
                deadline=LOOK_SECONDS,
                on_done=done,
                most_bytes=SESSION_BYTES,
                dies_with_us=True,
            )
        except OSError:
            return
        self._began(unit, errand)

    def _held(self, unit: Unit, taken: list[tuple[int, int | None]], our_uid: int) -> None:
        text = holder_text(taken, our_uid)
        if text is not None:
            self._keeper.apply(unit, PortHeld(text))

    # --- a line in doubt -----------------------------------------------------

    def sign_in(
        self, unit: Unit, on_answer: Callable[[SignedIn], None], *, ask: bool
    ) -> SignIn | NoSignIn:
        """Whether the server lets us in on a new connection; `ask`: and from where it sees us."""
        server = unit.order.server
        if self._signing_in[server] >= MOST_SIGN_INS:
            return NoSignIn(self._loop.call_soon(on_answer, SignedIn(False, "others are trying")))
        profile = unit.order.profile
        try:
            version, path = self._program()
        except UserError as error:
            return NoSignIn(self._loop.call_soon(on_answer, SignedIn(False, error.message)))
        self._signing_in[server] += 1

        def over() -> None:
            self._signing_in[server] -= 1

        return SignIn(
            side_argv(profile, version, ASK_FROM if ask else None, ssh=path),
            self._environ_of(unit),
            loop=self._loop,
            deadline=side_seconds(profile),
            on_answer=on_answer,
            on_over=over,
        )


class NoSignIn:
    """One that was not made: too many are under way, or there is no ssh."""

    pid: int | None = None

    def __init__(self, handle: object) -> None:
        self._handle = handle

    def close(self) -> None:
        self._handle.cancel()  # type: ignore[attr-defined]


def _ports(unit: Unit) -> set[int]:
    """The TCP ports of the server that this tunnel asks for by number."""
    return {
        state.forward.listen_port
        for state in unit.tunnel.forwards
        if state.forward.kind is Kind.REMOTE and state.forward.listen_port
    }
