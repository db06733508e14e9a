"""Who comes through a tunnel's forwards, and whether the target answers, from ssh's own words.

One tally a tunnel, changed in place: at a thousand visitors a second a new record each would cost
more than reading the line. Laws: a visitor is counted when ssh says that one came, open while
ssh's channel for it lives; totals outlive the ssh, open ones do not. The latest address is the
latest that ssh has told: it names the visitor of a -L or -D only when that one has gone. Who came
by a forward that was taken back since may stay, and is counted no more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.tunnel.model import ForwardState

# What a channel is called (OpenSSH's ctype) while a visitor of each kind of forward uses it.
VISITOR_CHANNELS = frozenset(
    {
        "forwarded-tcpip",
        "forwarded-streamlocal@openssh.com",
        "direct-tcpip",
        "direct-streamlocal@openssh.com",
        "dynamic-tcpip",
        "",  # 8.4 and 9.2 name the visitor's address in its place
    }
)
# Between "a visitor came" and "this is its channel" nothing else is printed; a visitor that ssh
# could not give a channel must not wait for ever.
PENDING_KEPT = 64
# The name of a freed channel: channels.c:port_open_helper. What a SOCKS visitor wants to reach
# stands first and may be anything: the last "connect from" is ssh's.
CAME_FROM = re.compile(r"direct-tcpip: listening port \d+ for .*, connect from (\S+) port \d+ to ")


TAKEN_BACK = -1  # the index of a forward that is no more


class ForwardTraffic:
    __slots__ = ("last_address", "last_number", "last_wall", "open", "target", "total")

    def __init__(self) -> None:
        self.open = 0
        self.total = 0
        self.last_address: str | None = None
        self.last_number = 0
        self.last_wall = 0.0
        self.target = "unknown"  # ok, refused, unknown


class TargetChange:
    """A forward's target began or ceased to answer."""

    __slots__ = ("index", "said", "target")

    def __init__(self, index: int, target: str, said: str) -> None:
        self.index = index
        self.target = target
        self.said = said


class _Visit(NamedTuple):
    forward: int  # its index
    number: int  # among those of that forward: which came later is no question to a clock
    wall: float


class Traffic:
    """The tally; `rows[i]` belongs to the tunnel's i-th forward."""

    __slots__ = ("_channels", "_pending", "rows")

    def __init__(self, count: int) -> None:
        self.rows = [ForwardTraffic() for _ in range(count)]
        self._pending: list[_Visit] = []
        self._channels: dict[str, _Visit] = {}

    def reset(self, count: int) -> None:
        """A new ssh: nobody is connected and nothing is known of the targets; totals stay."""
        if count != len(self.rows):
            self.rows = [ForwardTraffic() for _ in range(count)]
        for row in self.rows:
            row.open = 0
            row.target = "unknown"
        self._pending.clear()
        self._channels.clear()

    def rearrange(self, before: Sequence[int | None]) -> None:
        """Other forwards on the same ssh: `before[i]` is where the i-th stood; None: it is new."""
        old = self.rows
        self.rows = [ForwardTraffic() if at is None else old[at] for at in before]
        now = {at: index for index, at in enumerate(before) if at is not None}

        def moved(visit: _Visit) -> _Visit:
            return visit._replace(forward=now.get(visit.forward, TAKEN_BACK))

        # Pending ones stay, whatever they came by: ssh names the channels in the same order.
        self._pending = [moved(visit) for visit in self._pending]
        channels = {channel: moved(visit) for channel, visit in self._channels.items()}
        self._channels = {
            channel: visit for channel, visit in channels.items() if visit.forward != TAKEN_BACK
        }

    def hear(
        self, evidence: Evidence, forwards: Sequence[ForwardState], wall: float
    ) -> TargetChange | None:
        match evidence.kind:
            case Progress.VISITOR_OPENED:
                self._visitor(evidence, forwards, wall)
            case Progress.CHANNEL_NEW:
                self._channel(evidence)
            case Progress.CHANNEL_FREED:
                visit = self._channels.pop(evidence.get("channel") or "", None)
                if visit is not None:
                    self._left(visit, evidence)
            case Progress.TARGET_CONNECTED:
                visit = self._channels.get(evidence.get("channel") or "")
                if visit is not None:
                    return self._target(visit.forward, "ok", evidence.said)
            case Progress.TARGET_REFUSED:
                return self._refused(evidence, forwards)
        return None

    def probed(self, index: int, target: str, said: str) -> TargetChange | None:
        """What a connection of our own has found: the target answers ("ok") or does not."""
        return self._target(index, target, said)

    def _visitor(self, evidence: Evidence, forwards: Sequence[ForwardState], wall: float) -> None:
        index = _listening(evidence, forwards)
        if index is None:
            return
        row = self.rows[index]
        row.total += 1
        visit = _Visit(index, row.total, wall)
        _came(row, visit, evidence.get("address"))
        self._pending.append(visit)
        del self._pending[:-PENDING_KEPT]

    def _channel(self, evidence: Evidence) -> None:
        channel = evidence.get("channel")
        if channel is None or not self._pending:
            return
        if (evidence.get("kind") or "") in VISITOR_CHANNELS:
            visit = self._pending.pop(0)
            if visit.forward != TAKEN_BACK:
                self._channels[channel] = visit
                self.rows[visit.forward].open += 1

    def _left(self, visit: _Visit, evidence: Evidence) -> None:
        row = self.rows[visit.forward]
        row.open -= 1
        named = CAME_FROM.match(evidence.get("name") or "")
        if named is not None:
            _came(row, visit, named[1])

    def _refused(self, evidence: Evidence, forwards: Sequence[ForwardState]) -> TargetChange | None:
        for index, state in enumerate(forwards):
            if _leads_to(state.forward, evidence):
                return self._target(index, "refused", evidence.said)
        return None

    def _target(self, index: int, target: str, said: str) -> TargetChange | None:
        row = self.rows[index]
        was, row.target = row.target, target
        if was == target or (was == "unknown" and target == "ok"):
            return None  # that it answers is news only after it did not
        return TargetChange(index, target, said)


def _came(row: ForwardTraffic, visit: _Visit, address: str | None) -> None:
    if address is not None and visit.number >= row.last_number:
        row.last_address = address
        row.last_number = visit.number
        row.last_wall = visit.wall


def _listening(evidence: Evidence, forwards: Sequence[ForwardState]) -> int | None:
    path = evidence.get("listen_path")
    port = evidence.get("listen_port")
    found = [
        index
        for index, state in enumerate(forwards)
        if (path is not None and state.forward.listen_path == path)
        or (port is not None and port == str(state.allocated_port or state.forward.listen_port))
    ]
    if len(found) > 1:
        host = evidence.get("listen_host")
        exact = [i for i in found if forwards[i].forward.listen_host == host]
        found = exact or found
    return found[0] if found else None


def _leads_to(forward: Forward, evidence: Evidence) -> bool:
    if forward.kind is not Kind.REMOTE:
        return False  # -L and -D connect on the server, and ssh says so in other words
    path = evidence.get("path")
    if path is not None:
        return forward.connect_path == path
    host = evidence.get("host")
    if host is None or forward.connect_host != host:
        return False
    port = evidence.get("port")
    return port is None or str(forward.connect_port) == port
