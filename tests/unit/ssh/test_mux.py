"""Clients of the control socket: golden command lines, and what their words mean."""

from __future__ import annotations

import pytest

from sshwrap.profile.forward import Kind, parse_forward
from sshwrap.ssh.mux import (
    Added,
    Refused,
    Unknown,
    Why,
    cancel_argv,
    forward_argv,
    no_master,
    read_forward,
    session_argv,
    stdio_argv,
)

CLIENT = (
    *("ssh", "-F", "/dev/null", "-T", "-o", "ProxyCommand=false", "-o", "BatchMode=yes"),
    *("-o", "ControlMaster=no", "-S", "/s/100%% %%h"),
)
PATH = "/s/100% %h"


def forward(kind: Kind, spec: str):  # type: ignore[no-untyped-def]
    return parse_forward(kind, spec, environ={}, service_port=lambda _: None)


ONE = forward(Kind.REMOTE, "*:80:localhost:8080")
TWO = forward(Kind.REMOTE, "0.0.0.0:80:localhost:8080")


def test_command_lines() -> None:
    assert session_argv(PATH, "sh -s") == (*CLIENT, "--", "master", "sh -s")
    assert stdio_argv(PATH, "127.0.0.1", 1) == (*CLIENT, "-W", "127.0.0.1:1", "--", "master")
    assert stdio_argv(PATH, "::1", 1)[-3:] == ("[::1]:1", "--", "master")
    assert forward_argv(PATH, ONE, ssh="/opt/ssh") == (
        *("/opt/ssh", *CLIENT[1:]),
        *("-O", "forward", "-R", "*:80:localhost:8080", "--", "master"),
    )
    assert cancel_argv(PATH, (ONE, TWO, forward(Kind.LOCAL, "1:h:2"))) == (
        *(*CLIENT, "-O", "cancel", "-R", "*:80:localhost:8080"),
        *("-R", "0.0.0.0:80:localhost:8080", "-L", "1:h:2", "--", "master"),
    )


# As they were said by OpenSSH 8.4, 9.2 and 10.0, with CR.
GONE = [
    b"Control socket connect(/s/c): No such file or directory\r\n",
    b"Control socket connect(/s/c): Connection refused\r\n"
    b"kex_exchange_identification: Connection closed by remote host\r\n"
    b"Connection closed by UNKNOWN port 65535\r\n",
    b"Connection closed by UNKNOWN port 65535\r\n",
    b"banner exchange: Connection to UNKNOWN port 65535: Broken pipe\r\n",
    b"mux_client_request_session: read from master failed: Broken pipe\r\n",
]
REFUSED = (
    b"mux_client_request_session: session request failed: Session open refused by peer\r\n"
    b"kex_exchange_identification: Connection closed by remote host\r\n"
    b"Connection closed by UNKNOWN port 65535\r\n"
)


@pytest.mark.parametrize("said", GONE)
def test_no_master(said: bytes) -> None:
    answer = no_master(255, said)
    assert answer is not None
    assert answer.why is Why.GONE
    read = read_forward(255, b"", said)
    assert isinstance(read, Unknown)
    assert read.why is Why.GONE


def test_a_master_that_opens_no_session_is_not_gone() -> None:
    answer = no_master(255, REFUSED)
    assert answer is not None
    assert (answer.why, answer.said) == (Why.REFUSED, "Session open refused by peer")


def test_an_answer_is_no_trouble() -> None:
    assert no_master(0, b"") is None
    assert no_master(0, GONE[0]) is None
    refused = b"Stdio forwarding request failed: Session open refused by peer\r\n"
    assert no_master(255, refused) is None
    assert no_master(1, b"sh: not found\n") is None


def test_silence() -> None:
    answer = no_master(None, b"", timed_out=True)
    assert answer is not None
    assert answer.why is Why.SILENT
    read = read_forward(None, b"", b"", timed_out=True)
    assert isinstance(read, Unknown)
    assert read.why is Why.SILENT


@pytest.mark.parametrize(
    ("out", "port"), [(b"", None), (b"43907\n", 43907), (b"no port\n", None), (b"9" * 99, None)]
)
def test_a_forward_is_granted(out: bytes, port: int | None) -> None:
    assert read_forward(0, out, b"") == Added(port)


def test_a_forward_is_refused() -> None:
    said = (
        b"mux_client_forward: forwarding request failed: "
        b"remote port forwarding failed for listen port 44907\r\n"
        b"muxclient: master forward request failed\r\n"
    )
    words = "remote port forwarding failed for listen port 44907"
    assert read_forward(255, b"", said) == Refused(words)
    assert read_forward(255, b"", b"one\ntwo\nthree\n") == Refused("two; three")
