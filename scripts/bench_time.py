"""How long one has to wait: for the page after a kill, for the first page, for a command."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain

from scripts.bench_contestants import (
    SSHWRAP,
    Background,
    Keeper,
    OnTerminal,
    autossh,
    bare_ssh,
    kill,
    on_terminal,
    shell_loop,
)
from scripts.bench_result import Measure, Target
from scripts.bench_world import World, let_pass, page, seconds_to_page
from sshwrap.tunnel.machine import STABLE_AFTER
from tests.support.ports import free_port
from tests.support.waiting import wait_for

AGAIN = "again at once: "
NO_SLOWER = 1.0
QUIET = 0.5  # what came before, and the look for the pid, is not to be in the way of what is timed


def recovery(world: World, rounds: int, copies: int) -> Measure:
    """Each of them keeps `copies` tunnels; a round kills every ssh once, and one of each twice."""
    result = Measure(
        "recovery", "from the kill of ssh to the next page served (after a stable run)"
    )
    names = ("sshwrap", "autossh", "shell loop")
    ports = {name: [free_port() for _ in range(copies)] for name in names}
    target = world.web.port
    samples: dict[str, list[float]] = {name: [] for name in names}
    again: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        ours = Background(world, "recovery", [(port, target) for port in ports["sshwrap"]])
        stack.enter_context(ours)
        ours.up()
        ssh_of: dict[str, list[Callable[[], int]]] = {
            "sshwrap": [partial(ours.ssh, profile) for profile in ours.profiles]
        }
        for name, keep in (("autossh", autossh), ("shell loop", shell_loop)):
            ssh_of[name] = [
                stack.enter_context(keep(world, port, target)).ssh for port in ports[name]
            ]
        for turn in range(rounds):
            for port in chain.from_iterable(ports.values()):
                wait_for(partial(page, port), within=30, what="every tunnel serves")
            let_pass(STABLE_AFTER + 0.5)
            for copy in range(copies):
                for name in rotated(list(names), turn + copy):
                    kills = (samples, again) if copy == 0 else (samples,)
                    for kept in kills:
                        pid = ssh_of[name][copy]()
                        if kept is samples:
                            let_pass(QUIET)
                        begun = kill(pid)
                        kept[name].append(seconds_to_page(ports[name][copy], begun, who=name))
    for name in names:
        result.add(name, "s", samples[name], "autossh")
    for name in names:
        result.add(AGAIN + name, "s", again[name], AGAIN + "autossh")
    result.targets.append(
        Target(
            "sshwrap against autossh",
            result.ratio(result.row("sshwrap")) or 0.0,
            NO_SLOWER,
        )
    )
    result.notes += [
        f"a stable run is more than {STABLE_AFTER:g} s up; then sshwrap tries again at once",
        '"again at once": killed as soon as it served; sshwrap waits then, from 0.4 s on and ever '
        "longer; autossh (AUTOSSH_GATETIME=0, AUTOSSH_POLL=100) waits from the sixth time on",
    ]
    return result


def cold(world: World, rounds: int) -> Measure:
    result = Measure("cold", "from the command to the first page served")
    samples: dict[str, list[float]] = {
        name: [] for name in ("bare ssh", "autossh", "sshwrap up", "sshwrap up -d")
    }
    target = world.web.port

    def kept(start: Callable[[World, int, int], Keeper]) -> float:
        port = free_port()
        begun = time.monotonic()
        with start(world, port, target):
            return seconds_to_page(port, begun, who=start.__name__)

    def in_front(number: int) -> float:
        port = free_port()
        place = Background(world, f"front-{number}", [(port, target)])
        begun = time.monotonic()
        with on_terminal([str(SSHWRAP), "up", "t0"], place.environ) as program:
            return seconds_to_page(port, begun, who="sshwrap up", meanwhile=program.drain)

    def detached(number: int) -> float:
        port = free_port()
        with Background(world, f"detached-{number}", [(port, target)]) as place:
            begun = time.monotonic()
            command = Keeper(place.command("up", "-d"), world, **place.environ)
            taken = seconds_to_page(port, begun, who="sshwrap up -d")
            command.wait()
            return taken

    ways: dict[str, Callable[[int], float]] = {
        "bare ssh": lambda _: kept(bare_ssh),
        "autossh": lambda _: kept(autossh),
        "sshwrap up": in_front,
        "sshwrap up -d": detached,
    }
    for turn in range(rounds):
        for name in rotated(list(ways), turn):
            samples[name].append(ways[name](turn))
    for name, values in samples.items():
        result.add(name, "s", values, "bare ssh")
    base = result.row("bare ssh").median
    for name in ("sshwrap up", "sshwrap up -d"):
        text = f"{name}: seconds more than bare ssh"
        result.targets.append(Target(text, result.row(name).median - base, 0.4))
    result.notes.append(
        "sshwrap up is in front, on a terminal; each start of sshwrap has a new state directory "
        "and a profiles file that nobody has read before"
    )
    return result


def commands(world: World, rounds: int) -> Measure:
    result = Measure("commands", "one command, start to end, with one tunnel up in the background")
    samples: dict[str, list[float]] = {}
    with Background(world, "commands", [(free_port(), world.web.port)]) as place:
        place.up()

        def piped(argv: Sequence[str]) -> float:
            begun = time.monotonic()
            subprocess.run(
                argv,
                env=place.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            return time.monotonic() - begun

        def shown(argv: Sequence[str]) -> float:
            begun = time.monotonic()
            program = OnTerminal(argv, place.environ)
            status = program.wait()
            taken = time.monotonic() - begun
            program.stop()
            if status != 0:
                raise RuntimeError(f"{argv}: {status}")
            return taken

        ways: dict[str, Callable[[], float]] = {
            "python -c pass": lambda: piped([sys.executable, "-c", "pass"]),
            "sshwrap --version": lambda: piped(place.command("--version")),
            "sshwrap status --json": lambda: piped(place.command("status", "--json")),
            "sshwrap status": lambda: shown(place.command("status")),
        }
        for turn in range(rounds + 1):
            for name in rotated(list(ways), turn):
                taken = ways[name]()
                if turn > 0:  # the first one compiles and fills the caches
                    samples.setdefault(name, []).append(taken * 1000)
    for name in ways:
        result.add(name, "ms", samples[name], "python -c pass")
    for name, limit in (("sshwrap status --json", 5.0), ("sshwrap status", 10.0)):
        row = result.row(name)
        result.targets.append(
            Target(f"{name} against python -c pass", result.ratio(row) or 0, limit)
        )
    result.notes.append("sshwrap status is on a terminal: the table, in colour")
    return result


def rotated(names: list[str], turn: int) -> list[str]:
    """Everybody is first, in the middle and last in turn."""
    cut = turn % len(names)
    return names[cut:] + names[:cut]
