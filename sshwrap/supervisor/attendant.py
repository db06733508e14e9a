"""What is asked of a running tunnel, and when: who listens, does it answer from here, and the rest.

Laws. Everything goes over the tunnel's own control socket: no new sign-in. Our own connections are
nobody's visits. While forwards are changed nothing is told of them; what is asked of one finds it
where it stands by then, or not at all. Each subject has a module of its own: survey.py (who
listens), healing.py (half of it is another's), line.py (is it dead), changing.py, knocks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Kind
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.ssh.mux import Unknown, Why
from sshwrap.ssh.probe import Found, Probed
from sshwrap.supervisor.changing import Change, Keys, Spellings
from sshwrap.supervisor.control import Control
from sshwrap.supervisor.healing import Healing
from sshwrap.supervisor.knocks import Knocks
from sshwrap.supervisor.line import Line
from sshwrap.supervisor.survey import Survey
from sshwrap.supervisor.timers import Timers
from sshwrap.tunnel.doubt import Why as Doubtful
from sshwrap.tunnel.events import Changed, ChangeForwards, Knocked
from sshwrap.tunnel.model import ForwardState, State
from sshwrap.tunnel.where import as_number, loopback_of, may_probe, port_of, visitors_address

if TYPE_CHECKING:
    from sshwrap.ssh.look import Look
    from sshwrap.ssh.version import Version
    from sshwrap.supervisor.run import Keeper
    from sshwrap.supervisor.unit import Unit
    from sshwrap.tunnel.reach import Reach

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
        self._pid = pid
        self._closed = False
        unit.key_options = ""
        self._server: tuple[str, int] | None = None  # where ssh has signed in, as a number
        self._control = Control(control_path, program[1], environ, loop=keeper.loop)
        self._timers = Timers(keeper.loop)
        self._knocks = Knocks(keeper.loop, on_answer=self._knocked, on_target=self._reached)
        self._line: Line | None = None
        self._spellings = Spellings()
        self._change: Change | None = None
        self._to_change: ChangeForwards | None = None  # under way, or waiting for a heal
        self._keys = Keys(len(unit.tunnel.forwards))
        self._survey = Survey(
            unit,
            keeper,
            self._control,
            self._timers,
            pid,
            probe=self._probe,
            on_look=self._looked,
            on_told=self._told,
            is_closed=lambda: self._closed,
        )
        self._healing = Healing(
            keeper.loop,
            self._timers,
            self._control,
            self._spellings,
            lambda: [(s, self._survey.probed(i)) for i, s in enumerate(self._forwards())],
            keeper.heals,
            has_ipv6=lambda: self._survey.has_ipv6,
            on_look=self.look,
            on_gone=self._survey.cannot_ask,
        )

    def close(self) -> None:
        """Ask nothing more and tell nothing more."""
        self._closed = True
        self._timers.close()
        if self._change is not None:
            self._change.close()
        self._control.close()
        self._knocks.close()
        if self._line is not None:
            self._line.close()

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
                self._survey.server = address
        if self._knocks.hear(evidence, exactly=True) or self._control.hear(evidence):
            return True
        return self._knocks.hear(evidence)

    # --- the look ------------------------------------------------------------

    def look(self) -> None:
        """See what ssh's confirmation came to, and tell it with Looked."""
        if self._to_change is None:  # which looks itself, at the end
            self._survey.look()

    def _looked(self, seen: Look) -> None:
        self._knocks.public = seen.client[0] if seen.client is not None else None
        self._keeper.seen(self._unit, seen)

    def _told(self, reaches: Sequence[Reach], is_news: bool) -> None:
        self._healing.plan(reaches)
        if is_news:
            self.knock()

    # --- other forwards on this connection -----------------------------------

    def change(self, asked: ChangeForwards) -> None:
        """Change them, and tell what became of it with Changed."""
        self._survey.outdated()
        self._timers.cancel("look", "knock")
        self._to_change = asked
        self._healing.rest(self._begin_change)

    def _begin_change(self) -> None:
        if self._to_change is None:
            return
        states = self._forwards()
        seen = self._survey.seen if any(s.forward.kind is Kind.REMOTE for s in states) else None
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
            self._survey.take(seen)
        else:
            self.look()
        self.knock()
        if not self._knocks.is_knocking:
            self._probe_first()

    def rearranged(self, before: Sequence[int | None]) -> None:
        """Its forwards are others: `before[i]` is where the i-th stood; None: it is new."""
        self._keys.rearrange(before)
        self._survey.rearrange(before)

    # --- it is up ------------------------------------------------------------

    def came_up(self) -> None:
        """Knock from here, see that the loop works, and watch the line from now on."""
        self._line = Line(
            self._unit,
            self._keeper,
            self._control,
            self._pid,
            server=self._server,
            seen=self._survey.seen,
        )
        self.knock()
        if not self._knocks.is_knocking:  # else when it is answered: both may come from 127.0.0.1
            self._probe_first()
        self._plan_probe()

    def knock(self) -> None:
        """One connection to the address that visitors use, for each forward that has one."""
        self._timers.cancel("knock")
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
            self._timers.set("knock", KNOCK_AGAIN, self._knock_again)
        if not self._knocks.is_knocking:
            self._probe_first()

    def _knock_again(self) -> None:
        self.look()  # who has it now may be another than when we came up
        self.knock()

    def _probe_first(self) -> None:
        """The loop, where no connection has shown yet that it works."""
        for index, state in enumerate(self._forwards()):
            probed = self._survey.probed(index)
            seen = any(one.found is Found.OURS for one in probed.values())
            if not seen and self._unit.traffic.rows[index].target == "unknown":
                self._probe_loop(index, state)

    def renewed(self) -> None:
        """The profile was read anew, and this ssh goes on."""
        if self._unit.tunnel.state is State.UP:
            self._plan_probe()

    def _plan_probe(self) -> None:
        interval = self._unit.order.profile.probe_interval
        self._timers.set("probe", interval or None, self._probe_all)

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

    def suspect(self, why: Doubtful) -> None:
        """Somebody has a reason to think that the line is dead: see."""
        if self._line is not None:
            self._line.suspect(why)
        if why is not Doubtful.PROBE and self._unit.tunnel.state is State.UP:
            self.knock()

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
