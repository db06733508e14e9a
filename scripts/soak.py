"""`scripts/soak`: random faults in a row, a visitor every second, and laws that have to hold.

Laws. The same seed draws the same faults. Exit status 1 where a law was broken, or the soak could
not go on. Everything happens in one lab of tests/netlab, which leaves nothing behind.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.bench_faults_keepers import Sshwrap, is_ssh, stop_sshd
from scripts.bench_world import let_pass, memory_kib
from scripts.soak_faults import FAULTS, At, Fault, draw
from scripts.soak_result import Outcome, Sample, Soak, laws, to_lines
from tests.netlab.lab import SERVER4, Lab, missing
from tests.netlab.visitor import Watch, now
from tests.support.waiting import wait_for

PORTS = (12301, 12302, 12303)
INTERVAL, COUNT = 1, 2
KEEPALIVE = INTERVAL * (COUNT + 1)
# Hardly a run here is as long as a stable one, so the waits grow; with 30 s, the default, a fault
# would be as long as its end is far from the next try.
LONGEST_WAIT = 4
SOME_MORE = 8.0  # a sign-in or two, a port asked for every few seconds, a visitor every second
BOUND = KEEPALIVE + LONGEST_WAIT + SOME_MORE
AT_ALL = 120.0  # so long it is waited for what is stuck, before it is started anew
QUIET_WITHIN = 20.0  # for what an outage has left to come to its end
SAMPLE_EVERY = 5
TOLD_EVERY = 10


class Soaking:
    """`befall(number, faults)`: one step of the soak; what it saw is in `soak`."""

    def __init__(self, lab: Lab, ours: Sshwrap, soak: Soak) -> None:
        self.lab, self.ours, self.soak = lab, ours, soak
        self.watches = {port: lab.visitor.watch((SERVER4, port), every=1.0) for port in ours.ports}
        (self.supervisor,) = ours.supervisors()

    def befall(self, number: int, faults: Sequence[Fault], chance: random.Random) -> None:
        names = tuple(fault.name for fault in faults)
        with contextlib.ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault.befall(At(self.lab, self.ours, chance)))
            lasts = max(chance.uniform(fault.least, fault.most) for fault in faults)
            self._look_until(now() + lasts)
        self.lab.faults.heal()
        over = now()
        seconds = self.served(over, AT_ALL)
        self.soak.outcomes.append(Outcome(number, names, seconds, BOUND))
        where = f"fault {number} ({' + '.join(names)})"
        if seconds is None:
            self.soak.broken.append(f"{where}: started anew; status: {self.told()}")
            self.ours.stop()
            stop_sshd(self.lab.server)
            self.lab.server.start_sshd()
            self.ours.start()
            (self.supervisor,) = self.ours.supervisors()
            if self.served(now(), AT_ALL) is None:
                raise RuntimeError(f"{where}: nor does it come up again: {self.told()}")
        self._quiet(where)
        if number % SAMPLE_EVERY == 0:
            self._sample(number)

    # --- looking ---------------------------------------------------------------------------------

    def _look_until(self, moment: float) -> None:
        while now() < moment:
            self._look()
            let_pass(min(0.2, moment - now()))

    def _look(self) -> bool:
        """Count the ssh that keep tunnels; there is never more than one for each."""
        count = len(self.ours.tunnels_ssh(self.ours.ports))
        self.soak.most_ssh = max(self.soak.most_ssh, count)
        return count == len(self.ours.ports)

    def served(self, over: float, within: float) -> float | None:
        """Seconds until a visit to each port, begun after `over`, has met a page."""
        ends: dict[int, float] = {}

        def all_served() -> bool:
            self._look()
            for port, watch in self.watches.items():
                if port not in ends and (end := _first_page(watch, over)) is not None:
                    ends[port] = end
            return len(ends) == len(self.watches)

        try:
            wait_for(all_served, within=within, every=0.1)
        except AssertionError:
            return None
        return max(ends.values()) - over

    def _quiet(self, where: str) -> None:
        """One ssh a tunnel and nothing beside it, one session each; and status says that all is up.

        Each within some seconds: an outage leaves things to be done. What is not so then is broken.
        """
        tunnels = len(self.ours.ports)

        def just_right() -> bool:
            ssh = [one for one in self.ours.processes() if is_ssh(one)]
            return self._look() and len(ssh) == tunnels

        def sessions_right() -> bool:
            return len(self.lab.server.sessions()) == tunnels

        def says_so() -> bool:
            return all(one["state"] == "up" and one["ok"] for one in self.ours.status())

        checks: tuple[tuple[Callable[[], bool], Callable[[], str]], ...] = (
            (just_right, lambda: f"ssh: {[one.title for one in self.ours.processes()]}"),
            (sessions_right, lambda: f"{len(self.lab.server.sessions())} sessions on the server"),
            (says_so, lambda: f"all served, and status says: {self.told()}"),
        )
        for right, found in checks:
            try:
                wait_for(right, within=QUIET_WITHIN, every=0.1)
            except AssertionError:
                self.soak.broken.append(f"{where}: {found()}")
        self.soak.most_sessions = max(self.soak.most_sessions, len(self.lab.server.sessions()))
        pids = [one.pid for one in self.ours.supervisors()]
        if pids != [self.supervisor.pid]:
            self.soak.broken.append(f"{where}: supervisors {pids}, not {self.supervisor.pid}")
            self.supervisor = self.ours.supervisors()[0]

    def told(self) -> str:
        try:
            told = self.ours.status()
        except OSError as error:
            return f"no answer: {error}"
        return "; ".join(
            f"{one['profile']} {one['state']}, "
            f"{'/'.join(forward['reach'] for forward in one['forwards'])}, "
            f"{one['failure']['summary'] if one['failure'] else 'no failure'}"
            for one in told
        )

    def _sample(self, number: int) -> None:
        pid = self.supervisor.pid
        pss, rss = memory_kib(pid)
        descriptors = sum(1 for _ in Path("/proc", str(pid), "fd").iterdir())
        self.soak.samples.append(Sample(number, descriptors, rss, pss))

    def count_visits(self) -> None:
        visits = [visit for watch in self.watches.values() for visit in watch.visits()]
        self.soak.visits = len(visits)
        self.soak.served = sum(visit.page is not None for visit in visits)


def _first_page(watch: Watch, begun: float) -> float | None:
    """When the first visit that began after `begun` and met a page ended; the newest come last."""
    found = None
    for visit in reversed(watch.visits()):
        if visit.ended <= begun:
            break
        if visit.at > begun and visit.page is not None:
            found = visit.ended
    return found


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if (reason := missing()) is not None:
        print(f"scripts/soak: skipped: {reason}")
        return 0
    faults = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    for fault in list(faults):
        if (reason := fault.missing()) is not None:
            print(f"scripts/soak: without {fault.name!r}: {reason}")
            faults.remove(fault)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    title = (
        f"soak: {options.faults} faults, seed {seed}; {len(PORTS)} tunnels, keepalive "
        f"{INTERVAL} x {COUNT}, waits of {LONGEST_WAIT} s at most, a visitor every second; "
        f"{BOUND:g} s allowed"
    )
    print(title, flush=True)
    soak = Soak(title)
    done = False
    try:
        with tempfile.TemporaryDirectory(prefix="sshwrap-soak-") as folder:
            done = run(Path(folder), soak, faults, options.faults, seed, options.verbose)
    finally:
        if soak.outcomes:
            print("\n" + "\n".join(to_lines(soak)), flush=True)
    return 1 if laws(soak) or not done else 0


def run(
    folder: Path,
    soak: Soak,
    faults: list[Fault],
    count: int,
    seed: int,
    verbose: bool,
) -> bool:
    """Whether it went to its end; on Ctrl-C the table is of what there was until then."""
    with Lab(folder / "lab", ipv6=False) as lab:
        lab.server.start_sshd(GatewayPorts="clientspecified")
        lab.serve_page()
        ours = Sshwrap(lab, PORTS, INTERVAL, COUNT, more=f"restart_max_delay = {LONGEST_WAIT}\n")
        ours.start()
        soaking = Soaking(lab, ours, soak)
        try:
            wait_for(lambda: soaking.served(0, 5) is not None, within=60, what=soaking.told)
            for number in range(1, count + 1):
                # A generator for each: what one finds does not change what comes after it.
                chance = random.Random(f"{seed} {number}")  # noqa: S311 (nothing is to be secret)
                begun = time.monotonic()
                soaking.befall(number, draw(chance, faults), chance)
                if verbose or number % TOLD_EVERY == 0:
                    tell(soak, number, count, time.monotonic() - begun)
        except KeyboardInterrupt:
            return False
        finally:
            soaking.count_visits()
            if laws(soak):
                keep_words(lab, ours)
            ours.stop()
    return True


def tell(soak: Soak, number: int, count: int, took: float) -> None:
    last = soak.outcomes[-1]
    seconds = "never" if last.seconds is None else f"{last.seconds:.1f} s"
    print(
        f"  {number}/{count}  {' + '.join(last.faults)}: {seconds} (in all {took:.0f} s); "
        f"broken so far: {len(laws(soak))}",
        file=sys.stderr,
        flush=True,
    )


def keep_words(lab: Lab, ours: Sshwrap) -> None:
    """What sshwrap and the server said, where somebody can read it afterwards."""
    folder = Path("build/soak")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "journal").write_text(ours.command("logs", "-n", "2000", check=False))
    (folder / "sshd").write_text(lab.server.log())
    print(f"scripts/soak: journal and sshd's log are in {folder}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Random faults in a row, and laws that have to hold."
    )
    parser.add_argument("--faults", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--seed", type=int, help="as an earlier run has printed it")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell of every fault")
    parser.add_argument(
        "--only",
        action="append",
        choices=[fault.name for fault in FAULTS],
        metavar="FAULT",
        help=f"nothing but this (repeatable): {', '.join(fault.name for fault in FAULTS)}".replace(
            "%", "%%"
        ),
    )
    options = parser.parse_args()
    if options.faults < 1:
        parser.error("--faults: at least one")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
