"""What ends a wait before its time: the server answers again, the network is another one, we woke.

Laws. A look is a TCP connect, one a server for all who wait for it, and only after a failure at
TCP: never through a jump, where the address is not ours to reach, and never instead of a try. What
is news here only makes due what waits anyway; it ends nothing that is up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.supervisor.looker import Lookers
from sshwrap.supervisor.netlink import NetworkNews
from sshwrap.supervisor.network import WakeWatch, clocks

if TYPE_CHECKING:
    import asyncio

WAKE_PAUSE = 2.0  # the clocks cost next to nothing to read
WAKE = "wake"
AT_TCP = frozenset({"refused", "timed_out", "no_route", "network_unreachable", "connect_failed"})


class Waiting:
    """`due(name)` is called for a tunnel whose server answers again; `news(woke)` where the network
    is another one, or this machine was suspended."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        due: Callable[[str], None],
        news: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._due = due
        self._tell = news
        self._lookers = Lookers(loop)
        self._addresses: dict[str, str] = {}  # name -> the last address its ssh tried
        self._news = NetworkNews(loop, self._changed, servers=self._servers)
        self._wake = WakeWatch(*clocks())
        self._timer: asyncio.TimerHandle | None = None

    def heard(self, name: str, evidence: Evidence) -> None:
        """A line of that tunnel's ssh: where it connects to, and that it got through."""
        address, port = evidence.get("address"), evidence.get("port")
        if address is None or port is None:
            return
        self._addresses[name] = address
        self._watch_clock()
        if evidence.kind == Progress.AUTHENTICATED:
            self._lookers.reached(address, int(port))

    def failed(self, name: str, kind: str, evidence: Sequence[Evidence]) -> None:
        """It waits for its next try, and why; `evidence` is what its ssh had said."""
        self._watch_clock()
        if kind not in AT_TCP:
            return
        tried = [each for each in evidence if each.kind == Progress.CONNECTING]
        address, port = (tried[-1].get("address"), tried[-1].get("port")) if tried else (None, None)
        if address is not None and port is not None:
            self._lookers.wait(name, address, int(port), lambda: self._due(name))

    def trying(self, name: str) -> None:
        """It waits no more: it is being tried."""
        self._lookers.leave(name)

    def gone(self, name: str) -> None:
        """Nobody wants it any more."""
        self._lookers.leave(name)
        self._addresses.pop(name, None)

    def close(self) -> None:
        self._lookers.close()
        self._news.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _servers(self) -> list[str]:
        return list(dict.fromkeys(self._addresses.values()))

    def _changed(self, what: str) -> None:
        self._lookers.begin_anew()
        self._tell(what == WAKE)

    def _watch_clock(self) -> None:
        """While there is a tunnel; after a sleep the clocks differ whenever they are read."""
        if self._timer is None:
            self._timer = self._loop.call_later(WAKE_PAUSE, self._read_clock)

    def _read_clock(self) -> None:
        self._timer = None
        if not self._addresses:
            return
        self._watch_clock()
        if self._wake.slept(*clocks()):
            self._changed(WAKE)
