"""Somebody else has the port, or half of it; or we have it ourselves, by a session that is dead."""

from __future__ import annotations

import stat
import time

import pytest

from tests.netlab.home_cli import PATIENT, WITHIN, HomeCli, served
from tests.netlab.lab import SERVER4, SERVER6, Lab
from tests.netlab.plain import PORT, meets
from tests.support.sshwrap_cli import Tunnel
from tests.support.waiting import wait_for

# A shell that never says anything: whoever signs in for a session waits.
SILENT_SHELL = "/usr/local/bin/silent-shell"


def reach(tunnel: Tunnel) -> str:
    return str(tunnel["forwards"][0]["reach"])


def test_a_port_of_another_program_is_waited_for(lab: Lab, cli: HomeCli) -> None:
    lab.faults.hold_port(PORT)
    cli.profiles(web={})
    done = cli("up", "-d", "web", "--timeout", "3")
    assert done.status == 1, done
    assert str(PORT) in done.out + done.err
    tunnel = cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 2)
    assert tunnel["failure"]["kind"] == "port_taken", tunnel
    lab.faults.release_port(PORT)
    cli.wait_until("web", "up")
    served(lab)
    assert cli("status", "web").status == 0
    assert not cli.journal("web", "reclaim"), "nothing of ours was there to be ended"


@pytest.mark.slow
def test_a_program_that_takes_the_port_meanwhile_is_not_ended(lab: Lab, cli: HomeCli) -> None:
    """There is a record of our session, and the port is not that session's."""
    cli.profiles(web={})
    cli.up("web")
    holder = lab.faults.take_port(PORT, account="tunnel")
    cli.wait_until("web", lambda tunnel: (tunnel["failure"] or {}).get("kind") == "port_taken")
    cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 4)
    assert holder.is_alive
    lab.faults.release_port(PORT)
    cli.wait_until("web", "up")
    served(lab)


@pytest.mark.parametrize(
    ("families", "ours", "theirs", "six"),
    [
        ("v4", SERVER6, SERVER4, True),
        pytest.param("v6", SERVER4, SERVER6, False, marks=pytest.mark.slow),
    ],
)
def test_half_a_port_serves_and_becomes_whole_on_the_same_connection(
    lab: Lab, cli: HomeCli, families: str, ours: str, theirs: str, six: bool
) -> None:
    lab.faults.hold_port(PORT, families)
    cli.profiles(web=PATIENT)
    cli("up", "-d", "web")
    tunnel = cli.wait_until("web", lambda tunnel: reach(tunnel) == "half_bound")
    assert (tunnel["state"], tunnel["ok"]) == ("up", False)
    assert cli("status", "web").status == 1
    served(lab, six=six)
    assert meets(lab, address=theirs) == "TimeoutError"
    ssh = cli.ssh_of("web")
    lab.faults.release_port(PORT)
    cli.wait_until("web", lambda tunnel: reach(tunnel) == "as_asked")
    served(lab)
    served(lab, six=True)
    assert cli.ssh_of("web") == ssh
    assert cli("status", "web").status == 0
    said = [(entry["old"], entry["reach"]) for entry in cli.journal("web", "reach")]
    assert said[-1] == ("half_bound", "as_asked"), said


def test_a_server_without_ipv6_is_not_half_bound(lab: Lab, cli: HomeCli) -> None:
    lab.server.restart_sshd(AddressFamily="inet")
    cli.profiles(web={})
    tunnel = cli.up("web")
    assert reach(tunnel) == "as_asked", tunnel
    assert cli("status", "web").status == 0


# --- our own dead session ------------------------------------------------------------------------


@pytest.mark.slow
def test_reclaim_that_is_forbidden_waits_and_ends_nothing(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={"reclaim": False})
    cli.up("web")
    (session,) = lab.server.sessions()
    lab.faults.address_change()
    cli.wait_until("web", lambda tunnel: (tunnel["failure"] or {}).get("kind") == "port_taken")
    cli.wait_until("web", lambda tunnel: tunnel["attempt"] >= 3)
    assert session in lab.server.sessions()
    assert not cli.journal("web", "reclaim")
    lab.faults.kill(session)
    cli.wait_until("web", "up")
    served(lab)


def test_down_in_the_middle_of_a_reclaim(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={})
    cli.up("web")
    (session,) = lab.server.sessions()
    _hold_every_session(lab)
    lab.faults.address_change()
    cli.wait_until("web", lambda tunnel: (tunnel["failure"] or {}).get("kind") == "port_taken")
    wait_for(
        lambda: _side_ssh(cli), within=WITHIN, what=lambda: cli.story("web", "a reclaim begins")
    )
    begun = time.monotonic()
    done = cli("down", "web")
    assert done.status == 0, done
    assert time.monotonic() - begun < 20
    wait_for(lambda: not cli.own_processes(), within=WITHIN, what="nothing of ours is left")
    assert session in lab.server.sessions(), "it was not ended after all"
    assert cli("status").status == 0, "nothing is wanted"


@pytest.mark.slow
def test_a_reclaim_that_gets_no_answer_is_not_the_end(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={})
    cli.up("web")
    (session,) = lab.server.sessions()
    _hold_every_session(lab)
    lab.faults.address_change()
    entry = cli.wait_for_entry("web", "reclaim", within=WITHIN)
    assert entry["outcome"] != "ended", entry
    _let_every_session_go(lab)
    cli.wait_until("web", "up")
    served(lab)
    assert session not in lab.server.sessions()


def _hold_every_session(lab: Lab) -> None:
    """From now on a session of the account does nothing; who only forwards notices nothing."""
    lab.server.put(SILENT_SHELL, "#!/bin/sh\nexec sleep 1000\n", mode=stat.S_IRWXU | 0o055)
    _replace_shell(lab, "/bin/bash", SILENT_SHELL)


def _let_every_session_go(lab: Lab) -> None:
    _replace_shell(lab, SILENT_SHELL, "/bin/bash")


def _replace_shell(lab: Lab, old: str, new: str) -> None:
    path = lab.server.root / "etc/passwd"
    lines = path.read_text().splitlines()
    changed = [
        line.removesuffix(old) + new if line.startswith("tunnel:") else line for line in lines
    ]
    path.write_text("\n".join(changed) + "\n")


def _side_ssh(cli: HomeCli) -> list[int]:
    """Of ours, those that sign in without a forward."""
    return [one.pid for one in cli.own_processes() if "ClearAllForwardings=yes" in one.argv]
