"""What has changed, collected and told in one go: whoever looks on is called once for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

Snapshots = list[dict[str, Any]]


class News:
    """`on_change(changed, gone)` from the loop; `snapshots(names)` gives those still there."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        snapshots: Callable[[list[str]], Snapshots],
        on_change: Callable[[Snapshots, Snapshots], None],
    ) -> None:
        self._loop = loop
        self._snapshots = snapshots
        self._on_change = on_change
        self._dirty: dict[str, None] = {}
        self._gone: Snapshots = []
        self._handle: asyncio.Handle | None = None
        self._at: float | None = None

    def changed(self, name: str, delay: float) -> None:
        """Told in `delay` seconds at the latest."""
        self._dirty[name] = None
        self._soon(delay)

    def gone(self, name: str, last: dict[str, Any]) -> None:
        self._gone.append(last)
        self._dirty.pop(name, None)
        self._soon(0.0)

    def _soon(self, delay: float) -> None:
        due = self._loop.time() + delay
        if self._handle is not None:
            if self._at is not None and self._at <= due:
                return
            self._handle.cancel()
        self._at = due
        self._handle = self._loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        self._handle = None
        names, self._dirty = list(self._dirty), {}
        gone, self._gone = self._gone, []
        self._on_change(self._snapshots(names) if names else [], gone)
