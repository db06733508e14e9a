"""Whatever befalls the line or an end of it, a visitor is served again, by the command alone.

Facts alone: how long it takes is for the benchmark.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.netlab.conftest import home_cli
from tests.netlab.home_cli import PATIENT, WITHIN, HomeCli, served
from tests.netlab.lab import Lab
from tests.netlab.plain import PORT, meets, needs_suspend
from tests.support.processes import process
from tests.support.sshwrap_cli import Tunnel
from tests.support.waiting import wait_for


def up(lab: Lab, cli: HomeCli, **keys: object) -> int:
    """The tunnel is up, and a visitor served; its ssh, as seen from outside."""
    cli.profiles(web=keys)
    cli.up("web")
    served(lab)
    return cli.ssh_of("web")


def is_up_again(tunnel: Tunnel) -> bool:
    return bool(tunnel["drops"] and tunnel["state"] == "up")


def comes_back(lab: Lab, cli: HomeCli, ssh: int) -> Tunnel:
    """It has been noticed, another ssh serves the visitor, and nothing of the old one is left."""
    wait_for(lambda: process(ssh) is None, within=WITHIN, what=lambda: cli.story("web", "noticed"))
    tunnel = cli.wait_until("web", is_up_again)
    served(lab)
    assert [one.pid for one in cli.own_ssh()] == [cli.ssh_of("web")]
    assert cli.ssh_of("web") != ssh
    done = cli("status", "web")
    assert done.status == 0, (done, cli.story("web"))
    return tunnel


def falls_silent(lab: Lab, cli: HomeCli) -> None:
    """Nobody has anything to say: what the server has sent would be refused by a home that lost
    its connection, and so tell the server."""
    cli.wait_until("web", lambda tunnel: tunnel["forwards"][0]["from_here"] == "open")
    wait_for(
        lambda: lab.server.unacknowledged() == 0,
        within=WITHIN,
        what=lambda: f"{lab.server.unacknowledged()} bytes are acknowledged",
    )


def failures(cli: HomeCli) -> list[dict[str, Any]]:
    entries = cli.journal("web")
    return [entry["failure"] for entry in entries if entry.get("failure") is not None]


# --- either end ----------------------------------------------------------------------------------


def test_a_killed_ssh(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    lab.faults.kill(ssh)
    comes_back(lab, cli, ssh)


@pytest.mark.slow
def test_a_killed_session_of_the_server(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    for session in lab.server.sessions():
        lab.faults.kill(session)
    comes_back(lab, cli, ssh)


def test_rst(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    assert lab.faults.rst() >= 1
    comes_back(lab, cli, ssh)


@pytest.mark.slow
def test_a_frozen_ssh_goes_on_where_it_stood(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli, **PATIENT)
    lab.faults.freeze(ssh)
    assert meets(lab) == "TimeoutError"
    lab.faults.thaw(ssh)
    served(lab)


@pytest.mark.slow
def test_a_frozen_ssh_is_replaced_when_that_is_asked(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    lab.faults.freeze(ssh)
    done = cli("restart", "web")
    assert done.status == 0, (done, cli.story("web"))
    served(lab)
    assert [one.pid for one in cli.own_ssh()] == [cli.ssh_of("web")] != [ssh]


def test_a_frozen_session_of_the_server(lab: Lab, cli: HomeCli) -> None:
    """It holds the port, and hears no TERM."""
    ssh = up(lab, cli)
    (session,) = lab.server.sessions()
    lab.faults.freeze(session)
    comes_back(lab, cli, ssh)
    assert session not in lab.server.sessions()


# --- the line ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_silence_that_outlives_the_keepalive_and_a_try(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli, connect_timeout=3)
    lab.faults.silence()
    cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 2 and tunnel["state"] == "waiting")
    assert cli("status", "web").status == 1
    lab.faults.speak()
    comes_back(lab, cli, ssh)


@pytest.mark.slow
def test_silence_that_passes_before_the_keepalive_costs_nothing(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli, **PATIENT)
    lab.faults.silence()
    assert meets(lab) == "TimeoutError"
    lab.faults.speak()
    served(lab)
    assert cli.ssh_of("web") == ssh
    assert cli.asked("web")["drops"] == 0


@pytest.mark.slow
def test_no_route(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    lab.faults.no_route()
    cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 1 and tunnel["state"] == "waiting")
    lab.faults.route()
    comes_back(lab, cli, ssh)


@pytest.mark.slow
def test_a_cable_that_is_out(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli, connect_timeout=3)
    lab.faults.cable_out()
    cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 1 and tunnel["state"] == "waiting")
    lab.faults.cable_in()
    comes_back(lab, cli, ssh)


def test_started_before_there_is_a_network(lab: Lab, cli: HomeCli) -> None:
    lab.faults.no_route()
    cli.profiles(web={})
    done = cli("up", "-d", "web", "--timeout", "2")
    assert done.status == 1, done
    lab.faults.route()
    cli.wait_until("web", "up")
    served(lab)
    assert {failure["kind"] for failure in failures(cli)} == {"network_unreachable"}


def test_the_address_changes_and_our_dead_session_holds_the_port(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    (session,) = lab.server.sessions()
    lab.faults.address_change()
    comes_back(lab, cli, ssh)
    assert session not in lab.server.sessions()
    entry = cli.wait_for_entry("web", "reclaim", within=WITHIN)
    assert entry["outcome"] == "ended", entry
    assert str(PORT) in entry["text"]
    said = cli("logs", "web").out
    assert entry["text"] in " ".join(said.split()), said


@pytest.mark.slow
def test_the_address_changes_again_and_again(lab: Lab, cli: HomeCli) -> None:
    up(lab, cli)
    for _ in range(3):
        ssh = cli.ssh_of("web")
        lab.faults.address_change()
        comes_back(lab, cli, ssh)
    assert len(lab.server.sessions()) == 1


# --- the machines --------------------------------------------------------------------------------


def test_the_server_reboots(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    lab.faults.server_off()
    cli.wait_until("web", lambda tunnel: tunnel["state"] != "up")
    lab.faults.server_on()
    comes_back(lab, cli, ssh)
    assert not cli.journal("web", "reclaim"), "what it knew of the old boot is nobody's session"


@pytest.mark.slow
def test_the_server_s_sshd_is_away(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli)
    lab.server.stop_sshd()
    cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 1 and tunnel["state"] == "waiting")
    assert failures(cli)[-1]["kind"] == "refused"
    lab.server.start_sshd()
    comes_back(lab, cli, ssh)


def test_the_home_loses_its_power_and_its_next_start_takes_the_port_back(
    lab: Lab, cli: HomeCli
) -> None:
    up(lab, cli, **PATIENT)
    falls_silent(lab, cli)
    (session,) = lab.server.sessions()
    lab.faults.home_reboot()
    assert lab.server.sessions() == [session], "nobody has told the server"
    assert cli("status", "web").status == 1
    cli.up("web")
    served(lab)
    assert session not in lab.server.sessions()
    assert cli.wait_for_entry("web", "reclaim")["outcome"] == "ended"


@pytest.mark.slow
def test_the_supervisor_is_killed_while_the_line_is_dark(lab: Lab, cli: HomeCli) -> None:
    ssh = up(lab, cli, **PATIENT)
    falls_silent(lab, cli)
    sessions = lab.server.sessions()
    lab.faults.silence()
    lab.faults.kill(cli.supervisor())
    wait_for(lambda: not cli.own_ssh(), within=WITHIN, what="its ssh ends with it")
    # Its kernel would tell the server as soon as it can.
    lab.home.run("ss", "-K", "state", "all", "dport", "=", ":22", tools=True)
    lab.faults.speak()
    assert lab.server.sessions() == sessions
    cli.up("web")
    served(lab)
    assert cli.wait_for_entry("web", "reclaim")["outcome"] == "ended"
    assert cli.ssh_of("web") != ssh


def test_a_suspended_home_wakes_to_a_dead_line(lab: Lab) -> None:
    needs_suspend()
    with home_cli(lab, account="root") as cli:
        ssh = up(lab, cli, **PATIENT)
        lab.faults.suspend()
        lab.faults.address_change()
        lab.faults.wake(600)
        comes_back(lab, cli, ssh)


@pytest.mark.slow
def test_a_suspended_home_wakes_to_a_line_that_lives(lab: Lab) -> None:
    needs_suspend()
    with home_cli(lab, account="root") as cli:
        ssh = up(lab, cli, **PATIENT)
        lab.faults.suspend()
        lab.faults.wake(600)
        served(lab)
        assert cli.ssh_of("web") == ssh
        assert cli.asked("web")["drops"] == 0
