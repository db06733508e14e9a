"""What goes through the tunnel: one long stream each way, and many short visits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from scripts.bench_contestants import Background, bare_ssh, talking_ssh
from scripts.bench_result import Measure, Target
from scripts.bench_time import rotated
from scripts.bench_world import World, cpu_seconds, let_pass
from tests.support.ports import free_port
from tests.support.waiting import wait_for

PEER = Path(__file__).with_name("bench_peer.py")
VISITORS = 4
AT_LEAST = 0.95
BARE, TALKING, OURS = "bare ssh", "bare ssh -v", "sshwrap"


def traffic(world: World, rounds: int, stream_mib: int, visits: int) -> Measure:
    result = Measure("traffic", f"streams of {stream_mib} MiB, and {visits} visits by {VISITORS}")
    down: dict[str, list[float]] = {BARE: [], OURS: []}
    up: dict[str, list[float]] = {BARE: [], OURS: []}
    rate: dict[str, list[float]] = {BARE: [], TALKING: [], OURS: []}
    busy: list[float] = []
    share: list[float] = []
    ports = {name: free_port() for name in rate}
    with (
        target() as at,
        Background(world, "traffic", [(ports[OURS], at)]) as ours,
        bare_ssh(world, ports[BARE], at),
        talking_ssh(world, ports[TALKING], at),
    ):
        ours.up()
        for port in ports.values():
            wait_for(lambda port=port: ping(port), within=30, what="every tunnel serves")
        for turn in range(rounds):
            for name in rotated([BARE, OURS], turn):
                down[name].append(stream_mib / peer("s", ports[name], stream_mib << 20))
            for name in rotated([BARE, OURS], turn):
                up[name].append(stream_mib / peer("t", ports[name], stream_mib << 20))
            for name in rotated([BARE, TALKING, OURS], turn):
                before = cpu_seconds(ours.pid)
                seconds = peer("p", ports[name], visits)
                rate[name].append(visits / seconds)
                let_pass(0.1)  # what it has still to read belongs to its bill
                if name == OURS:
                    used = cpu_seconds(ours.pid) - before
                    busy.append(1e6 * used / visits)
                    share.append(100 * used / seconds)
    for text, unit, samples in (
        ("to the visitor", "MiB/s", down),
        ("from the visitor", "MiB/s", up),
        ("visits", "/s", rate),
    ):
        for name in samples:
            result.add(f"{text}: {name}", unit, samples[name], f"{text}: {BARE}")
        row = result.row(f"{text}: {OURS}")
        result.targets.append(
            Target(f"{text}: against bare ssh", result.ratio(row) or 0.0, AT_LEAST, at_least=True)
        )
    read = median(mine / unread for mine, unread in zip(rate[OURS], rate[TALKING], strict=True))
    text = "visits: against bare ssh -v, which nobody reads"
    result.targets.append(Target(text, read, AT_LEAST, at_least=True))
    result.add("supervisor, processor for a visit", "us", busy)
    result.add("supervisor, share of one core", "%", share)
    result.notes.append(
        "no byte of a visitor passes through sshwrap; what a visit costs it is ssh's own log (-v)"
    )
    return result


@contextmanager
def target() -> Iterator[int]:
    """A target for both tunnels; its port."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-E", str(PEER), "target"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        child.kill()
        child.wait(timeout=10)
        if child.stdout is not None:
            child.stdout.close()


def ping(port: int) -> bool:
    try:
        peer("p", port, 1, visitors=1)
    except RuntimeError:
        return False
    return True


def peer(order: str, port: int, count: int, *, visitors: int = VISITORS) -> float:
    """Seconds that this traffic took, by the visitor's own watch."""
    words = [order, str(port), str(count), str(visitors)]
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(PEER), "visit", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"a visit went wrong: {done.stderr[-500:]}")
    return float(done.stdout)
