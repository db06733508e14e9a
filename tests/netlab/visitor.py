"""Somebody on the internet who looks at a page, once or ten times a second."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import dataclass

from tests.netlab.hosts import HERE, PYTHON, Host, Program
from tests.support.waiting import wait_for

VISITS = str(HERE / "visits.py")


@dataclass(frozen=True, slots=True)
class Visit:
    """`at` is of CLOCK_MONOTONIC, which all hosts share; `page` or `error` is None."""

    at: float
    took: float
    page: str | None
    error: str | None

    @property
    def ended(self) -> float:
        return self.at + self.took


class Visitor(Host):
    """A host with a browser."""

    def fetch(self, where: tuple[str, int], *, within: float = 5.0) -> bytes:
        """The page at (numeric address, port); ConnectionRefusedError, TimeoutError … if none."""
        argv = (*PYTHON, VISITS, "once", where[0], str(where[1]), str(within))
        visit = _visit(self.run(*argv, tools=True, within=within + 20).stdout)
        if visit.page is not None:
            return visit.page.encode()
        if visit.error == "timeout":
            raise TimeoutError(f"{where}: no answer within {within:g} s")
        if visit.error == "closed":
            raise ConnectionAbortedError(f"{where}: closed before the page was there")
        assert visit.error is not None
        number = getattr(errno, visit.error)
        raise OSError(number, os.strerror(number), str(where))

    def watch(self, where: tuple[str, int], *, every: float = 0.1, patience: float = 5.0) -> Watch:
        """Visits that begin every `every` seconds until the watch is stopped."""
        argv = (*PYTHON, VISITS, "always", where[0], str(where[1]), str(patience), str(every))
        return Watch(self.popen(*argv, tools=True))


class Watch:
    """What a visitor met: `with lab.visitor.watch(…) as watch: watch.served_after(moment)`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._visits: list[Visit] = []
        self._read = 0  # bytes of the log

    def visits(self) -> list[Visit]:
        """Those that have ended, in the order of their ends."""
        with self.program.log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        whole, _, _ = data.rpartition(b"\n")  # the last line may still grow
        if whole:
            self._read += len(whole) + 1
            self._visits += [_visit(line) for line in whole.decode().split("\n")]
        return self._visits

    def served_after(self, moment: float, *, within: float) -> float:
        """Seconds from `moment` to the first page of a visit that began later.

        AssertionError where there is none `within` seconds of the call.
        """

        def served() -> list[float]:
            return [
                visit.ended - moment
                for visit in self.visits()
                if visit.at > moment and visit.page is not None
            ]

        return min(wait_for(served, within=within, what=lambda: f"served: {self.last()}"))

    def missed_after(self, moment: float, *, within: float) -> Visit:
        """The first visit begun after `moment` that met no page."""

        def missed() -> list[Visit]:
            return [one for one in self.visits() if one.at > moment and one.page is None]

        return wait_for(missed, within=within, what=lambda: f"not served: {self.last()}")[0]

    def last(self) -> list[Visit]:
        return self.visits()[-3:]

    def stop(self) -> None:
        self.program.stop()

    def __enter__(self) -> Watch:
        wait_for(self.visits, what=lambda: f"a visit ends: {self.program.output()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def now() -> float:
    """The clock of `Visit.at`."""
    return time.monotonic()


def _visit(line: str) -> Visit:
    return Visit(**json.loads(line))
