"""A profile's hooks: run when they are due, bounded, and told of in the journal.

Laws. Nothing here waits for a hook, and nothing that it does or leaves undone reaches a tunnel. A
profile has one running at a time and a supervisor MOST; what comes meanwhile is folded
(tunnel/notify.py says when which is due). No shell: argv and environment are data. One that takes
too long or writes too much is ended with its whole group, and so is one whose tunnel or supervisor
ends. What it says is cleaned and bounded; a program that cannot be started is said once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sshwrap.ssh.lines import LineSplitter, bounded
from sshwrap.supervisor.errand import Done, Errand
from sshwrap.supervisor.program import NOT_FOR_SSH
from sshwrap.tunnel.notify import FRESH, Due, Hook, Watch, fold, watch

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places
    from sshwrap.supervisor.unit import Unit
    from sshwrap.tunnel.events import Moment

SECONDS = 30.0  # for one hook
GRACE = 2.0  # between TERM and KILL
MOST = 4  # at a time: a thousand tunnels come up at once when the network does
WRITES_BYTES = 1 << 20
KEPT_BYTES = 4096  # of each output
KEPT_LINES, LINE_CHARACTERS = 8, 300


class _Post:
    """What is to be told of one profile."""

    __slots__ = ("due", "errand", "hook", "not_started", "pending", "started", "timer", "watch")

    def __init__(self) -> None:
        self.watch: Watch = FRESH
        self.timer: asyncio.TimerHandle | None = None
        self.pending: tuple[Due, ...] = ()
        self.errand: Errand | None = None
        self.hook = ""  # which one that is
        self.started = 0.0
        self.not_started: set[tuple[str, ...]] = set()  # what has been said to be missing


class Hooks:
    """`record(unit, entry)` writes to the profile's journal; `now` reads both clocks."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        places: Places,
        environ: Mapping[str, str],
        units: Mapping[str, Unit],
        *,
        record: Callable[[Unit, Mapping[str, Any]], None],
        now: Callable[[], Moment],
    ) -> None:
        self._loop = loop
        self._units = units
        self._record = record
        self._now = now
        self._posts: dict[str, _Post] = {}
        self._queue: deque[str] = deque()  # profiles that have something pending
        self._running: set[Errand] = set()  # those that are being ended among them
        kept = {
            key: value
            for key, value in environ.items()
            if key not in NOT_FOR_SSH and not key.startswith("SSHWRAP_")
        }
        # So that "sshwrap status" in a hook asks this supervisor.
        self._environ = kept | {
            "SSHWRAP_STATE_DIR": places.state_dir,
            "SSHWRAP_PROFILES": places.profiles_file,
            "SSHWRAP_SSH": places.ssh,
        }

    def see(self, unit: Unit) -> None:
        """The tunnel may have changed, or its deadline here has come."""
        post = self._posts.get(unit.name)
        if post is None:
            if not unit.tunnel.wanted:
                return
            post = self._posts[unit.name] = _Post()
        before = post.watch
        post.watch, due = watch(before, unit.tunnel, self._now())
        if post.watch.deadline != before.deadline:
            self._schedule(unit, post)
        for one in due:
            if _argv(unit, one.hook):
                post.pending = fold(post.pending, one)
        if not unit.tunnel.wanted:
            post.pending = ()
        if post.pending and unit.name not in self._queue:
            self._queue.append(unit.name)
        if due:
            self._start()

    def leave(self, unit: Unit) -> None:
        """Nobody wants it any more: nothing is told of it, and what is being told is ended."""
        post = self._posts.pop(unit.name, None)
        if post is None:
            return
        if post.timer is not None:
            post.timer.cancel()
        if unit.name in self._queue:
            self._queue.remove(unit.name)
        if post.errand is not None:
            seconds = self._loop.time() - post.started
            self._record(unit, _entry(post.hook, "cut_short", seconds=seconds))
            post.errand.end()

    def close(self) -> None:
        """At once: nothing that we have started is left."""
        for post in self._posts.values():
            if post.timer is not None:
                post.timer.cancel()
        self._posts.clear()
        self._queue.clear()
        for errand in self._running:
            errand.cancel()
        self._running.clear()

    # --- running -------------------------------------------------------------

    def _schedule(self, unit: Unit, post: _Post) -> None:
        if post.timer is not None:
            post.timer.cancel()
            post.timer = None
        deadline = post.watch.deadline
        if deadline is not None:
            post.timer = self._loop.call_at(deadline, self._deadline, unit.name)

    def _deadline(self, name: str) -> None:
        post, unit = self._posts.get(name), self._units.get(name)
        if post is not None and unit is not None:
            post.timer = None
            self.see(unit)
            if post.timer is None and post.watch.deadline is not None:  # a hair too early
                self._schedule(unit, post)

    def _start(self) -> None:
        """As many as may run, in the order in which they came."""
        for name in list(self._queue):
            if len(self._running) >= MOST:
                return
            post, unit = self._posts[name], self._units[name]
            while post.errand is None and post.pending:
                due, *rest = post.pending
                post.pending = tuple(rest)
                self._run(unit, post, due)
            if not post.pending:
                self._queue.remove(name)

    def _run(self, unit: Unit, post: _Post, due: Due) -> None:
        argv = _argv(unit, due.hook)
        if not argv:  # an edit has taken it away
            return
        ended: list[Errand] = []

        def done(done: Done) -> None:
            self._running.discard(ended[0])
            if self._posts.get(unit.name) is post and self._units.get(unit.name) is unit:
                post.errand = None
                seconds = self._loop.time() - post.started
                self._record(unit, _done_entry(due.hook, done, seconds))
                if post.pending and unit.name not in self._queue:
                    self._queue.append(unit.name)
            self._start()

        try:
            errand = Errand(
                argv,
                {**self._environ, **due.environ},
                loop=self._loop,
                stdin=None,
                deadline=SECONDS,
                on_done=done,
                kept_bytes=KEPT_BYTES,
                most_bytes=WRITES_BYTES,
                directory="/",
                grace=GRACE,
            )
        except (OSError, ValueError) as error:  # ValueError: words that no program can be given
            if argv not in post.not_started:
                post.not_started.add(argv)
                why = error.strerror if isinstance(error, OSError) else None
                said = f'"{argv[0]}": {(why or str(error)).lower()}'
                self._record(unit, _entry(due.hook, "not_started", output=[said]))
            return
        post.not_started.clear()
        ended.append(errand)
        self._running.add(errand)
        post.errand, post.hook, post.started = errand, due.hook, self._loop.time()


