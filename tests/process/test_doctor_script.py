"""The script for a server, run by every shell that is here: what it says, and what it leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sshwrap.doctor.answers import (
    read_addresses,
    read_effective,
    read_files,
    read_parts,
    read_rights,
    read_shell,
)
from sshwrap.doctor.facts import Known, Rights
from sshwrap.doctor.questions import Asked, server_script
from sshwrap.ssh.look import Look, read_look

NONCE = "00ff00ff"
SHELLS = {
    "dash": ["dash", "-s"],
    "bash": ["bash", "-s"],
    "bash as sh": ["bash", "--posix", "-s"],
    "busybox": ["busybox", "sh", "-s"],
    "ksh": ["ksh", "-s"],
    "mksh": ["mksh", "-s"],
    "zsh": ["zsh", "--emulate", "sh", "-s"],
}
PARTS = {"account", "sshd", "effective", "files", "firewall", "programs"}


def run(shell: str, home: Path, **environ: str) -> bytes:
    argv = SHELLS[shell]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"no {argv[0]} on this machine")
    script = server_script(Asked(NONCE, "it's me", (1, 65535), (str(home), "/no/such")))
    given = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}
    given["SSH_CONNECTION"] = "127.0.0.1 4711 127.0.0.1 22"
    done = subprocess.run(argv, input=script, capture_output=True, env=given | environ, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_it_answers_in_every_shell(tmp_path: Path, shell: str) -> None:
    out = run(shell, tmp_path)
    parts = read_parts(NONCE, out)
    assert set(parts) == PARTS
    found = read_shell(parts["account"])
    assert isinstance(found, Known)
    assert found.value.uid == os.geteuid()
    assert found.value.client == ("127.0.0.1", 4711)
    assert found.value.home_is_writable is True
    assert isinstance(read_rights(parts["account"]), Known)
    addresses = read_addresses(parts["account"])
    assert isinstance(addresses, Known)
    assert "127.0.0.1" in addresses.value
    assert parts["account"].words["path"] == ("yes", "no")
    assert isinstance(read_look(NONCE, 0, out, b""), Look)
    assert list(tmp_path.iterdir()) == []  # the throw-away key is gone


def test_a_machine_without_the_tools_is_no_error(tmp_path: Path) -> None:
    """Nothing but a shell: every part is whole, and what it cannot know is not there."""
    script = server_script(Asked(NONCE, "ann")).replace(b"PATH=$PATH:", b"PATH=$PATH; _=")
    done = subprocess.run(
        [shutil.which("sh") or "sh", "-s"],
        input=script,
        capture_output=True,
        env={"PATH": "/no/such", "HOME": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    parts = read_parts(NONCE, done.stdout)
    assert "account" in parts
    assert not isinstance(read_shell(parts["account"]), Known)
    assert not isinstance(read_effective(parts.get("effective")), Known)
    assert not isinstance(read_files(parts.get("files")), Known)


@pytest.mark.parametrize(
    ("groups", "status", "rights"),
    [
        ("ann sudo", 0, Rights.SUDO),
        ("wheel ann", 1, Rights.SUDO_PASSWORD),
        ("ann docker", 0, Rights.NONE),
        ("ann sudoers", 0, Rights.NONE),
    ],
)
def test_sudo_is_tried_where_the_account_is_in_its_group(
    tmp_path: Path, groups: str, status: int, rights: Rights
) -> None:
    """A sudo that writes down how it is called, and an id that says who we are."""
    calls = tmp_path / "calls"
    programs = {
        "sudo": f'echo "$1 $2" >> {calls}; [ {status} = 0 ] || exit {status}; shift; exec "$@"',
        "id": f"case $1 in -u) echo 1000 ;; -un) echo ann ;; *) echo {groups} ;; esac",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    parts = read_parts(NONCE, run("dash", tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}"))
    assert read_rights(parts["account"]) == Known(rights)
    assert set(parts) == PARTS
    expected = {Rights.SUDO: ["-n true", "-n sh"], Rights.SUDO_PASSWORD: ["-n true"]}
    found = calls.read_text().splitlines() if calls.exists() else []
    assert found == expected.get(rights, [])
