"""Every fault does what its name says to a plain `ssh -N -R`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.netlab import faults
from tests.netlab.lab import SERVER4, SERVER6, Lab, missing_for_delay
from tests.netlab.plain import (
    ALERT,
    CONFIRMED,
    PORT,
    meets,
    page,
    seen_from,
    start_tunnel,
    tunnel,
)
from tests.netlab.visitor import now
from tests.support.waiting import wait_for

HERE = (SERVER4, PORT)


def port_is_free(lab: Lab) -> bool:
    return not lab.server.listeners(PORT)


# --- processes -----------------------------------------------------------------------------------


def test_kill_frees_the_port_and_a_visitor_knows_how_long_it_took(lab: Lab) -> None:
    ssh = tunnel(lab)
    with lab.visitor.watch(HERE) as watch:
        assert watch.served_after(0, within=10) > 0
        killed = lab.faults.kill(ssh.pid)
        assert ssh.wait() == -9
        missed = watch.missed_after(killed, within=10)
        assert missed.error != "timeout"
        wait_for(lambda: port_is_free(lab), what="the port is free")
        again = now()
        tunnel(lab)
        assert killed < missed.ended < again
        assert watch.served_after(killed, within=10) > again - killed


def test_only_processes_of_the_lab_are_signalled(lab: Lab) -> None:
    for verb in (lab.faults.kill, lab.faults.freeze):
        with pytest.raises(ProcessLookupError, match="process 1 is not of this lab"):
            verb(1)


def test_a_frozen_client_is_deaf_and_its_kernel_is_not(lab: Lab) -> None:
    ssh = tunnel(lab)
    lab.faults.freeze(ssh.pid)
    assert meets(lab) == "TimeoutError"
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}
    assert lab.faults.in_force() == [f"freeze {ssh.pid}"]
    lab.faults.thaw(ssh.pid)
    assert page(lab).startswith("hello")
    assert lab.faults.in_force() == []
    lab.faults.kill(ssh.pid)
    assert ssh.wait() == -9, "nothing that waits for it stands still"


def test_a_frozen_session_of_the_server_is_deaf(lab: Lab) -> None:
    ssh = tunnel(lab)
    (session,) = lab.server.sessions()
    lab.faults.freeze(session)
    assert meets(lab) == "TimeoutError"
    lab.faults.heal()
    assert page(lab).startswith("hello")
    assert ssh.is_alive


def test_what_was_frozen_can_be_ended(lab: Lab) -> None:
    for end in (lambda ssh: ssh.stop(), lambda ssh: lab.faults.kill(ssh.pid)):
        ssh = tunnel(lab)
        pid = ssh.pid
        lab.faults.freeze(pid)
        end(ssh)
        assert ssh.wait() == -9
        wait_for(lambda: port_is_free(lab), what="the port is free")
        lab.faults.thaw(pid)


# --- the line ------------------------------------------------------------------------------------


def test_rst_ends_both_ends(lab: Lab) -> None:
    ssh = tunnel(lab)
    assert lab.faults.rst() == 1
    assert ssh.wait() == 255
    wait_for(lambda: port_is_free(lab) and not lab.server.sessions(), what="the session ends")
    assert lab.faults.rst() == 0


@pytest.mark.parametrize("host", ["vps4.example.com", "vps6.example.com"])
def test_silence_is_not_noticed_and_passes(lab: Lab, host: str) -> None:
    ssh = tunnel(lab, host=host)
    lab.faults.silence()
    lab.faults.silence()
    assert meets(lab) == "TimeoutError"
    assert ssh.is_alive
    assert len(lab.server.sessions()) == 1
    lab.faults.speak()
    assert page(lab).startswith("hello")


def test_silence_is_noticed_by_the_keepalive_alone(lab: Lab) -> None:
    ssh = tunnel(lab, *ALERT)
    lab.faults.silence()
    assert ssh.wait() == 255
    assert "Timeout, server vps4.example.com not responding." in ssh.output()
    assert not port_is_free(lab), "the server was told nothing"


def test_loss_loses_some_each_way_and_tcp_goes_on(lab: Lab) -> None:
    tunnel(lab)
    lab.faults.loss(0.3)
    wait_for(
        lambda: page(lab, within=60).startswith("hello") and all(_dropped(lab)),
        within=60,
        what=lambda: f"both ways lose something: {_dropped(lab)}",
    )
    lab.faults.loss(0)
    assert _dropped(lab) == []


def _dropped(lab: Lab) -> list[int]:
    """Packets of IPv4 that each rule of a fault has dropped."""
    said = lab.internet.run("iptables", "-w", "-L", "FORWARD", "-v", "-x", "-n", tools=True).stdout
    return [int(line.split()[0]) for line in said.splitlines() if " DROP " in line]


@pytest.mark.parametrize(
    ("host", "address"), [("vps4.example.com", SERVER4), ("vps6.example.com", SERVER6)]
)
def test_a_delayed_line_is_slow_from_end_to_end(lab: Lab, host: str, address: str) -> None:
    if (reason := missing_for_delay()) is not None:
        pytest.skip(reason)
    ssh = tunnel(lab, host=host)
    lab.faults.delay(0.8)
    # A proxy in between would answer the SYN itself, and acknowledge what the server never got.
    assert _handshake(lab, address) >= 0.8
    begun = now()
    assert page(lab).startswith("hello")
    assert now() - begun >= 0.8
    lab.faults.delay(0)
    wait_for(lambda: _handshake(lab, address) < 0.8, within=20, what="a quick handshake")
    assert page(lab).startswith("hello")
    assert ssh.is_alive


def _handshake(lab: Lab, address: str) -> float:
    """Seconds until the home's kernel is connected with the server's."""
    text = f"""
