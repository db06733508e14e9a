"""restart, reload, run, and what the commands say where something is wrong, with a real sshd."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd


def forward(port: int, web: Web) -> dict[str, object]:
    return {"remote_forward": f"{port}:127.0.0.1:{web.port}"}


class TestRestartAndReload:
    def test_restart_is_another_ssh_and_no_drop(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        cli.profiles(web=forward(port, web))
        first = cli.up("web")
        done = cli("restart", "web")
        assert done.status == 0, done
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
        assert tunnel["ssh_pid"] != first["ssh_pid"]
        assert tunnel["supervisor_pid"] == first["supervisor_pid"]
        assert "hello" in fetch(port)

    def test_reload_touches_only_what_was_edited(self, cli: Sshwrap, web: Web) -> None:
        one, two, other = free_port(), free_port(), free_port()
        cli.profiles(one=forward(one, web), two=forward(two, web))
        cli.up("one", "two")
        before = cli.tunnels()
        assert "nothing has changed" in cli("reload").err
        assert cli.tunnels()["two"]["ssh_pid"] == before["two"]["ssh_pid"]

        cli.profiles(one=forward(one, web), two=forward(other, web))
        changed = {name: tunnel["profile_changed"] for name, tunnel in cli.tunnels().items()}
        assert changed == {"one": False, "two": True}
        done = cli("reload")
        assert done.status == 0, done
        assert "two: 1 forward added" in done.err
        assert "on the live connection" in done.err
        assert "one: unchanged" in done.err
        tunnel = cli.wait("two", lambda t: t["state"] == "up" and t["ssh_pid"])
        assert tunnel["forwards"][0]["listen_port"] == other
        assert cli.tunnels()["one"]["ssh_pid"] == before["one"]["ssh_pid"]
        assert cli.tunnels()["two"]["profile_changed"] is False
        wait_for(lambda: not listeners(two), what="the old port is free")
        assert "hello" in fetch(one)
        assert "hello" in fetch(other)
        assert len(cli.journal("two", "changed")) == 1

    def test_a_faulty_file_changes_nothing(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        cli.profiles(web=forward(port, web))
        first = cli.up("web")
        cli.profiles(web={"remote_forward": "80800:localhost:80", "prot": 22})
        done = cli("reload")
        assert done.status == 78
        assert "profiles.toml:4" in done.err
        assert "prot" in done.err
        assert cli("restart", "web").status == 78
        status = cli("status", "--json")
        assert status.status == 1
        tunnel = json.loads(status.out)["tunnels"][0]
        assert (tunnel["state"], tunnel["ssh_pid"]) == ("up", first["ssh_pid"])
        assert "hello" in fetch(port)

    def test_a_profile_removed_while_it_runs(self, cli: Sshwrap, web: Web) -> None:
        port, other = free_port(), free_port()
        cli.profiles(web=forward(port, web), other=forward(other, web))
        first = cli.up("web")
        cli.profiles(other=forward(other, web))
        done = cli("reload")
        assert done.status == 0
        assert "web: no longer in the profiles file, and still up; sshwrap down web" in done.err
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["ssh_pid"]) == ("up", first["ssh_pid"])
        assert tunnel["profile_changed"] is True
        assert "hello" in fetch(port)
        assert cli("down", "web").status == 0
        assert "web" not in cli.tunnels()
        wait_for(lambda: not listeners(port), what="nobody listens")

    def test_up_takes_an_edited_profile_over(self, cli: Sshwrap, web: Web) -> None:
        port, other = free_port(), free_port()
        cli.profiles(web=forward(port, web))
        first = cli.up("web")
        cli.profiles(web=forward(other, web))
        watching = cli.front("up", "web")
        watching.wait_for_words("the edited profile is taken over")
        wait_for(lambda: listeners(other), what="the new port")
        watching.signal(signal.SIGINT)
        assert watching.wait() == 0
        tunnel = cli.wait("web", "up")
        assert tunnel["supervisor_pid"] == first["supervisor_pid"]
        assert tunnel["ssh_pid"] == first["ssh_pid"]  # on the live connection
        wait_for(lambda: not listeners(port), what="nobody listens")

    def test_a_description_is_no_reason_to_reconnect(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        cli.profiles(web=forward(port, web))
        first = cli.up("web")
        cli.profiles(web=forward(port, web) | {"description": "the page 网页"})
        assert cli("reload").status == 0
        tunnel = cli.tunnel("web")
        assert tunnel["ssh_pid"] == first["ssh_pid"]
        assert tunnel["description"] == "the page 网页"

    def test_nothing_to_restart(self, cli: Sshwrap, web: Web) -> None:
        cli.profiles(web=forward(free_port(), web))
        assert cli("restart").status == 2
        assert cli("restart", "web").status == 2
        assert cli("restart", "wbe").status == 2


class TestRun:
    def test_named_after_the_host_and_numbered(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        ports = [free_port(), free_port()]
        words = [
            [*("ssh", "-F", str(sshd.config), "-fNg", "-R"), f"{port}:127.0.0.1:{web.port}"]
            for port in ports
        ]
        done = cli("run", "-d", *words[0], sshd.alias)
        assert done.status == 0, done
        assert "-g" in done.err  # it does nothing for -R, and people believe it does
        assert cli("run", "-d", "--", *words[1], sshd.alias).status == 0
        assert sorted(cli.tunnels()) == ["server", "server-2"]
        assert cli("run", "-d", *words[0], sshd.alias).status == 0
        assert sorted(cli.tunnels()) == ["server", "server-2"]  # the very same command
        for port in ports:
            assert "hello" in fetch(port)
        first = cli.tunnel("server")
        assert cli("restart", "server").status == 0
        assert cli.tunnel("server")["ssh_pid"] != first["ssh_pid"]
        assert cli("down").status == 0
        assert cli.tunnels() == {}

    def test_autosshs_command_line(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        port = free_port()
        cli.env |= {"AUTOSSH_GATETIME": "0", "AUTOSSH_PORT": "20000"}
        done = cli(
            *("run", "-d", "--name", "page", "autossh", "-M", "0", "-f", "-N"),
            *("-o", "ServerAliveInterval 7", "-oServerAliveCountMax=2"),
            *("-F", str(sshd.config), "-R", f"{port}:127.0.0.1:{web.port}", sshd.alias),
        )
        assert done.status == 0, done
        assert "hello" in fetch(port)
        argv = " ".join(cli.own_ssh()[0].argv)
        assert "ServerAliveInterval=7" in argv
        assert "ServerAliveCountMax=2" in argv
        assert "-M" not in argv.split()
        assert list(cli.tunnels()) == ["page"]

    def test_in_front_and_without_the_word_ssh(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        port = free_port()
        front = cli.front(
            *("run", "-F", str(sshd.config), "-NR", f"{port}:127.0.0.1:{web.port}", sshd.alias)
        )
        wait_for(lambda: listeners(port), within=20, what=lambda: front.err)
        assert "hello" in fetch(port)
        front.signal(signal.SIGINT)
        assert front.wait() == 130
        wait_for(lambda: not listeners(port), what="nobody listens")
        assert cli.tunnels() == {}

    def test_it_outlives_a_killed_supervisor_as_wanted(
        self, cli: Sshwrap, web: Web, sshd: Sshd
    ) -> None:
        port = free_port()
        words = ["-F", str(sshd.config), "-R", f"{port}:127.0.0.1:{web.port}", sshd.alias]
        front = cli.front("run", "ssh", *words)
        cli.wait("server", "up")
        front.signal(signal.SIGKILL)
        front.wait()
        wait_for(lambda: not listeners(port), what="nobody listens")
        tunnel = cli.tunnel("server")
        assert (tunnel["wanted"], tunnel["ok"]) == (True, False)
        assert cli("run", "-d", "ssh", *words).status == 0
        assert list(cli.tunnels()) == ["server"]


class TestExitStatus:
    def test_needs_a_person(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        sshd.authorized_keys.write_text("")
        cli.profiles(web=forward(free_port(), web))
        done = cli("up", "-d", "web")
        assert done.status == 77
        assert cli("status").status == 1

    def test_not_as_wanted(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        sshd.stop()
        cli.profiles(web=forward(free_port(), web))
        done = cli("up", "-d", "web")
        assert done.status == 1
        assert "web: still trying in the background; sshwrap logs web -f" in done.err
        assert cli("status", "web").status == 1

    def test_one_up_and_one_in_need_of_a_person(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        cli.profiles(
            good=forward(free_port(), web),
            bad=forward(free_port(), web) | {"user": "nobody-of-that-name"},
        )
        assert cli("up", "-d").status == 1
        assert cli("status", "good").status == 0
        assert cli("status", "bad").status == 1
        assert cli("status").status == 1

    def test_no_verdict_in_time(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        cli.profiles(web=forward(free_port(), web))
        # A stopped listener lets the connection in (the kernel does) and says nothing.
        os.kill(sshd.pid, signal.SIGSTOP)
        try:
            done = cli("up", "-d", "--timeout", "0.3", "web")
        finally:
            os.kill(sshd.pid, signal.SIGCONT)
        assert done.status == 1
        assert "no verdict within 0.3 s" in done.err
        cli.wait("web", "up")

    def test_a_bad_file(self, cli: Sshwrap) -> None:
        cli.profiles(web={"remote_forward": "8080::3000"}, dup={"prt": 3})
        done = cli("up", "-d")
        assert done.status == 78
        assert "8080::3000" in done.err
        assert "profile.dup" in done.err  # all faults at once
        assert cli.own_ssh() == []
        assert cli("check").status == 78
        assert cli("status").status == 1

    def test_what_ssh_refuses_is_a_bad_file(self, cli: Sshwrap, web: Web) -> None:
        cli.profiles(web=forward(free_port(), web) | {"ssh_options": {"Ciphers": "no-such"}})
        done = cli("up", "-d", "web")
        assert done.status == 78
        assert "Bad SSH2 cipher spec 'no-such'" in done.err
        assert cli.own_ssh() == []

    def test_no_such_profile(self, cli: Sshwrap, web: Web) -> None:
        cli.profiles(web=forward(free_port(), web))
        done = cli("up", "-d", "wbe")
        assert done.status == 2
        assert 'did you mean "web"?' in done.err
        assert cli("up", "--no-such-option").status == 2
        assert cli("status", "wbe").status == 1  # 0 or 1, nothing else

    def test_no_usable_ssh(self, cli: Sshwrap, web: Web) -> None:
        cli.profiles(web=forward(free_port(), web))
        cli.env["SSHWRAP_SSH"] = str(cli.folder / "no-such-ssh")
        assert cli("up", "-d", "web").status == 69
        assert cli("up", "web").status == 69
        empty = cli.folder / "bin"
        empty.mkdir()
        del cli.env["SSHWRAP_SSH"]
        cli.env["PATH"] = str(empty)
        assert cli("up", "-d", "web").status == 69

    @pytest.mark.parametrize("folder", ["with spaces", "100 %d %h of it"])
    def test_paths_with_spaces_and_percent_signs(
        self, short_folder: Path, cli: Sshwrap, web: Web, folder: str
    ) -> None:
        port = free_port()
        cli.profiles_file = short_folder / folder / "profiles.toml"
        cli.env["SSHWRAP_PROFILES"] = str(cli.profiles_file)
        cli.env["SSHWRAP_STATE_DIR"] = str(short_folder / folder / "state")
        cli.profiles_file.parent.mkdir()
        cli.profiles(web=forward(port, web))
        cli.up("web")
        assert "hello" in fetch(port)
        assert cli.places().socket_dir == cli.env["SSHWRAP_STATE_DIR"]  # short enough for them
        assert cli("down").status == 0
