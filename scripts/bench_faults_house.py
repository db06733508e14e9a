"""One lab that goes through the faults: `python -m scripts.bench_faults_house FOLDER FAULT…`.

Every keeper has a tunnel of its own from the same home, and meets the same fault at the same moment
after a stable run. A line of JSON on stdout for what each of them took. Several houses may run
beside each other: what is timed to a tenth of a second is done one house at a time (flock).

Laws. Seconds are counted from just before the command that ends the fault (or is the fault) to the
end of the first visit which began after that command had returned and met the page.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.bench_faults_keepers import Keeper, Sshwrap, autossh, shell_loop, stop_sshd
from scripts.bench_faults_strikes import FAULTS, Fault, Key
from scripts.bench_faults_table import OURS, Sample
from scripts.bench_world import let_pass
from sshwrap.tunnel.machine import STABLE_AFTER
from tests.netlab.lab import SERVER4, Lab
from tests.netlab.visitor import Watch, now
from tests.support.waiting import wait_for

KEEPALIVE = {"": (3, 2), "-15x3": (15, 3)}
FIRST_PORT = 12301
STABLE = STABLE_AFTER + 1.0
RECOVERS_BY_ITSELF = 20.0  # after a fault, before the next one; then it is started anew
WATCH_BEFORE = 1.0
WATCHED_ALONE = 6.0  # what recovers at all recovers within that, or takes long
GRACE = 45.0  # for a first start


class House:
    """`measure(fault)` -> samples. `keepers`: those that are to be up, by group and name."""

    def __init__(self, lab: Lab, quiet: Path | None) -> None:
        self.lab = lab
        self._quiet = quiet
        self.keepers: dict[Key, Keeper] = {}
        port = FIRST_PORT
        for group, (interval, count) in KEEPALIVE.items():
            ours = Sshwrap(lab, [port], interval, count, folder=f"ours{group}")
            self.keepers[group, OURS] = ours
            for number, make in enumerate((autossh, shell_loop), port + 1):
                other = make(lab, number, interval, count)
                self.keepers[group, other.name] = other
            port += 10
        self._running: set[Key] = set()
        self._lost: set[Key] = set()  # they have just been waited for

    @property
    def ours(self) -> Sshwrap:
        found = self.keepers["", OURS]
        assert isinstance(found, Sshwrap)
        return found

    def running(self) -> dict[Key, Keeper]:
        return {key: self.keepers[key] for key in self.keepers if key in self._running}

    def start(self, key: Key) -> None:
        self.keepers[key].start()
        self._running.add(key)

    def stop(self, key: Key) -> None:
        self._running.discard(key)
        self.keepers[key].stop()

    def end(self) -> None:
        with contextlib.ExitStack() as stack:
            for key in self.running():
                stack.callback(self.stop, key)

    # --- before a fault --------------------------------------------------------------------------

    def settle(self, groups: tuple[str, ...]) -> None:
        """Every keeper of those groups, and no other, has been up for so long that it is stable."""
        self.lab.faults.heal()
        wanted = [key for key in self.keepers if key[0] in groups]
        for key in list(self.running()):
            if key not in wanted:
                self.stop(key)
        with self.watches(every=0.5) as watches:
            deadline = now() + RECOVERS_BY_ITSELF
            stuck = [key for key in watches if not self._comes(key, watches[key], deadline)]
            if stuck:
                for key in stuck:
                    self.stop(key)
                stop_sshd(self.lab.server)  # with what dead sessions still hold
                self.lab.server.start_sshd()
            for key in wanted:
                if key not in self._running:
                    self.start(key)
            begun = now()
            for key in wanted:
                watch = watches[key] if key in watches else self.watch(key, 0.5)
                try:
                    watch.served_after(begun, within=GRACE)
                except AssertionError as error:
                    raise RuntimeError(f"{key} does not come up: {error}") from None
                finally:
                    if key not in watches:
                        watch.stop()
        let_pass(STABLE)

    def _comes(self, key: Key, watch: Watch, deadline: float) -> bool:
        if key in self._lost:
            return False
        try:
            watch.served_after(0, within=max(0.0, deadline - now()))
        except AssertionError:
            return False
        return True

    # --- a fault ---------------------------------------------------------------------------------

    def measure(self, fault: Fault) -> list[Sample]:
        if fault.settles:
            self.settle(fault.groups)
        samples: list[Sample] = []
        if fault.begin is not None:
            samples += fault.begin(self) or []
            begun = now()
            let_pass(begun + fault.lasts - WATCH_BEFORE - now())
        with contextlib.ExitStack() as stack:
            with self.alone():
                watches = stack.enter_context(self.watches(fault.every))
                let_pass(WATCH_BEFORE)
                given = now()
                ends = fault.end(self) or {}
                over = now()
                taken: dict[Key, float] = {}
                self._wait(watches, given, ends, over, taken, WATCHED_ALONE)
            self._wait(watches, given, ends, over, taken, fault.within)
        self._lost = set(watches) - set(taken)
        for group, name in watches:
            row = fault.row + group
            samples.append(Sample(row, name, taken.get((group, name)), fault.within))
        return samples

    def _wait(
        self,
        watches: Mapping[Key, Watch],
        given: float,
        ends: Mapping[Key, tuple[float, float]],
        over: float,
        taken: dict[Key, float],
        within: float,
    ) -> None:
        """Until everybody is served, or `within` seconds have passed since the fault was over."""

        def look() -> bool:
            for key, watch in watches.items():
                begun, returned = ends.get(key, (given, over))
                if key not in taken:
                    seconds = first_page(watch, returned)
                    if seconds is not None:
                        taken[key] = seconds - begun
            return len(taken) == len(watches)

        with contextlib.suppress(AssertionError):
            wait_for(look, within=over + within - now(), every=0.02)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other house of this run is in the way meanwhile."""
        if self._quiet is None:
            yield
            return
        with self._quiet.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def watch(self, key: Key, every: float) -> Watch:
        return self.lab.visitor.watch((SERVER4, self.keepers[key].port), every=every)

    @contextlib.contextmanager
    def watches(self, every: float) -> Iterator[dict[Key, Watch]]:
        with contextlib.ExitStack() as stack:
            found = {}
            for key in self.running():
                found[key] = self.watch(key, every)
                stack.callback(found[key].stop)
            yield found


def first_page(watch: Watch, begun: float) -> float | None:
    """When (monotonic) the first visit that began after `begun` and met a page ended."""
    ends = [one.ended for one in watch.visits() if one.at > begun and one.page is not None]
    return min(ends, default=None)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Lab(options.folder, ipv6=False) as lab:
        lab.server.start_sshd(GatewayPorts="clientspecified")
        lab.serve_page()
        house = House(lab, options.quiet)
        try:
            for name in options.faults:
                print(f"  {options.folder.name}: {name}", file=sys.stderr, flush=True)
                for one in house.measure(FAULTS[name]):
                    line = {
                        "row": one.row,
                        "keeper": one.keeper,
                        "seconds": one.seconds,
                        "within": one.within,
                    }
                    print(json.dumps(line), flush=True)
        finally:
            house.end()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench_faults_house")
    parser.add_argument("--quiet", type=Path, help="the file that houses lock in turn")
    parser.add_argument("folder", type=Path, help="a new one, for this lab")
    parser.add_argument("faults", nargs="+", choices=list(FAULTS), metavar="FAULT")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
