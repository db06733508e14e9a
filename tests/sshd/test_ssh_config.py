"""Whatever a user's ssh_config says: the tunnel stays ours, and its forwards are told of."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.processes import process
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd


@pytest.fixture
def port(cli: Sshwrap) -> int:
    return free_port()


def use(cli: Sshwrap, *lines: str, forwards: object = ()) -> None:
    """One profile "web" with these forwards, its destination with these lines in ssh_config."""
    config = cli.ssh_config(*lines)
    cli.profiles(web={"ssh_config": config, "remote_forward": forwards})


TOUCH = "touch {mark}"


@pytest.mark.parametrize(
    "lines",
    [
        ["LogLevel QUIET"],
        ["LogLevel DEBUG3"],
        ["LogVerbose *:*"],
        ["RequestTTY force"],
        ["PermitLocalCommand yes", f"LocalCommand {TOUCH}"],
        [f"RemoteCommand {TOUCH}"],
        ["RequestTTY force", f"RemoteCommand {TOUCH}; sleep 60"],
        ["ForkAfterAuthentication yes"],
        ["ClearAllForwardings yes"],
        ["SessionType none"],
        ["SessionType subsystem", "RemoteCommand sftp"],
        ["StdinNull yes"],
        ["ExitOnForwardFailure no"],
        ["ServerAliveInterval 1", "ServerAliveCountMax 0"],
        ["BatchMode no", "ForwardAgent yes", "ForwardX11 yes", "EscapeChar none"],
    ],
    ids=lambda lines: lines[0].replace(" ", "-"),
)
def test_nothing_there_takes_the_tunnel_away(
    cli: Sshwrap, port: int, web: Web, lines: list[str]
) -> None:
    mark = cli.folder / "mark"
    lines = [line.format(mark=mark) for line in lines]
    use(cli, *lines, forwards=f"{port}:127.0.0.1:{web.port}")
    tunnel = cli.up("web")
    assert "hello" in fetch(port)
    assert [one.pid for one in cli.own_ssh()] == [tunnel["ssh_pid"]]
    # The reader is not blind: who came, and through what, is known.
    tunnel = cli.wait("web", lambda t: t["forwards"][0]["connections"]["total"] == 1)
    assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
    assert cli("down").status == 0
    wait_for(lambda: not listeners(port), what="nobody listens")
    assert not mark.exists()


@pytest.mark.parametrize("persist", ["no", "yes"])
def test_the_users_own_control_master(
    cli: Sshwrap, port: int, web: Web, sshd: Sshd, short_folder: Path, persist: str
) -> None:
    theirs = short_folder / "master"
    lines = ["ControlMaster auto", f"ControlPath {theirs}", f"ControlPersist {persist}"]
    config = cli.ssh_config(*lines)
    master = subprocess.Popen(
        ["ssh", "-F", str(config), "-M", "-N", "-o", "ControlPersist=no", sshd.alias],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(theirs.is_socket, what="their master is there")
        cli.profiles(web={"ssh_config": config, "remote_forward": f"{port}:127.0.0.1:{web.port}"})
        tunnel = cli.up("web")
        assert "hello" in fetch(port)
    finally:
        master.kill()
        master.wait(timeout=10)
    # Theirs is gone, and the forward is not: it was our ssh's from the beginning.
    wait_for(lambda: len(sshd.sessions()) == 1, what="only our session is left")
    assert "hello" in fetch(port)
    assert cli.tunnel("web")["ssh_pid"] == tunnel["ssh_pid"]
    os.kill(tunnel["ssh_pid"], 9)
    cli.wait("web", lambda t: t["state"] == "up" and t["drops"] == 1)
    assert "hello" in fetch(port)


def test_an_encrypted_key_fails_and_does_not_ask(
    cli: Sshwrap, port: int, web: Web, sshd: Sshd
) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(sshd.client_key)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    use(cli, "BatchMode no", forwards=f"{port}:127.0.0.1:{web.port}")
    done = cli("up", "-d", "web")
    assert done.status == 77, done
    tunnel = cli.tunnel("web")
    assert tunnel["failure"]["kind"] == "passphrase_needed"
    assert tunnel["failure"]["advice"].startswith("ssh-add ")
    assert str(sshd.client_key) in tunnel["failure"]["summary"]


class TestForwardsOfSshConfig:
    """The ssh_config is `Host server` on line 1, then the lines given."""

    def test_one_comes_along_and_is_told_with_its_line(
        self, cli: Sshwrap, port: int, web: Web
    ) -> None:
        theirs = free_port()
        use(
            cli,
            f"RemoteForward {theirs} 127.0.0.1:{web.port}",
            forwards=f"{port}:127.0.0.1:{web.port}",
        )
        place = f"{cli.folder / 'ssh_config'}:2"
        assert place in cli("show", "web").out
        shown = json.loads(cli("show", "web", "--json").out)
        assert [forward["source"] for forward in shown["forwards"]] == ["profile", place]
        tunnel = cli.up("web")
        assert [f["source"] for f in tunnel["forwards"]] == ["profile", place]
        assert [f["listen_port"] for f in tunnel["forwards"]] == [port, theirs]
        assert "hello" in fetch(theirs)
        assert "hello" in fetch(port)
        counted = cli.wait(
            "web", lambda t: [f["connections"]["total"] for f in t["forwards"]] == [1, 1]
        )
        assert counted["state"] == "up"

    def test_a_profile_may_have_no_other(self, cli: Sshwrap, port: int, web: Web) -> None:
        use(cli, "ClearAllForwardings yes", f"RemoteForward {port} 127.0.0.1:{web.port}")
        tunnel = cli.up("web")
        assert [f["listen_port"] for f in tunnel["forwards"]] == [port]
        assert tunnel["forwards"][0]["source"].endswith("ssh_config:3")
        assert "hello" in fetch(port)

    def test_it_has_to_be_confirmed_too(self, cli: Sshwrap, port: int, web: Web) -> None:
        with socket.create_server(("127.0.0.1", free_port())) as busy:
            theirs = busy.getsockname()[1]
            use(
                cli,
                f"RemoteForward 127.0.0.1:{theirs} 127.0.0.1:{web.port}",
                forwards=f"{port}:127.0.0.1:{web.port}",
            )
            done = cli("up", "-d", "web")
            assert done.status == 1, done
            tunnel = cli.tunnel("web")
            assert tunnel["failure"]["kind"] == "port_taken"
            assert str(theirs) in tunnel["failure"]["summary"]
            assert cli.journal("web", "up") == []
        cli.wait("web", "up")

    def test_the_same_in_both_is_one(self, cli: Sshwrap, port: int, web: Web) -> None:
        spec = f"127.0.0.1:{web.port}"
        use(cli, f"RemoteForward {port} {spec}", forwards=f"{port}:{spec}")
        tunnel = cli.up("web")
        assert [(f["listen_port"], f["source"]) for f in tunnel["forwards"]] == [(port, "profile")]
        assert "hello" in fetch(port)

    def test_one_listener_for_two_targets_is_a_fault(
        self, cli: Sshwrap, port: int, web: Web
    ) -> None:
        use(cli, f"RemoteForward {port} 127.0.0.1:9", forwards=f"{port}:127.0.0.1:{web.port}")
        done = cli("up", "-d", "web")
        assert done.status == 78
        assert "ssh_config:2" in done.err
        assert cli.own_ssh() == []

    def test_two_profiles_cannot_both_have_it(self, cli: Sshwrap, port: int, web: Web) -> None:
        config = cli.ssh_config(f"RemoteForward {port} 127.0.0.1:{web.port}")
        both = {
            name: {
                "ssh_config": config,
                "remote_forward": f"{free_port()}:127.0.0.1:{web.port}",
            }
            for name in ("one", "two")
        }
        cli.profiles(**both)
        done = cli("up", "-d")
        assert done.status == 78
        assert "two and one" in done.err
        assert f"{config}:2" in done.err
        assert cli.own_ssh() == []
        # Nor one after the other.
        assert cli("up", "-d", "one").status == 0
        done = cli("up", "-d", "two")
        assert done.status == 78
        assert "one" in done.err
        assert f"{config}:2" in done.err
        assert cli.tunnel("one")["state"] == "up"


def test_a_command_of_match_exec_cannot_hold_the_tunnel(cli: Sshwrap, port: int, web: Web) -> None:
    config = cli.ssh_config()
    mark = cli.folder / "mark"
    config.write_text(f'Match exec "echo >> {mark}"\n    Compression yes\n{config.read_text()}')
    cli.profiles(web={"ssh_config": config, "remote_forward": f"{port}:127.0.0.1:{web.port}"})
    tunnel = cli.up("web")
    assert mark.exists()
    assert process(tunnel["ssh_pid"]) is not None
    assert "hello" in fetch(port)