import socket, time
begun = time.monotonic()
socket.create_connection(({address!r}, 22)).close()
print(time.monotonic() - begun)
"""
    return float(lab.home.run(sys.executable, "-S", "-E", "-c", text, tools=True).stdout)


# --- routes and addresses ------------------------------------------------------------------------


def test_without_a_route_the_home_knows_it(lab: Lab) -> None:
    ssh = tunnel(lab)
    lab.faults.no_route()
    for host in ("vps4.example.com", "vps6.example.com"):
        other = start_tunnel(lab, host=host)
        assert other.wait() == 255
        assert "Network is unreachable" in other.output()
    assert meets(lab) == "TimeoutError"
    lab.faults.route()
    lab.faults.route()
    assert page(lab).startswith("hello")
    assert ssh.is_alive


@pytest.mark.parametrize(
    ("nat", "host", "old", "new"),
    [
        (True, "vps4.example.com", "198.51.100.10", "198.51.100.11"),
        (False, "vps4.example.com", "198.18.1.10", "198.18.2.10"),
        (True, "vps6.example.com", "2001:db8:aa:1::10", "2001:db8:aa:2::10"),
    ],
)
def test_an_address_change_kills_the_flow_and_the_server_keeps_the_port(
    make_lab: Callable[..., Lab], nat: bool, host: str, old: str, new: str
) -> None:
    lab = make_lab(nat=nat)
    lab.server.start_sshd(GatewayPorts="clientspecified")
    lab.serve_page()
    assert seen_from(lab, host) == old
    ssh = tunnel(lab, *ALERT, host=host)
    (session,) = lab.server.sessions()
    lab.faults.address_change(home=":" in new)
    assert ssh.wait() == 255
    assert f"Timeout, server {host} not responding." in ssh.output(), "nobody told the client"
    assert lab.server.sessions() == [session], "nobody told the server"
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}
    assert meets(lab) == "TimeoutError"

    other = start_tunnel(lab, host=host)
    assert other.wait() == 255
    assert f"remote port forwarding failed for listen port {PORT}" in other.output()
    assert seen_from(lab, host) == new

    lab.faults.kill(session)
    wait_for(lambda: port_is_free(lab), what="the port is free")
    tunnel(lab, host=host)
    assert page(lab).startswith("hello")


def test_addresses_are_given_again_when_all_have_been(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "ADDRESSES", 2)
    for number in (2, 1, 2):
        lab.faults.address_change(home=True)
        assert seen_from(lab) == f"198.51.100.{number + 9}"
        assert seen_from(lab, "vps6.example.com") == f"2001:db8:aa:{number}::10"


def test_behind_nat_an_address_change_is_no_news_at_home(lab: Lab) -> None:
    """Nothing tells the home's kernel, unless its own network is another one as well."""
    with lab.home.popen("ip", "monitor", "address", "route", tools=True) as news:
        pid = news.pid
        assert pid
        lab.faults.address_change()
        assert seen_from(lab) == "198.51.100.11"
        assert seen_from(lab, "vps6.example.com") == "2001:db8:aa:1::10"
        assert "2001:db8" not in news.output()
        lab.faults.address_change(home=True)
        news.wait_for_words("2001:db8:aa:2::")


# --- the server ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["vps4.example.com", "vps6.example.com"])
def test_a_reboot_tells_nobody_until_somebody_asks(lab: Lab, host: str) -> None:
    ssh = tunnel(lab, "-oServerAliveInterval=1", "-oServerAliveCountMax=30", host=host)
    boot = lab.server.boot_id()
    lab.faults.server_off()
    assert meets(lab) == "TimeoutError"
    assert ssh.is_alive
    lab.faults.server_on()
    assert ssh.wait() == 255
    said = ssh.output()
    assert "Timeout, server" not in said, "somebody answered"
    assert "closed by remote host" not in said, "with RST: nothing of the old boot is left"
    assert lab.server.boot_id() != boot
    assert port_is_free(lab)
    tunnel(lab, host=host)
    assert page(lab).startswith("hello")


