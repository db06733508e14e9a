"""Half of a forward's port is another program's: the other half is asked for until it is had.

Laws. It is asked for over the running connection, so nobody who is connected notices. Granted it is
looked at: sshd's word is not enough. Nothing is asked for while forwards are being changed. Where
half is missing and nobody is seen to hold it, it is asked for twice: a program that has taken the
port and does not listen yet is to be seen by nobody. All tunnels of a supervisor keep one pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Forward
from sshwrap.ssh.mux import Added, Refused, Unknown, Why
from sshwrap.tunnel.model import ForwardState
from sshwrap.tunnel.reach import HALF_BOUND, Reach, doubtful_half, missing_half
from sshwrap.tunnel.where import bound_of

if TYPE_CHECKING:
    import asyncio

    from sshwrap.ssh.probe import Probed
    from sshwrap.supervisor.changing import Spellings
    from sshwrap.supervisor.control import Control
    from sshwrap.supervisor.timers import Timers

HEAL_SOON, HEAL_PATIENCE, HEAL_LATER = 1.0, 180.0, 5.0
DOUBTS = (1.0, 5.0)  # seconds before each request for a half that nobody is seen to hold
PACE = 0.1  # seconds between two requests of one supervisor: each is a program that starts

Forwards = Callable[[], Sequence[tuple[ForwardState, Mapping[str, "Probed"]]]]


class Pace:
    """When the next one may ask: one alone at once, many one after the other."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Seconds from now; that place is taken with it."""
        at = max(now, self._next)
        self._next = at + PACE
        return at - now


class Healing:
    """`forwards()` are the tunnel's as they stand now, with what connections to them have shown;
    `has_ipv6()` is the server's, None where that is not known.

    Of each round one thing is told: `on_look()`, to see what it came to, or `on_gone()` where there
    is no control socket any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        control: Control,
        spellings: Spellings,
        forwards: Forwards,
        pace: Pace,
        *,
        has_ipv6: Callable[[], bool | None],
        on_look: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._timers = timers
        self._control = control
        self._spellings = spellings
        self._forwards = forwards
        self._pace = pace
        self._has_ipv6 = has_ipv6
        self._on_look = on_look
        self._on_gone = on_gone
        self._since: float | None = None  # monotonic
        self._asking = 0
        self._looks = False
        self._doubts = 0  # rounds in which a half was asked for that nobody is seen to hold
        self._on_rest: Callable[[], None] | None = None

    def plan(self, reaches: Sequence[Reach]) -> None:
        """By what was seen last."""
        if any(reach.reach == HALF_BOUND for reach in reaches):
            now = self._loop.time()
            if self._since is None:
                self._since = now
            is_patient = now - self._since < HEAL_PATIENCE
            pause = HEAL_SOON if is_patient else HEAL_LATER
        elif self._doubts < len(DOUBTS) and any(self._halves()):
            self._since = None
            pause = DOUBTS[self._doubts]
        else:
            self._since = None
            self._timers.cancel("heal")
            return
        self._timers.set("heal", pause, self._wait)

    def _wait(self) -> None:
        pause = self._pace.wait(self._loop.time())
        self._timers.set("heal", pause, self._heal)

    def _halves(self) -> Iterator[tuple[ForwardState, Forward]]:
        """What there is to be asked for, as it stands now."""
        for state, probed in self._forwards():
            reach = state.reach
            if reach is None:
                continue
            if reach.reach == HALF_BOUND:
                have = bound_of(state, probed)
                half = missing_half(state.forward, state.allocated_port, have)
            else:
                half = doubtful_half(
                    state.forward, state.allocated_port, reach, has_ipv6=self._has_ipv6()
                )
            if half is not None:
                yield state, half

    def rest(self, on_rest: Callable[[], None]) -> None:
        """Ask for no more; `on_rest()` when what is being asked is answered, perhaps at once."""
        self._timers.cancel("heal")
        if self._asking:
            self._on_rest = on_rest
        else:
            on_rest()

    def _heal(self) -> None:
        missing = list(self._halves())
        is_sure = any(state.reach and state.reach.reach == HALF_BOUND for state, _ in missing)
        self._doubts += not is_sure
        # Refused, it is looked at as well where nobody was seen: he may be seen by now.
        self._looks = not is_sure
        self._asking = len(missing)
        for state, half in missing:
            self._control.add(half, partial(self._answered, state, half))

    def _answered(
        self, state: ForwardState, half: Forward, answer: Added | Refused | Unknown
    ) -> None:
        self._looks = self._looks or isinstance(answer, Added)
        if not isinstance(answer, Refused):  # without an answer it may be granted still
            self._spellings.also(state.forward, half)
        self._asking -= 1
        if self._asking:
            return
        on_rest, self._on_rest = self._on_rest, None
        if on_rest is not None:
            on_rest()
        elif self._looks:
            self._on_look()
        elif isinstance(answer, Unknown) and answer.why is Why.GONE:
            self._on_gone()
        else:
            self.plan([s.reach for s, _ in self._forwards() if s.reach is not None])
