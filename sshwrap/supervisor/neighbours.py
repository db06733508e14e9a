"""Other profiles of this user that have a port of the same server: named, and waited for.

Laws. Nobody is asked for this, on the server least of all: what our own tunnels have, or another
supervisor's of the same state directory, is known here. A profile is named only while its ssh runs.
Who waits for one is due when that has let go of the port.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.listeners import why_both_cannot_be
from sshwrap.supervisor.order import order_from_json
from sshwrap.supervisor.reclaim import is_alive, read_record
from sshwrap.supervisor.wanted import boot_id, read_wanted
from sshwrap.tunnel.events import Neighbour
from sshwrap.tunnel.model import WITH_CHILD, State

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places
    from sshwrap.supervisor.order import Order
    from sshwrap.supervisor.unit import Unit
    from sshwrap.tunnel.model import Tunnel

LOOK_PAUSE = 1.0  # at who has it: a few variables, or two small files


class Neighbours:
    """`units` are this supervisor's, by name; `on_free(name)` once for each that has waited."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        places: Places,
        units: Mapping[str, Unit],
        on_free: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._places = places
        self._units = units
        self._on_free = on_free
        self._waiting: dict[str, Neighbour] = {}
        self._timer: asyncio.TimerHandle | None = None

    def of(self, unit: Unit) -> Neighbour | None:
        """Who has a port that this one has just been refused; it then waits for that."""
        self._waiting.pop(unit.name, None)
        if not any(each.kind == "port_taken" for each in unit.tunnel.evidence):
            return None
        found = self._here(unit) or self._elsewhere(unit)
        if found is not None:
            self._waiting[unit.name] = found
            self._look_later()
        return found

    @property
    def waiting(self) -> Collection[str]:
        """Who waits for one."""
        return self._waiting.keys()

    def leave(self, name: str) -> None:
        """It is tried, or gone."""
        self._waiting.pop(name, None)

    def close(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _here(self, unit: Unit) -> Neighbour | None:
        for other in self._units.values():
            tunnel = other.tunnel
            if other is unit or other.order.server != unit.order.server or not _has(tunnel):
                continue
            port = _same_port(_forwards(unit), _forwards(other))
            if port is not None:
                return Neighbour(other.name, port)
        return None

    def _elsewhere(self, unit: Unit) -> Neighbour | None:
        """By the record of a session, which is made of an ssh that is up, and its order."""
        for name in self._places.wanted_names():
            if name in self._units:
                continue
            order = self._order_of_running(name)
            if order is None or order.server != unit.order.server:
                continue
            port = _same_port(_forwards(unit), (*order.profile.forwards, *order.added))
            if port is not None:
                return Neighbour(name, port)
        return None

    def _order_of_running(self, name: str) -> Order | None:
        record = read_record(self._places, name)
        if record is None or record.boot_id != boot_id():
            return None
        if not is_alive(record.ssh_pid, record.ssh_started):
            return None
        content = read_wanted(self._places, name)
        try:
            return None if content is None else order_from_json(content["order"])
        except (KeyError, TypeError, ValueError):
            return None  # of another version

    def _look_later(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_later(LOOK_PAUSE, self._look)

    def _look(self) -> None:
        self._timer = None
        for name in list(self._waiting):
            unit = self._units.get(name)
            if unit is None or unit.tunnel.state in WITH_CHILD:
                self.leave(name)
            elif (self._here(unit) or self._elsewhere(unit)) is None:
                self.leave(name)
                self._on_free(name)
        self._look_later()


def _has(tunnel: Tunnel) -> bool:
    """Its ports, by ssh's word; one that has dropped and is due is not robbed of them meanwhile."""
    if tunnel.state is State.UP or tunnel.confirmed:
        return True
    soon = tunnel.was_up and tunnel.state in (State.WAITING, State.STARTING)
    return (
        soon
        and tunnel.attempt <= 1
        and tunnel.failure is not None
        and (tunnel.failure.kind != "port_taken")
    )


def _forwards(unit: Unit) -> tuple[Forward, ...]:
    return tuple(state.forward for state in unit.tunnel.forwards)


def _same_port(ours: Iterable[Forward], theirs: Iterable[Forward]) -> int | None:
    """A port of the server that both want at the same address."""
    others = [forward for forward in theirs if forward.kind is Kind.REMOTE]
    return next(
        (
            forward.listen_port
            for forward in ours
            if forward.kind is Kind.REMOTE
            and forward.listen_port
            and any(why_both_cannot_be(forward, other) for other in others)
        ),
        None,
    )