def test_a_port_that_another_program_holds_is_refused(lab: Lab) -> None:
    with lab.faults.hold_port(PORT, account="tunnel") as holder:
        refused = start_tunnel(lab)
        assert refused.wait() == 255
        assert f"remote port forwarding failed for listen port {PORT}" in refused.output()
        owner = lab.server.run("ss", "-Hltne", f"sport = :{PORT}", tools=True).stdout
        assert owner.count("uid:5002 ") == len(owner.splitlines()) == 2
        assert holder.is_alive
    wait_for(lambda: port_is_free(lab), what="the port is free")
    tunnel(lab)


def test_a_port_is_taken_from_a_tunnel(lab: Lab) -> None:
    ssh = tunnel(lab)
    holder = lab.faults.take_port(PORT)
    assert ssh.wait() == 255
    assert lab.server.sessions() == []
    assert start_tunnel(lab).wait() == 255
    assert holder.is_alive
    assert lab.faults.in_force() == [f"hold_port {PORT}"]
    lab.faults.release_port(PORT)
    tunnel(lab)


@pytest.mark.parametrize(
    ("families", "held", "ours", "served"),
    [("v4", "0.0.0.0", "::", SERVER6), ("v6", "::", "0.0.0.0", SERVER4)],
)
def test_a_half_held_port_is_confirmed_and_half_ours(
    lab: Lab, families: str, held: str, ours: str, served: str
) -> None:
    holder = lab.faults.hold_port(PORT, families)
    assert lab.server.listeners(PORT) == {held}
    ssh = tunnel(lab)
    assert CONFIRMED in ssh.output()
    assert page(lab, address=served).startswith("hello")
    assert meets(lab, address=SERVER4 if served == SERVER6 else SERVER6) == "TimeoutError"
    assert lab.faults.in_force() == [f"hold_port {PORT}"]
    lab.faults.release_port(PORT)
    assert not holder.is_alive
    assert lab.server.listeners(PORT) == {ours}, "nobody takes the other half by himself"


def test_a_firewall_keeps_visitors_out_and_the_server_in(lab: Lab) -> None:
    tunnel(lab)
    for verb, met in (
        (lab.faults.firewall, "TimeoutError"),
        (lab.faults.firewall_reject, "OSError"),  # no route to host
        (lab.faults.upstream_firewall, "TimeoutError"),
    ):
        verb(PORT)
        verb(PORT)
        assert lab.faults.in_force() == [f"{verb.__name__} {PORT}"]
        assert meets(lab) == met
        assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}
        rules = lab.server.run("iptables", "-S", "INPUT", tools=True).stdout
        assert (f"--dport {PORT}" in rules) is (verb != lab.faults.upstream_firewall)
        lab.faults.heal()
        assert lab.faults.in_force() == []
        assert meets(lab) == "page"


def test_sshd_turns_strangers_away(lab: Lab) -> None:
    lab.server.restart_sshd(MaxStartups="1:100:1")
    talk = f"exec 3<>/dev/tcp/{SERVER4}/22; read -r -u 3 words; echo $words; read -r -u 3 more"
    with lab.home.popen("bash", "-c", talk) as stranger:
        stranger.wait_for_words("SSH-2.0")
        ssh = start_tunnel(lab)
        assert ssh.wait() == 255
        words = "Exceeded MaxStartups" if lab.server.version() < (9, 8) else "Not allowed at this"
        assert words in ssh.output()


def test_sshd_ends_connections_without_a_channel(lab: Lab) -> None:
    if lab.server.version() < (9, 2):
        pytest.skip("UnusedConnectionTimeout came with OpenSSH 9.2")
    lab.server.restart_sshd(UnusedConnectionTimeout=3)
    ssh = tunnel(lab)
    assert ssh.wait() == 255
    assert "closed by remote host" in ssh.output()


def test_sshd_10_penalises_an_address(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(server="trixie")
    lab.server.start_sshd(GatewayPorts="yes", PerSourcePenalties="authfail:600 min:1")
    lab.serve_page()
    stranger = lab.home.run("ssh", "-oBatchMode=yes", "nobody@vps4.example.com", check=False)
    assert "Permission denied" in stranger.stderr

    def penalised() -> bool:
        ssh = start_tunnel(lab)
        ssh.wait()
        return "Not allowed at this time" in ssh.output()

    wait_for(penalised, what="the right key is refused")
    lab.faults.address_change()
    tunnel(lab)
    assert page(lab).startswith("hello")


def test_heal_ends_every_fault(lab: Lab) -> None:
    ssh = tunnel(lab)
    pid = ssh.pid
    lab.faults.hold_port(7)
    lab.faults.silence()
    lab.faults.loss(0.5)
    lab.faults.no_route()
    lab.faults.freeze(pid)
    lasting = ["silence", "loss", "no_route", f"freeze {pid}", "hold_port 7"]
    assert lab.faults.in_force() == lasting
    lab.faults.server_off()
    # the program that held the port is gone with the server's power
    assert lab.faults.in_force() == ["silence", "loss", "server_off", "no_route", f"freeze {pid}"]
    lab.faults.heal()
    assert lab.faults.in_force() == []
    ssh.stop()
    tunnel(lab)
    assert page(lab).startswith("hello")
