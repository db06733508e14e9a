"""Watch tunnels that other supervisors keep: `up` of what is up already, and `status --watch`."""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import Namespace
from typing import Any

from sshwrap.commands.choose import choose
from sshwrap.commands.front import CLOCK_PAUSE, FRAME_PAUSE, Screen
from sshwrap.commands.talk import note
from sshwrap.errors import ExitStatus
from sshwrap.paths import Places
from sshwrap.render.page import wants_live
from sshwrap.supervisor import ipc
from sshwrap.supervisor.overview import Overview, overview

HINT = "Ctrl-C stops watching, not the tunnel."
LOOK_PAUSE = 2.0  # for supervisors that come and go


def watch(places: Places, names: list[str], *, quiet: bool) -> int:
    """Show these until Ctrl-C (0), or until nobody wants them any more (0)."""
    try:
        if not quiet and not wants_live(sys.stdout, os.environ):  # the view's footer says it
            note(HINT)
        return _watch(places, names, ends=True, quiet=quiet)
    except KeyboardInterrupt:  # before the first look, or during the last
        return int(ExitStatus.OK)


def watch_status(options: Namespace, places: Places) -> int:
    """`status --watch`: 0 on Ctrl-C. With --json a line a change."""
    view = overview(places, os.environ)
    names = options.names
    if names:
        names = choose(names, [t["profile"] for t in view.tunnels])
    if options.json:
        return _watch_json(places, names)
    return _watch(places, names or None, ends=False, quiet=options.quiet)


def _watch(places: Places, names: list[str] | None, *, ends: bool, quiet: bool) -> int:
    screen = Screen(hint=HINT, quiet=quiet)
    news = _News(places, names)
    try:
        drawn_at = 0.0
        clean = True
        while True:
            tunnels, entries = news.wait(FRAME_PAUSE)
            for entry in entries:
                screen.entry(entry)
            if ends and not any(t["wanted"] for t in tunnels):
                break
            now = time.monotonic()
            due = news.fresh or not clean or now - drawn_at >= CLOCK_PAUSE
            if due and now - drawn_at >= FRAME_PAUSE:
                clean = screen.draw(tunnels)
                drawn_at = now
    except KeyboardInterrupt:
        pass
    finally:
        news.close()
        screen.close()
    return int(ExitStatus.OK)


def _watch_json(places: Places, names: list[str] | None) -> int:
    import json

    from sshwrap.tunnel import snapshot

    news = _News(places, names or None)
    try:
        while True:
            tunnels, _ = news.wait(FRAME_PAUSE)
            if news.fresh:
                sys.stdout.write(json.dumps(snapshot.status(tunnels)) + "\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        return int(ExitStatus.OK)
    finally:
        news.close()


class _News:
    """All tunnels as they are, and what happens to them, from however many supervisors."""

    def __init__(self, places: Places, names: list[str] | None) -> None:
        self._places = places
        self._names = names
        self._streams: dict[str, ipc.Stream] = {}
        self._looked_at = 0.0
        self._tunnels: dict[str, dict[str, Any]] = {}
        self.fresh = True

    def wait(self, seconds: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Snapshots and the new journal entries; `fresh` tells whether anything has changed."""
        self.fresh = False
        if time.monotonic() - self._looked_at >= LOOK_PAUSE:
            self._look()
        entries: list[dict[str, Any]] = []
        for path, stream in self._readable(seconds):
            try:
                for message in stream.ready():
                    self.fresh = True
                    for tunnel in message.get("tunnels", ()):
                        self._tunnels[tunnel["profile"]] = tunnel | {"_at": time.monotonic()}
                    entries += message.get("events", ())
            except ipc.Broken:
                self._drop(path)
                continue
            if stream.ended:
                self._drop(path)
        return self._shown(), entries

    def _readable(self, seconds: float) -> list[tuple[str, ipc.Stream]]:
        ready = select.select(list(self._streams.values()), [], [], seconds)[0]
        return [(path, stream) for path, stream in self._streams.items() if stream in ready]

    def _look(self) -> None:
        """Who is there now; what runs is told by its stream, the rest by what is on disk."""
        self._looked_at = time.monotonic()
        view: Overview = overview(self._places, os.environ)
        for keeper in view.keepers:
            if keeper.path not in self._streams:
                try:
                    request = {"v": ipc.VERSION, "op": "watch", "names": self._names}
                    self._streams[keeper.path] = ipc.stream(keeper.path, request)
                except ipc.IpcError:
                    continue
        before = {name: t["state"] for name, t in self._tunnels.items()}
        now = time.monotonic()
        self._tunnels = {
            t["profile"]: t | {"_at": now}
            for t in view.tunnels
            if self._names is None or t["profile"] in self._names
        }
        if before != {name: t["state"] for name, t in self._tunnels.items()}:
            self.fresh = True

    def _shown(self) -> list[dict[str, Any]]:
        """With the durations as they are by now."""
        shown = []
        for tunnel in self._tunnels.values():
            passed = time.monotonic() - tunnel["_at"]
            fields: dict[str, Any] = {}
            if tunnel.get("_seconds_in_state") is not None:
                fields["_seconds_in_state"] = tunnel["_seconds_in_state"] + passed
            if tunnel.get("_seconds_to_attempt") is not None:
                left = tunnel["_seconds_to_attempt"] - passed
                fields["_seconds_to_attempt"] = max(0.0, left)
            shown.append(tunnel | fields)
        return shown

    def _drop(self, path: str) -> None:
        self._streams.pop(path).close()
        self._looked_at = 0.0
        self.fresh = True

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
