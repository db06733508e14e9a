"""The supervisor: events to `step`, its effects to the world; timers, pacing, and what is told.

Laws. One process, one thread, any number of tunnels. Nothing here waits: whoever waits is a timer
or a descriptor. Every decision about a tunnel is tunnel/machine.py's; what is decided here is only
whose turn it is. A server sees few of us at a time in the phase that sshd limits (MaxStartups).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from sshwrap import __version__
from sshwrap.errors import UserError
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.ssh.look import Look as ServerLook
from sshwrap.supervisor.beside import Beside, NoSignIn
from sshwrap.supervisor.changing import FORWARD_KEYS, edited, words_of
from sshwrap.supervisor.healing import Pace
from sshwrap.supervisor.hooks import Hooks
from sshwrap.supervisor.journal import Journal
from sshwrap.supervisor.lock import holder, try_lock
from sshwrap.supervisor.memory import before_us, keep_wanted, remember_up, was_up
from sshwrap.supervisor.neighbours import Neighbours
from sshwrap.supervisor.news import News
from sshwrap.supervisor.program import SshProgram, ssh_environ
from sshwrap.supervisor.run import Run, tell_target
from sshwrap.supervisor.sign_in import SignedIn, SignIn
from sshwrap.supervisor.turns import Turns
from sshwrap.supervisor.unit import Unit, remove_leftovers
from sshwrap.supervisor.waiting import Waiting
from sshwrap.supervisor.wanted import remove_wanted
from sshwrap.tunnel.doubt import Why
from sshwrap.tunnel.entries import rfc3339
from sshwrap.tunnel.events import (
    ChangeForwards,
    Deadline,
    Event,
    HoldDestination,
    Look,
    Moment,
    Neighbour,
    Poke,
    Record,
    Renew,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.machine import step
from sshwrap.tunnel.model import State, new_tunnel
from sshwrap.tunnel.present import snapshot
from sshwrap.tunnel.renewal import changes_live, places_before

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places
    from sshwrap.supervisor.order import Order
    from sshwrap.tunnel.model import Tunnel
    from sshwrap.tunnel.traffic import TargetChange

JOURNAL_PAUSE = 5.0
WITHOUT_CHILD = (State.WAITING, State.FAILED)


class Supervisor:
    """Keeps tunnels. `on_change(changed, gone)` gets snapshots, `on_entry(entry)` journal entries,
    `on_lines(name, lines)` all that ssh says; in the loop's own thread, so they must not wait."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        places: Places,
        environ: Mapping[str, str],
        *,
        what: str,
        on_change: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None],
        on_entry: Callable[[dict[str, Any]], None],
        on_lines: Callable[[str, list[str]], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.loop = loop
        self.places = places
        self.units: dict[str, Unit] = {}
        self._what = what
        self._environ = ssh_environ(environ)
        self._program = SshProgram(places.ssh, environ)
        self._on_entry = on_entry
        self._on_lines = on_lines
        self._jitter = jitter
        self._waiting = Waiting(loop, self._due, self._news)
        self._neighbours = Neighbours(loop, places, self.units, self._due)
        self._beside = Beside(self, self._program.version_and_path, self._environ_of)
        self._hooks = Hooks(loop, places, environ, self.units, record=self.record, now=self._now)
        self.heals = Pace()
        self._turns = Turns(loop, start=self._its_turn, wait=self._back_to_wait)
        self._told = News(loop, self.snapshots, on_change)
        self._unwritten_handle: asyncio.Handle | None = None

    # --- what commands ask ---------------------------------------------------

    def up(self, order: Order, by: str) -> None:
        """Want this profile up; raises UserError where another supervisor has it."""
        name = order.profile.name
        unit = self.units.get(name)
        if unit is None:
            unit = self._take(order)
        else:
            self.renew(order, restart=False)
        self._keep_wanted(unit)
        self.apply(unit, WantUp(by))

    def down(self, name: str, by: str, *, keep_wanted: bool = False) -> None:
        unit = self.units.get(name)
        if unit is None:
            return
        if keep_wanted:
            self._keep_wanted(unit, ended=True)
        else:
            remove_wanted(self.places, name)
        self.apply(unit, WantDown(by))

    def renew(self, order: Order, *, restart: bool) -> bool:
        """Take a profile read anew; True where a running ssh has to be told something else, or
        is restarted as asked. Its journal then says what became of it ("changed")."""
        unit = self.units[order.profile.name]
        # A server that ssh_config now finds elsewhere is as good as another destination.
        keys = edited(unit.order, order)
        another = restart or not FORWARD_KEYS.issuperset(keys)
        if unit.order.server != order.server:  # its place in the old server's queue is free
            self._cancel(unit)
            self._signed_in(unit)
        unit.order = order
        if unit.timer is None:
            self._schedule(unit)
        if unit.tunnel.wanted:
            self._keep_wanted(unit)
        event = Renew(order.profile, order.added, order.hostname, restart=another)
        tunnel = unit.tunnel
        if (keys or restart) and not changes_live(tunnel, event):
            has_ssh = tunnel.state in (State.STARTING, State.UP)
            in_place = tunnel.state is State.UP and not another
            text = words_of(keys, has_ssh=has_ssh, in_place=in_place)
            self.record(unit, {"event": "changed", "text": text})
        if keys or restart or tunnel.profile != order.profile:
            self.apply(unit, event)
        if unit.run is not None:
            unit.run.attendant.renewed()
        return bool(keys) or restart

    def poke(self, names: list[str] | None = None, *, restart: bool) -> None:
        for unit in list(self.units.values()):
            if names is None or unit.name in names:
                if restart and unit.run is not None:
                    self.record(unit, {"event": "changed", "text": "reconnects as asked"})
                self.apply(unit, Poke(restart))

    def kill(self) -> None:
        """A second order to end: no ssh outlives us, and none is waited for."""
        self._hooks.close()
        while self.units:
            _, unit = self.units.popitem()
            self._beside.leave(unit.name)
            if unit.run is not None:
                unit.run.close()
            unit.journal.flush()
            unit.lock.release(remove=True)

    def close(self) -> None:
        """No more news: the loop is about to be closed."""
        self._waiting.close()
        self._neighbours.close()

    def _due(self, name: str) -> None:
        """The server answers again: no more waiting."""
        self.poke([name], restart=False)

    def _news(self, woke: bool) -> None:
        """The network is another one, or we slept: who waits is due, who is up may be dead."""
        self.poke(restart=False)
        for unit in list(self.units.values()):
            if unit.run is not None:
                unit.run.attendant.suspect(Why.WOKE if woke else Why.MOVED)

    def snapshots(self, names: list[str] | None = None) -> list[dict[str, Any]]:
        return [
            self._snapshot(unit)
            for unit in self.units.values()
            if names is None or unit.name in names
        ]

    def note(self, name: str, text: str) -> None:
        """Something worth telling of a tunnel that is no change of it."""
        unit = self.units.get(name)
        if unit is not None:
            self.record(unit, {"event": "notice", "text": text})

    # --- a unit comes and goes -----------------------------------------------

    def _take(self, order: Order) -> Unit:
        name = order.profile.name
        path = self.places.profile_lock(name)
        lock = try_lock(path, self._what)
        if lock is None:
            other = holder(path) or {}
            raise UserError(
                f"{name}: another supervisor keeps it (pid {other.get('pid', 'unknown')}, "
                f"{other.get('what', 'unknown')})",
                advice=f"sshwrap status {name}",
            )
        remove_leftovers(self.places, name)
        ever_up = was_up(self.places, order)
        tunnel = new_tunnel(
            order.profile, order.added, order.hostname, self._now(), ever_up=ever_up
        )
        journal = Journal(self.places.journal_file(name), on_trouble=self._trouble)
        unit = self.units[name] = Unit(tunnel, order, lock, journal)
        before = before_us(self.places, name)
        if before is not None:
            self.record(unit, before)
        return unit

    def _release(self, unit: Unit) -> None:
        """Down and unwanted: another supervisor may have it now."""
        gone = self._snapshot(unit)
        del self.units[unit.name]
        self._hooks.leave(unit)
        self._waiting.gone(unit.name)
        self._neighbours.leave(unit.name)
        self._beside.leave(unit.name)
        self._beside.forget(unit.name)
        unit.journal.flush()
        unit.lock.release(remove=True)
        self._told.gone(unit.name, gone)

    def _keep_wanted(self, unit: Unit, *, ended: bool = False) -> None:
        try:
            keep_wanted(self.places, unit.order, self._now(), ended=ended)
        except OSError as error:
            self.note(unit.name, f"that it is wanted could not be written down: {error.strerror}")

    # --- events and effects --------------------------------------------------

    def _now(self) -> Moment:
        return Moment(self.loop.time(), time())

    def apply(self, unit: Unit, event: Event) -> None:
        before = unit.tunnel
        unit.tunnel, effects = step(before, event, self._now(), self._jitter())
        tunnel = unit.tunnel
        if tunnel.forwards is not before.forwards:
            self._rearrange(unit, before)
        if tunnel.pid is None or tunnel.state is not State.STARTING:
            self._signed_in(unit)
        for effect in effects:
            match effect:
                case Spawn():
                    self._spawn(unit)
                case Look():
                    if unit.run is not None:
                        unit.run.attendant.look()
                case ChangeForwards():
                    if unit.run is not None:
                        unit.run.attendant.change(effect)
                case Signal(number=number):
                    if unit.run is not None:
                        unit.run.signal(number)
                case Record(entry=entry):
                    self.record(unit, entry)
                case HoldDestination(seconds=seconds):
                    self._hold(unit.order.server, seconds)
        self._hooks.see(unit)
        if unit.tunnel is not tunnel:  # an effect had an answer, which did the rest
            return
        if tunnel.state is State.DOWN and not tunnel.wanted and before.state is not State.DOWN:
            self._cancel(unit)
            self._release(unit)
            return
        if before.cut is not None and tunnel.state is State.WAITING:
            self._beside.line_died(unit)
            if unit.tunnel is not tunnel:
                return
        if tunnel.deadline != before.deadline or tunnel.state is not before.state:
            self._schedule(unit)
        if tunnel is not before:
            self.changed(unit, 0.0)
        if tunnel.state is State.UP and before.state is not State.UP and unit.run is not None:
            self._beside.forget(unit.name)
            unit.run.attendant.came_up()

    def _rearrange(self, unit: Unit, before: Tunnel) -> None:
        """What is kept for each forward goes where that stands now."""
        places = places_before(before, unit.tunnel)
        if places is not None:
            unit.traffic.rearrange(places)
            if unit.run is not None:
                unit.run.attendant.rearranged(places)

    def record(self, unit: Unit, entry: Mapping[str, Any]) -> None:
        full = {"v": 1, "at": rfc3339(time()), "profile": unit.name, **entry}
        unit.journal.append(full)
        if unit.journal.unwritten:
            self._write_later()
        if entry["event"] == "up" and entry["first"]:
            remember_up(self.places, unit.order)
        self._on_entry(full)

    def _write_later(self) -> None:
        if self._unwritten_handle is None:
            self._unwritten_handle = self.loop.call_later(JOURNAL_PAUSE, self._write_again)

    def _write_again(self) -> None:
        """The disk was full: what could not be written is tried until it can be."""
        self._unwritten_handle = None
        flushed = [unit.journal.flush() for unit in self.units.values()]
        if not all(flushed):
            self._write_later()

    def _trouble(self, text: str) -> None:
        """The journal cannot be written: said once, where somebody may see it."""
        self._on_entry(
            {"v": 1, "at": rfc3339(time()), "profile": None, "event": "notice", "text": text}
        )

    # --- time and turns ------------------------------------------------------

    def _cancel(self, unit: Unit) -> None:
        if unit.timer is not None:
            unit.timer.cancel()
            unit.timer = None
        self._turns.cancel(unit.order.server, unit.name)

    def _schedule(self, unit: Unit) -> None:
        self._cancel(unit)
        deadline = unit.tunnel.deadline
        if deadline is None:
            return
        if unit.tunnel.state in WITHOUT_CHILD:
            deadline = max(deadline, self._turns.held_until(unit.order.server))
        if deadline <= self.loop.time():
            self._deadline(unit)
        else:
            unit.timer = self.loop.call_at(deadline, self._deadline, unit)

    def _deadline(self, unit: Unit) -> None:
        unit.timer = None
        if unit.tunnel.state in WITHOUT_CHILD:
            self._turns.due(unit.order.server, unit.name)
        else:
            self.apply(unit, Deadline())

    def _its_turn(self, name: str) -> None:
        unit = self.units.get(name)
        if unit is not None and unit.tunnel.state in WITHOUT_CHILD:
            self.apply(unit, Deadline())

    def _back_to_wait(self, name: str) -> None:
        unit = self.units.get(name)
        if unit is not None:
            self._schedule(unit)

    def _signed_in(self, unit: Unit) -> None:
        self._turns.signed_in(unit.order.server, unit.name)

    def _hold(self, server: str, seconds: float) -> None:
        self._turns.hold(server, seconds)
        for unit in self.units.values():
            if unit.order.server == server and unit.timer is not None:
                self._schedule(unit)

    # --- ssh -----------------------------------------------------------------

    def _spawn(self, unit: Unit) -> None:
        unit.traffic.reset(len(unit.tunnel.forwards))
        self._waiting.trying(unit.name)
        self._neighbours.leave(unit.name)
        self._beside.leave(unit.name)
        if not os.path.isdir(self.places.control_dir):  # noqa: PTH112
            self.places.prepare_state_dir()  # somebody cleaned up under us
        try:
            unit.run = Run(unit, self, self._program.version_and_path(), self._environ_of(unit))
        except (OSError, UserError) as error:
            said = error.message if isinstance(error, UserError) else str(error)
            self.apply(unit, SpawnFailed(said))
            return
        self._turns.signing_in(unit.order.server, unit.name)
        self.apply(unit, Spawned(unit.run.pid))

    def _environ_of(self, unit: Unit) -> dict[str, str]:
        environ = dict(self._environ)
        if unit.order.agent is not None:
            environ["SSH_AUTH_SOCK"] = unit.order.agent
        return environ

    def lines(self, unit: Unit, lines: list[str]) -> None:
        """All that its ssh says, for whoever wants to read along."""
        if self._on_lines is not None:
            self._on_lines(unit.name, lines)

    def progress(self, unit: Unit, evidence: Evidence) -> None:
        """How far its ssh has come."""
        if evidence.kind in (Progress.CONNECTING, Progress.AUTHENTICATED):
            self._waiting.heard(unit.name, evidence)
        if evidence.kind == Progress.AUTHENTICATED:
            self._signed_in(unit)

    def seen(self, unit: Unit, look: ServerLook) -> None:
        """Who listens on the server, and which session of it is ours."""
        self._beside.seen(unit, look)

    def sign_in(
        self, unit: Unit, on_answer: Callable[[SignedIn], None], *, ask: bool
    ) -> SignIn | NoSignIn:
        return self._beside.sign_in(unit, on_answer, ask=ask)

    def target(self, unit: Unit, change: TargetChange | None) -> None:
        """What a connection of our own has told of a target."""
        if change is not None:
            tell_target(unit, self, change)
        self.changed(unit, 0.0)

    def neighbour(self, unit: Unit) -> Neighbour | None:
        """Which other profile has a port that its ssh was refused."""
        return self._neighbours.of(unit)

    def ended(self, unit: Unit, heard: tuple[Evidence, ...]) -> None:
        """Its ssh has ended, and it is to be tried again."""
        cause = unit.tunnel.failure
        if cause is not None:
            self._waiting.failed(unit.name, cause.kind, heard)
            if unit.name in self._neighbours.waiting:
                return  # whose the port is, is known
            if cause.kind == "port_taken" and unit.tunnel.state is State.WAITING:
                self._beside.port_taken(unit)

    # --- telling -------------------------------------------------------------

    def _snapshot(self, unit: Unit) -> dict[str, Any]:
        shown = snapshot(
            unit.tunnel,
            unit.traffic,
            self._now(),
            supervisor_pid=os.getpid(),
            supervisor_version=__version__,
            not_before=self._turns.held_until(unit.order.server),
        )
        shown["_digest"] = unit.order.digest
        shown["_hostname"] = unit.order.hostname
        shown["_control_path"] = unit.control_path
        shown["_key_options"] = unit.key_options  # doctor asks over this very line
        shown["_knocking"] = unit.run is not None and unit.run.attendant.is_knocking
        return shown

    def changed(self, unit: Unit, delay: float) -> None:
        self._told.changed(unit.name, delay)
