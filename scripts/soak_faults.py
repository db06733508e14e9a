"""What may befall a soak: faults with a beginning, a time that they last, and an end.

Laws. All chance comes from the generator that is handed in. Faults of different places may happen
at once; those of one place may not. A process that has gone meanwhile is no error.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scripts.bench_faults_keepers import Sshwrap, stop_sshd
from tests.netlab.clocks import missing_for_suspend
from tests.netlab.lab import Lab, missing_for_delay
from tests.support.waiting import wait_for


@dataclass(frozen=True, slots=True)
class At:
    """Where it happens. `chance` says which tunnel, and how bad."""

    lab: Lab
    ours: Sshwrap
    chance: random.Random


@dataclass(frozen=True, slots=True)
class Fault:
    """`befall` is entered when it begins and left when it ends, `least` to `most` seconds later."""

    name: str
    place: str  # client, line, server
    befall: Callable[[At], AbstractContextManager[None]]
    least: float = 0.0
    most: float = 0.0
    missing: Callable[[], str | None] = lambda: None


def draw(chance: random.Random, faults: list[Fault]) -> tuple[Fault, ...]:
    """One, and now and then another of another place beside it."""
    first = chance.choice(faults)
    if chance.random() < 0.2:
        return first, chance.choice([one for one in faults if one.place != first.place])
    return (first,)


# --- at the client -------------------------------------------------------------------------------


def kill_ssh(at: At) -> AbstractContextManager[None]:
    for pid in at.ours.tunnels_ssh([at.chance.choice(at.ours.ports)]):
        with contextlib.suppress(ProcessLookupError):
            at.lab.faults.kill(pid)
    return nullcontext()


def kill_every_ssh(at: At) -> AbstractContextManager[None]:
    for pid in at.ours.tunnels_ssh(at.ours.ports):
        with contextlib.suppress(ProcessLookupError):
            at.lab.faults.kill(pid)
    return nullcontext()


@contextmanager
def freeze(at: At, pids: list[int]) -> Iterator[None]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            at.lab.faults.freeze(pid)
    yield
    for pid in pids:
        at.lab.faults.thaw(pid)


def freeze_ssh(at: At) -> AbstractContextManager[None]:
    return freeze(at, at.ours.tunnels_ssh([at.chance.choice(at.ours.ports)]))


def freeze_supervisor(at: At) -> AbstractContextManager[None]:
    return freeze(at, [one.pid for one in at.ours.supervisors()])


def reconnect(at: At) -> AbstractContextManager[None]:
    for one in at.ours.supervisors():
        os.kill(one.pid, signal.SIGUSR1)
    return nullcontext()


def remove_sockets(at: At) -> AbstractContextManager[None]:
    """Those of ssh; sshwrap's own is another."""
    for path in Path(at.ours.places().control_dir).iterdir():
        path.unlink(missing_ok=True)
    return nullcontext()


@contextmanager
def suspend(at: At) -> Iterator[None]:
    at.lab.faults.suspend()
    if at.chance.random() < 0.5:
        at.lab.faults.address_change()
    yield
    at.lab.faults.wake()


# --- on the line ---------------------------------------------------------------------------------


def between(
    begin: Callable[[At], object], end: Callable[[At], object]
) -> Callable[[At], AbstractContextManager[None]]:
    @contextmanager
    def befall(at: At) -> Iterator[None]:
        begin(at)
        yield
        end(at)

    return befall


def once(do: Callable[[At], object]) -> Callable[[At], AbstractContextManager[None]]:
    return between(do, lambda at: None)


# --- at the server -------------------------------------------------------------------------------


def kill_session(at: At) -> AbstractContextManager[None]:
    sessions = at.lab.server.sessions()
    if sessions:
        with contextlib.suppress(ProcessLookupError):
            at.lab.faults.kill(at.chance.choice(sessions))
    return nullcontext()


def freeze_session(at: At) -> AbstractContextManager[None]:
    sessions = at.lab.server.sessions()
    return freeze(at, [at.chance.choice(sessions)] if sessions else [])


def held(families: str) -> Callable[[At], AbstractContextManager[None]]:
    """Another program was quicker than sshwrap, which stands still until it is done."""

    @contextmanager
    def befall(at: At) -> Iterator[None]:
        port = at.chance.choice(at.ours.ports)
        with freeze_supervisor(at):
            server = at.lab.server
            for pid in at.ours.tunnels_ssh([port]):
                with contextlib.suppress(ProcessLookupError):
                    at.lab.faults.kill(pid)
            with contextlib.suppress(AssertionError):  # the line is dead, and so is nobody told
                wait_for(lambda: not server.listeners(port), within=2, what="a free port")
            if not server.listeners(port):
                at.lab.faults.hold_port(port, families)
        yield
        at.lab.faults.release_port(port)

    return befall


FAULTS = [
    Fault("ssh killed", "client", kill_ssh),
    Fault("every ssh killed", "client", kill_every_ssh),
    Fault("ssh frozen", "client", freeze_ssh, 0.5, 8),
    Fault("supervisor frozen", "client", freeze_supervisor, 0.5, 5),
    Fault("told to reconnect (USR1)", "client", reconnect),
    Fault("control sockets removed", "client", remove_sockets),
    Fault("suspended", "client", suspend, 0.5, 2, missing_for_suspend),
    Fault("RST", "line", once(lambda at: at.lab.faults.rst())),
    Fault(
        "silence",
        "line",
        between(lambda at: at.lab.faults.silence(), lambda at: at.lab.faults.speak()),
        0.5,
        10,
    ),
    Fault(
        "no route",
        "line",
        between(lambda at: at.lab.faults.no_route(), lambda at: at.lab.faults.route()),
        0.5,
        10,
    ),
    Fault(
        "cable out",
        "line",
        between(lambda at: at.lab.faults.cable_out(), lambda at: at.lab.faults.cable_in()),
        0.5,
        6,
    ),
    Fault("address change", "line", once(lambda at: at.lab.faults.address_change())),
    Fault(
        "loss of 30 %",
        "line",
        between(lambda at: at.lab.faults.loss(0.3), lambda at: at.lab.faults.loss(0)),
        1,
        6,
    ),
    Fault(
        "delay of 1 s",
        "line",
        between(lambda at: at.lab.faults.delay(1.0), lambda at: at.lab.faults.delay(0)),
        1,
        6,
        missing_for_delay,
    ),
    Fault("session killed", "server", kill_session),
    Fault("session frozen", "server", freeze_session, 0.5, 8),
    Fault(
        "sshd away",
        "server",
        between(lambda at: stop_sshd(at.lab.server), lambda at: at.lab.server.start_sshd()),
        0.5,
        5,
    ),
    Fault(
        "sshd restarted",
        "server",
        once(lambda at: at.lab.server.restart_sshd(sessions=False)),
    ),
    Fault(
        "server rebooted",
        "server",
        between(lambda at: at.lab.faults.server_off(), lambda at: at.lab.faults.server_on()),
        0.5,
        5,
    ),
    Fault("port held by another", "server", held("both"), 0.5, 6),
    Fault("IPv4 held by another", "server", held("v4"), 0.5, 6),
]
