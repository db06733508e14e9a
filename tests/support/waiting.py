"""Wait for a fact with a deadline, never for time to pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    predicate: Callable[[], T],
    *,
    within: float = 20.0,
    what: str | Callable[[], str] = "",
    every: float = 0.01,
) -> T:
    """The first true value of `predicate`, looked at every `every` seconds.

    After `within` seconds: AssertionError with `what` (text, or a function that makes it then, for
    instance the end of a log) and the last value seen. An exception of `predicate` ends the wait.
    The last look is begun when the time is over: what became true while nothing ran here counts.
    """
    deadline = time.monotonic() + within
    pause = threading.Event()
    while True:
        is_last = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if is_last:
            text = what() if callable(what) else what
            name = getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"not within {within:g} s: {text or name} (last seen: {value!r})")
        pause.wait(every)
