"""What is asked of a running tunnel: who listens, does it answer from here, does the loop work.

Laws. Everything goes over the tunnel's own control socket: no new sign-in. The look comes first and
decides the reach; who is only known to be of our account is told apart by a connection from the
server. A tunnel that shows nothing is served all the same: "unknown, because". Our own connections
are nobody's visits. What is missing of a half-bound forward is asked for again until it is had.
While forwards are changed nothing is told of them; what is asked of one finds it where it stands by
then, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.ssh.look import Look, Owner
from sshwrap.ssh.mux import Added, Refused, Unknown, Why
from sshwrap.ssh.probe import Found, Probed
from sshwrap.supervisor.changing import Change, Keys, Spellings
from sshwrap.supervisor.control import Control
from sshwrap.supervisor.doubt import Doubt
from sshwrap.supervisor.knocks import Knocks
from sshwrap.supervisor.unacked import SshSocket
from sshwrap.tunnel.doubt import Why as Doubtful
from sshwrap.tunnel.events import Changed, ChangeForwards, Knocked, LineDead, Looked
from sshwrap.tunnel.model import ForwardState, State
from sshwrap.tunnel.reach import (
    HALF_BOUND,
    UNKNOWN,
    Reach,
    addresses_to_probe,
    judge_probes,
    judge_reach,
    missing_half,
    where_to_probe,
)
from sshwrap.tunnel.where import (
    as_number,
    bound_of,
    loopback_of,
    may_probe,
    port_of,
    visitors_address,
)

if TYPE_CHECKING:
    import asyncio

    from sshwrap.ssh.version import Version
    from sshwrap.supervisor.beside import NoSignIn
    from sshwrap.supervisor.run import Keeper
    from sshwrap.supervisor.sign_in import SignedIn, SignIn
    from sshwrap.supervisor.unit import Unit

HEAL_SOON, HEAL_PATIENCE, HEAL_LATER = 1.0, 180.0, 5.0
LOOK_AGAIN = (30.0, 300.0, 3600.0)  # a slow login shell; each time it costs the server a session
LOOK_SECONDS = 15.0  # nothing waits so long: after three of them the tunnel is up all the same
KNOCK_AGAIN = 60.0  # while nobody opens: a firewall may be put right


class Attendant:
    """Asks and hears for one ssh; `close` it when that has ended."""

    def __init__(
        self,
        unit: Unit,
        keeper: Keeper,
        program: tuple[Version, str],
        environ: Mapping[str, str],
        control_path: str,
        pid: int,
    ) -> None:
        self._unit = unit
        self._keeper = keeper
        self._loop = keeper.loop
        self._control = Control(control_path, program[1], environ, loop=keeper.loop)
        self._knocks = Knocks(keeper.loop, on_answer=self._knocked, on_target=self._reached)
        unit.key_options = ""
        self._server: tuple[str, int] | None = None  # where ssh has signed in, as a number
        self._seen: Look | Unknown | None = None
        self._probed: list[dict[str, Probed]] = []
        self._unasked = 0  # connections that the reach still waits for
        self._pid = pid
        self._doubt: Doubt | None = None
        self._socket: SshSocket | None = None
        self._silent_looks = 0
        self._is_cut_off = False
        self._half_since: float | None = None  # monotonic
        self._adding = 0
        self._spellings = Spellings()
        self._change: Change | None = None
        self._to_change: ChangeForwards | None = None  # under way, or waiting for a heal
        self._keys = Keys(len(unit.tunnel.forwards))
        self._question = 0  # answers to an earlier one are of no more use
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def close(self) -> None:
        """Ask nothing more and tell nothing more."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._change is not None:
            self._change.close()
        self._control.close()
        self._knocks.close()
        if self._doubt is not None:
            self._doubt.close()

    # --- the log -------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether a line about visitors may be about a connection of ours."""
        return self._control.listens or self._knocks.expects

    @property
    def is_knocking(self) -> bool:
        """Whether the address that visitors use is being tried from here."""
        return self._knocks.is_knocking

    def hear(self, evidence: Evidence) -> bool:
        """A line of the log; True where it is about a connection of our own alone."""
        if evidence.kind == Progress.KEY_OPTIONS:
            self._unit.key_options += " " + (evidence.get("options") or "")
        elif evidence.kind == Progress.AUTHENTICATED:
            address, port = evidence.get("address"), evidence.get("port")
            if address is not None and port is not None:
                self._server = (address, int(port))
        if self._knocks.hear(evidence, exactly=True) or self._control.hear(evidence):
            return True
        return self._knocks.hear(evidence)

    # --- the look ------------------------------------------------------------

    def look(self) -> None:
        """See what ssh's confirmation came to, and tell it with Looked."""
        if self._to_change is not None:
            return  # which looks itself, at the end
        self._question += 1
        question = self._question

        def looked(seen: Look | Unknown) -> None:
            if question == self._question:
                self._looked(seen)

        remote = [s for s in self._forwards() if s.forward.kind is Kind.REMOTE]
        ports = {port for s in remote if (port := port_of(s))}
        paths = [s.forward.listen_path for s in remote if s.forward.listen_path is not None]
        if not remote:
            self._looked(Unknown(Why.REFUSED, "no forward listens on the server"))
        elif not self._unit.order.profile.run_on_server:
            self._looked(Unknown(Why.REFUSED, "run_on_server is false"))
        else:
            options = self._unit.key_options
            self._control.look(
                ports, looked, paths=paths, key_options=options, deadline=LOOK_SECONDS
            )

    def _looked(self, seen: Look | Unknown) -> None:
        was_seen = isinstance(self._seen, Look)
        if isinstance(seen, Unknown) and seen.why is Why.GONE and was_seen:
            self._cannot_ask()
            return  # what was seen is still the best that is known
        self._seen = seen
        if isinstance(seen, Look):
            self._knocks.public = seen.client[0] if seen.client is not None else None
            self._keeper.seen(self._unit, seen)
        forwards = self._forwards()
        self._probed = [{} for _ in forwards]
        asked = [
            (index, address)
            for index, state in enumerate(forwards)
            for address in self._doubtful(state, seen)
        ]
        self._unasked = len(asked)
        self._question += 1
        question = self._question

        def probed(index: int, address: str, one: Probed) -> None:
            if question == self._question:
                self._reach_probed(index, address, one)

        for index, address in asked:
            self._probe(index, address, probed)
        if not asked:
            self._tell_reach()

    def _doubtful(self, state: ForwardState, seen: Look | Unknown) -> Sequence[str]:
        """Where only a connection tells whose a listener is, or that there is one."""
        if not may_probe(state):
            return ()
        if isinstance(seen, Unknown):
            if seen.why in (Why.GONE, Why.SILENT):
                return ()  # nor would a connection be made
            return addresses_to_probe(state.forward, self._server and self._server[0])
        return tuple(
            where_to_probe(one)
            for one in seen.listeners
            if one.port == port_of(state) and one.owner is Owner.ACCOUNT
        )

    def _reach_probed(self, index: int, address: str, probed: Probed) -> None:
        self._probed[index][address] = probed
        self._unasked -= 1
        if self._unasked == 0:
            self._tell_reach()

    def _tell_reach(self) -> None:
        forwards = self._forwards()
        pairs = zip(forwards, self._probed, strict=True)
        reaches = tuple(self._judge(state, probed) for state, probed in pairs)
        was_up = self._unit.tunnel.state is State.UP
        is_news = was_up and [s.reach for s in forwards] != list(reaches)
        self._keeper.apply(self._unit, Looked(reaches))
        if self._closed:
            return
        self._plan_healing(reaches)
        if isinstance(self._seen, Unknown) and self._seen.why is Why.SILENT:
            self._silent_looks += 1
            pause = LOOK_AGAIN[min(self._silent_looks, len(LOOK_AGAIN)) - 1]
            self._later("look", pause, self.look)
        if is_news:
            self.knock()

    def _judge(self, state: ForwardState, probed: Mapping[str, Probed]) -> Reach:
        forward = state.forward
        if forward.kind is not Kind.REMOTE:
            return Reach(UNKNOWN, None, "it listens on this machine, by ssh's word")
        if isinstance(self._seen, Unknown) and probed:
            judged = judge_probes(forward, state.allocated_port, probed)
            if judged.reach == UNKNOWN:
                reason = f"{self._seen.reason}; {judged.reason}"
                return judged._replace(reason=reason)
            return judged
        return judge_reach(forward, state.allocated_port, self._seen, probed)

    def _cannot_ask(self) -> None:
        """Somebody has removed ssh's control socket: it serves on, and is asked nothing more."""
        if self._is_cut_off:
            return
        self._is_cut_off = True
        name = self._unit.name
        text = (
            "its control socket is gone: it serves, and what is asked over that is not known any"
            f" more until it is restarted (sshwrap restart {name})"
        )
        self._keeper.record(self._unit, {"event": "notice", "text": text})

    # --- half of it is another's ---------------------------------------------

    def _plan_healing(self, reaches: Sequence[Reach]) -> None:
        if not any(reach.reach == HALF_BOUND for reach in reaches):
            self._half_since = None
            self._later("heal", None, self._heal)
            return
        now = self._loop.time()
        if self._half_since is None:
            self._half_since = now
        is_patient = now - self._half_since < HEAL_PATIENCE
        self._later("heal", HEAL_SOON if is_patient else HEAL_LATER, self._heal)

    def _heal(self) -> None:
        """Ask for what is missing; granted, it is looked at: sshd's word is not enough."""
        granted = False

        def answered(state: ForwardState, half: Forward, answer: Added | Refused | Unknown) -> None:
            nonlocal granted
            granted = granted or isinstance(answer, Added)
            if not isinstance(answer, Refused):  # without an answer it may be granted still
                self._spellings.also(state.forward, half)
            self._adding -= 1
            if self._adding:
                return
            if self._to_change is not None:
                self._begin_change()
            elif granted:
                self.look()
            elif isinstance(answer, Unknown) and answer.why is Why.GONE:
                self._cannot_ask()
            else:
                self._plan_healing([s.reach for s in self._forwards() if s.reach is not None])

        missing = [
            (state, half)
            for state, probed in zip(self._forwards(), self._probed, strict=False)
            if state.reach is not None
            and state.reach.reach == HALF_BOUND
            and (half := missing_half(state.forward, state.allocated_port, bound_of(state, probed)))
        ]
        self._adding = len(missing)
        for state, half in missing:
            self._control.add(half, partial(answered, state, half))

    # --- other forwards on this connection -----------------------------------

    def change(self, asked: ChangeForwards) -> None:
        """Change them, and tell what became of it with Changed."""
        self._question += 1
        for name, what in (("heal", self._heal), ("knock", self.knock)):
            self._later(name, None, what)
        self._to_change = asked
        if not self._adding:
            self._begin_change()

    def _begin_change(self) -> None:
        if self._to_change is None:
            return
        states = self._forwards()
        seen = self._seen if any(s.forward.kind is Kind.REMOTE for s in states) else None
        if not self._unit.order.profile.run_on_server:
            seen = Unknown(Why.REFUSED, "run_on_server is false")
        self._change = Change(
            self._loop,
            self._control,
            self._to_change,
            states,
            self._spellings,
            seen=seen,
            key_options=self._unit.key_options,
            on_done=self._changed,
        )

    def _changed(self, changed: Changed, seen: Look | None) -> None:
        self._change = self._to_change = None
        self._keeper.apply(self._unit, changed)
        if self._closed or self._to_change is not None or self._unit.tunnel.state is not State.UP:
            return
        if seen is not None:
            self._looked(seen)
        else:
            self.look()
        self.knock()
        if not self._knocks.is_knocking:
            self._probe_first()

    def rearranged(self, before: Sequence[int | None]) -> None:
        """Its forwards are others: `before[i]` is where the i-th stood; None: it is new."""
        self._question += 1
        self._keys.rearrange(before)
        old = dict(enumerate(self._probed))
        self._probed = [{} if at is None else old.get(at, {}) for at in before]

    # --- it is up ------------------------------------------------------------

    def came_up(self) -> None:
        """Knock from here, see that the loop works, and watch the line from now on."""
        self._watch_line()
        self.knock()
        if not self._knocks.is_knocking:  # else when it is answered: both may come from 127.0.0.1
            self._probe_first()
        self._plan_probe()

    def knock(self) -> None:
        """One connection to the address that visitors use, for each forward that has one."""
        self._later("knock", None, self.knock)
        if self._to_change is not None:
            return  # it is done once more when that is
        # Through a jump the server's address may be another machine's here, or nobody's.
        server = None
        if self._server is not None:
            server = as_number(self._unit.order.hostname) or self._server[0]
        for index, state in enumerate(self._forwards()):
            address = visitors_address(state, server)
            if address is not None:
                self._knocks.knock(self._keys[index], address, port_of(state) or 0)

    def _knocked(self, key: int, outcome: str, milliseconds: float) -> None:
        index = self._keys.place(key)
        if index is None or self._to_change is not None:
            return
        self._keeper.apply(self._unit, Knocked(index, outcome, milliseconds))
        self._keeper.changed(self._unit, 0.0)
        if self._closed:
            return
        if outcome != "open":
            self._later("knock", KNOCK_AGAIN, self.knock)
        if not self._knocks.is_knocking:
            self._probe_first()

    def _probe_first(self) -> None:
        """The loop, where no connection has shown yet that it works."""
        for index, state in enumerate(self._forwards()):
            probed = self._probed[index] if index < len(self._probed) else {}
            seen = any(one.found is Found.OURS for one in probed.values())
            if not seen and self._unit.traffic.rows[index].target == "unknown":
                self._probe_loop(index, state)

    def renewed(self) -> None:
        """The profile was read anew, and this ssh goes on."""
        if self._unit.tunnel.state is State.UP:
            self._plan_probe()

    def _plan_probe(self) -> None:
        interval = self._unit.order.profile.probe_interval
        self._later("probe", interval or None, self._probe_all)

    def _probe_all(self) -> None:
        self._plan_probe()
        for index, state in enumerate(self._forwards()):
            self._probe_loop(index, state)

    def _probe_loop(self, index: int, state: ForwardState) -> None:
        """Through the server's listener and back to the target."""
        bound = state.reach.bound if state.reach is not None else None
        if bound and may_probe(state):
            self._probe(index, loopback_of(bound[0]), self._loop_probed)

    def _loop_probed(self, index: int, address: str, probed: Probed) -> None:
        if probed.found is Found.SILENT:
            self.suspect(Doubtful.PROBE)

    def _probe(
        self, index: int, address: str, on_probed: Callable[[int, str, Probed], None]
    ) -> None:
        state, key = self._forwards()[index], self._keys[index]

        def done(probed: Probed) -> None:
            place = self._keys.place(key)
            if place is None:
                return
            if probed.target != "unknown":
                self._target(place, probed.target, probed.said)
            on_probed(place, address, probed)

        self._control.probe(state.forward, address, port_of(state) or 0, done)

    # --- the line ------------------------------------------------------------

    def suspect(self, why: Doubtful) -> None:
        """Somebody has a reason to think that the line is dead: see."""
        if self._doubt is not None:
            self._doubt.suspect(why)
        if why is not Doubtful.PROBE and self._unit.tunnel.state is State.UP:
            self.knock()

    def _watch_line(self) -> None:
        unit = self._unit
        if self._server is not None:
            self._socket = SshSocket(self._pid, *self._server)
        look = self._seen if isinstance(self._seen, Look) else None
        may_ask = look is not None  # a session runs what it is told: no forced command, a shell

        def sign_in(on_answer: Callable[[SignedIn], None]) -> SignIn | NoSignIn:
            return self._keeper.sign_in(unit, on_answer, ask=may_ask)

        self._doubt = Doubt(
            self._loop,
            self._socket,
            interval=unit.order.profile.server_alive_interval,
            alive=self._control.alive,
            sign_in=sign_in,
            on_dead=self._dead,
            on_doubt=self._doubted,
            client=look.client[0] if look is not None and look.client is not None else None,
        )

    def _dead(self, reason: str) -> None:
        seen = self._socket.look() if self._socket is not None else None
        self._keeper.apply(self._unit, LineDead(reason, 0.0 if seen is None else seen.heard))

    def _doubted(self, words: str | None) -> None:
        if words is not None:
            self._keeper.record(self._unit, {"event": "doubt", "text": words})

    # --- the small parts -----------------------------------------------------

    def _forwards(self) -> tuple[ForwardState, ...]:
        return self._unit.tunnel.forwards

    def _reached(self, key: int, target: str, said: str) -> None:
        index = self._keys.place(key)
        if index is not None:
            self._target(index, target, said)

    def _target(self, index: int, target: str, said: str) -> None:
        unit = self._unit
        self._keeper.target(unit, unit.traffic.probed(index, target, said))

    def _later(self, name: str, delay: float | None, what: Callable[[], None]) -> None:
        """Once, `delay` seconds from now; it takes the place of an earlier one of this name."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if delay is not None and not self._closed:
            self._timers[name] = self._loop.call_later(delay, self._now_due, name, what)

    def _now_due(self, name: str, what: Callable[[], None]) -> None:
        self._timers.pop(name, None)
        what()
