"""`up` and `run`: in front, handed to the background, watching what is up already."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support import scenarios
from tests.support.command import DENIED, HOST, WEB, FakeCli, says_one_thing, stop_reading
from tests.support.waiting import wait_for

OTHER = {"destination": "root@other.example.com"}
REFUSED = scenarios.refused()


class TestFront:
    def test_one_clean_line_a_change(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        front = cli.front("up", "web")
        front.wait_for_words("up: ")
        front.signal(signal.SIGINT)
        assert front.wait() == 130
        lines = [line.split("  ", 2) for line in front.out.splitlines()]
        assert [line[1:] for line in lines] == [
            ["web", "starting: asked for"],
            ["web", "up: vps.example.com:12345 → localhost:8080"],
            ["web", "down: ended by Ctrl-C"],
        ]
        assert front.err == ""

    def test_quiet_says_only_what_is_wrong(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says(DENIED, scenarios.up([WEB]))
        front = cli.front("up", "-q", "web")
        front.wait_for_words("needs you: vps.example.com does not let root sign in")
        front.signal(signal.SIGUSR1)
        cli.wait_for_entry("web", "up")
        front.signal(signal.SIGTERM)
        assert front.wait() == 0
        assert front.out.count("\n") == 1

    def test_all_with_autostart_or_names_or_patterns(self, cli: FakeCli) -> None:
        cli.profiles(cam1={}, cam2={"autostart": False}, web={})
        assert cli("up", "-d").status == 0
        assert {n: t["state"] for n, t in cli.tunnels().items()} == {
            "cam1": "up",
            "cam2": "down",
            "web": "up",
        }
        assert cli("up", "-d", "cam*").status == 0
        assert cli.asked("cam2")["state"] == "up"

    def test_no_such_profile(self, cli: FakeCli) -> None:
        cli.profiles(web={}, cam={})
        done = cli("up", "wbe")
        assert done.status == 2
        assert says_one_thing(done) == 'no profile "wbe"'
        assert 'try: did you mean "web"?' in done.err
        assert says_one_thing(cli("up", "-d", "x*")) == 'no profile "x*"'
        assert cli.starts() == 0

    def test_no_profile_with_autostart(self, cli: FakeCli) -> None:
        cli.profiles(web={"autostart": False})
        done = cli("up")
        assert (done.status, says_one_thing(done)) == (2, "no profile has autostart")

    def test_a_port_without_address_is_explained_once(self, cli: FakeCli) -> None:
        cli.profiles(web={"remote_forward": "8080:localhost:80"}, all={})
        done = cli("up", "-d")
        assert done.err.count("for everybody, write *:8080:localhost:80") == 1
        assert "12345 names no address" not in done.err
        assert cli("up", "-dq", "web").err == ""


class TestDetached:
    def test_up(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        done = cli("up", "-d", "web")
        assert (done.status, done.err) == (0, "")
        assert done.out.split("\t")[:2] == ["web", "up"]

    def test_needs_a_person(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says(DENIED)
        done = cli("up", "-d", "web")
        assert done.status == 77
        assert "needs you" in done.out
        assert cli.places().wanted_names() == ["web"]

    def test_still_trying(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha=OTHER)
        cli.server_says(REFUSED)
        cli.server_says(scenarios.up([WEB]), host="other.example.com")
        done = cli("up", "-d")
        assert done.status == 1
        assert done.err.splitlines()[-1] == (
            "sshwrap: web: still trying in the background; sshwrap logs web -f"
        )

    def test_one_of_two_needs_a_person(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha=OTHER)
        cli.server_says(DENIED, host="other.example.com")
        assert cli("up", "-d").status == 1

    def test_no_verdict_in_time(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says([*scenarios.sign_in()[:3], ["wait"]])
        done = cli("up", "-d", "web", "--timeout", "0.2")
        assert done.status == 1
        assert "web: no verdict within 0.2 s" in done.err

    def test_two_at_once_end_in_one_supervisor(self, cli: FakeCli) -> None:
        """And two more while it is killed: somebody always has it, nobody twice."""
        cli.profiles(web={}, ha={})
        both = [cli.front("up", "-d", "web"), cli.front("up", "-d", "ha")]
        assert [front.wait() for front in both] == [0, 0]
        assert len(cli.supervisors()) == 1
        pid = cli.supervisors()[0].pid
        assert {cli.asked(name)["supervisor_pid"] for name in ("web", "ha")} == {pid}
        os.kill(pid, signal.SIGKILL)
        both = [cli.front("up", "-d", "web", "ha"), cli.front("up", "-d", "web", "ha")]
        assert [front.wait() for front in both] == [0, 0]
        assert len(cli.supervisors()) == 1
        assert len(cli.own_ssh()) == 2


class TestUpAlready:
    def test_watched_and_left_up(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        screen = cli.terminal("up", "web")
        screen.wait_for_words("web: already kept up in the background")
        screen.wait_for_words("Ctrl-C stops watching, not the tunnel.")
        screen.wait_for_words("1 up")
        screen.type(b"\x03")
        assert screen.wait() == 0
        tunnel = cli.asked("web")
        assert (tunnel["state"], tunnel["ssh_pid"]) == ("up", first["ssh_pid"])

    def test_by_another_in_front(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        watching = cli.terminal("up", "web")
        watching.wait_for_words(f"web: already kept up by pid {front.pid}")
        watching.wait_for_words("1 up")
        front.signal(signal.SIGINT)
        assert front.wait() == 130
        assert watching.wait() == 0  # nobody wants it any more
        assert cli("up", "-d", "web").status == 0

    def test_edited_since_is_taken_over(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        cli.profiles(web={"port": 2222})
        assert cli.tunnel("web")["profile_changed"] is True
        front = cli.front("up", "web")
        front.wait_for_words("web: already kept up in the background; the edited profile is taken")
        front.wait_for_words("Ctrl-C stops watching")
        cli.wait_for_entry("web", "up", count=2)
        assert cli.asked("web")["ssh_pid"] != first["ssh_pid"]
        assert cli.tunnel("web")["profile_changed"] is False
        front.signal(signal.SIGINT)
        assert front.wait() == 0

    def test_one_that_waits_is_due_now(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says(DENIED, scenarios.up([WEB]))
        assert cli("up", "-d", "web").status == 77
        assert cli("up", "-d", "web").status == 0
        assert cli.starts() == 2

    def test_one_kept_in_front_and_one_not(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        done = cli("up", "-d")
        assert done.status == 0
        assert f"web: already kept up by pid {front.pid}" in done.err
        tunnels = cli.tunnels()
        assert tunnels["web"]["supervisor_pid"] == front.pid
        assert tunnels["ha"]["supervisor_pid"] == cli.supervisors()[0].pid


class TestRun:
    def test_named_after_its_host(self, cli: FakeCli) -> None:
        words = ["ssh", "-N", "-R", "*:12345:localhost:8080"]
        assert cli("run", "-d", *words, f"root@{HOST}").status == 0
        assert cli("run", "-d", *words, f"root@{HOST}").status == 0  # the same: is up already
        assert [tunnel["profile"] for tunnel in cli.tunnels().values()] == ["vps"]
        assert cli("run", "-d", *words, "-p", "2222", f"root@{HOST}").status == 0
        assert cli("run", "-d", "--name", "mine", "--", *words, HOST).status == 0
        assert set(cli.tunnels()) == {"vps", "vps-2", "mine"}
        assert cli("restart", "mine").status == 0
        assert cli("down").status == 0

    def test_without_anything_to_forward(self, cli: FakeCli) -> None:
        done = cli("run", "ssh", HOST)
        assert done.status in (2, 78)
        assert "nothing to forward" in says_one_thing(done)

    def test_wanted_by_run_in_the_journal(self, cli: FakeCli) -> None:
        front = cli.front("run", "--name", "x", "autossh", "-M", "0", "-R", "1:h:2", HOST)
        cli.wait_for_entry("x", "up")
        assert cli.journal("x")[0]["by"] == "run"
        front.signal(signal.SIGINT)
        assert front.wait() == 130
        assert [tunnel["profile"] for tunnel in cli.tunnels().values()] == []


class TestLooks:
    @pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_no_view_where_it_is_not_wanted(self, cli: FakeCli, env: dict[str, str]) -> None:
        cli.profiles(web={})
        cli.env |= env
        screen = cli.terminal("up", "web")
        screen.wait_for_words("up: vps.example.com:12345 → localhost:8080")
        screen.type(b"\x03")
        assert screen.wait() == 130
        assert b"\x1b" not in screen.raw

    def test_systemd_stamps_the_lines_itself(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.env["JOURNAL_STREAM"] = "8:1234"
        front = cli.front("up", "web")
        front.wait_for_words("up: ")
        assert front.out.startswith("web  starting: asked for\n")

    def test_a_reader_that_leaves_stops_nothing(self, cli: FakeCli) -> None:
        """`sshwrap up | head -1`: the tunnel is what was asked for, not the words."""
        cli.profiles(web={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        stop_reading(front)
        first = cli.asked("web", cli.front_socket(front.pid))
        os.kill(first["ssh_pid"], signal.SIGKILL)
        cli.wait_for_entry("web", "up", count=2)
        front.signal(signal.SIGTERM)
        assert front.wait() == 0

    def test_answers_into_a_closed_pipe(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.up("web")
        for words in (["status"], ["status", "--json"], ["logs", "web"], ["show", "web"]):
            done = cli.into_a_closed_pipe(*words)
            assert (done.status, done.err) == (0, ""), words

    def test_json_of_the_snapshot_is_what_status_says(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.up("web")
        watch = cli.front("status", "--watch", "--json")
        wait_for(
            lambda: (
                watch.out.endswith("\n")
                and json.loads(watch.out.splitlines()[-1])["tunnels"] == [cli.tunnel("web")]
            ),
            what=lambda: f"{cli.tunnel('web')}\n{watch.out}",
        )
        cli("down", "web")
        wait_for(lambda: '"state": "down"' in watch.out)
        watch.signal(signal.SIGINT)
        assert watch.wait() == 0
        assert all(json.loads(line)["schema_version"] == 1 for line in watch.out.splitlines())
