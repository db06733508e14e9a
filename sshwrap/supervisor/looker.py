"""The look: does a server that could not be reached answer again?

Laws. Only for who has failed at TCP, on a direct connection, and waits; never without a route.
One looker for each server's address and port, however many tunnels wait for it; one connection at
a time; from one start to the next a second at least, since three a second from one address lock
out the right key (sshd's PerSourcePenalties). The first answer ends the looking for this outage.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sshwrap.supervisor.network import has_route, numeric
from sshwrap.supervisor.tcp import TcpConnect

if TYPE_CHECKING:
    import asyncio

SOON, SOON_UNTIL = 1.0, 60.0
LATER, LATER_UNTIL = 5.0, 600.0
AT_LAST = 15.0
JITTER = 0.2  # of the pause, and only ever longer
PATIENCE_MOST = 4.0  # for one answer
SERVERS_MOST = 64
# An outage for which nobody has waited so long is over: an attempt of ssh takes less.
FORGET = 120.0


class Connect(Protocol):
    def close(self) -> None: ...


class MakeConnect(Protocol):
    """`TcpConnect`, or what stands for it where time is set by hand."""

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        port: int,
        *,
        within: float,
        on_done: Callable[[int], None],
    ) -> Connect: ...


def look_pause(outage: float) -> float:
    """Seconds from one look to the next, after an outage of so many seconds."""
    if outage < SOON_UNTIL:
        return SOON
    return LATER if outage < LATER_UNTIL else AT_LAST


@dataclass(slots=True)
class _Outage:
    address: str
    port: int
    began: float
    looked: float  # when the last look (or what told us of the outage) began
    left: float  # when the last one stopped waiting; means something while nobody waits
    waiting: dict[str, Callable[[], None]] = field(default_factory=dict)
    is_answered: bool = False
    timer: asyncio.TimerHandle | None = None
    connect: Connect | None = None


class Lookers:
    """All looking of a supervisor. Names are whoever waits (a profile's), once each.

    `jitter` is in [0, 1).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        jitter: Callable[[], float] = random.random,
        route: Callable[[str], bool] = has_route,
        connect: MakeConnect = TcpConnect,
    ) -> None:
        self._loop = loop
        self._jitter = jitter
        self._route = route
        self._make_connect = connect
        self._outages: dict[tuple[str, int], _Outage] = {}

    def wait(self, name: str, address: str, port: int, on_answer: Callable[[], None]) -> bool:
        """ssh of `name` could not reach this address, as it printed it: `on_answer()` once it can.

        Again after each such failure. False where nobody will look: this outage had its answer,
        there are too many servers, or that is no numeric address.
        """
        self.leave(name)
        outage = self._outage(address, port)
        if outage is None or outage.is_answered:
            return False
        outage.waiting[name] = on_answer
        self._look_later(outage)
        return True

    def leave(self, name: str) -> None:
        """It waits no more: it is being tried, or it is down. Does nothing if it did not wait."""
        for outage in self._outages.values():
            if outage.waiting.pop(name, None) is not None:
                if not outage.waiting:
                    self._rest(outage)
                return

    def reached(self, address: str, port: int) -> None:
        """An ssh has got through: this outage is over, for all who wait for it."""
        outage = self._outages.pop((address, port), None)
        if outage is not None:
            self._tell(outage)

    def begin_anew(self) -> None:
        """The network is another one, or the machine woke: look as often as at the beginning."""
        now = self._loop.time()
        for key, outage in list(self._outages.items()):
            if not outage.waiting:
                del self._outages[key]
                continue
            outage.began = now
            if outage.timer is not None:
                outage.timer.cancel()
                outage.timer = None
            self._look_later(outage)

    def close(self) -> None:
        for outage in self._outages.values():
            self._rest(outage)
        self._outages.clear()

    def _outage(self, address: str, port: int) -> _Outage | None:
        now = self._loop.time()
        for key, outage in list(self._outages.items()):
            if not outage.waiting and now - outage.left >= FORGET:
                del self._outages[key]
        found = self._outages.get((address, port))
        if found is None and len(self._outages) < SERVERS_MOST:
            try:
                numeric(address, port)
            except ValueError:
                return None
            found = _Outage(address, port, began=now, looked=now, left=now)
            self._outages[address, port] = found
        return found

    def _look_later(self, outage: _Outage) -> None:
        if outage.timer is not None or outage.connect is not None:
            return
        now = self._loop.time()
        pause = look_pause(now - outage.began) * (1.0 + JITTER * self._jitter())
        outage.timer = self._loop.call_at(max(now, outage.looked + pause), self._look, outage)

    def _look(self, outage: _Outage) -> None:
        outage.timer = None
        now = outage.looked = self._loop.time()
        if not self._route(outage.address):
            self._look_later(outage)
            return
        # What is lost on the way is sent again after 1 s at the soonest, a new look no later.
        within = min(look_pause(now - outage.began), PATIENCE_MOST)

        def done(error: int) -> None:
            outage.connect = None
            if error == 0:
                self._tell(outage)
            else:
                self._look_later(outage)

        outage.connect = self._make_connect(
            self._loop, outage.address, outage.port, within=within, on_done=done
        )

    def _tell(self, outage: _Outage) -> None:
        waiting, outage.waiting = outage.waiting, {}
        self._rest(outage)
        outage.is_answered = True
        for on_answer in waiting.values():
            on_answer()

    def _rest(self, outage: _Outage) -> None:
        outage.left = self._loop.time()
        if outage.timer is not None:
            outage.timer.cancel()
            outage.timer = None
        if outage.connect is not None:
            outage.connect.close()
            outage.connect = None
