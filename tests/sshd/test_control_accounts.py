"""The look and the probe for accounts of every kind: shells, no shells, a /proc that is hidden.

The accounts exist in the server's mount namespace alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sshwrap.profile.forward import Forward
from sshwrap.ssh.look import Owner
from sshwrap.ssh.mux import Why
from sshwrap.tunnel.reach import judge_reach
from tests.support.accounts import UID, Account, holding
from tests.support.children import World
from tests.support.masters import (
    NOWHERE,
    Master,
    alive,
    look,
    masters,
    probe,
    remote,
    seen,
    unknown,
)
from tests.support.needs import needs_ipv6, needs_namespaces, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.waiting import wait_for
from tests.support.web import Web

pytestmark = [needs_sshd, needs_namespaces]

HERE = "127.0.0.1"
MakeSshd = Callable[..., Sshd]


@pytest.fixture
def world() -> Iterator[World]:
    with masters() as world:
        yield world


GREETING = "printf 'Welcome!\\nno end of line'"
SHELLS = {
    "sh": ("/bin/sh", {}),
    "bash": ("/bin/bash", {".bashrc": GREETING}),
    "bash that talks on": ("/bin/bash", {".bashrc": "echo a; (exec yes | head -c 40000)"}),
    "rbash": ("/bin/rbash", {".bashrc": GREETING}),
    "csh": ("/bin/csh", {".cshrc": "echo Welcome; set prompt='!'"}),
    "fish": ("/usr/bin/fish", {".config/fish/config.fish": GREETING}),
    "busybox": ("busybox", {}),
}
NO_SHELLS = {
    "nologin": ("/usr/sbin/nologin", "This account is currently not available."),
    "false": ("/bin/false", ""),
    "git-shell": ("/usr/bin/git-shell", "fatal: unrecognized command 'sh -s'"),
}


@pytest.fixture
def home() -> Iterator[Path]:
    """Of the account, and open to it."""
    folder = Path(tempfile.mkdtemp(prefix="sw-home-", dir="/tmp"))
    folder.chmod(0o755)
    os.chown(folder, UID, UID)
    yield folder
    shutil.rmtree(folder)


@needs_ipv6
@pytest.mark.parametrize("name", SHELLS)
def test_whatever_the_login_shell(make_sshd: MakeSshd, home: Path, world: World, name: str) -> None:
    shell, files = SHELLS[name]
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    for file, text in files.items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text + "\n")
    server = Account(make_sshd, home, shell).sshd
    port = free_port()
    master = Master(world, server, [f"{port}:{NOWHERE}"])
    found = seen(master, port)
    assert found.uid == UID
    assert {(one.address, one.uid, one.owner) for one in found.listeners} == {
        (HERE, UID, Owner.ACCOUNT),
        ("::1", UID, Owner.ACCOUNT),
    }
    assert found.session is not None
    os.kill(found.session.pid, signal.SIGTERM)
    wait_for(lambda: not listeners(port), what="that was the owner of the listeners")


@pytest.mark.parametrize("name", NO_SHELLS)
def test_no_shell_at_all(
    make_sshd: MakeSshd, home: Path, world: World, name: str, web: Web
) -> None:
    shell, said = NO_SHELLS[name]
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    server = Account(make_sshd, home, shell).sshd
    port = free_port()
    spec = f"{port}:{HERE}:{web.port}"
    master = Master(world, server, [spec])
    answer = look(master, port)
    assert unknown(answer) is Why.REFUSED
    assert answer.said == said
    assert probe(master, spec, port).target == "ok"
    assert alive(master) is None


@needs_ipv6
def test_another_program_of_the_account_is_another(
    make_sshd: MakeSshd, home: Path, world: World
) -> None:
    server = Account(make_sshd, home, "/bin/sh").sshd
    port = free_port()
    with holding(port, uid=UID):
        master = Master(world, server, [f"{port}:{NOWHERE}"])
        found = seen(master, port)
    owners = {one.address: one.owner for one in found.listeners}
    assert owners == {HERE: Owner.OTHER, "::1": Owner.ACCOUNT}
    assert judge_reach(forward(port), None, found).reach == "half_bound"


@needs_ipv6
def test_a_program_of_somebody_else(make_sshd: MakeSshd, home: Path, world: World) -> None:
    server = Account(make_sshd, home, "/bin/sh").sshd
    port = free_port()
    with holding(port, uid=0):
        found = seen(Master(world, server, [f"{port}:{NOWHERE}"]), port)
    assert judge_reach(forward(port), None, found) == (
        "half_bound",
        ("::1",),
        f"uid 0 listens on {HERE}",
    )


def test_processes_are_hidden(make_sshd: MakeSshd, home: Path, world: World) -> None:
    hide = "mount -t proc -o hidepid=2 proc /proc"
    server = Account(make_sshd, home, "/bin/sh", hide).sshd
    port = free_port()
    found = seen(Master(world, server, [f"{port}:{NOWHERE}"]), port)
    assert found.session is None  # and so nothing of it will ever be ended
    assert judge_reach(forward(port), None, found).reach == "as_asked"


def test_no_proc(make_sshd: MakeSshd, home: Path, world: World) -> None:
    server = Account(make_sshd, home, "/bin/sh", "mount -t tmpfs tmpfs /proc").sshd
    assert unknown(look(Master(world, server), 1)) is Why.NO_PROC


def forward(port: int) -> Forward:
    return remote(f"{port}:{NOWHERE}")
