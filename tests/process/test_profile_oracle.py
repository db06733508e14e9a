"""Keywords, destinations and whole command lines held against the system's ssh (`ssh -G`)."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence

import pytest

from sshwrap.errors import UserError
from sshwrap.profile.destination import DestinationError, parse_destination
from sshwrap.profile.file import service_port
from sshwrap.profile.keywords import KEYWORDS, PROFILE_KEYS, REFUSED
from sshwrap.profile.model import Profile, make_profile
from sshwrap.profile.ssh_command import parse_command
from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.version import Version, parse_version

SSH = shutil.which("ssh")
pytestmark = pytest.mark.skipif(SSH is None, reason="no ssh on PATH")

ENVIRON = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": "/home/somebody"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SSH), *arguments],
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )


def effective(arguments: Sequence[str]) -> dict[str, list[str]] | None:
    """Keyword in lower case -> its arguments; None where ssh refuses the command line."""
    done = run("-G", *arguments)
    if done.returncode != 0:
        return None
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, argument = line.partition(" ")
        if keyword.isalnum():  # and no line of the log, which -E brings here too
            found.setdefault(keyword.lower(), []).append(argument)
    return found


def version() -> Version:
    found = parse_version(run("-V").stderr)
    assert found is not None
    return found


def test_every_keyword_of_this_ssh_is_known() -> None:
    printed = effective(["-F", "/dev/null", "x"])
    assert printed is not None
    assert printed.keys() - {keyword.lower() for keyword in KEYWORDS} == set()


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_no_keyword_of_ours_is_made_up(keyword: str) -> None:
    newer = {"ChannelTimeout", "ObscureKeystrokeTiming", "RefuseConnection", "Tag"}
    newer |= {"VersionAddendum", "WarnWeakCrypto", "UseKeychain"}  # Apple's; the others from 9.3 on
    newer |= {name for name in KEYWORDS if name.startswith("GSSAPI")}  # Debian's, Fedora's
    said = run("-G", "-F", "/dev/null", "-o", f"{keyword}=no", "x").stderr
    if keyword not in newer:
        assert "Bad configuration option" not in said


@pytest.mark.parametrize(
    "text",
    [
        *("h", "u@h", "DOM\\me@h", "a@b@h", "::1", "u@fe80::1%eth0", "ssh://h", "ssh://H:2222"),
        *("ssh://u@h", "ssh://u@h:22/", "ssh://u%40d@h", "ssh://u;x=y@h", "ssh://a+b@h"),
        *("SSH://h", "ssh://h_1", "ssh://[::1]", "ssh://h/path", "ssh://::1", "ssh://h:0"),
        *("ssh://h:x", "ssh://h:65536", "@h", "-h", "u@-h", "-u@h", "h;id", "$(id)@h", "`id`"),
        *("a b", "h|id", "u\\@h", "ssh://-h", "ssh://h%41", "ssh://u%zz@h", "ssh://"),
    ],
)
def test_destinations(text: str) -> None:
    """What we take, ssh takes, and reads the same; what ssh refuses, we do."""
    seen = effective(["-F", "/dev/null", "-l", "nobody-said", "--", text])
    try:
        ours = parse_destination(text)
    except DestinationError:
        return
    assert seen is not None
    assert seen["hostname"] == [ours.host.lower()]
    assert seen["port"] == [str(ours.port or 22)]
    named = effective(["-F", "/dev/null", "--", text])
    assert named is not None
    assert ours.user is None or named["user"] == [ours.user]


COMMANDS = [
    "-R '*:12345:localhost:8080' root@vps",
    "-NTfnqvR 8080:localhost:80 -L 81:h:82 -D 1080 -p2222 vps -l me",
    "vps -R 0:localhost:22 -R 1080 -R /r.sock:/l.sock -R /s.sock:h:80",
    "-4C -c aes128-ctr -m hmac-sha2-256 -b 10.0.0.1 -B lo -i /dev/null -i '~/k' -J a@b:22,c vps",
    "-6 -k -oServerAliveInterval=30 -o 'ServerAliveCountMax 2' -o 'connecttimeout = 1m30s' vps",
    "-o 'RemoteForward 8080 localhost:80' -oDynamicForward=1080 -oLocalForward='81 h:82' vps",
    "-oPort=22 -oUser=me -oIdentityFile=/dev/null -oProxyJump=j -p 23 -oSetEnv=A=1 -oSetEnv=B=2 h",
    "-gL 81:h:82 -oCompression=yes -oCompression=no -o StrictHostKeyChecking=accept-new vps",
    "-o HostName=10.1.1.1 -o 'ProxyCommand nc %h %p' -o RekeyLimit='1G 1h' -K vps",
    "-I /lib/x.so -F /dev/null -R '[::1]:80:[::1]:80' ssh://u@h:2222",
]

# What sshwrap sets in every tunnel, and so may differ from the bare command.
OURS = {keyword.lower() for keyword in REFUSED} | {"identitiesonly"}
# Without one of its own sshwrap gives these a value where bare ssh has none.
DEFAULTED = {"serveraliveinterval", "connecttimeout"}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_means_the_same_as_its_profile(line: str) -> None:
    words = shlex.split(line)
    parsed = parse_command(words, environ=ENVIRON, service_port=service_port, cwd="/", name="vps")
    bare = effective(["-F", "/dev/null", *words] if "-F" not in words else words)
    argv = build_argv(parsed.profile, version(), control_path=None)
    head = () if "-F" in words else ("-F", "/dev/null")
    tunnel = effective([*head, *argv[1:]])
    assert bare is not None
    assert tunnel is not None
    assert differences(bare, tunnel) == {}


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, object]:
    def default(key: str) -> bool:
        return key in DEFAULTED and one.get(key) in (["0"], ["none"])

    return {
        key: (one.get(key), other.get(key))
        for key in one.keys() | other.keys()
        if key not in OURS and not default(key) and one.get(key) != other.get(key)
    }


def test_what_a_tunnel_sets_itself_is_refused_in_ssh_options() -> None:
    """Else the option of a person would be without effect, and nobody would say so."""
    profile = make_profile(
        "web",
        {"destination": "vps", "remote_forward": "1080"},
        file_dir="/",
        environ={},
        service_port=service_port,
        profiles_file=None,
    )
    assert isinstance(profile, Profile)
    for path in ("/c", None):
        argv = build_argv(profile, Version(10, 2), control_path=path)
        assert set(_keywords(argv)) - {*REFUSED, *PROFILE_KEYS} == set()


def _keywords(argv: Iterable[str]) -> list[str]:
    return [match[1] for word in argv if (match := re.match(r"([A-Z]\w+)=", word))]


@pytest.mark.parametrize(
    "line", ["-Z vps", "-oPort vps", "-R 8080:h vps", "-p x vps", "-oCiper=x v"]
)
def test_what_ssh_refuses_is_refused(line: str) -> None:
    assert effective(["-F", "/dev/null", *shlex.split(line)]) is None
    with pytest.raises(UserError):
        parse_command(shlex.split(line), environ={}, service_port=service_port, cwd="/")
