"""Whose turn it is to start: few at a time for each server, nobody towards one that throttles us.

Laws. sshd drops sign-ins at random once many have not finished (MaxStartups 10:30:100), and counts
those of everybody: we take less than half of that, and one at a time at a server that has turned
somebody of us away, since two at once may be what is too much there. Servers take turns, so that
one that does not answer holds up nobody else. Between two starts the loop breathes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

SIGNING_IN_PER_SERVER = 4
CAREFUL_SECONDS = 600.0  # after it was held: as long as the longest penalty of sshd
SPAWN_PAUSE = 0.002  # what a fork costs, left to those who are already up


class Turns:
    """Names that are due, by server ("host:port"). `start(name)` starts one, `wait(name)` sends
    one back to its timer, because its server is held."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        start: Callable[[str], None],
        wait: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._start = start
        self._wait = wait
        self._due: dict[str, deque[str]] = {}
        self._signing_in: dict[str, set[str]] = {}
        self._held: dict[str, float] = {}  # until when (monotonic)
        self._pump_handle: asyncio.Handle | None = None

    def due(self, server: str, name: str) -> None:
        self._due.setdefault(server, deque()).append(name)
        self._pump_soon(0.0)

    def cancel(self, server: str, name: str) -> None:
        queue = self._due.get(server)
        if queue is not None and name in queue:
            queue.remove(name)

    def signing_in(self, server: str, name: str) -> None:
        self._signing_in.setdefault(server, set()).add(name)

    def signed_in(self, server: str, name: str) -> None:
        """sshd no longer counts this one among its start-ups (or it has ended): the next may come.

        Does nothing for a name that was not signing in.
        """
        names = self._signing_in.get(server)
        if names is None or name not in names:
            return
        names.discard(name)
        if not names:
            del self._signing_in[server]
        if self._due:
            self._pump_soon(0.0)

    def hold(self, server: str, seconds: float) -> None:
        """The server throttles our address: nobody of us knocks there for a while."""
        self._held[server] = max(self._loop.time() + seconds, self.held_until(server))

    def held_until(self, server: str) -> float:
        """When (monotonic) somebody may knock there again; 0.0 or the past: now."""
        return self._held.get(server, 0.0)

    def _places(self, server: str) -> int:
        held = self._held.get(server)
        if held is None or held + CAREFUL_SECONDS < self._loop.time():
            return SIGNING_IN_PER_SERVER
        return 1

    def _pump_soon(self, delay: float) -> None:
        if self._pump_handle is None:
            self._pump_handle = self._loop.call_later(delay, self._pump)

    def _pump(self) -> None:
        """Start the next one whose server has a place free."""
        self._pump_handle = None
        for server in list(self._due):
            queue = self._due[server]
            if not queue:
                del self._due[server]
            elif self.held_until(server) > self._loop.time():
                del self._due[server]
                for name in queue:
                    self._wait(name)
            elif len(self._signing_in.get(server, ())) < self._places(server):
                name = queue.popleft()
                self._due[server] = self._due.pop(server)  # the next turn is another server's
                self._pump_soon(SPAWN_PAUSE)
                self._start(name)
                return
