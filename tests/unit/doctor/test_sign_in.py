"""What ssh's log tells of the way; and that nothing else can tell it."""

from __future__ import annotations

import pytest

from sshwrap.doctor.facts import Answer, Connected, HostKeyState, Known, Unknown
from sshwrap.doctor.sign_in import (
    Heard,
    address_of,
    banner_of,
    host_key_of,
    key_options_of,
    master_argv,
    sign_in_of,
    software_of,
    tcp_of,
)
from sshwrap.profile.model import Profile
from sshwrap.ssh.version import Version

CONNECTING = "debug1: Connecting to vps [192.0.2.1] port 22."
ESTABLISHED = "debug1: Connection established."
GREETED = "debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2"
SHOWN = "debug1: Server host key: ssh-ed25519 SHA256:abc"
SIGNED_IN = 'Authenticated to vps ([192.0.2.1]:22) using "publickey".'


def heard(*lines: str, terminal: tuple[str, ...] = ()) -> Heard:
    found = Heard()
    for line in terminal:
        found = found.hear(line, 0.0, from_terminal=True)
    for number, line in enumerate(lines):
        found = found.hear(line, number * 0.25)
    return found


def test_the_connect_and_its_time() -> None:
    assert tcp_of(heard(CONNECTING, ESTABLISHED)) == Known(Connected(Answer.OPEN, 0.25))
    refused = "ssh: connect to host vps port 22: Connection refused"
    assert tcp_of(heard(CONNECTING, refused)) == Known(Connected(Answer.REFUSED, 0.25, refused))
    assert isinstance(tcp_of(heard(CONNECTING)), Unknown)
    assert address_of(heard(CONNECTING)) == "192.0.2.1"


def test_the_greeting() -> None:
    banner = banner_of(heard(GREETED))
    assert banner == Known("SSH-2.0-OpenSSH_9.2p1 Debian-2")
    software = software_of(banner)
    assert isinstance(software, Known)
    assert software.value.openssh == Version(9, 2)
    other = software_of(Known("SSH-2.0-dropbear_2022.83"))
    assert isinstance(other, Known)
    assert other.value.openssh is None
    web = banner_of(heard("debug1: kex_exchange_identification: banner line 0: HTTP/1.1 400"))
    assert web == Known("HTTP/1.1 400")
    assert isinstance(software_of(web), Unknown)


@pytest.mark.parametrize(
    ("lines", "state", "place"),
    [
        (
            (
                "debug1: Host 'vps' is known and matches the ED25519 host key.",
                "debug1: Found key in /h/.ssh/known_hosts:3",
            ),
            HostKeyState.KNOWN,
            "/h/.ssh/known_hosts:3",
        ),
        (("Host key verification failed.",), HostKeyState.UNKNOWN, ""),
        (
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
                "Offending ECDSA key in /h/.ssh/known_hosts:7",
                "Host key for vps has changed and you have requested strict checking.",
                "Host key verification failed.",
            ),
            HostKeyState.CHANGED,
            "/h/.ssh/known_hosts:7",
        ),
        ((SIGNED_IN,), HostKeyState.KNOWN, ""),
    ],
)
def test_the_host_key(lines: tuple[str, ...], state: HostKeyState, place: str) -> None:
    found = host_key_of(heard(SHOWN, *lines), "vps")
    assert isinstance(found, Known)
    assert (found.value.state, found.value.place) == (state, place)
    assert (found.value.fingerprint, found.value.name) == ("SHA256:abc (ED25519)", "vps")


def test_a_banner_on_the_terminal_proves_nothing() -> None:
    lines = (CONNECTING, ESTABLISHED, GREETED, SHOWN, SIGNED_IN)
    liar = heard(terminal=lines)
    assert isinstance(tcp_of(liar), Unknown)
    assert isinstance(banner_of(liar), Unknown)
    assert isinstance(host_key_of(liar, "vps"), Unknown)
    assert isinstance(key_options_of(liar), Unknown)
    assert not liar.is_signed_in


def test_key_options_that_are_none_and_that_nobody_says() -> None:
    line = "debug1: Remote: /h/.ssh/authorized_keys:1: key options:"
    assert key_options_of(heard(line)) == Known(())
    assert key_options_of(heard(line + " port-forwarding pty")) == Known(("port-forwarding", "pty"))
    assert isinstance(key_options_of(heard(SIGNED_IN)), Unknown)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ((CONNECTING,), "timed_out"),
        ((CONNECTING, ESTABLISHED), "greeting_timeout"),
        ((CONNECTING, ESTABLISHED, GREETED), "stalled"),
    ],
)
def test_one_that_takes_too_long(lines: tuple[str, ...], kind: str) -> None:
    found = sign_in_of(
        heard(*lines),
        is_ready=False,
        exit_status=None,
        signal=None,
        destination="vps",
        profile="web",
    )
    assert found.failure is not None
    assert found.failure.kind == kind


def test_the_command_line() -> None:
    profile = Profile("web", "vps", port=2222, identity_file=("/k",), connect_timeout=30)
    argv = master_argv(profile, Version(9, 2), "/c/%x")
    assert argv[:9] == (*("ssh", "-N", "-T", "-n", "-v", "-E", "/dev/stdout", "-S", "/c/%%x"),)
    assert argv[-2:] == ("--", "vps")
    text = " ".join(argv)
    for option in ("BatchMode=yes", "ControlMaster=yes", "ClearAllForwardings=yes", "-p 2222"):
        assert option in text
    assert "ConnectTimeout=5" in text
    assert "LogVerbose" not in " ".join(master_argv(profile, Version(8, 4), "/c"))


def test_what_is_heard_is_bounded() -> None:
    found = Heard((("x", False, 0.0),) * 2000)
    assert found.hear("y", 0.0) is found
