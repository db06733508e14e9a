"""The script for a server, by what it asks; and how its answer is read, whole or not."""

from __future__ import annotations

import re

import pytest

from sshwrap.doctor.answers import (
    Part,
    read_addresses,
    read_effective,
    read_files,
    read_listening,
    read_managed,
    read_parts,
    read_paths,
    read_programs,
    read_recorded,
    read_rights,
    read_shell,
    read_valid,
    read_version,
)
from sshwrap.doctor.facts import Known, Reloader, Rights, Unknown, value_of
from sshwrap.doctor.questions import Asked, server_script

NONCE = "0123abcd"


def parts(name: str, text: str) -> Part:
    out = f"Welcome!\n\npart {name} {NONCE}\n{text}over {name} {NONCE}\n"
    return read_parts(NONCE, out.encode())[name]


def test_values_are_quoted_and_never_run() -> None:
    asked = Asked(NONCE, "a'b; $(reboot)", (80,), ("/tmp/it's $(here)",), 42)
    script = server_script(asked).decode()
    assert """'a'"'"'b; $(reboot)'""" in script
    assert """'/tmp/it'"'"'s $(here)'""" in script
    assert "/proc/42/stat" in script


def test_the_only_sudo_is_one_that_never_asks() -> None:
    script = server_script(Asked(NONCE, "root")).decode()
    calls = re.findall(r"sudo (\S+ \S+)", script)
    assert {call for call in calls if not call.startswith(("]", ">", "'"))} == {"-n true"}
    assert "before='sudo -n'" in script


def test_half_a_part_is_none() -> None:
    whole = f"part a {NONCE}\nx 1\nover a {NONCE}\npart b {NONCE}\nx 2\n".encode()
    assert list(read_parts(NONCE, whole)) == ["a"]
    assert read_parts("other", whole) == {}


def test_what_a_file_says_is_no_word_of_the_script() -> None:
    part = parts("files", f"table /f\n|closed /x\n|over files {NONCE}\n|table /g\n|\n")
    found = read_files(part)
    assert found == Known({"/f": f"closed /x\nover files {NONCE}\ntable /g\n"})


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\n\n", "a\r\nb", "\n"])
def test_files_are_as_they_were(text: str) -> None:
    rows = "".join(f"|{line}\n" for line in (text + "\n").split("\n")[:-1])
    part = parts("files", f"table /f\n{rows}")
    assert read_files(part) == Known({"/f": text})


@pytest.mark.parametrize("word", ["closed", "long"])
def test_a_file_that_is_not_whole_makes_all_unknown(word: str) -> None:
    part = parts("files", f"table /f\n|x\n{word} /g\n")
    found = read_files(part)
    assert isinstance(found, Unknown)
    assert "/g" in found.reason


ACCOUNT = """uid 1000
user ann
groups ann sudo docker
shell /bin/bash
connection 2001:db8::7 4711 192.0.2.1 22
system Linux
os "Debian GNU/Linux 12 (bookworm)"
date Sat Nov 28 23:56:15 UTC 2026
home no
path yes
path no
recorded 77 (sshd: a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 9900 20
table addresses
|2: eth0    inet 192.0.2.1/24 brd 192.0.2.255 scope global eth0
|2: eth0    inet6 fe80::1%eth0/64 scope link
|fe80000000000000000000000000000a 02 40 20 80     eth0
|           |-- 10.0.0.9
|	inet addr:10.1.1.1  Bcast:10.1.1.255
rights sudo_password
"""


def test_the_account() -> None:
    part = parts("account", ACCOUNT)
    shell = read_shell(part)
    assert isinstance(shell, Known)
    found = shell.value
    assert (found.user, found.uid, found.groups) == ("ann", 1000, ("ann", "sudo", "docker"))
    assert (found.client, found.server) == (("2001:db8::7", 4711), ("192.0.2.1", 22))
    assert (found.os_release, found.home_is_writable) == ("Debian GNU/Linux 12 (bookworm)", False)
    assert read_rights(part) == Known(Rights.SUDO_PASSWORD)
    assert read_paths(part, ["/a", "/b"]) == {"/a": True, "/b": False}
    assert read_recorded(part) == (77, 9900)
    addresses = read_addresses(part)
    assert addresses == Known(
        frozenset({"192.0.2.1", "fe80::1", "fe80::a", "10.0.0.9", "10.1.1.1"})
    )


def test_nothing_is_unknown_and_no_default() -> None:
    nothing = (read_shell(None), read_rights(None), read_addresses(None), read_files(None))
    assert all(isinstance(one, Unknown) for one in (*nothing, read_effective(None)))
    assert isinstance(read_shell(parts("account", "uid x\n")), Unknown)


def test_what_a_server_says_is_cleaned() -> None:
    part = parts("account", "uid 0\nuser \x1b[31mroot" + "x" * 5000 + "\n")
    shell = read_shell(part)
    assert isinstance(shell, Known)
    assert shell.value.user.startswith("\\033[31mroot")
    assert len(shell.value.user) == 200


