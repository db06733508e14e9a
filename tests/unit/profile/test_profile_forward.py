"""Specs as ssh reads them, the traps that it takes, and what is written back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.forward import (
    Forward,
    ForwardError,
    ForwardTrap,
    Kind,
    describe_connect,
    describe_listen,
    format_forward,
    forwards_of_config,
    parse_forward,
    spec_of_config,
)

PORTS = {"http": 80, "ssh": 22}
ENVIRON = {"HOME": "/home/u", "TARGET": "localhost:3000", "EMPTY": ""}


def parse(spec: str, kind: Kind = Kind.REMOTE) -> Forward:
    return parse_forward(kind, spec, environ=ENVIRON, service_port=PORTS.get)


def ends(forward: Forward) -> tuple[object, ...]:
    return (
        (forward.listen_host, forward.listen_port, forward.listen_path),
        (forward.connect_host, forward.connect_port, forward.connect_path),
    )


@pytest.mark.parametrize(
    ("spec", "listen", "connect"),
    [
        ("8080:localhost:3000", (None, 8080, None), ("localhost", 3000, None)),
        ("*:8080:h:80", ("*", 8080, None), ("h", 80, None)),
        (":8080:h:80", ("*", 8080, None), ("h", 80, None)),
        ("[::1]:8080:[fe80::1%eth0]:80", ("::1", 8080, None), ("fe80::1%eth0", 80, None)),
        ("0:localhost:3000", (None, 0, None), ("localhost", 3000, None)),
        ("http:h:ssh", (None, 80, None), ("h", 22, None)),
        ("+8080:h:08", (None, 8080, None), ("h", 8, None)),
        ("1080", (None, 1080, None), (None, None, None)),
        ("localhost:1080", ("localhost", 1080, None), (None, None, None)),
        ("/s.sock", (None, None, "/s.sock"), (None, None, None)),
        ("/r.sock:/l.sock", (None, None, "/r.sock"), (None, None, "/l.sock")),
        ("/r.sock:h:80", (None, None, "/r.sock"), ("h", 80, None)),
        ("8080:/l.sock", (None, 8080, None), (None, None, "/l.sock")),
        ("a:8080:/l.sock", ("a", 8080, None), (None, None, "/l.sock")),
        ("[/with:colon]:h:80", (None, None, "/with:colon"), ("h", 80, None)),
        ("8080:my\\:host:80", (None, 8080, None), ("my:host", 80, None)),
        ("8080:${TARGET}", (None, 8080, None), ("localhost", 3000, None)),
        ("${HOME}/s:h:80", (None, None, "/home/u/s"), ("h", 80, None)),
        ("$\\{HOME}:80:h:80", ("${HOME}", 80, None), ("h", 80, None)),
        (" 8080:0:80", (None, 8080, None), ("0", 80, None)),
        ("/a b.sock:h:80", (None, None, "/a b.sock"), ("h", 80, None)),
        ("/%h.sock:h:80", (None, None, "/%h.sock"), ("h", 80, None)),
    ],
)
def test_what_ssh_reads(spec: str, listen: object, connect: object) -> None:
    assert ends(parse(spec)) == (listen, connect)


def test_spec_is_kept_as_written_but_for_variables() -> None:
    assert parse("+8080:${TARGET}").spec == "+8080:localhost:3000"
    assert parse("1080").source == "profile"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("80800:h:80", 'listen port "80800" is not 0-65535'),
        ("8080:h:0", 'target port "0" is not 1-65535'),
        ("8080:localhost", "the target needs a port: 8080:localhost:PORT"),
        ("localhost:8080:3000", "write localhost:8080:localhost:3000"),
        ("::1:8080:localhost:3000", "an IPv6 address stands in brackets"),
        ("a:b:c:d:e", "more than four parts"),
        ("8080:https://localhost", "write host:port alone"),
        ("8080:[::1]x:80", 'after "[…]" comes ":" or the end'),
        ("", '"" names no port'),
        ("\\", "ends with a backslash"),
        ("${NOPE}:h:80", "environment variable ${NOPE} is not set"),
        ("${NOPE:h:80", 'without a name and a "}"'),
        ("80\0:h:80", '"80\\x00:h:80" holds a NUL'),
        ("/" + "p" * 107, "too long for a Unix socket: 108 bytes, 107 at most"),
        ("/%q:h:80", '"%q" is no token of ssh_config(5)'),
        ("*:12345 localhost:80", "ssh_config's spelling; write *:12345:localhost:80"),
    ],
)
def test_what_ssh_refuses(spec: str, message: str) -> None:
    with pytest.raises(ForwardError) as caught:
        parse(spec)
    assert message in str(caught.value)
    assert not isinstance(caught.value, ForwardTrap)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("8080::3000", "target host is empty; write 8080:localhost:3000"),
        ("*:8080::3000", "write *:8080:localhost:3000"),
        ("8080/localhost/3000", "write 8080:localhost:3000"),
        ("12345 localhost:8080", "ssh_config's spelling; write 12345:localhost:8080"),
        ("12345 /l.sock", "write 12345:/l.sock"),
        ("/r.sock /l.sock", "write /r.sock:/l.sock"),
        ("/r.sock localhost:80", "write /r.sock:localhost:80"),
        ("8080:", "write 8080:localhost:PORT, or 8080 for SOCKS"),
        ("8080:localhost:3000:", "ends in the middle; write 8080:localhost:3000"),
        ("8080:localhost:3000:\\", "ends in the middle; write 8080:localhost:3000"),
        ("12345:8080", "write 12345:localhost:8080"),
        ("8080:12345:localhost:80", 'bind address "8080" is a port'),
        ("8080:80:80", 'target host "80" is a port'),
        ("8080:*:80", 'target host "*" is no host'),
        ("8080:http://localhost:3000", "write host:port alone"),
        ("http://localhost:3000", "write host:port alone"),
        ("~/s.sock:h:80", 'ssh does not expand "~"'),
        ("./s.sock:h:80", "begin a path with /"),
        ("/a:80", 'holds a "/"'),
        ("8080:a b:80", "holds a space"),
        ("8080:a\x1b[31m:80", '"8080:a\\x1b[31m:80" holds a control character'),
    ],
)
def test_what_ssh_takes_and_nobody_means(spec: str, message: str) -> None:
    with pytest.raises(ForwardTrap) as caught:
        parse(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        (Kind.LOCAL, "8080", "no target; write 8080:localhost:PORT"),
        (Kind.LOCAL, "0:h:80", 'listen port "0" is not 1-65535'),
        (Kind.DYNAMIC, "8080:h:80", "a dynamic forward has no target"),
        (Kind.DYNAMIC, "8080:/l.sock", "a dynamic forward has no target; use local_forward"),
        (Kind.DYNAMIC, "0", 'listen port "0" is not 1-65535'),
    ],
)
def test_local_and_dynamic(kind: Kind, spec: str, message: str) -> None:
    with pytest.raises(ForwardError) as caught:
        parse(spec, kind)
    assert message in str(caught.value)


names = st.text("ab:[]\\${}é-.", min_size=1, max_size=8).map(lambda text: f"h{text}")
paths = st.text("ab:[]\\${}é-. %", max_size=8).map(lambda text: f"/{text.replace('%', '%%')}")
ports = st.integers(1, 65535)
listens = st.one_of(
    st.tuples(st.none() | names | st.just("*"), ports, st.none()),
    st.tuples(st.none(), st.none(), paths),
)
connects = st.one_of(
    st.tuples(names, ports, st.none()),
    st.tuples(st.none(), st.none(), paths),
    st.just((None, None, None)),
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(listens, connects)
def test_what_is_written_reads_back(
    listen: tuple[object, ...], connect: tuple[object, ...]
) -> None:
    forward = Forward(Kind.REMOTE, "", *listen, *connect)  # type: ignore[arg-type]
    spec = format_forward(forward)
    again = parse_forward(Kind.REMOTE, spec, environ={}, service_port=PORTS.get)
    assert ends(again) == (listen, connect)


@pytest.mark.parametrize(
    ("line", "spec", "listen", "connect"),
    [
        ("remoteforward [*]:8080 [localhost]:3000", "*:8080:localhost:3000", "*:8080", None),
        ("remoteforward []:8080 [h]:80", "*:8080:h:80", "*:8080", "h:80"),
        ("remoteforward 8080 [socks]:0", "8080", "8080", "socks"),
        ("remoteforward [::1]:80 [fe80::1]:81", "[::1]:80:[fe80::1]:81", "[::1]:80", None),
        ("remoteforward /a b.sock /l.sock", "/a b.sock:/l.sock", "/a b.sock", "/l.sock"),
        ("remoteforward /r.sock [h]:80", "/r.sock:h:80", "/r.sock", "h:80"),
        ("remoteforward 80 /100%.sock", "80:/100%%.sock", "80", "/100%%.sock"),
    ],
)
def test_lines_of_the_effective_configuration(
    line: str, spec: str, listen: str, connect: str | None
) -> None:
    forward = spec_of_config(Kind.REMOTE, line, source="~/.ssh/config")
    assert (forward.spec, forward.source) == (spec, "~/.ssh/config")
    assert describe_listen(forward) == listen
    assert connect is None or describe_connect(forward) == connect


def test_a_line_that_is_no_forward_is_refused() -> None:
    with pytest.raises(ForwardError, match="is no forward of ssh -G"):
        spec_of_config(Kind.REMOTE, "remoteforward yes")


def test_a_local_forward_to_a_socket_is_not_counted_twice() -> None:
    lines = ["user u", "dynamicforward 80", "dynamicforward 1080", "localforward 80 /l.sock"]
    found = forwards_of_config(lines)
    assert [(f.kind, f.spec) for f in found] == [
        (Kind.DYNAMIC, "1080"),
        (Kind.LOCAL, "80:/l.sock"),
    ]
