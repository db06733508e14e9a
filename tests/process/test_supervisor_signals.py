"""Signals to a supervisor, in front and in the background, and what is left when it is gone."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from sshwrap.tunnel.backoff import PERSON
from sshwrap.tunnel.machine import KILL_AFTER
from tests.support import scenarios
from tests.support.command import DENIED, WEB, FakeCli
from tests.support.processes import process
from tests.support.waiting import wait_for

UP = scenarios.up([WEB])[:-1]


def wanted(cli: FakeCli) -> list[str]:
    return cli.places().wanted_names()


class TestInFront:
    def test_ctrl_c_takes_back_what_was_wanted(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        screen = cli.terminal("up", "web")
        cli.wait_for_entry("web", "up")
        assert wanted(cli) == ["web"]
        screen.wait_for_words("1 up")
        screen.type(b"\x03")
        assert screen.wait() == 130
        assert "web: down after" in screen.screen
        assert (cli.own_ssh(), wanted(cli)) == ([], [])
        assert cli.journal("web")[-1]["by"] == "ctrl-c"
        assert cli("status").status == 0

    def test_term_ends_it_gently_and_it_stays_wanted(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        front.signal(signal.SIGTERM)
        assert front.wait() == 0
        assert (cli.own_ssh(), wanted(cli)) == ([], ["web"])
        assert cli.journal("web")[-1] | {"at": ""} == {
            "v": 1,
            "at": "",
            "profile": "web",
            "event": "unwanted",
            "by": "supervisor ended",
        }
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["wanted"], tunnel["ok"]) == ("down", True, False)
        assert cli("status").status == 1

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_second_one_ends_it_at_once(
        self, cli: FakeCli, tmp_path: Path, number: signal.Signals
    ) -> None:
        """Whatever ssh makes of it: its five seconds are not waited for. On a busy machine the
        processes alone may take as long, so one of three tries is enough."""
        deaf, asked = tmp_path / "deaf", tmp_path / "asked"
        on_term = ["on", "TERM", [["touch", str(asked)]]]
        cli.profiles(web={})
        cli.server_says([*UP, ["ignore", "HUP"], on_term, ["touch", str(deaf)], ["wait"]])
        took: list[float] = []
        while len(took) < 3 and min(took, default=KILL_AFTER) >= KILL_AFTER:
            deaf.unlink(missing_ok=True)
            asked.unlink(missing_ok=True)
            front = cli.front("up", "web")
            cli.wait_for_entry("web", "up", count=len(took) + 1)
            wait_for(deaf.exists)
            began = time.monotonic()
            front.signal(number)
            wait_for(asked.exists)
            front.signal(number)
            front.wait()
            took.append(time.monotonic() - began)
            cli.wait_until_gone()
        assert min(took) < KILL_AFTER

    def test_hang_up_of_its_terminal_stops_it(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        screen = cli.terminal("up", "web")
        cli.wait_for_entry("web", "up")
        screen.hang_up()
        assert screen.wait() == 0
        assert cli.own_ssh() == []
        assert wanted(cli) == ["web"]

    def test_hang_up_without_a_terminal_is_a_reload(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        cli.profiles(web={"server_alive_interval": 7})
        front.signal(signal.SIGHUP)
        cli.wait_for_entry("web", "changed")
        cli.wait_for_entry("web", "up", count=2)
        started = scenarios.started(cli.fake, 2)
        assert started is not None
        assert "ServerAliveInterval=7" in started["argv"]


class TestNeedingAPerson:
    def test_at_a_terminal_it_ends_by_itself(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        cli.server_says(DENIED)
        screen = cli.terminal("up")
        assert screen.wait() == 77
        assert "does not let root sign in" in screen.screen
        assert "needs you" in screen.screen
        assert cli.own_processes() == []

    def test_at_a_terminal_one_that_is_up_keeps_it(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={"destination": "root@other.example.com"})
        cli.server_says(DENIED, host="other.example.com")
        screen = cli.terminal("up")
        cli.wait_for_entry("web", "up")
        cli.wait_for_entry("ha", "needs_person")
        screen.wait_for_words("1 up · 1 needs you")
        screen.type(b"\x03")
        assert screen.wait() == 130

    def test_without_a_terminal_it_goes_on(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says(DENIED)
        front = cli.front("up", "web")
        entry = cli.wait_for_entry("web", "needs_person")
        assert PERSON[0] <= entry["retry_in"] <= PERSON[0] * 1.1
        path = cli.front_socket(front.pid)
        assert cli.wait_until("web", "failed", path=path)["wanted"]
        front.wait_for_words("needs you")
        front.signal(signal.SIGUSR1)  # it is there to be told
        cli.wait_for_entry("web", "needs_person", count=2)


class TestInTheBackground:
    def test_term_ends_it_and_it_stays_wanted(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        pid = cli.up("web", "ha")["supervisor_pid"]
        os.kill(pid, signal.SIGTERM)
        cli.wait_until_gone()
        assert wanted(cli) == ["ha", "web"]
        assert cli.journal("ha")[-1]["by"] == "supervisor ended"
        assert cli("status").status == 1
        assert f"its supervisor (pid {pid}) was ended" in cli("status", "web").out

    def test_the_next_one_says_how_the_one_before_has_gone(self, cli: FakeCli) -> None:
        """TERM is an order, kill -9 is none; with both somebody has missed it in between."""
        cli.profiles(web={})
        for number, words in (
            (signal.SIGTERM, "was ended, and left it wanted"),
            (signal.SIGKILL, "is gone without a word"),
        ):
            pid = cli.up("web")["supervisor_pid"]
            os.kill(pid, number)
            cli.wait_until_gone()
            cli.up("web")
            entry = cli.wait_for_entry("web", "changed", count=1 + (number == signal.SIGKILL))
            assert entry["text"] == f"its supervisor (pid {pid}) {words}"

    def test_hang_up_reads_the_profiles_anew(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        cli.up("web", "ha")
        ha = cli.asked("ha")["ssh_pid"]
        cli.profiles(web={"port": 2222}, ha={})
        pid = cli.asked("web")["supervisor_pid"]
        os.kill(pid, signal.SIGHUP)
        cli.wait_for_entry("web", "changed")
        cli.wait_for_entry("web", "up", count=2)
        assert cli.asked("ha")["ssh_pid"] == ha
        assert cli.events("ha") == ["wanted", "up"]

    def test_hang_up_with_a_faulty_file_changes_nothing_and_says_so(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        cli.write_profiles('[profile.web]\ndestination = "root@vps.example.com"\nprot = 22\n')
        os.kill(first["supervisor_pid"], signal.SIGHUP)
        notice = cli.wait_for_entry("web", "notice")
        assert notice["text"].startswith("reload changed nothing: ")
        assert "prot" in notice["text"]
        tunnel = cli.asked("web")
        assert (tunnel["state"], tunnel["ssh_pid"]) == ("up", first["ssh_pid"])
        assert "reload changed nothing" in cli("logs", "web").out

    def test_usr1_reconnects_at_once(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={"destination": "root@other.example.com"})
        cli.server_says(DENIED, scenarios.up([WEB]), host="other.example.com")
        assert cli("up", "-d").status == 1
        first = cli.asked("web")
        assert cli.asked("ha")["state"] == "failed"
        os.kill(first["supervisor_pid"], signal.SIGUSR1)
        cli.wait_for_entry("web", "up", count=2)
        cli.wait_for_entry("ha", "up")
        assert process(first["ssh_pid"]) is None
        assert cli.asked("web")["drops"] == 0  # as asked is no drop

    def test_killed_it_leaves_no_ssh_and_status_says_so(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        pid = first["supervisor_pid"]
        os.kill(pid, signal.SIGKILL)
        cli.wait_until_gone()
        done = cli("status", "--json")
        tunnel = json.loads(done.out)["tunnels"][0]
        assert done.status == 1
        assert (tunnel["state"], tunnel["wanted"], tunnel["supervisor_pid"]) == ("down", True, None)
        assert tunnel["failure"]["kind"] == "supervisor_gone"
        assert f"(pid {pid}) is gone" in tunnel["failure"]["summary"]
        assert cli("up", "-d", "web").status == 0
        assert cli.asked("web")["supervisor_pid"] != pid

    def test_stopped_it_is_said_to_be_silent(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        pid = cli.up("web")["supervisor_pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            done = cli("status", "--json")
            assert done.status == 1
            tunnel = json.loads(done.out)["tunnels"][0]
            assert tunnel["failure"]["kind"] == "supervisor_gone"
            assert "has not answered for 1 s" in tunnel["failure"]["summary"]
            assert tunnel["supervisor_pid"] == pid
            # Nobody else may take the tunnel: its ssh may well be up.
            down = cli("down", "web")
            assert (down.status, wanted(cli)) == (1, ["web"])
            assert f"(pid {pid}) does not answer" in down.err
        finally:
            os.kill(pid, signal.SIGCONT)
        assert cli.wait_until("web", "up")["supervisor_pid"] == pid

    def test_after_a_reboot_status_says_since_when(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        os.kill(cli.up("web")["supervisor_pid"], signal.SIGKILL)
        cli.wait_until_gone()
        file = Path(cli.places().wanted_file("web"))
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"boot": "another run of this machine"}))
        done = cli("status", "--json")
        failure = json.loads(done.out)["tunnels"][0]["failure"]
        assert failure["summary"].startswith("down since this machine restarted ")
        assert failure["advice"] == "sshwrap up -d web"
        assert done.status == 1
        assert cli.up("web")["failure"] is None

    def test_with_nothing_wanted_it_ends_by_itself(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        cli.up("web", "ha")
        assert cli("down", "web").status == 0
        assert cli.asked("ha")["state"] == "up"
        assert cli("down").status == 0
        cli.wait_until_gone()
        assert cli.sockets() == []
