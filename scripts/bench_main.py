"""`scripts/bench`: run the measures, print their tables, write build/bench.json.

Laws. No number here fails a run: the machine is shared, so each is printed beside the one it is
held against, taken in turns with it in the same run. The exit status is 0 where everything could
be measured, or said why not. Nothing is left behind, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts import bench_faults, bench_faults_table
from scripts.bench_faults_strikes import FAULTS
from scripts.bench_result import Measure, machine_lines, to_json, to_lines
from scripts.bench_size import size
from scripts.bench_time import cold, commands, recovery
from scripts.bench_traffic import traffic
from scripts.bench_world import World, world
from sshwrap import __version__

SCHEMA_VERSION = 1

# Name -> what it does in a full run, and in a quick one.
MEASURES: dict[str, tuple[Callable[[World], Measure], Callable[[World], Measure]]] = {
    "recovery": (lambda at: recovery(at, 4, 3), lambda at: recovery(at, 1, 1)),
    "cold": (lambda at: cold(at, 9), lambda at: cold(at, 1)),
    "commands": (lambda at: commands(at, 25), lambda at: commands(at, 5)),
    "size": (lambda at: size(at, (1, 20, 100), 10.0), lambda at: size(at, (1, 5), 1.0)),
    "traffic": (lambda at: traffic(at, 12, 96, 600), lambda at: traffic(at, 2, 32, 200)),
}


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = machine(quick=options.quick)
    print("\n".join(machine_lines(about)), flush=True)
    measures: list[Measure] = []
    table = bench_faults_table.Table()
    with tempfile.TemporaryDirectory(prefix="sshwrap-bench-") as name:
        folder = Path(name)
        if options.measures:
            with world(folder) as at:
                for measured in options.measures:
                    with timed():
                        measure = MEASURES[measured][options.quick](at)
                        measures.append(measure)
                        print("\n" + "\n".join(to_lines(measure)), flush=True)
        if options.faults:
            with timed():
                rounds = 1 if options.quick else bench_faults.ROUNDS
                table = bench_faults.measure(folder, options.faults, rounds)
                print("\n" + "\n".join(bench_faults_table.to_lines(table)), flush=True)
    contents = [to_json(measure) for measure in measures]
    if options.faults:
        contents.append(bench_faults_table.to_json(table))
    write(options.json, about, contents)
    verdicts = [target.is_met for measure in measures for target in measure.targets]
    verdicts += [target.is_met for target in table.targets()]
    print(f"\n{sum(verdicts)} of {len(verdicts)} targets met; numbers in {options.json}")
    return 1 if table.failures else 0


@contextlib.contextmanager
def timed() -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"  ({time.monotonic() - begun:.0f} s)", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure sshwrap beside ssh and autossh."
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: does it all work?")
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="this measure (repeatable)"
    )
    parser.add_argument(
        "--faults",
        nargs="*",
        choices=list(FAULTS),
        metavar="FAULT",
        help=f"the table of faults alone, or these rows of it: {', '.join(FAULTS)}",
    )
    parser.add_argument("--no-faults", action="store_true", help="all but the table of faults")
    parser.add_argument("--long", action="store_true", help="with ten minutes without a route")
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench.json"), metavar="FILE", help="numbers"
    )
    options = parser.parse_args()
    if options.no_faults and (options.long or options.faults is not None):
        parser.error("--no-faults, and faults as well?")
    choose(options)
    return options


def choose(options: argparse.Namespace) -> None:
    """All of it where nothing was named; `measures` and `faults` are what is to be done."""
    options.measures = options.only or []
    every = bench_faults.QUICK if options.quick else bench_faults.usual(long=options.long)
    if options.faults is not None:
        options.faults = options.faults or every
    elif options.only:
        options.faults = []
    else:
        options.measures = list(MEASURES)
        options.faults = [] if options.no_faults else every


def machine(*, quick: bool) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "sshwrap": __version__,
        "python": platform.python_version(),
        "ssh": said("ssh", "-V"),
        "autossh": said("autossh", "-V"),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f} in the minute before",
        "quick": quick,
    }


def said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def write(path: Path, about: dict[str, Any], measures: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "schema_version": SCHEMA_VERSION,
        "machine": about,
        "measures": measures,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
