"""No ssh, another ssh, an ssh that goes away: one line, the right exit status, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support import scenarios
from tests.support.command import HOST, WEB, FakeCli, says_one_thing

COMMANDS = (
    ["up", "web"],
    ["up", "-d", "web"],
    ["run", "-d", "ssh", "-R", "1:h:2", HOST],
    ["check"],
)


def refused(cli: FakeCli) -> set[str]:
    """What every command that needs an ssh says, one line each; none leaves anything behind."""
    cli.profiles(web={})
    said = set()
    for words in COMMANDS:
        done = cli(*words)
        assert (done.status, done.out) == (69, ""), words
        said.add(says_one_thing(done))
    cli.wait_until_gone()
    assert cli.places().wanted_names() == []
    assert cli("status").status == 0  # needs none
    return said


def test_none_on_path(cli: FakeCli) -> None:
    del cli.env["SSHWRAP_SSH"]
    cli.env["PATH"] = str(cli.home)
    assert refused(cli) == {'no "ssh" on PATH'}


def test_none_where_it_should_be(cli: FakeCli) -> None:
    cli.env["SSHWRAP_SSH"] = "/no/such/ssh"
    assert refused(cli) == {'no "/no/such/ssh" there, or it may not be run'}


def test_too_old(cli: FakeCli) -> None:
    cli.server_says(version="OpenSSH_8.3p1, OpenSSL 1.1.1", effective=[])
    ssh = cli.env["SSHWRAP_SSH"]
    assert refused(cli) == {f'"{ssh}" is too old: OpenSSH 8.4 or newer is needed'}


@pytest.mark.parametrize("version", ["", "\x1b]0;x\x07Dropbear OpenSSH_"])
def test_not_openssh(cli: FakeCli, version: str) -> None:
    cli.server_says(version=version)
    said = refused(cli)
    assert said == {f'"{cli.env["SSHWRAP_SSH"]}" is not OpenSSH'}
    assert "\x1b" not in cli("check").err


def test_cannot_be_executed(cli: FakeCli) -> None:
    program = cli.folder / "ssh"
    program.write_text("#!/no/such/interpreter\n")
    assert refused(cli) <= {f'"{program}" cannot be run', f'"{program} -V" does not answer'}


def test_hangs_when_asked_for_its_version(cli: FakeCli) -> None:
    program = cli.folder / "ssh"
    program.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    cli.profiles(web={})
    done = cli("up", "-d", "web")
    assert (done.status, done.out) == (69, "")
    assert "does not answer" in says_one_thing(done)
    cli.wait_until_gone()


def test_a_missing_one_is_told_as_json_never(cli: FakeCli) -> None:
    """`check --json` either answers, or says on stderr why it cannot."""
    cli.profiles(web={})
    cli.env["SSHWRAP_SSH"] = "/no/such/ssh"
    done = cli("check", "--json")
    assert (done.status, done.out) == (69, "")


def test_taken_away_and_put_back_while_a_tunnel_is_up(cli: FakeCli) -> None:
    cli.profiles(web={"restart_max_delay": 1})
    first = cli.up("web")
    program = Path(cli.env["SSHWRAP_SSH"])
    away = program.with_name("away")
    program.rename(away)
    os.kill(first["ssh_pid"], signal.SIGKILL)
    entry = cli.wait_for_entry("web", "attempt_failed")
    assert entry["failure"]["kind"] == "spawn_failed"
    assert f'no "{program}"' in entry["failure"]["said"]
    shutil.copy(away, program)
    cli.wait_for_entry("web", "up", count=2)
    assert cli.asked("web")["supervisor_pid"] == first["supervisor_pid"]


def test_upgraded_while_a_tunnel_is_up(cli: FakeCli) -> None:
    """The next start asks the new one what it can do."""
    cli.profiles(web={})
    cli.server_says(version="OpenSSH_8.4p1 Debian-5", effective=["hostname vps.example.com"])
    cli.up("web")
    started = scenarios.started(cli.fake, 1)
    assert started is not None
    assert not any("SessionType" in word for word in started["argv"])
    cli.server_says(scenarios.up([WEB]), version="OpenSSH_10.0p2 Debian-7")
    program = Path(cli.env["SSHWRAP_SSH"])
    shutil.copy(program, program.with_name("new"))
    program.with_name("new").rename(program)
    assert cli("restart").status == 0
    started = scenarios.started(cli.fake, 2)
    assert started is not None
    assert "SessionType=none" in started["argv"]


@pytest.mark.parametrize("destination", ["-oProxyCommand=touch x", "-V", "root@-x"])
def test_a_destination_that_ssh_would_take_for_an_option(cli: FakeCli, destination: str) -> None:
    cli.profiles(web={"destination": destination})
    for words in (["up", "web"], ["up", "-d", "web"], ["check"]):
        done = cli(*words)
        assert done.status == 78
        assert f'"{destination}"' in says_one_thing(done) or '"-x"' in done.err
    done = cli("run", "-d", "ssh", "-R", "1:h:2", "--", destination)
    assert done.status in (2, 78)
    says_one_thing(done)
    assert cli.starts() == 0
