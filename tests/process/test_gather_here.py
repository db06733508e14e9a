"""What doctor gathers of this machine: key files as ssh-keygen makes them, an agent, targets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshwrap.doctor.facts import Answer, ClientConfig, Known, Target, Unknown
from sshwrap.doctor.gather_here import Targets, ask_agent, ask_config, look_at_identities
from sshwrap.doctor.remote import Pump
from sshwrap.profile.forward import Kind, parse_forward
from sshwrap.profile.model import Profile
from tests.support.masters import remote
from tests.support.needs import needs_ssh
from tests.support.ports import free_port
from tests.support.web import Web

HERE = "127.0.0.1"
needs_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = Pump()
    yield pump
    pump.close()


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    (folder / ".ssh").mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


def config(**values: tuple[str, ...]) -> ClientConfig:
    return ClientConfig("vps", "root", 22, values)


def make_key(path: Path, *more: str) -> str:
    """Its fingerprint, as ssh-keygen has it."""
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), *more], check=True)
    said = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], capture_output=True, text=True)
    return said.stdout.split()[1]


@needs_keygen
@pytest.mark.parametrize(
    ("more", "is_encrypted"),
    [
        (("-t", "ed25519", "-N", ""), False),
        (("-t", "ed25519", "-N", "secret"), True),
        (("-t", "rsa", "-b", "2048", "-N", ""), False),
        (("-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret"), True),
        (("-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""), False),
        (("-t", "ecdsa", "-m", "PKCS8", "-N", "secret"), True),
    ],
)
def test_keys_as_ssh_keygen_makes_them(
    home: Path, more: tuple[str, ...], is_encrypted: bool
) -> None:
    fingerprint = make_key(home / ".ssh" / "id_rsa", *more)
    make_key(home / "k", "-t", "ed25519", "-N", "")
    (home / "k").chmod(0o644)
    named = ("~/.ssh/id_rsa", "~/.ssh/id_dsa", f"{home}/k")
    one, missing, own = look_at_identities(config(identityfile=named), str(home))
    assert (one.is_encrypted, one.fingerprint, one.mode) == (is_encrypted, fingerprint, 0o600)
    assert (one.exists, one.is_readable, one.from_profile, one.is_ours) == (True, True, False, True)
    assert (missing.exists, missing.fingerprint) == (False, None)
    assert (own.from_profile, own.mode) == (True, 0o644)


@needs_keygen
def test_the_fingerprint_of_a_key_without_its_pub_file(home: Path) -> None:
    fingerprint = make_key(home / "k", "-t", "ed25519", "-N", "secret")
    (home / "k.pub").unlink()
    (found,) = look_at_identities(config(identityfile=(str(home / "k"),)), str(home))
    assert found.fingerprint == fingerprint


def test_what_is_no_key(home: Path) -> None:
    (home / "text").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END")
    os.mkfifo(home / "fifo")
    named = (str(home / "text"), str(home / "fifo"), str(home))
    for one in look_at_identities(config(identityfile=named), str(home)):
        assert one.exists
        assert (one.is_encrypted, one.fingerprint) == (None, None)


@pytest.mark.skipif(not shutil.which("ssh-agent"), reason="no ssh-agent here")
def test_an_agent(home: Path) -> None:
    path = str(home / "agent")
    fingerprint = make_key(home / "k", "-t", "ed25519", "-N", "")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    with agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        environ = {"SSH_AUTH_SOCK": path}
        assert ask_agent(config(), environ, str(home)) == Known(())
        subprocess.run(
            ["ssh-add", "-q", str(home / "k")], env={**os.environ, **environ}, check=True
        )
        assert ask_agent(config(), environ, str(home)) == Known((fingerprint,))
        other = config(identityagent=(path,))
        assert ask_agent(other, {}, str(home)) == Known((fingerprint,))
        agent.terminate()


def test_no_agent(home: Path) -> None:
    assert isinstance(ask_agent(config(), {}, str(home)), Unknown)
    gone = ask_agent(config(), {"SSH_AUTH_SOCK": str(home / "gone")}, str(home))
    assert isinstance(gone, Unknown)
    assert "No such file" in gone.said
    none = ask_agent(config(identityagent=("none",)), {"SSH_AUTH_SOCK": "/x"}, str(home))
    assert none == Unknown("ssh_config says IdentityAgent none")


def test_an_agent_that_is_silent(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home / "s"))
        silent.listen()
        found = ask_agent(config(), {"SSH_AUTH_SOCK": str(home / "s")}, str(home))
    assert isinstance(found, Unknown)
    assert "timed out" in found.said


def targets(pump: Pump, *specs: str) -> list[Target]:
    found = Targets(pump, [remote(spec) for spec in specs])
    assert pump.until(lambda: found.are_done, 20)
    return list(found.answers())


def test_targets(pump: Pump, web: Web, home: Path) -> None:
    with socket.create_server((HERE, 0)) as sshd, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(home / "u"))
        unix.listen()
        port = sshd.getsockname()[1]
        # Accepted by the kernel: greeted only if somebody does it.
        found = targets(
            pump,
            f"1:{HERE}:{web.port}",
            f"2:localhost:{web.port}",
            f"3:{HERE}:{free_port()}",
            "4:no-such-name.invalid:80",
            f"5:{HERE}:{port}",
            f"6:{home}/u",
            f"7:{home}/none",
            "8",
        )
    answers = [(one.forward.listen_port, one.connected.answer, one.is_sshd) for one in found]
    assert answers[:3] == [
        (1, Answer.OPEN, None),
        (2, Answer.OPEN, None),
        (3, Answer.REFUSED, None),
    ]
    assert answers[3][1] in (Answer.UNRESOLVED, Answer.TIMEOUT)
    assert answers[4:6] == [(5, Answer.OPEN, None), (6, Answer.OPEN, None)]
    assert answers[6][1] is Answer.NO_ROUTE
    assert len(answers) == 7  # a SOCKS proxy points at nothing


def test_a_target_that_greets(pump: Pump) -> None:
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "c, _ = s.accept(); c.sendall(b'SSH-2.0-x\\r\\n'); print(c.recv(9), flush=True)"
    )
    child = subprocess.Popen(["/usr/bin/python3", "-IS", "-c", code], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        (found,) = targets(pump, f"1:{HERE}:{port}")
        assert found.is_sshd is True
        assert child.stdout.readline() == b"b''\n"  # nothing was ever written to it


@needs_ssh
def test_what_ssh_config_says(pump: Pump, home: Path) -> None:
    file = home / "config"
    file.write_text("Host v\n HostName 192.0.2.1\n User ann\n Port 2200\n RemoteForward 1 h:2\n")
    profile = Profile("v", "v", ssh_config=str(file))
    added = (parse_forward(Kind.REMOTE, "1:h:2", environ={}, service_port=lambda _: None),)
    found = ask_config(pump, profile, "ssh", {"PATH": os.environ["PATH"]}, added)
    assert isinstance(found, Known)
    assert (found.value.hostname, found.value.user, found.value.port) == ("192.0.2.1", "ann", 2200)
    assert found.value.values["remoteforward"] == ("1 [h]:2",)
    assert found.value.forwards == added
