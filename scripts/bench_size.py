"""What it costs to keep 1, 20, 100 tunnels: memory, and a processor while nothing happens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from scripts.bench_contestants import Background, Keeper, autossh, ssh_below
from scripts.bench_result import Measure, Target
from scripts.bench_world import World, cpu_seconds, let_pass, memory_kib, page
from tests.support.ports import free_port
from tests.support.processes import descendants
from tests.support.waiting import wait_for

SUPERVISOR_KIB = 25 * 1024
TUNNEL_KIB = 50
IDLE_PERCENT = 0.1  # of one core: a thousandth is what "nothing" is called here
SETTLE_SECONDS = 3.0
AT_ONCE = 4


def size(world: World, counts: Sequence[int], idle_seconds: float) -> Measure:
    """One supervisor grows from count to count, and as many autossh stand beside it."""
    result = Measure("size", f"a supervisor and what it keeps, idle for {idle_seconds:g} s")
    target = world.web.port
    ours_at = [free_port() for _ in range(counts[-1])]
    theirs_at = [free_port() for _ in range(counts[-1])]
    kept: list[Keeper] = []
    with ExitStack() as stack:
        ours = stack.enter_context(Background(world, "size", [(at, target) for at in ours_at]))
        for count in counts:
            ours.up(ours.profiles[:count])
            while len(kept) < count:
                # A few at a time, as sshwrap itself does it.
                some = theirs_at[len(kept) : min(count, len(kept) + AT_ONCE)]
                kept += [stack.enter_context(autossh(world, at, target)) for at in some]
                for at in some:
                    wait_for(partial(page, at), within=30, what="autossh's tunnel serves")
            let_pass(SETTLE_SECONDS)
            _idle(result, count, ours, [keeper.pid for keeper in kept], idle_seconds)
    first, last = counts[0], counts[-1]
    memory = {count: result.row(f"{_tunnels(count)}: sshwrap").median for count in counts}
    for count in counts:
        limit = (SUPERVISOR_KIB + TUNNEL_KIB * count) / 1024
        text = f"MiB of the supervisor with {_tunnels(count)} (25 MiB + 50 KiB each)"
        result.targets.append(Target(text, memory[count], limit))
    if last > first:
        growth = (memory[last] - memory[first]) * 1024 / (last - first)
        result.targets.append(Target("KiB more a tunnel", growth, TUNNEL_KIB))
    for count in counts:
        busy = result.row(f"{_tunnels(count)}: sshwrap, processor").median
        text = f"% of one core, idle, with {_tunnels(count)}"
        result.targets.append(Target(text, busy, IDLE_PERCENT))
    result.notes.append(
        "memory is PSS (pages shared with other processes divided among them); RSS counts them "
        "whole, as if the supervisor were the only Python program of the machine"
    )
    return result


def _idle(
    result: Measure, count: int, ours: Background, theirs: Sequence[int], seconds: float
) -> None:
    ssh = [one.pid for one in descendants(ours.pid)]
    their_ssh = [ssh_below(pid) for pid in theirs]
    if len(ssh) != count or len(their_ssh) != count:
        raise RuntimeError(f"{count} tunnels should be up, not {len(ssh)} and {len(their_ssh)}")
    groups = {
        "sshwrap": [ours.pid],
        "autossh": list(theirs),
        "sshwrap's ssh": ssh,
        "autossh's ssh": their_ssh,
    }
    before = {name: sum(map(cpu_seconds, pids)) for name, pids in groups.items()}
    let_pass(seconds)
    after = {name: sum(map(cpu_seconds, pids)) for name, pids in groups.items()}
    label = _tunnels(count)
    for name, pids in groups.items():
        beside = None if name.startswith("autossh") else f"{label}: autossh{name[7:]}"
        found = [memory_kib(pid) for pid in pids]
        result.add(f"{label}: {name}", "MiB", [sum(pss for pss, _ in found) / 1024], beside)
        if name == "sshwrap":
            result.add(f"{label}: sshwrap, RSS", "MiB", [found[0][1] / 1024])
    for name in ("sshwrap", "autossh"):
        busy = 100 * (after[name] - before[name]) / seconds
        result.add(f"{label}: {name}, processor", "%", [busy])


def _tunnels(count: int) -> str:
    return f"{count:3} tunnel{'s' if count > 1 else ''}"
