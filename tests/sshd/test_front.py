"""`up` in front, its output in a pipe: clean lines, gentle and sudden ends, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from sshwrap.tunnel.machine import KILL_AFTER
from tests.support.needs import needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Front, Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd

LINE = re.compile(r"^\d\d:\d\d:\d\d  ?web\b[^\x00-\x1f]*$")


@pytest.fixture
def port(cli: Sshwrap, web: Web) -> int:
    port = free_port()
    cli.profiles(
        web={"remote_forward": f"127.0.0.1:{port}:127.0.0.1:{web.port}", "restart_max_delay": 1}
    )
    return port


@pytest.fixture
def front(cli: Sshwrap, port: int) -> Front:
    """`up web` that serves the page."""
    front = cli.front("up", "web")
    wait_for(lambda: listeners(port), within=20, what=lambda: f"{front.out} {front.err}")
    cli.wait("web", "up")
    return front


def nothing_left(cli: Sshwrap, port: int) -> None:
    wait_for(lambda: not cli.own_processes(), what="every ssh has ended")
    wait_for(lambda: not listeners(port), what="nobody listens on the server")
    assert cli.sockets() == []
    state = Path(cli.places().state_dir)
    assert list(state.glob("**/*.lock")) == []


def test_ctrl_c_ends_it_and_it_is_wanted_no_more(cli: Sshwrap, port: int, front: Front) -> None:
    assert "hello" in fetch(port)
    front.signal(signal.SIGINT)
    assert front.wait() == 130
    nothing_left(cli, port)
    tunnel = cli.tunnel("web")
    assert (tunnel["state"], tunnel["wanted"]) == ("down", False)
    assert cli.journal("web", "unwanted")[0]["by"] == "ctrl-c"


def test_term_ends_it_and_it_stays_wanted(cli: Sshwrap, port: int, front: Front) -> None:
    front.signal(signal.SIGTERM)
    assert front.wait() == 0
    nothing_left(cli, port)
    tunnel = cli.tunnel("web")
    assert (tunnel["state"], tunnel["wanted"]) == ("down", True)
    assert tunnel["failure"]["kind"] == "supervisor_gone"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_second_signal_ends_it_at_once(cli: Sshwrap, port: int, number: int, status: int) -> None:
    # On a busy machine the processes alone may take as long as ssh is given: one of three tries.
    took: list[float] = []
    while len(took) < 3 and min(took, default=KILL_AFTER) >= KILL_AFTER:
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up", count=len(took) + 1)
        # A stopped ssh cannot obey TERM: the first signal alone would wait for it.
        os.kill(cli.tunnel("web")["ssh_pid"], signal.SIGSTOP)
        began = time.monotonic()
        front.signal(number)
        cli.wait_for_entry("web", "unwanted", count=len(took) + 1)
        front.signal(number)
        assert front.wait() == status
        took.append(time.monotonic() - began)
        nothing_left(cli, port)
    assert min(took) < KILL_AFTER


def test_lines_in_a_pipe_are_clean_and_one_a_change(
    cli: Sshwrap, port: int, front: Front, sshd: Sshd
) -> None:
    sshd.kill_sessions()
    cli.wait("web", lambda tunnel: tunnel["state"] == "up" and tunnel["drops"] == 1)
    front.signal(signal.SIGTERM)
    front.wait()
    lines = front.out.splitlines()
    assert [line for line in lines if not LINE.match(line)] == []
    told = [line.split("web", 1)[1] for line in lines]
    assert len([text for text in told if re.match(r"\W+up\b", text)]) == 2, lines
    assert len([text for text in told if "closed the connection" in text]) == 1, lines
    assert f":{port}" in front.out
    assert "\x1b" not in front.out + front.err


def test_killed_it_leaves_no_ssh_and_the_background_takes_over(
    cli: Sshwrap, port: int, front: Front
) -> None:
    front.signal(signal.SIGKILL)
    assert front.wait() == -signal.SIGKILL
    wait_for(lambda: not cli.own_processes(), what="ssh has gone with its supervisor")
    wait_for(lambda: not listeners(port), what="nobody listens")
    done = cli("status", "web")
    assert done.status == 1
    assert f"pid {front.pid}" in cli.tunnel("web")["failure"]["summary"]
    tunnel = cli.up("web")
    assert tunnel["supervisor_pid"] != front.pid
    assert "hello" in fetch(port)


def test_up_of_what_is_up_watches_it(cli: Sshwrap, port: int) -> None:
    first = cli.up("web")
    watching = cli.front("up", "web")
    watching.wait_for_words("web: already kept up in the background")
    watching.wait_for_words("Ctrl-C stops watching, not the tunnel")
    killed = 0

    def told() -> bool:
        """It may still be on its way to the supervisor when the first is killed."""
        nonlocal killed
        tunnel = cli.tunnel("web")
        if tunnel["state"] == "up" and tunnel["ssh_pid"] != killed:
            killed = tunnel["ssh_pid"]
            os.kill(killed, signal.SIGKILL)
        return "ssh was ended by signal 9" in watching.out

    wait_for(told, within=20, what=lambda: watching.out)
    watching.signal(signal.SIGINT)
    assert watching.wait() == 0
    tunnel = cli.wait("web", "up")
    assert tunnel["supervisor_pid"] == first["supervisor_pid"]
    assert "hello" in fetch(port)


def test_two_fronts_of_one_profile_have_one_supervisor(
    cli: Sshwrap, port: int, front: Front
) -> None:
    second = cli.front("up", "web")
    second.wait_for_words(f"web: already kept up by pid {front.pid}")
    assert len(cli.own_ssh()) == 1
    assert cli("up", "-d", "web").status == 0  # it is up, by whomever
    assert cli.tunnel("web")["supervisor_pid"] == front.pid
    second.signal(signal.SIGINT)
    assert second.wait() == 0
    assert "hello" in fetch(port)


def test_two_fronts_of_two_profiles(cli: Sshwrap, web: Web) -> None:
    ports = {"one": free_port(), "two": free_port()}
    cli.profiles(**{n: {"remote_forward": f"{p}:127.0.0.1:{web.port}"} for n, p in ports.items()})
    fronts = {name: cli.front("up", name) for name in ports}
    for name, front in fronts.items():
        assert cli.wait(name, "up")["supervisor_pid"] == front.pid
    fronts["one"].signal(signal.SIGINT)
    assert fronts["one"].wait() == 130
    wait_for(lambda: not listeners(ports["one"]), what="nobody listens")
    assert "hello" in fetch(ports["two"])
    states = {name: tunnel["state"] for name, tunnel in cli.tunnels().items()}
    assert states == {"one": "down", "two": "up"}
    # `down` from elsewhere ends what is in front there, and that ends the command.
    assert cli("down", "two").status == 0
    assert fronts["two"].wait() == 0


def test_without_a_terminal_it_never_gives_up(cli: Sshwrap, port: int, sshd: Sshd) -> None:
    sshd.authorized_keys.write_text("")
    front = cli.front("up", "--no-input", "web")
    tunnel = cli.wait("web", "failed")
    assert tunnel["failure"]["kind"] == "permission_denied"
    assert tunnel["next_attempt_at"] is not None
    sshd.authorized_keys.write_text(sshd.client_key.with_suffix(".pub").read_text())
    front.signal(signal.SIGUSR1)  # reconnect now
    cli.wait("web", "up")
    assert "hello" in fetch(port)


def test_usr1_reconnects(cli: Sshwrap, port: int, front: Front) -> None:
    first = cli.tunnel("web")
    front.signal(signal.SIGUSR1)
    tunnel = cli.wait("web", lambda t: t["state"] == "up" and t["ssh_pid"] != first["ssh_pid"])
    assert tunnel["drops"] == 0
    assert "hello" in fetch(port)


def test_hup_reads_the_profiles_anew(cli: Sshwrap, port: int, front: Front, web: Web) -> None:
    other = free_port()
    cli.profiles(web={"remote_forward": f"{other}:127.0.0.1:{web.port}"})
    front.signal(signal.SIGHUP)
    wait_for(lambda: listeners(other) and not listeners(port), within=20, what="the new forward")
    tunnel = cli.wait("web", "up")
    assert [f["listen_port"] for f in tunnel["forwards"]] == [other]
    assert "hello" in fetch(other)