DEBIAN = """systemd
|Id=ssh.service
|ActiveState=active
|MainPID=9
|LoadState=loaded
|
|Id=ssh.service
|ActiveState=active
|MainPID=9
|LoadState=loaded
|
|Id=ssh.socket
|ActiveState=inactive
|LoadState=loaded
|
|Id=sshd.socket
|ActiveState=inactive
|LoadState=not-found
"""
SOCKET = """systemd
|Id=ssh.service
|ActiveState=inactive
|MainPID=0
|LoadState=loaded
|
|Id=ssh.socket
|ActiveState=active
|LoadState=loaded
"""


@pytest.mark.parametrize(
    ("more", "reloader", "unit"),
    [
        (f"pid 9\ntable {DEBIAN}", Reloader.SYSTEMD, "ssh.service"),
        (f"table {SOCKET}", Reloader.SYSTEMD_SOCKET, "ssh.socket"),
        ("pid 9\nopenrc yes\nscript /etc/init.d/sshd\n", Reloader.OPENRC, "sshd"),
        ("pid 9\ntable pidfiles\n|9 /run/sshd.pid\n", Reloader.PIDFILE, "/run/sshd.pid"),
        ("pid 9\ntable pidfiles\n|8 /run/sshd.pid\n", None, ""),
        ("pid 9\nservice yes\nscript /etc/rc.d/sshd\n", Reloader.SERVICE, "sshd"),
        # Another sshd than the one that took us in.
        (f"pid 7\ntable {DEBIAN}", None, ""),
    ],
)
def test_what_reloads_sshd(more: str, reloader: Reloader | None, unit: str) -> None:
    text = f"program /usr/sbin/sshd\nconfig /etc/x\ntable options\n|Port=2\n{more}"
    found = read_listening(parts("sshd", text), None, "Linux")
    assert isinstance(found, Known)
    assert (found.value.reloader, found.value.unit) == (reloader, unit)
    assert found.value.arguments == ("-f", "/etc/x", "-o", "Port=2")


def test_no_sshd_was_found() -> None:
    assert isinstance(read_listening(parts("sshd", "as 0\n"), None, "Linux"), Unknown)
    text = "program /usr/sbin/sshd\n"
    assert isinstance(read_listening(parts("sshd", text), None, "Linux"), Unknown)


def test_effective_in_either_case() -> None:
    text = "table effective\n|GatewayPorts no\n|acceptenv LANG\n|acceptenv LC_*\n"
    found = read_effective(parts("effective", text))
    assert found == Known({"gatewayports": ("no",), "acceptenv": ("LANG", "LC_*")})
    refused = read_effective(parts("effective", "table said\n|no hostkeys\n"))
    assert isinstance(refused, Unknown)
    assert refused.said == "no hostkeys"


@pytest.mark.parametrize(
    ("text", "is_known", "value"),
    [
        ("valid 0\n", True, True),
        ("valid 255\ntable fault\n|/etc/x: line 3: Bad configuration option: Foo\n", True, False),
        ("valid 1\ntable fault\n|sshd: no hostkeys available -- exiting.\n", False, None),
        ("valid 255\ntable fault\n|Missing privilege separation directory: /run/sshd\n", False, 0),
        ("valid 1\ntable fault\n|/etc/ssh/sshd_config: Permission denied\n", False, None),
        ("valid 124\n", False, None),
        ("", False, None),
    ],
)
def test_validity(text: str, is_known: bool, value: object) -> None:
    found, fault = read_valid(parts("effective", text))
    assert isinstance(found, Known) is is_known
    if isinstance(found, Known):
        assert found.value is value
    assert bool(fault) is (is_known and value is False)


def test_who_says_that_a_tool_writes_the_file() -> None:
    files = {"/a": "# This is the sshd server system-wide configuration file.\nPort 22\n"}
    sshd = parts("sshd", "config /a\nreal /a\n")
    assert read_managed(sshd, Known(files)) == Known("")
    puppet = {**files, "/b": "\n# Managed by Puppet: changes are lost\n"}
    found = read_managed(sshd, Known(puppet))
    assert found == Known("/b:2: # Managed by Puppet: changes are lost")
    nix = parts("sshd", "config /a\nreal /nix/store/x-sshd_config\n")
    assert "NixOS" in (value_of(read_managed(nix, Known(files))) or "")


def test_programs_by_ss() -> None:
    row = '|LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=2,fd=6),("nginx",pid=3,fd=6))\n'
    part = parts("programs", f"table ss\n{row}|LISTEN 0 1 [::]:8080 [::]:*\n")
    assert read_programs(part, 80) == ("nginx",)
    assert read_programs(part, 8080) == ()


def test_version_of_the_program() -> None:
    text = "table version\n|unknown option -- V\n|OpenSSH_9.2p1 Debian-2, OpenSSL 3.0\n"
    assert read_version(parts("sshd", text)) == "OpenSSH_9.2p1 Debian-2"