def _argv(unit: Unit, hook: Hook) -> tuple[str, ...]:
    profile = unit.order.profile
    return {
        Hook.UP: profile.on_up,
        Hook.DOWN: profile.on_down,
        Hook.FAILED: profile.on_failed,
    }[hook]


def _done_entry(hook: str, done: Done, seconds: float) -> dict[str, Any]:
    if done.timed_out:
        outcome = "timed_out"
    elif done.flooded:
        outcome = "flooded"
    else:
        outcome = "done" if done.status == 0 else "failed"
    return _entry(
        hook,
        outcome,
        status=done.status,
        number=done.signal,
        seconds=seconds,
        output=_lines(done.err) + _lines(done.out),
    )


def _lines(output: bytes) -> list[str]:
    splitter = LineSplitter()
    lines = splitter.feed(output) + splitter.flush()
    return [bounded(line, LINE_CHARACTERS) for line in lines if line.strip()]


def _entry(
    hook: str,
    outcome: str,
    *,
    status: int | None = None,
    number: int | None = None,
    seconds: float | None = None,
    output: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "event": "hook",
        "hook": str(hook),
        "outcome": outcome,
        "status": status,
        "signal": number,
        "seconds": None if seconds is None else round(seconds, 3),
        "output": (output or [])[:KEPT_LINES],
    }
