"""One running ssh of a tunnel: its process, its log, and whoever asks it questions.

Laws. What the log says is told in ssh's order. A line about a connection of our own is no visitor.
Nothing of a run outlives it: when its ssh has ended, so has all that was asked over it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.evidence import (
    Evidence,
    Progress,
    classify_line,
    classify_terminal_line,
    keep_words,
)
from sshwrap.supervisor.attendant import Attendant
from sshwrap.supervisor.child import Child, Exit, Source
from sshwrap.tunnel.entries import connect_end
from sshwrap.tunnel.events import Event, Exited, Heard, Neighbour
from sshwrap.tunnel.model import UNKNOWN_KEPT, State

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places
    from sshwrap.ssh.look import Look
    from sshwrap.ssh.version import Version
    from sshwrap.supervisor.beside import NoSignIn
    from sshwrap.supervisor.healing import Pace
    from sshwrap.supervisor.sign_in import SignedIn, SignIn
    from sshwrap.supervisor.unit import Unit
    from sshwrap.tunnel.traffic import TargetChange

TRAFFIC_PAUSE = 0.5  # visitors change a screen at most so often; a change of state at once

_LAST_WORDS = (Progress.ALL_CONFIRMED, Progress.INTERACTIVE)  # what confirms a tunnel
_TRAFFIC = frozenset(
    {
        Progress.VISITOR_OPENED,
        Progress.CHANNEL_NEW,
        Progress.CHANNEL_FREED,
        Progress.TARGET_CONNECTED,
        Progress.TARGET_REFUSED,
    }
)


class Keeper(Protocol):
    """What a run tells, and whom; the supervisor is one."""

    loop: asyncio.AbstractEventLoop
    places: Places
    heals: Pace

    def apply(self, unit: Unit, event: Event) -> None: ...
    def record(self, unit: Unit, entry: Mapping[str, Any]) -> None: ...
    def changed(self, unit: Unit, delay: float) -> None: ...
    def lines(self, unit: Unit, lines: list[str]) -> None: ...
    def progress(self, unit: Unit, evidence: Evidence) -> None: ...
    def seen(self, unit: Unit, look: Look) -> None: ...
    def sign_in(
        self, unit: Unit, on_answer: Callable[[SignedIn], None], *, ask: bool
    ) -> SignIn | NoSignIn: ...
    def target(self, unit: Unit, change: TargetChange | None) -> None: ...
    def neighbour(self, unit: Unit) -> Neighbour | None: ...
    def ended(self, unit: Unit, heard: tuple[Evidence, ...]) -> None: ...


class Run:
    """Starts the ssh of `unit`; raises OSError or UserError where that cannot be."""

    def __init__(
        self,
        unit: Unit,
        keeper: Keeper,
        program: tuple[Version, str],
        environ: Mapping[str, str],
    ) -> None:
        self._unit = unit
        self._keeper = keeper
        self._closed = False
        version, path = program
        control_path = unit.new_control(keeper.places)
        profile = unit.order.profile
        argv = build_argv(profile, version, control_path=control_path, ssh=path)
        self._child = Child(
            argv, environ, loop=keeper.loop, on_lines=self._lines, on_exit=self._ended
        )
        self.attendant = Attendant(unit, keeper, program, environ, control_path, self._child.pid)

    @property
    def pid(self) -> int:
        return self._child.pid

    def signal(self, number: int) -> None:
        self._child.signal(number)

    def close(self) -> None:
        """No ssh outlives us, and none is waited for."""
        self._closed = True
        self.attendant.close()
        self._child.close()
        self._unit.unlink_control()

    def _lines(self, source: Source, lines: list[str]) -> None:
        unit, keeper = self._unit, self._keeper
        if self._closed:
            return
        keeper.lines(unit, lines)
        on_terminal = source is Source.TERMINAL
        classify = classify_terminal_line if on_terminal else classify_line
        heard: list[Evidence] = []
        strange: deque[str] = deque(maxlen=UNKNOWN_KEPT)  # of a flood the last lines will do
        visited = False
        for line in lines:
            evidence = classify(line)
            if evidence is None:
                if not line.startswith("debug"):
                    strange.append(line)
                continue
            if evidence.kind in _TRAFFIC:
                if not (self.attendant.listens and self.attendant.hear(evidence)):
                    visited = True
                    self._traffic(evidence)
                continue
            self.attendant.hear(evidence)
            keeper.progress(unit, evidence)
            if evidence.kind in _LAST_WORDS and not unit.has_control():
                continue
            if not unit.tunnel.confirmed or evidence.is_failure:
                heard.append(evidence)
        for line in strange:
            words = keep_words(line, from_terminal=on_terminal)
            if words is not None:
                heard.append(words)
        if heard:
            keeper.apply(unit, Heard(tuple(heard)))
        if visited:
            keeper.changed(unit, TRAFFIC_PAUSE)

    def _traffic(self, evidence: Evidence) -> None:
        unit = self._unit
        change = unit.traffic.hear(evidence, unit.tunnel.forwards, time())
        if change is not None:
            tell_target(unit, self._keeper, change)

    def _ended(self, exit_: Exit) -> None:
        unit = self._unit
        if self._closed:
            return
        self.attendant.close()
        unit.run = None
        unit.unlink_control()
        unit.traffic.reset(len(unit.tunnel.forwards))
        heard = unit.tunnel.evidence
        neighbour = self._keeper.neighbour(unit)
        self._keeper.apply(unit, Exited(exit_.status, exit_.signal, neighbour))
        if unit.tunnel.state in (State.WAITING, State.FAILED):
            self._keeper.ended(unit, heard)


def tell_target(unit: Unit, keeper: Keeper, change: TargetChange) -> None:
    """The target of a forward answers no more, or does again."""
    forward = unit.tunnel.forwards[change.index].forward
    entry = {
        "event": "target",
        "forward": forward.spec,
        "connect": connect_end(forward),
        "target": change.target,
        "said": change.said,
    }
    keeper.record(unit, entry)
    keeper.changed(unit, 0.0)
