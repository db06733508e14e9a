#!/usr/bin/env python3
"""Every test of the project, the long parts beside each other: `make test`.

Laws. Most of these tests wait and hardly compute, so more of them run at a time than there are
processors. What a part says comes whole, when it has ended. The last line sums up in pytest's own
words, and the exit status is 0 only where every part's was.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 5  # of pytest-xdist
SHARES = 2  # of tests/process, which forks in pytest's own process: no xdist there
OUTCOME = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|warnings?)\b")
SUMMARY = re.compile(r"(?:=+ )?\d+ \w+.* in [\d.]+s\b.*")
PATIENCE = 60.0  # for a part that was told to end: it stops the servers of its tests first


@dataclass(frozen=True, slots=True)
class Part:
    """A run of pytest."""

    name: str
    arguments: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)


def first_part() -> Part:
    return Part("unit", ("tests/unit",))


def parts() -> list[Part]:
    """What runs beside each other; the longest first."""
    workers = ("-n", str(WORKERS), "--dist", "worksteal")
    shares = [f"{number}/{SHARES}" for number in range(1, SHARES + 1)]
    return [
        Part("netlab and sshd", ("tests/netlab", "tests/sshd", *workers)),
        *(Part(f"process {one}", ("tests/process",), {"SSHWRAP_SHARE": one}) for one in shares),
    ]


@dataclass(slots=True)
class Run:
    """A part that runs, or has: `status` is pytest's."""

    part: Part
    child: subprocess.Popen[bytes]
    log: IO[bytes]
    begun: float
    status: int | None = None

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


def start(part: Part) -> Run:
    log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the run)
    # No cache: several would write the one of the checkout at a time.
    argv = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *part.arguments)
    child = subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**os.environ, **part.environ},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is handed on once, by us
    )
    return Run(part, child, log, time.monotonic())


def run(parts: Sequence[Part]) -> list[Run]:
    """Run them beside each other, and print what each said when it has ended."""
    runs = {(one := start(part)).child.pid: one for part in parts}
    try:
        while any(one.status is None for one in runs.values()):
            pid, status = os.wait()
            if (ended := runs.get(pid)) is not None:
                ended.status = ended.child.returncode = os.waitstatus_to_exitcode(status)
                show(ended)
    finally:
        end([one for one in runs.values() if one.status is None])
    return list(runs.values())


def show(ended: Run) -> None:
    took = time.monotonic() - ended.begun
    print(f"\n===== {ended.part.name}: {took:.0f} s, exit status {ended.status} =====")
    print(ended.said().rstrip("\n"), flush=True)


def end(left: Sequence[Run]) -> None:
    """Ctrl-C to each of them, and what they said."""
    for one in left:
        one.child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    for one in left:
        try:
            one.status = one.child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.child.kill()
            one.status = one.child.wait()
        show(one)


def counts(said: str) -> Counter[str]:
    """Of pytest's last line: "12 passed, 1 skipped in 3.45s"."""
    summary = [line for line in said.splitlines() if SUMMARY.fullmatch(line)]
    found = OUTCOME.findall(summary[-1]) if summary else []
    return Counter({what.rstrip("s") if what != "passed" else what: int(n) for n, what in found})


def sum_up(runs: Sequence[Run], took: float) -> str:
    """One line for each part, and one for all of them."""
    total: Counter[str] = Counter()
    lines = []
    for one in runs:
        here = counts(one.said())
        total += here
        ending = "" if one.status == 0 else f" (exit status {one.status})"
        lines.append(f"{one.part.name}: {_words(here)}{ending}")
    return "\n".join([*lines, f"{_words(total)} in {took:.2f}s"])


def _words(counted: Counter[str]) -> str:
    order = ("failed", "passed", "skipped", "xfailed", "xpassed", "warning", "error")
    return ", ".join(f"{counted[one]} {one}" for one in order if counted[one]) or "no test ran"


def interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    begun = time.monotonic()
    runs = []
    try:
        runs = run([first_part()])
        if runs[0].status == 0:
            beside = parts()
            print("\nbeside each other:", ", ".join(part.name for part in beside), flush=True)
            runs += run(beside)
    except KeyboardInterrupt:
        return 130
    print("\n" + sum_up(runs, time.monotonic() - begun), flush=True)
    return 0 if all(one.status == 0 for one in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
