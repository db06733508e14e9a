"""What befalls the home and its router does what its name says to a plain `ssh -N -R`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.netlab.hosts import PYTHON, Program
from tests.netlab.lab import Lab
from tests.netlab.plain import PORT, meets, needs_suspend, page, seen_from, start_tunnel, tunnel
from tests.support.waiting import wait_for

# Ticks: how far the boot clock is ahead of the one that stands still in a suspended machine.
CLOCK = """
import select, sys, time
begin = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
while True:
    ahead = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic() - begin
    print(round(ahead), sys.argv[1:], flush=True)
    select.select([], [], [], 0.02)
"""


# --- the cable -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["vps4.example.com", "vps6.example.com"])
def test_a_cable_that_is_out_is_seen_by_the_home_and_the_line_survives(lab: Lab, host: str) -> None:
    ssh = tunnel(lab, host=host)
    lab.faults.cable_out()
    lab.faults.cable_out()
    assert lab.faults.in_force() == ["cable_out"]
    said = lab.home.run("ip", "-o", "link", "show", "lan", tools=True).stdout
    assert "NO-CARRIER" in said
    assert meets(lab) == "TimeoutError"
    lab.faults.cable_in()
    assert page(lab, within=20).startswith("hello")
    assert ssh.is_alive
    assert seen_from(lab, host)


# --- a router that forgets -----------------------------------------------------------------------


def test_a_router_that_takes_up_old_connections_lets_the_server_say_rst(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(strict=False)
    lab.server.start_sshd(GatewayPorts="clientspecified")
    lab.serve_page()
    ssh = tunnel(lab, "-oServerAliveInterval=1", "-oServerAliveCountMax=60")
    sessions = lab.server.sessions()
    lab.faults.address_change()
    assert ssh.wait() == 255
    assert "Timeout, server" not in ssh.output(), "somebody answered"
    assert lab.server.sessions() == sessions, "nobody told the server of the old connection"
    other = start_tunnel(lab)
    assert other.wait() == 255
    assert f"remote port forwarding failed for listen port {PORT}" in other.output()


# --- the machine ---------------------------------------------------------------------------------


def clock(lab: Lab, *words: str) -> Program:
    program = lab.home.popen(*PYTHON, "-c", CLOCK, *words, tools=True)
    program.wait_for_words("0 [")
    return program


def last_line(program: Program) -> str:
    whole, _, _ = program.output().rpartition("\n")
    return whole.rpartition("\n")[2]


def test_a_suspended_home_does_nothing_and_wakes_later(lab: Lab) -> None:
    needs_suspend()
    ssh = tunnel(lab)
    ours, other = clock(lab, "sshwrap"), clock(lab)
    lab.faults.suspend()
    assert lab.faults.in_force() == ["suspend"]
    before = ours.output()
    assert meets(lab) == "TimeoutError"
    assert ours.output() == before
    lab.faults.wake(600)
    wait_for(lambda: last_line(ours).startswith("600 "), within=20, what=lambda: last_line(ours))
    wait_for(lambda: ours.output() != before and page(lab), within=20, what="the page")
    assert last_line(other).startswith("0 ")
    lab.faults.suspend()
    lab.faults.wake(1000)
    wait_for(lambda: last_line(ours).startswith("1600 "), within=20, what=lambda: last_line(ours))
    assert ssh.is_alive
    assert lab.faults.in_force() == []


def test_only_who_runs_as_root_can_be_made_to_have_slept(lab: Lab) -> None:
    needs_suspend()
    sleeper = lab.home.popen("bash", "-c", "exec -a sshwrap sleep 1000", account="you")
    wait_for(lambda: "sshwrap" in _titles(lab), within=20, what=lambda: f"{_titles(lab)}")
    lab.faults.suspend()
    with pytest.raises(OSError, match="Operation not permitted"):
        lab.faults.wake(600)
    lab.faults.wake(0)
    assert lab.faults.in_force() == []
    assert sleeper.is_alive


def _titles(lab: Lab) -> set[str]:
    return {one.argv[0] for one in lab.home.processes()}


def test_a_home_without_power_tells_nobody_and_boots_without_its_tunnel(lab: Lab) -> None:
    ssh = tunnel(lab)
    boot = lab.home.boot_id()
    (session,) = lab.server.sessions()
    wait_for(lambda: lab.server.unacknowledged() == 0, what="the server has no more to say")
    lab.faults.home_off()
    assert lab.faults.in_force() == ["home_off"]
    assert not ssh.is_alive
    lab.faults.home_on()
    assert lab.home.boot_id() != boot
    assert lab.server.sessions() == [session], "nobody told the server"
    other = start_tunnel(lab)
    assert other.wait() == 255
    assert f"remote port forwarding failed for listen port {PORT}" in other.output()
    # What the server has to say of a visitor meets a home that knows of no such connection.
    assert meets(lab) != "page"
    wait_for(lambda: not lab.server.listeners(PORT), within=20, what="the port is free")
    tunnel(lab)
    assert page(lab).startswith("hello"), "its page is served again"


def test_heal_wakes_and_boots_the_home(lab: Lab) -> None:
    lab.faults.cable_out()
    lab.faults.suspend()
    lab.faults.home_off()
    assert lab.faults.in_force() == ["suspend", "home_off", "cable_out"]
    lab.faults.heal()
    assert lab.faults.in_force() == []
    tunnel(lab)
    assert page(lab).startswith("hello")
