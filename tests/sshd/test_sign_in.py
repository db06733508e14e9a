"""A second sign-in to real sshds: what counts as one, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sshwrap.profile.model import Profile
from sshwrap.ssh.end import Outcome
from sshwrap.ssh.look import COMMAND
from sshwrap.ssh.side import side_argv
from sshwrap.supervisor.sign_in import SignedIn, SignIn
from tests.support.masters import NOWHERE
from tests.support.needs import needs_namespaces, needs_sshd
from tests.support.ports import free_port
from tests.support.processes import process
from tests.support.sshd import Sshd
from tests.support.stale import ENV, HERE, V9_2, MakePlace, Place, with_account
from tests.support.waiting import wait_for

pytestmark = needs_sshd

MakeSshd = Callable[..., Sshd]


def test_nothing_is_run_and_nothing_forwarded(place: Place) -> None:
    """Not even the key's own command, nor the forwards and the master of ssh_config."""
    ran, port = place.world.folder / "ran", free_port()
    key = place.server.authorized_keys.read_text()
    place.server.authorized_keys.write_text(f'command="touch {ran}" {key}')
    config = place.world.folder / "config"
    config.write_text(
        f"RemoteForward {port} {NOWHERE}\nControlMaster yes\nControlPath {config}.sock\n"
        "RemoteCommand touch a\nLogLevel QUIET\nSessionType none\nPermitLocalCommand yes\n"
        f"LocalCommand touch {ran}\nForkAfterAuthentication yes\nRequestTTY force\n"
        + place.server.config.read_text()
    )
    profile = replace(place.order.profile, ssh_config=str(config))
    assert place.sign_in(profile) == SignedIn(True)
    assert "forward" not in place.server.log().lower()
    assert not ran.exists()
    assert not Path(f"{config}.sock").exists()
    place.server.authorized_keys.write_text(key)
    _, record = place.tunnel(port)
    argv = side_argv(profile, V9_2, COMMAND)
    old = replace(record, session_started=1)
    assert place.reclaim(old, argv=argv).outcome is Outcome.GONE


def test_from_where_the_server_sees_us(place: Place) -> None:
    assert place.sign_in(command="echo $SSH_CONNECTION") == SignedIn(True, client=HERE)


@needs_namespaces
def test_an_account_without_a_shell(make_place: MakePlace, make_sshd: MakeSshd, home: Path) -> None:
    place = make_place(with_account(make_sshd, home, "/bin/false"))
    assert place.sign_in() == SignedIn(True)


@pytest.mark.parametrize("how", ["no", "local", "remote"])
def test_no_forwarding_is_an_answer_as_well(
    make_place: MakePlace, make_sshd: MakeSshd, how: str
) -> None:
    place = make_place(make_sshd(options={"AllowTcpForwarding": how}))
    assert place.sign_in() == SignedIn(True)


def test_a_banner_is_no_sign_in(make_place: MakePlace, make_sshd: MakeSshd, tmp_path: Path) -> None:
    banner = tmp_path / "banner"
    banner.write_text(f'Authenticated to {HERE} ([{HERE}]:22) using "publickey".\n')
    place = make_place(make_sshd(options={"Banner": str(banner)}))
    assert place.sign_in() == SignedIn(True)
    place.server.authorized_keys.write_text("")
    assert not place.sign_in().got_through


def test_a_jump_host_s_sign_in_is_not_the_server_s(place: Place) -> None:
    """Its ssh talks as loudly as ours; the server behind it is not there."""
    config = place.world.folder / "config"
    config.write_text(
        f"Host beyond\n  HostName {HERE}\n  Port {free_port()}\n  ProxyJump jump\n"
        + place.server.config.read_text().replace("Host server", "Host jump")
        + "LogLevel VERBOSE\n"
    )
    profile = Profile("web", "beyond", ssh_config=str(config))
    answer = place.sign_in(profile)
    assert not answer.got_through
    assert answer.words
    assert "Connection refused" in answer.words or "stdio forwarding" in answer.words


def test_nobody_there(place: Place) -> None:
    place.server.stop()
    answer = place.sign_in()
    assert not answer.got_through
    assert "Connection refused" in answer.words


def test_closed_tells_nothing(place: Place) -> None:
    answers: list[SignedIn] = []
    for argv in (side_argv(place.order.profile, V9_2, None), ("/no/such/ssh",)):
        one = SignIn(argv, ENV, loop=place.world.loop, deadline=5, on_answer=answers.append)
        one.close()
    place.world.turn()
    assert answers == []


def test_none_is_left_where_we_are_killed(place: Place) -> None:
    """Its server says nothing any more, and nobody is there to end it at its deadline."""
    code = (
        "import asyncio, json, os, sys; from sshwrap.supervisor.sign_in import SignIn;"
        "loop = asyncio.new_event_loop();"
        "sign_in = SignIn(json.loads(sys.argv[1]), dict(os.environ), loop=loop, deadline=600.0,"
        " on_answer=print); print(sign_in.pid, flush=True); loop.run_forever()"
    )
    argv = json.dumps(side_argv(place.order.profile, V9_2, COMMAND))
    os.kill(place.server.pid, signal.SIGSTOP)
    us = subprocess.Popen([sys.executable, "-c", code, argv], stdout=subprocess.PIPE, text=True)
    try:
        assert us.stdout is not None
        with us.stdout:
            pid = int(us.stdout.readline())
        wait_for(lambda: (found := process(pid)) and found.argv[0] == "ssh", what="it is ssh")
    finally:
        us.kill()
        us.wait()
        os.kill(place.server.pid, signal.SIGCONT)
    wait_for(lambda: process(pid) is None, what="it has ended")
