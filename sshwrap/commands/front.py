"""Tunnels in front: a supervisor in this process, with the live view or one line a change."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.render.page import Line, Page, page_of, wants_live
from sshwrap.render.pipe import LineWriter
from sshwrap.render.plain import plain_line
from sshwrap.render.view import LiveView
from sshwrap.render.words import count, duration
from sshwrap.supervisor.lock import try_lock
from sshwrap.supervisor.order import Order
from sshwrap.supervisor.service import Service

FRAME_PAUSE = 0.5
CLOCK_PAUSE = 1.0  # the footer has a clock, and rows have durations
HINT = "Ctrl-C stops these.  In the background: {by} -d"


class Screen:
    """What a person sees of tunnels that change: the live view, or lines. Fed, never asking."""

    def __init__(self, *, hint: str, quiet: bool = False) -> None:
        self._view: LiveView | None = None
        self._lines: LineWriter | None = None
        self._quiet = quiet
        self._page = page_of(sys.stdout, os.environ)
        self.tunnels: dict[str, dict[str, Any]] = {}
        if wants_live(sys.stdout, os.environ):
            self._view = LiveView(sys.stdout, os.environ, hint=hint)
        else:
            self._lines = LineWriter(sys.stdout)

    @property
    def is_live(self) -> bool:
        return self._view is not None

    def entry(self, entry: dict[str, Any]) -> None:
        """News: above the view, or as a line."""
        if self._quiet and entry["event"] not in ("down", "needs_person", "notice", "reach"):
            return
        if self._view is not None:
            if entry["event"] not in ("wanted", "unwanted"):
                self._view.event(plain_line(entry, Page(10_000, encoding=self._page.encoding)))
        elif self._lines is not None:
            self._lines.write(plain_line(entry, self._page, stamp=_stamp()))

    def said(self, name: str, lines: list[str]) -> None:
        """ssh's own lines (`-v`), as they come."""
        for line in lines:
            if self._view is not None:
                self._view.event(f"{name}  ssh: {line}")
            elif self._lines is not None:
                self._lines.write(self._page.clean(f"{name}  ssh: {line}"))

    def last_frame(self) -> None:
        """It ends by itself: what Ctrl-C would do is no news any more."""
        if self._view is not None:
            self._view.set_hint("")

    def change(self, changed: Sequence[dict[str, Any]], gone: Sequence[dict[str, Any]]) -> None:
        for tunnel in changed:
            self.tunnels[tunnel["profile"]] = tunnel
        for tunnel in gone:
            self.tunnels.pop(tunnel["profile"], None)

    def draw(self, tunnels: Sequence[dict[str, Any]]) -> bool:
        """One frame, or what a pipe did not take before; True where nothing is left unwritten."""
        if self._view is not None:
            self._view.update(tunnels, datetime.now(UTC))
            return self._view.tick()
        return self._lines.tick() if self._lines is not None else True

    def close(self, last: Sequence[Line] = ()) -> None:
        if self._view is not None:
            self._view.close(last)
        if self._lines is not None:
            self._lines.close()


def _stamp() -> Any:
    """systemd's journal stamps every line itself."""
    return "none" if "JOURNAL_STREAM" in os.environ else "clock"


def run_front(
    orders: Sequence[Order], places: Places, *, by: str, what: str, quiet: bool, verbose: bool
) -> int:
    """Keep these tunnels until Ctrl-C or a signal; the exit status."""
    lock = try_lock(places.front_lock(os.getpid()), what)
    if lock is None:
        raise UserError(f'lock "{places.front_lock(os.getpid())}" is held by another process')
    screen = Screen(hint=HINT.format(by=by), quiet=quiet)
    front = _Front(screen)
    service = Service(
        places,
        os.environ,
        kind="front",
        socket_path=places.front_socket(os.getpid()),
        lock=lock,
        what=what,
        ends_when_idle=True,
        on_change=front.change,
        on_entry=screen.entry,
        on_lines=screen.said if verbose else None,
    )
    front.service = service
    try:
        _begin(service, orders, by)
        front.tick()
        service.loop.add_signal_handler(signal.SIGWINCH, front.draw)
        service.run()
    finally:
        service.close()
        screen.close(front.last_lines())
        lock.release(remove=True)
    if front.all_need_a_person:
        return int(ExitStatus.NEEDS_PERSON)
    return service.exit_status


