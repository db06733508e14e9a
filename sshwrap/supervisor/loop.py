"""The supervisor: events to `step`, its effects to the world; timers, pacing, and what is told.

Laws. One process, one thread, any number of tunnels. Nothing here waits: whoever waits is a timer
or a descriptor. Every decision about a tunnel is tunnel/machine.py's; what is decided here is only
whose turn it is. A server sees few of us at a time in the phase that sshd limits (MaxStartups).
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from sshwrap import __version__
from sshwrap.errors import UserError
from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.evidence import (
    Evidence,
    Progress,
    classify_line,
    classify_terminal_line,
    keep_words,
)
from sshwrap.supervisor.child import Child, Exit, Source
from sshwrap.supervisor.journal import Journal
from sshwrap.supervisor.lock import holder, try_lock
from sshwrap.supervisor.order import Order, order_to_json
from sshwrap.supervisor.program import SshProgram, ssh_environ
from sshwrap.supervisor.turns import Turns
from sshwrap.supervisor.unit import Unit, remove_leftovers
from sshwrap.supervisor.waiting import Waiting
from sshwrap.supervisor.wanted import read_wanted, remove_wanted, write_wanted, write_whole
from sshwrap.tunnel.entries import connect_end, rfc3339
from sshwrap.tunnel.events import (
    Deadline,
    Event,
    Exited,
    Heard,
    HoldDestination,
    Moment,
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
from sshwrap.tunnel.model import UNKNOWN_KEPT, State, new_tunnel
from sshwrap.tunnel.present import snapshot
from sshwrap.tunnel.traffic import Traffic

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places

TRAFFIC_PAUSE = 0.5  # visitors change a screen at most so often; a change of state at once
JOURNAL_PAUSE = 5.0
WITHOUT_CHILD = (State.WAITING, State.FAILED)

_LAST_WORDS = (Progress.ALL_CONFIRMED, Progress.INTERACTIVE)  # what makes a tunnel up
_TRAFFIC = frozenset(
    {
        Progress.VISITOR_OPENED,
        Progress.CHANNEL_NEW,
        Progress.CHANNEL_FREED,
        Progress.TARGET_CONNECTED,
        Progress.TARGET_REFUSED,
    }
)


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
        self._on_change = on_change
        self._on_entry = on_entry
        self._on_lines = on_lines
        self._jitter = jitter
        self._waiting = Waiting(loop, self._due)
        self._turns = Turns(loop, start=self._its_turn, wait=self._back_to_wait)
        self._dirty: dict[str, None] = {}
        self._gone: list[dict[str, Any]] = []
        self._flush_handle: asyncio.Handle | None = None
        self._flush_at: float | None = None
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
        self._apply(unit, WantUp(by))

    def down(self, name: str, by: str, *, keep_wanted: bool = False) -> None:
        unit = self.units.get(name)
        if unit is None:
            return
        if not keep_wanted:
            remove_wanted(self.places, name)
        self._apply(unit, WantDown(by))

    def renew(self, order: Order, *, restart: bool) -> bool:
        """Take a profile read anew; True where that means another ssh (or `restart` asks it)."""
        unit = self.units[order.profile.name]
        old = unit.order
        # A server that ssh_config now finds elsewhere is as good as another destination.
        changed = (old.digest, old.added, old.hostname, old.server) != (
            order.digest,
            order.added,
            order.hostname,
            order.server,
        )
        if unit.order.server != order.server:  # its place in the old server's queue is free
            self._cancel(unit)
            self._signed_in(unit)
        unit.order = order
        if unit.timer is None:
            self._schedule(unit)
        if unit.tunnel.wanted:
            self._keep_wanted(unit)
        if changed or restart:
            text = "the edited profile was taken over" if changed else "restarted as asked"
            self._record(unit, {"event": "changed", "text": text})
        event = Renew(order.profile, order.added, order.hostname, restart=restart or changed)
        if changed or restart or unit.tunnel.profile != order.profile:
            self._apply(unit, event)
        return changed or restart

    def poke(self, names: list[str] | None = None, *, restart: bool) -> None:
        for unit in list(self.units.values()):
            if names is None or unit.name in names:
                if restart and unit.child is not None:
                    self._record(unit, {"event": "changed", "text": "reconnects as asked"})
                self._apply(unit, Poke(restart))

    def kill(self) -> None:
        """A second order to end: no ssh outlives us, and none is waited for."""
        while self.units:
            _, unit = self.units.popitem()
            if unit.child is not None:
                unit.child.close()
                unit.unlink_control()
            unit.journal.flush()
            unit.lock.release(remove=True)

    def close(self) -> None:
        """No more news: the loop is about to be closed."""
        self._waiting.close()

    def _due(self, name: str | None) -> None:
        """The server answers again (or, without a name, the network does): no more waiting."""
        self.poke(None if name is None else [name], restart=False)

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
            self._record(unit, {"event": "notice", "text": text})

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
        ever_up = self._was_up(order)
        tunnel = new_tunnel(
            order.profile, order.added, order.hostname, self._now(), ever_up=ever_up
        )
        journal = Journal(self.places.journal_file(name), on_trouble=self._trouble)
        unit = self.units[name] = Unit(tunnel, order, lock, journal)
        before = read_wanted(self.places, name)
        if before is not None and before.get("pid") != os.getpid():
            text = f"its supervisor (pid {before.get('pid')}) is gone without a word"
            self._record(unit, {"event": "changed", "text": text})
        return unit

    def _release(self, unit: Unit) -> None:
        """Down and unwanted: another supervisor may have it now."""
        self._gone.append(self._snapshot(unit))
        self._dirty.pop(unit.name, None)
        del self.units[unit.name]
        self._waiting.gone(unit.name)
        unit.journal.flush()
        unit.lock.release(remove=True)
        self._flush_soon(0.0)

    def _keep_wanted(self, unit: Unit) -> None:
        down = snapshot(
            new_tunnel(unit.order.profile, unit.order.added, unit.order.hostname, self._now()),
            Traffic(len(unit.order.profile.forwards) + len(unit.order.added)),
            self._now(),
            supervisor_pid=os.getpid(),
            supervisor_version=__version__,
        )
        content = {"order": order_to_json(unit.order), "digest": unit.order.digest, "down": down}
        try:
            write_wanted(self.places, unit.name, {"pid": os.getpid(), **content})
        except OSError as error:
            self.note(unit.name, f"that it is wanted could not be written down: {error.strerror}")

    def _was_up_file(self, name: str) -> str:
        return self.places.wanted_file(name).removesuffix(".json") + ".up"

    def _was_up(self, order: Order) -> bool:
        """Whether this name has been up with this destination; another one is a new beginning."""
        try:
            with open(self._was_up_file(order.profile.name)) as file:  # noqa: PTH123
                return file.read().strip() == order.profile.destination
        except OSError:
            return False

    def _remember_up(self, unit: Unit) -> None:
        try:
            write_whole(self._was_up_file(unit.name), unit.order.profile.destination + "\n")
        except OSError:
            pass  # it only shortens the wait after a refused key

    # --- events and effects --------------------------------------------------

    def _now(self) -> Moment:
        return Moment(self.loop.time(), time())

    def _apply(self, unit: Unit, event: Event) -> None:
        before = unit.tunnel
        unit.tunnel, effects = step(before, event, self._now(), self._jitter())
        tunnel = unit.tunnel
        if len(unit.traffic.rows) != len(tunnel.forwards):
            unit.traffic.reset(len(tunnel.forwards))
        if tunnel.pid is None or tunnel.state is not State.STARTING:
            self._signed_in(unit)
        for effect in effects:
            match effect:
                case Spawn():
                    self._spawn(unit)
                case Signal(number=number):
                    if unit.child is not None:
                        unit.child.signal(number)
                case Record(entry=entry):
                    self._record(unit, entry)
                case HoldDestination(seconds=seconds):
                    self._hold(unit.order.server, seconds)
        if unit.tunnel is not tunnel:  # an effect had an answer, which did the rest
            return
        if tunnel.state is State.DOWN and not tunnel.wanted and before.state is not State.DOWN:
            self._cancel(unit)
            self._release(unit)
            return
        if tunnel.deadline != before.deadline or tunnel.state is not before.state:
            self._schedule(unit)
        if tunnel is not before:
            self._changed(unit, 0.0)

    def _record(self, unit: Unit, entry: Mapping[str, Any]) -> None:
        full = {"v": 1, "at": rfc3339(time()), "profile": unit.name, **entry}
        unit.journal.append(full)
        if unit.journal.unwritten:
            self._write_later()
        if entry["event"] == "up" and entry["first"]:
            self._remember_up(unit)
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
            self._apply(unit, Deadline())

    def _its_turn(self, name: str) -> None:
        unit = self.units.get(name)
        if unit is not None and unit.tunnel.state in WITHOUT_CHILD:
            self._apply(unit, Deadline())

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
        if not os.path.isdir(self.places.control_dir):  # noqa: PTH112
            self.places.prepare_state_dir()  # somebody cleaned up under us
        control_path = unit.new_control(self.places)
        environ = dict(self._environ)
        if unit.order.agent is not None:
            environ["SSH_AUTH_SOCK"] = unit.order.agent
        child: Child | None = None

        def lines(source: Source, heard: list[str]) -> None:
            if unit.child is child:
                self._lines(unit, source, heard)

        def ended(exit_: Exit) -> None:
            if unit.child is child:
                self._ended(unit, exit_)

        try:
            version, path = self._program.version_and_path()
            argv = build_argv(unit.order.profile, version, control_path=control_path, ssh=path)
            child = Child(argv, environ, loop=self.loop, on_lines=lines, on_exit=ended)
        except (OSError, UserError) as error:
            said = error.message if isinstance(error, UserError) else str(error)
            self._apply(unit, SpawnFailed(said))
            return
        unit.child = child
        self._turns.signing_in(unit.order.server, unit.name)
        self._apply(unit, Spawned(child.pid))

    def _lines(self, unit: Unit, source: Source, lines: list[str]) -> None:
        if self._on_lines is not None:
            self._on_lines(unit.name, lines)
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
                visited = True
                self._traffic(unit, evidence)
                continue
            if evidence.kind in (Progress.CONNECTING, Progress.AUTHENTICATED):
                self._waiting.heard(unit.name, evidence)
            if evidence.kind == Progress.AUTHENTICATED:
                self._signed_in(unit)
            elif evidence.kind in _LAST_WORDS and not unit.has_control():
                continue
            if unit.tunnel.state is State.STARTING or evidence.is_failure:
                heard.append(evidence)
        for line in strange:
            words = keep_words(line, from_terminal=on_terminal)
            if words is not None:
                heard.append(words)
        if heard:
            self._apply(unit, Heard(tuple(heard)))
        if visited:
            self._changed(unit, TRAFFIC_PAUSE)

    def _traffic(self, unit: Unit, evidence: Evidence) -> None:
        change = unit.traffic.hear(evidence, unit.tunnel.forwards, time())
        if change is not None:
            forward = unit.tunnel.forwards[change.index].forward
            entry = {
                "event": "target",
                "forward": forward.spec,
                "connect": connect_end(forward),
                "target": change.target,
                "said": change.said,
            }
            self._record(unit, entry)
            self._changed(unit, 0.0)

    def _ended(self, unit: Unit, exit_: Exit) -> None:
        unit.child = None
        unit.unlink_control()
        unit.traffic.reset(len(unit.tunnel.forwards))
        heard = unit.tunnel.evidence
        self._apply(unit, Exited(exit_.status, exit_.signal))
        cause = unit.tunnel.failure
        if unit.tunnel.state in WITHOUT_CHILD and cause is not None:
            self._waiting.failed(unit.name, cause.kind, heard)

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
        return shown

    def _changed(self, unit: Unit, delay: float) -> None:
        self._dirty[unit.name] = None
        self._flush_soon(delay)

    def _flush_soon(self, delay: float) -> None:
        due = self.loop.time() + delay
        if self._flush_handle is not None:
            if self._flush_at is not None and self._flush_at <= due:
                return
            self._flush_handle.cancel()
        self._flush_at = due
        self._flush_handle = self.loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        self._flush_handle = None
        names, self._dirty = list(self._dirty), {}
        gone, self._gone = self._gone, []
        self._on_change(self.snapshots(names) if names else [], gone)
