"""An event loop that a test drives by hand, until something is so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def clean_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """After the test it runs on until every socket that was opened on the way is closed."""
    loop = asyncio.new_event_loop()
    before = descriptors()
    yield loop
    run_until(loop, lambda: descriptors() <= before)
    loop.close()


def descriptors() -> set[str]:
    """Sockets of this process, by number and inode."""
    return {
        f"{link.name} {target}"
        for link in Path("/proc/self/fd").iterdir()
        if (target := _target(link)).startswith("socket:")
    }


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # the descriptor that reads this folder
        return ""


def run_until(
    loop: asyncio.AbstractEventLoop, fact: Callable[[], object], within: float = 20.0
) -> None:
    """Run the loop until something is so."""
    until = loop.time() + within

    def look() -> None:
        if fact() or loop.time() >= until:
            loop.stop()
        else:
            loop.call_later(0.005, look)

    loop.call_soon(look)
    loop.run_forever()
    assert fact(), f"not within {within:g} s"
