"""What each fault of the table does to a house, as data: how it begins, how long it lasts, its end.

Laws. A process is killed by its pid, and only one that a keeper of this house has. What a function
does is a fact when it returns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from scripts.bench_faults_keepers import stop_sshd
from scripts.bench_faults_table import OURS, Sample
from tests.netlab.clocks import missing_for_suspend
from tests.netlab.faults import Faults
from tests.netlab.server import Server
from tests.netlab.visitor import now
from tests.support.processes import process
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from scripts.bench_faults_house import House

Key = tuple[str, str]
# Keeper -> when its own fault began, and when that was a fact; without it: the command as a whole.
Moments = dict[Key, tuple[float, float]]

EVERY = 0.1  # seconds between two visits
QUICK = 0.05  # where the difference between keepers is of that size
FLAGGED_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`within`: how long it is waited for those who never come back. `row`: of the table.

    `begin` may have measured something by itself; it lasts for `lasts` seconds after that.
    `missing`: why this machine cannot do it.
    """

    row: str
    end: Callable[[House], Moments | None]
    begin: Callable[[House], list[Sample] | None] | None = None
    lasts: float = 0.0
    within: float = 90.0
    every: float = EVERY
    groups: tuple[str, ...] = ("",)
    settles: bool = True
    missing: Callable[[], str | None] = lambda: None


def kill(house: House) -> Moments:
    found: Moments = {}
    for key, keeper in house.running().items():
        (pid,) = keeper.ssh()
        moment = house.lab.faults.kill(pid)
        found[key] = (moment, moment)
    return found


def rst(house: House) -> None:
    count = house.lab.faults.rst()
    if count < len(house.running()):
        raise RuntimeError(f"only {count} connections were there to be reset")


def sshd_away(house: House) -> None:
    stop_sshd(house.lab.server)


def sshd_back(house: House) -> Moments:
    """From when its process began: what has to be done before that is no part of its return."""
    house.lab.server.start_sshd()
    sshd = process(house.lab.server.sshd_pid)
    assert sshd is not None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - sshd.started / os.sysconf("SC_CLK_TCK")
    over = now()
    return dict.fromkeys(house.running(), (over - age, over))


def is_free(server: Server, port: int) -> bool:
    return not server.listeners(port)


def hold(families: str) -> Callable[[House], None]:
    def begin(house: House) -> None:
        server = house.lab.server
        stop_sshd(server)
        for keeper in house.running().values():
            wait_for(partial(is_free, server, keeper.port), what="a free port")
            house.lab.faults.hold_port(keeper.port, families)
        server.start_sshd()

    return begin


def hold_half(house: House) -> list[Sample]:
    """And how long after coming up sshwrap's own status says that half is missing."""
    hold("v4")(house)
    with house.alone():
        return [Sample("flagged", OURS, flagged(house), FLAGGED_WITHIN)]


def flagged(house: House) -> float | None:
    """Seconds from the last moment at which the port did not listen to the answer that says so."""
    port = house.ours.port
    before = now()

    def up() -> bool:
        nonlocal before
        moment = now()
        if "::" in house.lab.server.listeners(port):
            return True
        before = moment
        return False

    wait_for(up, within=60, what="sshwrap has the half that is free")

    def said() -> bool:
        forwards = house.ours.status()[0]["forwards"]
        return any(one["reach"] == "half_bound" for one in forwards)

    try:
        wait_for(said, within=FLAGGED_WITHIN, every=0.02)
    except AssertionError:
        return None
    return now() - before


def release(house: House) -> Moments:
    found: Moments = {}
    for key, keeper in house.running().items():
        begun = now()
        house.lab.faults.release_port(keeper.port)
        found[key] = (begun, now())
    return found


def start_offline(house: House) -> None:
    for key in list(house.running()):
        house.stop(key)
    house.lab.faults.no_route()
    for key in house.keepers:
        if key[0] == "":
            house.start(key)


def sleep(house: House) -> None:
    """The machine is suspended, and its line does not outlive that."""
    house.lab.faults.suspend()
    house.lab.faults.address_change()


def wake(house: House) -> Moments:
    house.lab.faults.wake()
    over = now()  # before that its clock was put on, while it slept
    return dict.fromkeys(house.running(), (over, over))


def verb(do: Callable[[Faults], None]) -> Callable[[House], None]:
    return lambda house: do(house.lab.faults)


FAULTS = {
    "start": Fault("start", verb(Faults.route), start_offline, lasts=10, settles=False),
    "killed": Fault("killed", kill, every=QUICK, within=30),
    "rst": Fault("rst", rst, every=QUICK, within=30),
    "server": Fault("server", sshd_back, sshd_away, lasts=5),
    "silence": Fault(
        "silence",
        verb(Faults.speak),
        verb(Faults.silence),
        lasts=20,
    ),
    "port": Fault("port", release, hold("both"), lasts=20),
    "half": Fault("half", release, hold_half, lasts=5, within=30),
    "address": Fault("address", verb(Faults.address_change), groups=("", "-15x3")),
    "suspend": Fault("suspend", wake, sleep, lasts=2, within=45, missing=missing_for_suspend),
    "route": Fault(
        "route",
        verb(Faults.route),
        verb(Faults.no_route),
        lasts=120,
    ),
    "long": Fault(
        "long",
        verb(Faults.route),
        verb(Faults.no_route),
        lasts=600,
        within=300,
    ),
}
