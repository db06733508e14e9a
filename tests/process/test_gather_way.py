"""What doctor gathers where no sshd answers: silence, web servers, closed ports, no such name."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshwrap.doctor.facts import Answer, Facts, Known, Unknown
from sshwrap.doctor.gather import Question, gather
from sshwrap.profile.model import Profile
from tests.support.needs import needs_ssh
from tests.support.ports import free_port
from tests.support.processes import descendants

pytestmark = needs_ssh

HERE = "127.0.0.1"
# A program of its own: ssh is not started beside threads.
SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
held = []
while True:
    peer, _ = listener.accept()
    {}
    held.append(peer)
"""
SAYS_AT_ONCE = "peer.sendall(b'220 mail.example ESMTP\\r\\n')"
# What a web server makes of "SSH-2.0-OpenSSH…"
WEB = "peer.recv(99); peer.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'); peer.close()"
GREETS = "peer.sendall(b'SSH-2.0-OpenSSH_9.9 x\\r\\n')"


@contextlib.contextmanager
def serving(what: str) -> Iterator[int]:
    child = subprocess.Popen(
        ["/usr/bin/python3", "-IS", "-c", SERVER.format(what)], stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        yield int(child.stdout.readline())
        child.kill()


@pytest.fixture
def control_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    yield folder
    assert list(folder.iterdir()) == []
    shutil.rmtree(folder)


def ask(control_dir: Path, host: str = HERE, port: int = 22, **more: Any) -> Facts:
    profile = {"port": port, "ssh_config": "none", **more.pop("profile", {})}
    environ = {"PATH": os.environ["PATH"], "HOME": str(control_dir), **more.pop("environ", {})}
    told: list[Facts] = []
    question = Question(Profile("web", host, **profile), environ, str(control_dir), **more)
    facts, line = gather(question, told.append)
    assert line is None
    assert told[-1] == facts
    assert facts.seconds < 13
    assert facts.round_trips == 0
    assert isinstance(facts.account.shell, Unknown)
    mine = [one.title for one in descendants(os.getpid()) if "doctor-" in one.title]
    assert mine == []
    return facts


def known(fact: Any) -> Any:
    assert isinstance(fact, Known), fact
    return fact.value


def kind(facts: Facts) -> str:
    failure = known(facts.account.sign_in).failure
    assert failure is not None
    return str(failure.kind)


def test_it_hangs_after_its_greeting(control_dir: Path) -> None:
    with serving(GREETS) as port:
        facts = ask(control_dir, port=port)
    assert kind(facts) == "stalled"
    assert known(facts.way.tcp).answer is Answer.OPEN
    assert known(facts.way.banner) == "SSH-2.0-OpenSSH_9.9 x"
    assert known(facts.server.software).text == "OpenSSH_9.9 x"


def test_it_says_nothing_at_all(control_dir: Path) -> None:
    with serving("pass") as port:
        facts = ask(control_dir, port=port)
    assert kind(facts) == "greeting_timeout"
    assert known(facts.way.tcp).answer is Answer.OPEN
    assert known(facts.way.banner) == ""


def test_a_web_server(control_dir: Path) -> None:
    with serving(WEB) as port:
        facts = ask(control_dir, port=port)
    assert kind(facts) == "not_ssh"
    assert known(facts.way.banner).startswith("HTTP/1.1 400")
    assert isinstance(facts.server.software, Unknown)


def test_another_server_that_speaks_first(control_dir: Path) -> None:
    with serving(SAYS_AT_ONCE) as port:
        facts = ask(control_dir, port=port)
    assert known(facts.way.banner) == "220 mail.example ESMTP"


def test_it_closes_at_once(control_dir: Path) -> None:
    with serving("peer.close()") as port:
        facts = ask(control_dir, port=port)
    assert kind(facts) == "closed_before_sign_in"


def test_nobody_listens(control_dir: Path) -> None:
    facts = ask(control_dir, port=free_port())
    assert (kind(facts), known(facts.way.tcp).answer) == ("refused", Answer.REFUSED)
    assert facts.sign_ins == 1


def test_no_such_name(control_dir: Path) -> None:
    facts = ask(control_dir, "no-such-name.invalid")
    # None, or where no name server answers in time not even that.
    assert facts.way.addresses == Known(()) or isinstance(facts.way.addresses, Unknown)
    assert known(facts.way.tcp).answer in (Answer.UNRESOLVED, Answer.TIMEOUT)


def test_a_jump_host_that_is_not_there(control_dir: Path) -> None:
    jump = f"127.0.0.1:{free_port()}"
    facts = ask(control_dir, "vps.invalid", profile={"proxy_jump": jump})
    assert facts.way.jump == f"[127.0.0.1]:{jump.partition(':')[2]}"
    assert facts.way.tcp == Unknown("the way goes through a jump host")
    assert kind(facts) == "refused"


def test_ssh_refuses_the_configuration(control_dir: Path) -> None:
    options = (("NoSuchKeyword", "yes"),)
    facts = ask(control_dir, profile={"ssh_options": options})
    assert isinstance(facts.here.config, Unknown)
    assert "nosuchkeyword" in facts.here.config.said.lower()
    assert facts.sign_ins == 0


def test_no_ssh(control_dir: Path) -> None:
    facts = ask(control_dir, ssh="/no/such/ssh")
    assert isinstance(facts.here.ssh, Unknown)
    assert facts.sign_ins == 0