def _begin(service: Service, orders: Sequence[Order], by: str) -> None:
    """Want them all up, or none of them; raises UserError."""
    try:
        for order in orders:
            service.supervisor.up(order, by)
    except UserError:
        for name in list(service.supervisor.units):
            service.supervisor.down(name, "supervisor ended")
        raise


class _Front:
    """When to draw, and when it ends by itself."""

    def __init__(self, screen: Screen) -> None:
        self.service: Service | None = None
        self.all_need_a_person = False
        self._screen = screen
        self._ended: dict[str, str] = {}
        self._alive: dict[str, dict[str, Any]] = {}
        self._drawn_at = 0.0
        self._draw_soon = False

    def change(self, changed: list[dict[str, Any]], gone: list[dict[str, Any]]) -> None:
        self._screen.change(changed, gone)
        for tunnel in changed:
            if tunnel["state"] not in ("stopping", "down"):
                self._alive[tunnel["profile"]] = tunnel | {"_at": self._time()}
        for tunnel in gone:
            self._ended[tunnel["profile"]] = self._farewell(tunnel)
        if self.service is None:
            return
        if not self._draw_soon:
            self._draw_soon = True
            delay = max(0.0, self._drawn_at + FRAME_PAUSE - self._time())
            self.service.loop.call_later(delay, self._draw_once)
        self._end_if_hopeless()

    def tick(self) -> None:
        if self.service is not None:
            self.draw()
            self.service.loop.call_later(CLOCK_PAUSE, self.tick)

    def _draw_once(self) -> None:
        self._draw_soon = False
        self.draw()

    def draw(self) -> None:
        if self.service is not None:
            self._drawn_at = self._time()
            tunnels = self.service.supervisor.snapshots()
            if tunnels or not self._ended:  # the last frame shows what there was
                self._screen.draw(tunnels)

    def _time(self) -> float:
        return self.service.loop.time() if self.service is not None else 0.0

    def _end_if_hopeless(self) -> None:
        """At a terminal, when only people can help and nothing was ever up, they should hear."""
        if self.service is None or self.all_need_a_person or not sys.stdin.isatty():
            return
        if not self._screen.is_live:
            return
        tunnels = self.service.supervisor.snapshots()
        if tunnels and all(t["state"] == "failed" and not t["_ever_up"] for t in tunnels):
            self.all_need_a_person = True
            self._screen.last_frame()
            self.draw()
            self.service.end("nobody to help")

    def _farewell(self, tunnel: dict[str, Any]) -> str:
        name = tunnel["profile"]
        last = self._alive.get(name)
        if last is None or last["state"] != "up":
            if last is not None and last["state"] == "failed":
                return f"{name}: given up; it needs you"
            return f"{name}: given up by you while {last['state'] if last else 'waiting'}"
        seconds = last["_seconds_in_state"] + self._time() - last["_at"]
        visitors = sum(f["connections"]["total"] for f in last["forwards"])
        parts = [f"{name}: down after {duration(seconds)}"]
        if visitors:
            parts.append(count(visitors, "visitor"))
        if last["drops"]:
            parts.append(count(last["drops"], "drop"))
        return ", ".join(parts)

    def last_lines(self) -> list[Line]:
        if self.all_need_a_person:
            return []
        shown = list(self._ended.values())
        lines: list[Line] = [(("", text),) for text in shown[:10]]
        if len(shown) > 10:
            lines.append((("", f"+ {len(shown) - 10} more down"),))
        return lines
