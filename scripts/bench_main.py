"""`scripts/bench`: run the measures, print their tables, write build/bench.json.

Laws. No number here fails a run: the machine is shared, so each is printed beside the one it is
held against, taken in turns with it in the same run. The exit status is 0 where everything could
be measured. Nothing is left behind, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    names = options.only or list(MEASURES)
    measures = []
    about = machine(quick=options.quick)
    print("\n".join(machine_lines(about)), flush=True)
    with tempfile.TemporaryDirectory(prefix="sshwrap-bench-") as folder, world(Path(folder)) as at:
        for name in names:
            begun = time.monotonic()
            measure = MEASURES[name][options.quick](at)
            measures.append(measure)
            print("\n" + "\n".join(to_lines(measure)), flush=True)
            print(f"  ({time.monotonic() - begun:.0f} s)", file=sys.stderr)
    write(options.json, about, measures)
    targets = [target for measure in measures for target in measure.targets]
    met = sum(target.is_met for target in targets)
    print(f"\n{met} of {len(targets)} targets met; numbers in {options.json}")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure sshwrap beside ssh and autossh."
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: does it all work?")
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="this measure (repeatable)"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench.json"), metavar="FILE", help="numbers"
    )
    return parser.parse_args()


def machine(*, quick: bool) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "sshwrap": __version__,
        "python": platform.python_version(),
        "ssh": said("ssh", "-V"),
        "autossh": said("autossh", "-V"),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "quick": quick,
    }


def said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def write(path: Path, about: dict[str, Any], measures: list[Measure]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "schema_version": SCHEMA_VERSION,
        "machine": about,
        "measures": [to_json(measure) for measure in measures],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
