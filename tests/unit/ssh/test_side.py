"""The second sign-in: its command line word for word, and what its words prove."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.model import Profile
from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.side import has_signed_in, said_inside, side_argv, side_seconds, why_not
from sshwrap.ssh.version import Version

V8_4, V8_5, V8_7, V10_0 = (Version(*numbers) for numbers in ((8, 4), (8, 5), (8, 7), (10, 0)))
WEB = Forward(Kind.REMOTE, "1:h:2", listen_port=1, connect_host="h", connect_port=2)
PROFILE = Profile("web", "root@vps", remote_forward=(WEB,))
HEAD = ("ssh", "-T", "-E", "/dev/stdout")
OURS = (
    *("-o", "LogLevel=VERBOSE"),
    *("-o", "BatchMode=yes"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ConnectionAttempts=1"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
    *("-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "Tunnel=no"),
)
SINCE_8_5 = ("-o", "LogVerbose=none")
SINCE_8_7 = (
    *("-o", "ForkAfterAuthentication=no"),
    *("-o", "SessionType=default"),
    *("-o", "StdinNull=no"),
)


@pytest.mark.parametrize(
    ("version", "more"),
    [
        (V8_4, ()),
        (V8_5, SINCE_8_5),
        (V8_7, (*SINCE_8_5, *SINCE_8_7)),
        (V10_0, (*SINCE_8_5, *SINCE_8_7)),
    ],
    ids=str,
)
def test_the_whole_of_it(version: Version, more: tuple[str, ...]) -> None:
    asked = side_argv(PROFILE, version, "sh -s")
    assert asked == (*HEAD, *OURS, *more, "--", "root@vps", "sh -s")
    silent = side_argv(PROFILE, version, None, ssh="/opt/ssh")
    assert silent == (
        *("/opt/ssh", *HEAD[1:], "-W", "127.0.0.1:1"),
        *(*OURS, *more, "--", "root@vps"),
    )


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["LogLevel", "ControlPath", "Ciphers"]), st.text())))
def test_the_same_connection_as_the_tunnel_and_ours_first(options: list[tuple[str, str]]) -> None:
    profile = Profile(
        "web",
        "-oProxyCommand=x",
        remote_forward=(WEB,),
        user="u",
        port=22,
        identity_file=("k",),
        proxy_jump="j",
        ssh_config="/c",
        ssh_options=tuple(options),
    )
    tunnel = build_argv(profile, V10_0, control_path=None)
    side = side_argv(profile, V10_0, "true")
    connection = tunnel[tunnel.index("-F") : tunnel.index("-R")]
    begin = len(HEAD) + len((*OURS, *SINCE_8_5, *SINCE_8_7))
    assert side[:begin] == (*HEAD, *OURS, *SINCE_8_5, *SINCE_8_7)
    assert side[begin:] == (*connection, "--", "-oProxyCommand=x", "true")


@pytest.mark.parametrize(("given", "told"), [(1, 1), (7, 7), (10, 10), (600, 10)])
def test_it_does_not_take_long(given: int, told: int) -> None:
    profile = Profile("web", "vps", connect_timeout=given)
    assert f"ConnectTimeout={told}" in side_argv(profile, V10_0, None)
    assert side_seconds(profile) == told + 5


IN = b'Authenticated to vps ([192.0.2.1]:22) using "publickey".\n'


@pytest.mark.parametrize(
    "line",
    [
        IN,
        b'Authenticated to vps (via proxy) using "publickey".\r\n',
        b"Authenticated to vps ([192.0.2.1]:22).\n",  # 8.4
    ],
)
def test_signed_in(line: bytes) -> None:
    assert has_signed_in(b"Warning: first\n" + line + b"Bytes per second: sent 1\n")


@pytest.mark.parametrize(
    "out",
    [b"", b"x" + IN, IN[:-3], b"Permission denied\n", b"\xff\n", b"debug1: " + IN, b"\r" * 9],
)
def test_not_signed_in(out: bytes) -> None:
    assert not has_signed_in(out)
    assert said_inside(out) == []


def test_what_was_said_inside() -> None:
    statistics = b"Transferred: sent 1, received 2 bytes\nBytes per second: sent 3.0\n"
    out = b"before\n" + IN + b"account is not available\r\n\x1b[m\n" + statistics
    assert said_inside(out) == ["account is not available", "\\033[m"]


@pytest.mark.parametrize(
    ("out", "err", "words"),
    [
        (b"", b"", ""),
        (b"a\nssh: connect to host h\n", b"banner\n", "ssh: connect to host h"),
        (
            b"kex_exchange_identification: Connection closed by remote host\n"
            b"Connection closed by UNKNOWN port 65535\n",
            b"jump: Permission denied (publickey).\n",
            "jump: Permission denied (publickey).",
        ),
        (
            b"Connection closed by UNKNOWN port 65535\n",
            b"",
            "Connection closed by UNKNOWN port 65535",
        ),
        (b"", b"\x1b[2Jno\n", "\\033[2Jno"),
    ],
)
def test_why_not(out: bytes, err: bytes, words: str) -> None:
    assert why_not(out, err) == words
