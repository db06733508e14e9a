"""Who listens on the server, and whether that is us: the look, and the connections that it needs.

Laws. The look comes first and decides the reach; who is only known to be of our account is told
apart by a connection from the server. A tunnel that shows nothing is served all the same: "unknown,
because". An answer to an earlier question is of no more use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Kind
from sshwrap.ssh.look import Look, Owner
from sshwrap.ssh.mux import Unknown, Why
from sshwrap.supervisor.here import has_ipv6_here, listeners_here
from sshwrap.tunnel.events import Looked
from sshwrap.tunnel.model import State
from sshwrap.tunnel.reach import (
    AS_ASKED,
    UNKNOWN,
    Reach,
    addresses_to_probe,
    judge_listeners,
    judge_probes,
    judge_reach,
    where_to_probe,
)
from sshwrap.tunnel.where import may_probe, port_of

if TYPE_CHECKING:
    from sshwrap.profile.forward import Forward
    from sshwrap.ssh.probe import Probed
    from sshwrap.supervisor.control import Control
    from sshwrap.supervisor.run import Keeper
    from sshwrap.supervisor.timers import Timers
    from sshwrap.supervisor.unit import Unit
    from sshwrap.tunnel.model import ForwardState

LOOK_AGAIN = (30.0, 300.0, 3600.0)  # a slow login shell; each time it costs the server a session
LOOK_SECONDS = 15.0  # nothing waits so long: after three of them the tunnel is up all the same

Probe = Callable[[int, str, Callable[[int, str, "Probed"], None]], None]


class Survey:
    """`pid` is of the tunnel's ssh. `probe(index, address, on_probed)` connects from the server to
    that address of a forward.

    `on_look(look)` with each that was had; `on_told(reaches, is_news)` when the tunnel was told
    what was seen, unless it has ended over that; `is_closed` says so.
    """

    def __init__(
        self,
        unit: Unit,
        keeper: Keeper,
        control: Control,
        timers: Timers,
        pid: int,
        *,
        probe: Probe,
        on_look: Callable[[Look], None],
        on_told: Callable[[tuple[Reach, ...], bool], None],
        is_closed: Callable[[], bool],
    ) -> None:
        self.seen: Look | Unknown | None = None
        self.server: str | None = None  # where ssh has signed in, as a number
        self._unit = unit
        self._keeper = keeper
        self._control = control
        self._timers = timers
        self._pid = pid
        self._probe = probe
        self._on_look = on_look
        self._on_told = on_told
        self._is_closed = is_closed
        self._probed: list[dict[str, Probed]] = []
        self._unasked = 0  # connections that the reach still waits for
        self._silent_looks = 0
        self._is_cut_off = False
        self._question = 0

    def look(self) -> None:
        """See what ssh's confirmation came to, and tell it with Looked."""
        question = self._ask()

        def looked(seen: Look | Unknown) -> None:
            if question == self._question:
                self.take(seen)

        remote = [s for s in self._forwards() if s.forward.kind is Kind.REMOTE]
        ports = {port for s in remote if (port := port_of(s))}
        paths = [s.forward.listen_path for s in remote if s.forward.listen_path is not None]
        if not remote:
            self.take(Unknown(Why.REFUSED, "no forward listens on the server"))
        elif not self._unit.order.profile.run_on_server:
            self.take(Unknown(Why.REFUSED, "run_on_server is false"))
        else:
            options = self._unit.key_options
            self._control.look(
                ports, looked, paths=paths, key_options=options, deadline=LOOK_SECONDS
            )

    def take(self, seen: Look | Unknown) -> None:
        """What a look has brought, whoever has asked for it."""
        was_seen = isinstance(self.seen, Look)
        if isinstance(seen, Unknown) and seen.why is Why.GONE and was_seen:
            self.cannot_ask()
            return  # what was seen is still the best that is known
        self.seen = seen
        if isinstance(seen, Look):
            self._on_look(seen)
        forwards = self._forwards()
        self._probed = [{} for _ in forwards]
        asked = [
            (index, address)
            for index, state in enumerate(forwards)
            for address in self._doubtful(state, seen)
        ]
        self._unasked = len(asked)
        question = self._ask()

        def probed(index: int, address: str, one: Probed) -> None:
            if question == self._question:
                self._reach_probed(index, address, one)

        for index, address in asked:
            self._probe(index, address, probed)
        if not asked:
            self._tell()

    @property
    def has_ipv6(self) -> bool | None:
        """Whether the server has; None where nobody has looked."""
        return self.seen.has_ipv6 if isinstance(self.seen, Look) else None

    def outdated(self) -> None:
        """What is being asked is about forwards that are others by now."""
        self._ask()

    def rearrange(self, before: Sequence[int | None]) -> None:
        """`before[i]` is where the i-th forward stood; None: it is new."""
        self.outdated()
        old = dict(enumerate(self._probed))
        self._probed = [{} if at is None else old.get(at, {}) for at in before]

    def probed(self, index: int) -> Mapping[str, Probed]:
        """What connections to this forward have shown, by address."""
        return self._probed[index] if index < len(self._probed) else {}

    def cannot_ask(self) -> None:
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

    def _ask(self) -> int:
        self._question += 1
        return self._question

    def _forwards(self) -> tuple[ForwardState, ...]:
        return self._unit.tunnel.forwards

    def _doubtful(self, state: ForwardState, seen: Look | Unknown) -> Sequence[str]:
        """Where only a connection tells whose a listener is, or that there is one."""
        if not may_probe(state):
            return ()
        if isinstance(seen, Unknown):
            if seen.why in (Why.GONE, Why.SILENT):
                return ()  # nor would a connection be made
            return addresses_to_probe(state.forward, self.server)
        return tuple(
            where_to_probe(one)
            for one in seen.listeners
            if one.port == port_of(state) and one.owner is Owner.ACCOUNT
        )

    def _reach_probed(self, index: int, address: str, probed: Probed) -> None:
        self._probed[index][address] = probed
        self._unasked -= 1
        if self._unasked == 0:
            self._tell()

    def _tell(self) -> None:
        forwards = self._forwards()
        pairs = zip(forwards, self._probed, strict=True)
        reaches = tuple(self._judge(state, probed) for state, probed in pairs)
        was_up = self._unit.tunnel.state is State.UP
        is_news = was_up and [s.reach for s in forwards] != list(reaches)
        self._keeper.apply(self._unit, Looked(reaches))
        if self._is_closed():
            return
        if isinstance(self.seen, Unknown) and self.seen.why is Why.SILENT:
            self._silent_looks += 1
            pause = LOOK_AGAIN[min(self._silent_looks, len(LOOK_AGAIN)) - 1]
            self._timers.set("look", pause, self.look)
        self._on_told(reaches, is_news)

    def _judge(self, state: ForwardState, probed: Mapping[str, Probed]) -> Reach:
        forward = state.forward
        if forward.kind is not Kind.REMOTE:
            return self._judge_here(forward)
        if isinstance(self.seen, Unknown) and probed:
            judged = judge_probes(forward, state.allocated_port, probed)
            if judged.reach == UNKNOWN:
                reason = f"{self.seen.reason}; {judged.reason}"
                return judged._replace(reason=reason)
            return judged
        return judge_reach(forward, state.allocated_port, self.seen, probed)

    def _judge_here(self, forward: Forward) -> Reach:
        port = forward.listen_port
        found = listeners_here(self._pid, (port,)) if port is not None else None
        if found is None:
            return Reach(UNKNOWN, None, "it listens on this machine, by ssh's word")
        judged = judge_listeners(forward, None, found, has_ipv6=has_ipv6_here())
        if judged.reach != AS_ASKED or judged.reason is None:
            return judged
        return judged._replace(reason=judged.reason.partition(":")[0])  # the rest is of servers
