"""Connections from this machine to the addresses that visitors use: one at a time for a forward.

Law. None of them is ever counted as a visitor. ssh's log names each visitor as the server sees it:
our own end of the connection where nothing translates addresses, our public address where the look
has told it, and else the first who comes while we knock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.supervisor.knock import Answer, Knock

if TYPE_CHECKING:
    import asyncio

LATE = 5.0  # how long after an answer the log may still name it: a slow line, a busy log


class _Expected:
    __slots__ = ("channel", "ends", "index", "knock", "listen_port", "until")

    def __init__(self, index: int, listen_port: int) -> None:
        self.index = index
        self.listen_port = str(listen_port)
        self.ends: set[tuple[str, str]] = set()
        self.channel: str | None = None  # "" from its visit on until ssh says which
        self.knock: Knock | None = None
        self.until: float | None = None  # None while it is under way


class Knocks:
    """`on_answer(index, outcome, milliseconds)`; `on_target(index, "ok", said)` where it reached
    the target of that forward."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_answer: Callable[[int, str, float], None],
        on_target: Callable[[int, str, str], None],
    ) -> None:
        self.public: str | None = None  # our address as the server sees it
        self._loop = loop
        self._on_answer = on_answer
        self._on_target = on_target
        self._expected: list[_Expected] = []
        self._named: _Expected | None = None  # its channel is what the log names next

    @property
    def expects(self) -> bool:
        """Whether the log may still have something to say of a knock."""
        return bool(self._expected)

    @property
    def is_knocking(self) -> bool:
        return any(one.knock is not None for one in self._expected)

    def knock(self, index: int, address: str, port: int) -> None:
        """One connection to this number, for the forward with this index."""
        self._forget_old()
        if any(one.index == index and one.knock is not None for one in self._expected):
            return  # under way
        expected = _Expected(index, port)
        self._expected.append(expected)

        def local(host: str, number: int) -> None:
            expected.ends.add((host, str(number)))

        def answered(answer: Answer) -> None:
            expected.knock = None
            expected.until = self._loop.time() + LATE
            if answer.outcome != "open" and expected in self._expected:
                self._expected.remove(expected)
            self._on_answer(index, answer.outcome, answer.milliseconds)

        expected.knock = Knock(self._loop, [address], port, on_local=local, on_answer=answered)

    def hear(self, evidence: Evidence, *, exactly: bool = False) -> bool:
        """A line of ssh's log; True where it is about a knock alone. `exactly`: only by our own
        end of the connection, which nobody else can have."""
        channel = evidence.get("channel")
        match evidence.kind:
            case Progress.VISITOR_OPENED:
                self._named = self._knocker(evidence, exactly=exactly)
                if self._named is not None:
                    self._named.channel = ""  # it gets none where the target's name is unknown
                return self._named is not None
            case Progress.CHANNEL_NEW if self._named is not None:
                self._named.channel, self._named = channel, None
                return True
            case Progress.TARGET_CONNECTED:
                for one in self._expected:
                    if channel is not None and one.channel == channel:
                        self._on_target(one.index, "ok", evidence.said)
                        return True
            case Progress.CHANNEL_FREED:
                for one in self._expected:
                    if channel is not None and one.channel == channel:
                        self._expected.remove(one)
                        return True
        return False

    def close(self) -> None:
        for one in self._expected:
            if one.knock is not None:
                one.knock.close()
        self._expected.clear()
        self._named = None

    def _knocker(self, evidence: Evidence, *, exactly: bool) -> _Expected | None:
        self._forget_old()
        address, port = evidence.get("address") or "", evidence.get("port") or ""
        for one in self._expected:
            if one.channel is not None or one.listen_port != evidence.get("listen_port"):
                continue
            if (address, port) in one.ends:
                return one
            if exactly or any(address == host for host, _ in one.ends):
                continue  # nothing translates addresses: it is somebody else of this machine
            if self.public in (None, address):
                return one
        return None

    def _forget_old(self) -> None:
        now = self._loop.time()
        self._expected = [
            one for one in self._expected if one.channel or one.until is None or one.until > now
        ]
