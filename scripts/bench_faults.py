"""The table of faults: sshwrap, autossh and a loop of the shell, together in one lab.

Laws. A round is a house of its own, a process with a lab; the rounds go on beside each other, for
most of a fault is waiting. None is left behind: on Ctrl-C, and where one of them fails, all end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.bench_faults_strikes import FAULTS
from scripts.bench_faults_table import Table, samples_from_json
from tests.netlab.lab import missing

QUICK = ("killed", "rst")
LONG = ("long",)
ROUNDS = 3
PATIENCE = 60.0  # for a house that was told to end


def usual(*, long: bool) -> list[str]:
    return [name for name in FAULTS if long or name not in LONG]


def measure(folder: Path, names: Sequence[str], rounds: int) -> Table:
    """Every fault once in each house, those that can be done here."""
    table = Table()
    reason = missing()
    if reason is not None:
        table.skipped = {"": reason}
        return table
    todo = []
    for name in names:
        reason = FAULTS[name].missing()
        if reason is None:
            todo.append(name)
        else:
            table.skipped[name] = reason
    if todo:
        with houses(folder, todo, rounds) as running:
            answers = [answer(house) for house in running]
        for number, (status, said) in enumerate(answers, 1):
            table.samples += samples_from_json(json.loads(line) for line in said.splitlines())
            if status:
                table.failures.append(f"round {number} could not go on: its words are above")
    return table


def answer(house: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = house.communicate()
    return house.returncode, said


@contextmanager
def houses(
    folder: Path, names: Sequence[str], rounds: int
) -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    words = [sys.executable, "-m", "scripts.bench_faults_house", "--quiet", str(folder / "quiet")]
    try:
        for number in range(1, rounds + 1):
            argv = [*words, str(folder / f"house-{number}"), *names]
            running.append(
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            )
        yield running
    finally:
        for house in running:
            if house.poll() is None:
                house.terminate()
        deadline = time.monotonic() + PATIENCE
        for house in running:
            try:
                house.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                house.kill()  # its lab ends with it
                house.wait()
