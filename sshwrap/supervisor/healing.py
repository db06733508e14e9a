"""Half of a forward's port is another program's: the other half is asked for until it is had.

Laws. It is asked for over the running connection, so nobody who is connected notices. Granted it is
looked at: sshd's word is not enough. Nothing is asked for while forwards are being changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Forward
from sshwrap.ssh.mux import Added, Refused, Unknown, Why
from sshwrap.tunnel.model import ForwardState
from sshwrap.tunnel.reach import HALF_BOUND, Reach, missing_half
from sshwrap.tunnel.where import bound_of

if TYPE_CHECKING:
    import asyncio

    from sshwrap.ssh.probe import Probed
    from sshwrap.supervisor.changing import Spellings
    from sshwrap.supervisor.control import Control
    from sshwrap.supervisor.timers import Timers

HEAL_SOON, HEAL_PATIENCE, HEAL_LATER = 1.0, 180.0, 5.0

Forwards = Callable[[], Sequence[tuple[ForwardState, Mapping[str, "Probed"]]]]


class Healing:
    """`forwards()` are the tunnel's as they stand now, with what connections to them have shown.

    Of each round one thing is told: `on_granted()`, or `on_gone()` where there is no control socket
    any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        control: Control,
        spellings: Spellings,
        forwards: Forwards,
        *,
        on_granted: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._timers = timers
        self._control = control
        self._spellings = spellings
        self._forwards = forwards
        self._on_granted = on_granted
        self._on_gone = on_gone
        self._since: float | None = None  # monotonic
        self._asking = 0
        self._granted = False
        self._on_rest: Callable[[], None] | None = None

    def plan(self, reaches: Sequence[Reach]) -> None:
        """By what was seen last."""
        if not any(reach.reach == HALF_BOUND for reach in reaches):
            self._since = None
            self._timers.cancel("heal")
            return
        now = self._loop.time()
        if self._since is None:
            self._since = now
        is_patient = now - self._since < HEAL_PATIENCE
        self._timers.set("heal", HEAL_SOON if is_patient else HEAL_LATER, self._heal)

    def rest(self, on_rest: Callable[[], None]) -> None:
        """Ask for no more; `on_rest()` when what is being asked is answered, perhaps at once."""
        self._timers.cancel("heal")
        if self._asking:
            self._on_rest = on_rest
        else:
            on_rest()

    def _heal(self) -> None:
        missing = [
            (state, half)
            for state, probed in self._forwards()
            if state.reach is not None
            and state.reach.reach == HALF_BOUND
            and (half := missing_half(state.forward, state.allocated_port, bound_of(state, probed)))
        ]
        self._granted = False
        self._asking = len(missing)
        for state, half in missing:
            self._control.add(half, partial(self._answered, state, half))

    def _answered(
        self, state: ForwardState, half: Forward, answer: Added | Refused | Unknown
    ) -> None:
        self._granted = self._granted or isinstance(answer, Added)
        if not isinstance(answer, Refused):  # without an answer it may be granted still
            self._spellings.also(state.forward, half)
        self._asking -= 1
        if self._asking:
            return
        on_rest, self._on_rest = self._on_rest, None
        if on_rest is not None:
            on_rest()
        elif self._granted:
            self._on_granted()
        elif isinstance(answer, Unknown) and answer.why is Why.GONE:
            self._on_gone()
        else:
            self.plan([s.reach for s, _ in self._forwards() if s.reach is not None])
