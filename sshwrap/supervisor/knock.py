"""From here: does the address that visitors use answer this machine?

Laws. One connection at a time, to addresses that the caller gives as numbers, and all of it within
`KNOCK_PATIENCE`. What it proves holds from this machine and at this moment, no more. Our end of
each connection is told before a visitor can be counted for it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sshwrap.supervisor.network import numeric
from sshwrap.supervisor.tcp import TcpConnect

if TYPE_CHECKING:
    import asyncio

KNOCK_PATIENCE = 5.0
ADDRESSES_MOST = 4

_GRAVITY = ("open", "refused", "timeout", "unknown")  # of several addresses the first one counts


@dataclass(frozen=True, slots=True)
class Answer:
    """`outcome` is what status shows as from_here; `reason` the system's words, for unknown only.

    `milliseconds` is the time until this answer of `address`.
    """

    outcome: str  # open, refused, timeout, unknown
    reason: str | None
    address: str
    milliseconds: float


class Knock:
    """Tries these addresses in turn until one is open, and calls `on_answer` once with the best.

    `on_local(address, port)` is called for each connection with our end of it (NAT may show the
    server another one). Raises ValueError for no address at all, or one that is a name.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        addresses: Sequence[str],
        port: int,
        *,
        on_local: Callable[[str, int], None],
        on_answer: Callable[[Answer], None],
    ) -> None:
        if not addresses:
            raise ValueError("no address to knock at")
        for address in addresses:
            numeric(address, port)
        self._loop = loop
        self._addresses = list(addresses[:ADDRESSES_MOST])
        self._port = port
        self._on_local = on_local
        self._on_answer = on_answer
        self._answers: list[Answer] = []
        self._until = loop.time() + KNOCK_PATIENCE
        self._connect: TcpConnect | None = None
        self._next()

    def close(self) -> None:
        """Give it up; no answer is told any more."""
        self._addresses.clear()
        if self._connect is not None:
            self._connect.close()
            self._connect = None

    def _next(self) -> None:
        now = self._loop.time()
        address = self._addresses[0]
        # A silent address leaves the others their part of the time.
        within = max(0.0, self._until - now) / len(self._addresses)

        def done(error: int) -> None:
            milliseconds = (self._loop.time() - now) * 1000
            self._answered(Answer(*outcome(error), address, milliseconds))

        self._connect = TcpConnect(self._loop, address, self._port, within=within, on_done=done)
        if self._connect.local is not None:
            self._on_local(*self._connect.local)

    def _answered(self, answer: Answer) -> None:
        self._connect = None  # it takes its leave by itself
        self._answers.append(answer)
        del self._addresses[0]
        if answer.outcome != "open" and self._addresses:
            self._next()
            return
        self._addresses.clear()
        self._on_answer(min(self._answers, key=lambda one: _GRAVITY.index(one.outcome)))


def outcome(error: int) -> tuple[str, str | None]:
    """What an errno of connect(2) shows, and the system's words where it shows nothing."""
    match error:
        case 0:
            return "open", None
        case errno.ECONNREFUSED:
            return "refused", None
        case errno.ETIMEDOUT:
            return "timeout", None
    return "unknown", os.strerror(error)
