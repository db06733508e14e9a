"""`up -d` against a real sshd: a page through the tunnel, and what becomes of it when it breaks."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime

import pytest

from tests.support.line import Line
from tests.support.needs import needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Fact, Sshwrap, Tunnel
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd


@pytest.fixture
def port(cli: Sshwrap, web: Web) -> int:
    """The port at which the profile "web" serves the page."""
    port = free_port()
    cli.profiles(web={"remote_forward": f"{port}:127.0.0.1:{web.port}", "restart_max_delay": 1})
    return port


def back(drops: int) -> Fact:
    """It is up again after so many drops."""

    def fact(tunnel: Tunnel) -> bool:
        return (tunnel["state"], tunnel["drops"]) == ("up", drops)

    return fact


class TestUpAndDown:
    def test_a_page_through_the_tunnel_and_nothing_left_after_down(
        self, cli: Sshwrap, port: int, sshd: Sshd
    ) -> None:
        done = cli("up", "-d", "web")
        assert done.status == 0, done
        assert "hello" in fetch(port)
        assert listeners(port) >= {"127.0.0.1"}
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["wanted"], tunnel["ok"]) == ("up", True, True)
        assert tunnel["supervisor_pid"] in {one.pid for one in cli.own_processes()}
        assert [tunnel["ssh_pid"]] == [one.pid for one in cli.own_ssh()]
        assert (tunnel["drops"], tunnel["failure"]) == (0, None)
        assert tunnel["forwards"][0]["address"] == f"127.0.0.1:{port}"
        assert cli("status").status == cli("status", "web").status == 0

        done = cli("down", "web")
        assert done.status == 0, done
        assert cli.own_ssh() == []
        wait_for(lambda: not listeners(port), what="nobody listens")
        wait_for(lambda: not sshd.sessions(), what="sshd has seen it go")
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["wanted"], tunnel["ok"]) == ("down", False, True)
        assert cli("status").status == 0
        assert cli("status", "web").status == 1
        wait_for(lambda: not cli.own_processes(), what="with nothing wanted it ends by itself")
        assert cli.sockets() == []
        events = [entry["event"] for entry in cli.journal("web")]
        assert events == ["wanted", "up", "unwanted"]

    def test_no_name_is_all_with_autostart(self, cli: Sshwrap, web: Web) -> None:
        ports = {name: free_port() for name in ("one", "two", "three")}
        cli.profiles(
            **{
                name: {"remote_forward": f"{port}:127.0.0.1:{web.port}", "autostart": name != "two"}
                for name, port in ports.items()
            }
        )
        assert cli("up", "-d").status == 0
        states = {name: tunnel["state"] for name, tunnel in cli.tunnels().items()}
        assert states == {"one": "up", "two": "down", "three": "up"}
        assert cli("up", "-d", "t*").status == 0
        assert cli("status", "*").status == 0
        assert cli("down").status == 0
        assert {tunnel["wanted"] for tunnel in cli.tunnels().values()} == {False}

    def test_two_supervisors_are_never_started(self, cli: Sshwrap, port: int) -> None:
        first = cli.up("web")
        again = cli.up("web")
        assert again["supervisor_pid"] == first["supervisor_pid"]
        assert again["ssh_pid"] == first["ssh_pid"]


class TestDrops:
    def test_ssh_killed(self, cli: Sshwrap, port: int) -> None:
        first = cli.up("web")
        os.kill(first["ssh_pid"], signal.SIGKILL)
        tunnel = cli.wait("web", back(1))
        assert tunnel["ssh_pid"] != first["ssh_pid"]
        assert tunnel["failure"] is None
        assert "hello" in fetch(port)
        down = cli.journal("web", "down")
        assert len(down) == 1
        assert down[0]["failure"]["kind"] == "ended_by_signal"
        assert cli.journal("web", "up")[1]["first"] is False
        told = cli("logs", "web")
        assert told.status == 0
        assert "ssh was ended by signal 9" in told.out
        as_json = [json.loads(line) for line in cli("logs", "web", "--json").out.splitlines()]
        events = [entry["event"] for entry in as_json]
        # A new ssh that is quicker than the server's end of the old one finds its own port taken.
        assert [event for event in events if event != "attempt_failed"] == [
            *("wanted", "up", "down", "up")
        ]

    @pytest.mark.parametrize(
        ("number", "kind"),
        [
            # On TERM ssh exits 0 without a word: a drop all the same, and not the server's doing.
            (signal.SIGTERM, "ended_by_signal"),
            (signal.SIGINT, "ended_by_signal"),
            (signal.SIGHUP, "ended_by_signal"),
        ],
    )
    def test_ssh_ended_by_somebody_else(
        self, cli: Sshwrap, port: int, number: int, kind: str
    ) -> None:
        first = cli.up("web")
        os.kill(first["ssh_pid"], number)
        cli.wait("web", back(1))
        assert "hello" in fetch(port)
        assert cli.journal("web", "down")[0]["failure"]["kind"] == kind

    def test_the_server_ends_the_session(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        cli.up("web")
        sshd.kill_sessions()
        cli.wait("web", back(1))
        assert "hello" in fetch(port)
        failure = cli.journal("web", "down")[0]["failure"]
        assert failure["kind"] == "dropped"
        assert failure["said"] == "Connection to 127.0.0.1 closed by remote host."

    def test_the_server_away_and_back(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        cli.up("web")
        sshd.stop()
        tunnel = cli.wait("web", lambda t: t["failure"] and t["failure"]["kind"] == "refused")
        assert tunnel["state"] in ("waiting", "starting")
        assert (tunnel["wanted"], tunnel["ok"], tunnel["drops"]) == (True, False, 1)
        assert "127.0.0.1 refuses the connection" in tunnel["failure"]["summary"]
        assert tunnel["failure"]["said"] == (
            f"ssh: connect to host 127.0.0.1 port {sshd.port}: Connection refused"
        )
        assert cli("status").status == 1
        cli.wait("web", lambda t: t["state"] == "waiting" and t["next_attempt_at"])
        sshd.start()
        tunnel = cli.wait("web", "up")
        assert tunnel["drops"] == 1
        assert "hello" in fetch(port)
        last = cli.journal("web", "up")[-1]
        # Counted anew where it was the look that found the server.
        assert 1 <= last["attempts"] <= 1 + len(cli.journal("web", "attempt_failed"))
        assert last["after"] > 0
        assert tunnel["failure"] is None

    def test_the_server_restarted(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        cli.up("web")
        for times in (1, 2):
            sshd.restart()
            cli.wait("web", back(times))
            assert "hello" in fetch(port)

    def test_the_line_breaks(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        port = free_port()
        with Line((sshd.host, sshd.port)) as line:
            name = f"[{sshd.host}]:{sshd.port}"
            config = cli.ssh_config(f"Port {line.port}", f"HostKeyAlias {name}")
            forward = f"{port}:127.0.0.1:{web.port}"
            cli.profiles(web={"ssh_config": config, "remote_forward": forward})
            cli.up("web")
            line.reset()
            cli.wait("web", back(1))
            assert "hello" in fetch(port)
            assert cli.journal("web", "down")[0]["failure"]["kind"] == "reset"
            assert cli("down").status == 0

    def test_a_server_that_falls_silent(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        port = free_port()
        cli.profiles(
            web={
                "remote_forward": f"{port}:127.0.0.1:{web.port}",
                "server_alive_interval": 1,
                "server_alive_count_max": 1,
            }
        )
        cli.up("web")
        silent = sshd.sessions()
        sshd.kill_sessions(signal.SIGSTOP)
        down = cli.wait_for_entry("web", "down")
        assert down["failure"]["kind"] == "keepalive_timeout"
        assert down["failure"]["said"] == "Timeout, server 127.0.0.1 not responding."
        # ssh gives up 1 x (1 + 1) seconds after the last byte: the outage began then, or when the
        # tunnel came up, whose proof of life was later on a busy machine.
        noticed, last_seen = (datetime.fromisoformat(down[key]) for key in ("at", "last_seen"))
        silence = min(2.0, down["up_for"])
        assert silence - 0.01 <= (noticed - last_seen).total_seconds() < silence + 5
        # The stopped session still holds the port, which is told, and is free when it ends.
        taken = cli.wait_for_entry("web", "attempt_failed")
        assert taken["failure"]["kind"] == "port_taken"
        for pid in silent:
            os.kill(pid, signal.SIGCONT)
        cli.wait("web", "up")
        assert "hello" in fetch(port)


class TestSupervisorKilled:
    def test_no_ssh_and_no_listener_left_and_status_says_so(self, cli: Sshwrap, port: int) -> None:
        first = cli.up("web")
        os.kill(first["supervisor_pid"], signal.SIGKILL)
        wait_for(lambda: not cli.own_processes(), what="ssh has gone with its supervisor")
        wait_for(lambda: not listeners(port), what="nobody listens")
        done = cli("status", "--json")
        assert done.status == 1
        tunnel = json.loads(done.out)["tunnels"][0]
        assert (tunnel["state"], tunnel["wanted"], tunnel["ok"]) == ("down", True, False)
        assert tunnel["failure"]["kind"] == "supervisor_gone"
        assert f"pid {first['supervisor_pid']}" in tunnel["failure"]["summary"]
        assert tunnel["failure"]["advice"] == "sshwrap up -d web"
        assert "supervisor" in cli("status").out
        tunnel = cli.up("web")
        assert tunnel["supervisor_pid"] != first["supervisor_pid"]
        assert "hello" in fetch(port)
        # The killed ssh's control socket is not kept for ever.
        assert len([name for name in cli.sockets() if "." in name and "sock" not in name]) == 1

    def test_down_after_a_kill_forgets_that_it_is_wanted(self, cli: Sshwrap, port: int) -> None:
        first = cli.up("web")
        os.kill(first["supervisor_pid"], signal.SIGKILL)
        wait_for(lambda: not cli.own_processes(), what="ssh has gone with its supervisor")
        assert cli("down", "web").status == 0
        assert cli("status").status == 0
        assert cli.up("web")["state"] == "up"  # and clears the leftovers of the killed one

    def test_terminated_it_keeps_what_is_wanted(self, cli: Sshwrap, port: int) -> None:
        first = cli.up("web")
        os.kill(first["supervisor_pid"], signal.SIGTERM)
        wait_for(lambda: not cli.own_processes(), what="it ends")
        wait_for(lambda: not listeners(port), what="nobody listens")
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["wanted"]) == ("down", True)
        assert cli.journal("web")[-1]["event"] == "unwanted"
        assert cli.journal("web")[-1]["by"] == "supervisor ended"
        assert cli("status").status == 1
