"""Every spec is held against ssh itself: `ssh -G` takes what we take, refuses what we refuse, and
reads what `format_forward` writes as the same forward.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.file import service_port
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
)

SSH = shutil.which("ssh")
pytestmark = pytest.mark.skipif(SSH is None, reason="no ssh on PATH")

FLAG = {Kind.REMOTE: "-R", Kind.LOCAL: "-L", Kind.DYNAMIC: "-D"}
ENVIRON = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": "/home/somebody"}
ENVIRON |= {"TARGET": "localhost:3000", "EMPTY": "", "SOCKET": "/run/a b.sock"}

_WORDS = r"""
8080:localhost:3000 :8080:localhost:3000 *:8080:localhost:3000 0.0.0.0:8080:localhost:3000
[::]:8080:localhost:3000 localhost:8080:localhost:3000 127.0.0.1:8080:h:80 [::1]:8080:h:80
[::1]:8080:[::1]:3000 ::1:8080:localhost:3000 ::1:8080 8080:::1:80 8080:fe80::1:80
8080:[fe80::1%eth0]:80 [*]:8080:h:80 []:8080:h:80 0:localhost:3000 0 *:0 -0:h:80 1080 *:1080 :1080
[::]:1080 localhost:1080 /tmp/s.sock [/tmp/s.sock] [/a:b] /r.sock:/l.sock /r.sock:host:80
8080:/l.sock host:8080:/l.sock :8080:/l.sock *:8080:/l.sock [/with:colon.sock]:h:80
8080:my\:host:3000 80\80:h:80 \8080:h:80 8080:\h:80 \/a:80 /a\/b:h:80 8080::3000 *:8080::3000
8080/localhost/3000 8080:localhost localhost:8080:3000 a:b:c:d a:b:c:d:e 1:2:3:4 1:2:3:4:5
1:2:3:4: rel.sock:h:80 rel/a.sock:h:80 8080:[::1]x:80 8080:[::1 [:80 ] [] : :: ::: :::: / // [/ /:
:/ ~/s.sock ~/s.sock:h:80 ./s:h:80 +8080:h:+80 08080:localhost:03000 http:localhost:https ftp
nosuchservice:h:80 8080:h:0 8080:h:00 80800:h:1 65535:h:65535 65536:h:1
99999999999999999999999:h:1 8080:h:-1 8080:h:80: 8080: *:8080: localhost:8080: 8080:h:80:\
8080:h:80\ \ 8080:h\ 8080:\:h:80 12345:8080 8080:1080:80 8080:12345:localhost:80 8080:0:80
8080:*:80 8080:http://localhost:3000 http://localhost:3000 8080:https://localhost /a:80 /a:b
8080:a/b:80 8080:/a:80 a/b:8080:h:80 ${TARGET} 8080:${TARGET} ${EMPTY}8080:h:80 8080:${EMPTY}:80
${EMPTY} ${SOCKET}:h:80 80:${SOCKET} ${NOPE}:h:80 ${:h:80 ${}:h:80 $HOME:h:80 $\{HOME}:h:80 $8080
8080:$:80 /%h.sock:h:80 /%%.sock:h:80 /%q.sock:h:80 /a%:h:80 80:/%h 80:/% 8080:%h:80 8080:h%q:80
[8080]:h:80 8080:h:[80] [8080] 8080:[]:80 8080:[[]:80 8080:a[b]:80 8080:a]:80 [a\]:80:h:80
8080:h,i:80 8080:é:80 /ü.sock:h:80
"""
SPECS = _WORDS.split()
SPACED = [
    "",
    " ",
    " 8080:localhost:3000",
    "\t8080:localhost:3000",
    "8080:localhost:3000 ",
    "8080: localhost:3000",
    "8080:localhost: 3000",
    "8080 :localhost:3000",
    "12345 localhost:8080",
    "*:12345 localhost:8080",
    "12345 [::1]:8080",
    "[::1]:12345 localhost:80",
    "12345 /l.sock",
    "/r.sock localhost:8080",
    "/r.sock /l.sock",
    "/a b.sock:h:80",
    "80:/a b.sock",
    "80:a\tb:80",
    "80:a\nb:80",
    "/a\x7f:h:80",
    "80:" + "h" * 1024 + ":80",
    "80:" + "h" * 1025 + ":80",
    "/" + "p" * 106 + ":h:80",
    "/" + "p" * 107 + ":h:80",
    "80:/" + "p" * 106,
    "80:/" + "p" * 107,
    "/" + "ü" * 53 + ":h:80",
    "/" + "ü" * 54 + ":h:80",
]

PORTS = ["0", "80", "8080", "65535", "65536", "+9", "007", "http", "nix", "", " 7", "-1", "-0"]
HOSTS = ["", "*", "h", "localhost", "127.0.0.1", "[::1]", "::1", "[*]", "[]", "a\\:b", "0", "7"]
PATHS = ["/a", "/a/b.sock", "[/a:b]", "a/b", "~/s", "/%h", "/a b", "\\/a", "/a\\:b", "/${EMPTY}"]
piece = st.sampled_from([*PORTS, *HOSTS, *PATHS]) | st.text("a0:[]/\\${}%*. ~é+-", max_size=6)
spec = st.lists(piece, min_size=1, max_size=5).map(":".join) | st.text(
    "a08:[]/\\${}%* é", min_size=1, max_size=12
)


def run_ssh(pairs: Sequence[tuple[Kind, str]]) -> tuple[int, list[str]]:
    """Exit status of `ssh -G`, and the lines that tell of forwards, sorted."""
    flags = [word for kind, text in pairs for word in (FLAG[kind], text)]
    done = subprocess.run(
        [str(SSH), "-G", "-N", "-F", "/dev/null", *flags, "--", "x"],
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    lines = done.stdout.decode().splitlines() if done.returncode == 0 else []
    words = tuple(f"{kind.value}forward " for kind in Kind)
    return done.returncode, sorted(line for line in lines if line.startswith(words))


def ours(kind: Kind, text: str) -> Forward | ForwardError:
    try:
        return parse_forward(kind, text, environ=ENVIRON, service_port=service_port)
    except ForwardError as error:
        return error


def printed(forward: Forward) -> list[str]:
    """The lines that readconf.c:dump_cfg_forwards makes of it, from our reading of the spec."""
    listen = _end(forward.listen_host, forward.listen_port, forward.listen_path)
    connect = _end(forward.connect_host, forward.connect_port, forward.connect_path)
    if forward.kind is Kind.REMOTE:
        return [f"remoteforward {listen} {connect or '[socks]:0'}"]
    if forward.kind is Kind.DYNAMIC:
        return [f"dynamicforward {listen}"]
    again = [f"dynamicforward {listen}"] if forward.connect_path is not None else []
    return [f"localforward {listen} {connect}", *again]


def _end(host: str | None, port: int | None, path: str | None) -> str:
    if path is not None:
        return path.replace("%%", "\0").replace("%h", "x").replace("\0", "%")
    if port is None:
        return ""
    return str(port) if host is None else f"[{host}]:{port}"


def same(lines: Sequence[str]) -> list[str]:
    """ ":80" and "*:80" are two spellings of one thing, and ssh prints which it was."""
    return sorted({line.replace("forward []:", "forward [*]:") for line in lines})


def fields(forward: Forward) -> tuple[object, ...]:
    listen, connect = describe_listen(forward), describe_connect(forward)
    return forward.kind, listen.replace("%h", "x"), connect.replace("%h", "x")


def hold_against_ssh(kind: Kind, texts: Sequence[str]) -> None:
    """What we take and what we call a trap all at once, what we refuse one by one."""
    answers = {text: ours(kind, text) for text in texts}
    taken = {text: answer for text, answer in answers.items() if isinstance(answer, Forward)}
    traps = [text for text, answer in answers.items() if isinstance(answer, ForwardTrap)]
    for text in answers.keys() - taken.keys() - set(traps):
        assert run_ssh([(kind, text)])[0] == 255, f"ssh takes {text!r}: {answers[text]}"
    if run_ssh([(kind, text) for text in [*taken, *traps]])[0] != 0:
        lost = [text for text in [*taken, *traps] if run_ssh([(kind, text)])[0] != 0]
        pytest.fail(f"ssh refuses {lost!r}")
    _, as_written = run_ssh([(kind, text) for text in taken])
    _, read_back = run_ssh([(kind, format_forward(forward)) for forward in taken.values()])
    expected = [line for forward in taken.values() for line in printed(forward)]
    assert same(as_written) == same(expected)
    assert same(read_back) == same(as_written)
    # what `ssh -G` prints, we read as the same forwards again
    plain = [f for f in taken.values() if f.connect_host != "socks" and "%%" not in f.spec]
    _, lines = run_ssh([(kind, forward.spec.replace("${", "$\\{")) for forward in plain])
    assert {fields(f) for f in forwards_of_config(lines)} == {fields(f) for f in plain}


@pytest.mark.parametrize("kind", list(Kind))
def test_known_specs(kind: Kind) -> None:
    hold_against_ssh(kind, [*SPECS, *SPACED])


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(kind=st.sampled_from(list(Kind)), texts=st.lists(spec, min_size=8, max_size=12))
def test_generated_specs(kind: Kind, texts: list[str]) -> None:
    hold_against_ssh(kind, texts)


def test_service_names_are_the_systems() -> None:
    assert service_port("ssh") == 22
    assert service_port("no-such-service") is None
    assert service_port("") is None


def test_ssh_config_and_our_spec_of_it_are_the_same_forward() -> None:
    options = ["RemoteForward=*:80 localhost:3000", "RemoteForward=/r.sock [::1]:22"]
    options += ["LocalForward=[::1]:81 /l.sock", "DynamicForward=localhost:1080"]
    arguments = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        [str(SSH), "-G", "-N", "-F", "/dev/null", *arguments, "x"],
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    found = forwards_of_config(done.stdout.decode().splitlines(), source="/etc/ssh/ssh_config")
    assert [(f.kind, f.spec, f.source) for f in found] == [
        (Kind.DYNAMIC, "localhost:1080", "/etc/ssh/ssh_config"),
        (Kind.LOCAL, "[::1]:81:/l.sock", "/etc/ssh/ssh_config"),
        (Kind.REMOTE, "*:80:localhost:3000", "/etc/ssh/ssh_config"),
        (Kind.REMOTE, "/r.sock:[::1]:22", "/etc/ssh/ssh_config"),
    ]
