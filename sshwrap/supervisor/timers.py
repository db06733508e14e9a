"""Timers with names: one of each name at most, and none of them once they are closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Timers:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handles: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def set(self, name: str, delay: float | None, what: Callable[[], None]) -> None:
        """Once, `delay` seconds from now; it takes the place of an earlier one of this name.
        None: not at all."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()
        if delay is not None and not self._closed:
            self._handles[name] = self._loop.call_later(delay, self._due, name, what)

    def cancel(self, *names: str) -> None:
        """No error where none of that name is set."""
        for name in names:
            handle = self._handles.pop(name, None)
            if handle is not None:
                handle.cancel()

    def close(self) -> None:
        self._closed = True
        self.cancel(*self._handles)

    def _due(self, name: str, what: Callable[[], None]) -> None:
        self._handles.pop(name, None)
        what()
