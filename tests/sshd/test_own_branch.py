"""`down` and `restart` by somebody who came in through the very tunnel: refused, unless meant."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.web import Web

pytestmark = needs_sshd

CUT_OFF = "you are connected through it"


@contextmanager
def through(cli: Sshwrap, server: Sshd, port: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command, run by somebody who has signed in at this port of the server."""
    env = [f"{name}={value}" for name, value in cli.env.items()]
    command = shlex.join(["env", *env, sys.executable, "-m", "sshwrap", *words])
    child = subprocess.Popen(
        [
            *("ssh", "-F", str(server.config), "-o", "BatchMode=yes", "-o", "ControlMaster=no"),
            *("-o", f"HostKeyAlias=[{server.host}]:{server.port}", "-p", str(port)),
            *(server.alias, command),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def tunnel_to_its_own_sshd(cli: Sshwrap, sshd: Sshd, web: Web) -> int:
    port = free_port()
    door = f"localhost:{port}:{sshd.host}:{sshd.port}"
    other = f"localhost:{free_port()}:localhost:{web.port}"
    cli.profiles(door={"remote_forward": door}, other={"remote_forward": other})
    cli.up("door", "other")
    return port


@pytest.mark.parametrize("words", [("down", "door"), ("down",), ("restart", "door")])
def test_the_branch_you_sit_on(cli: Sshwrap, sshd: Sshd, web: Web, words: tuple[str, ...]) -> None:
    port = tunnel_to_its_own_sshd(cli, sshd, web)
    before = cli.tunnel("door")
    with through(cli, sshd, port, *words) as child:
        _, err = child.communicate(timeout=60)
    assert (child.returncode, CUT_OFF in err) == (1, True), err
    assert f"sshwrap {words[0]} door --yes" in err
    after = cli.tunnel("door")
    assert (after["state"], after["ssh_pid"]) == ("up", before["ssh_pid"])
    assert cli.tunnel("other")["state"] == "up", "nothing at all was done"


def test_who_means_it_says_so(cli: Sshwrap, sshd: Sshd, web: Web) -> None:
    port = tunnel_to_its_own_sshd(cli, sshd, web)
    with through(cli, sshd, port, "down", "door", "--yes"):
        cli.wait("door", "down")


def test_another_tunnel_may_be_ended(cli: Sshwrap, sshd: Sshd, web: Web) -> None:
    port = tunnel_to_its_own_sshd(cli, sshd, web)
    with through(cli, sshd, port, "down", "other") as child:
        _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert cli.tunnel("other")["state"] == "down"


def test_who_came_in_by_another_way_is_not_asked(cli: Sshwrap, sshd: Sshd, web: Web) -> None:
    """From loopback too, and to the same sshd: only the connection itself tells."""
    tunnel_to_its_own_sshd(cli, sshd, web)
    with through(cli, sshd, sshd.port, "down", "door") as child:
        _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
