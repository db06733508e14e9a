"""`down`, `restart`, `reload`: each changes what it was asked to, and returns when that is so."""

from __future__ import annotations

import os
import signal

from tests.support import scenarios
from tests.support.command import DENIED, WEB, FakeCli, says_one_thing
from tests.support.processes import process


class TestDown:
    def test_those_that_are_named(self, cli: FakeCli) -> None:
        cli.profiles(cam1={}, cam2={}, web={})
        cli.up("cam1", "cam2", "web")
        done = cli("down", "cam*")
        assert (done.status, done.out) == (0, "")
        assert done.err.splitlines() == ["sshwrap: cam1: down", "sshwrap: cam2: down"]
        assert cli.places().wanted_names() == ["web"]
        assert len(cli.own_ssh()) == 1
        done = cli("down", "cam1")
        assert (done.status, done.err) == (0, "sshwrap: cam1: was down already\n")

    def test_no_name_is_all_that_are_wanted(self, cli: FakeCli) -> None:
        cli.profiles(cam={}, web={}, other={})
        cli.up("cam")
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        assert cli("down", "-q").err == ""
        assert front.wait() == 0
        assert cli.own_ssh() == []
        assert [cli.journal(name)[-1]["by"] for name in ("cam", "web")] == ["down", "down"]
        done = cli("down")
        assert (done.status, done.err) == (0, "sshwrap: nothing is wanted up\n")

    def test_no_such_profile(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        done = cli("down", "wep")
        assert (done.status, says_one_thing(done)) == (2, 'no profile "wep"')

    def test_of_one_whose_supervisor_is_gone(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        os.kill(cli.up("web")["supervisor_pid"], signal.SIGKILL)
        cli.wait_until_gone()
        assert cli("down").status == 0
        assert cli.places().wanted_names() == []
        assert cli("status").status == 0
        cli.up("web")  # whatever the killed one left is taken away by the next


class TestRestart:
    def test_it_reads_the_profile_anew_and_returns_when_done(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        cli.up("web", "ha")
        first = cli.asked("web")
        cli.profiles(web={"server_alive_interval": 9}, ha={})
        done = cli("restart", "web")
        assert done.status == 0
        assert done.out.split("\t")[:2] == ["web", "up"]
        tunnel = cli.asked("web")
        assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
        assert tunnel["ssh_pid"] != first["ssh_pid"]
        assert process(first["ssh_pid"]) is None
        started = scenarios.started(cli.fake, 3)
        assert started is not None
        assert "ServerAliveInterval=9" in started["argv"]
        assert cli.events("ha") == ["wanted", "up"]

    def test_unchanged_is_started_anew_as_well(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        assert cli("restart").status == 0
        assert cli.asked("web")["ssh_pid"] != first["ssh_pid"]

    def test_it_says_what_became_of_it(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says(scenarios.up([WEB]), DENIED)
        cli.up("web")
        done = cli("restart", "web")
        assert done.status == 77
        assert "needs you" in done.out

    def test_nothing_to_restart(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        done = cli("restart")
        assert (done.status, says_one_thing(done)) == (2, "nothing is wanted up")
        cli.up("web")
        done = cli("restart", "ha")
        assert (done.status, says_one_thing(done)) == (2, 'no tunnel that is wanted, "ha"')
        os.kill(cli.asked("web")["supervisor_pid"], signal.SIGKILL)
        cli.wait_until_gone()
        done = cli("restart", "web")
        assert (done.status, says_one_thing(done)) == (1, "web: no supervisor keeps it")
        cli.up("web")

    def test_a_faulty_file_changes_nothing(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        cli.write_profiles("[profile.web]\nport = 0\n")
        assert cli("restart", "web").status == 78
        assert cli.asked("web")["ssh_pid"] == first["ssh_pid"]


class TestReload:
    def test_only_what_has_changed_is_touched(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={}, cam={})
        cli.up("web", "ha", "cam")
        before = {name: cli.asked(name)["ssh_pid"] for name in ("web", "ha", "cam")}
        done = cli("reload")
        assert (done.status, done.err) == (0, "sshwrap: nothing has changed\n")
        cli.profiles(web={"port": 2222}, ha={"description": "only words"}, cam={})
        done = cli("reload")
        assert done.status == 0
        assert done.err.splitlines() == [
            "sshwrap: web: restarted, because port was edited",
            "sshwrap: ha, cam: unchanged",
        ]
        cli.wait_for_entry("web", "up", count=2)
        after = {name: cli.asked(name)["ssh_pid"] for name in before}
        assert after["web"] != before["web"]
        assert {**after, "web": 0} == {**before, "web": 0}
        assert cli.asked("ha")["description"] == "only words"

    def test_a_faulty_file_changes_nothing(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        cli.up("web", "ha")
        before = {name: cli.asked(name)["ssh_pid"] for name in ("web", "ha")}
        cli.write_profiles(
            '[profile.web]\ndestination = "-oProxyCommand=touch x"\nremote_forward = "1:h:2"\n'
            '[profile.ha]\ndestination = "root@vps.example.com"\nremote_forwards = "1:h:2"\n'
        )
        done = cli("reload")
        assert done.status == 78
        assert ":2: profile.web.destination" in done.err
        assert ":6: profile.ha.remote_forwards" in done.err
        assert "did you mean" in done.err
        assert {name: cli.asked(name)["ssh_pid"] for name in before} == before

    def test_a_removed_profile_is_said_and_kept_up(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        first = cli.up("web", "ha")
        cli.profiles(ha={})
        shown = cli.tunnel("web")
        assert (shown["state"], shown["profile_changed"]) == ("up", True)
        done = cli("reload")
        assert done.status == 0
        assert done.err == (
            "sshwrap: web: no longer in the profiles file, and still up; sshwrap down web\n"
        )
        assert cli.asked("web")["ssh_pid"] == first["ssh_pid"]
        done = cli("restart", "web")
        assert done.status == 2
        assert says_one_thing(done) == f"web: not in {cli.profiles_file}"
        assert cli("down", "web").status == 0
        assert list(cli.tunnels()) == ["ha"]

    def test_of_those_that_run(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        done = cli("reload")
        assert done.status == 0
        cli.up("web")
        done = cli("reload", "ha")
        assert (done.status, says_one_thing(done)) == (2, 'no running tunnel "ha"')
