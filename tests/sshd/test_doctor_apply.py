"""Doctor's scripts are what every POSIX shell reads, and hold what they are given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sshwrap.doctor.facts import Listening, Reloader
from sshwrap.doctor.fix_script import Order, decide_script, install_script, last_script, read_answer
from sshwrap.doctor.sshd_config import Criteria
from sshwrap.doctor.sshd_config_edit import Edit

NONCE = "0011223344556677"
SHELLS = (("dash",), ("bash", "--posix"), ("busybox", "sh"))


def order(home: Path) -> Order:
    awkward = 'it\'s\t$(id) `id` \\n "x" \udcff\r\n\n\nno end'
    return Order(
        Listening(1, "/usr/sbin/sshd", ("-o", "Port=1 # '"), Reloader.PIDFILE),
        Edit("/etc/ssh/sshd_config", awkward, awkward),
        Criteria("root", "198.51.100.1", "198.51.100.1", "203.0.113.7", 22),
        {"GatewayPorts": "clientspecified"},
        ("GatewayPorts",),
        home=str(home),
    )


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: str(words[0]))
def test_every_shell_reads_them(tmp_path: Path, shell: tuple[str, ...]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} on this machine")
    change = f"20261122T101500Z-{NONCE}"
    scripts = (
        install_script(order(tmp_path), NONCE),
        decide_script(change, "confirm", NONCE, str(tmp_path)),
        last_script(NONCE, str(tmp_path)),
    )
    for script in scripts:
        done = subprocess.run([*shell, "-n", "-s"], input=script, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: str(words[0]))
def test_a_text_is_written_byte_for_byte(tmp_path: Path, shell: tuple[str, ...]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} on this machine")
    whole = install_script(order(tmp_path), NONCE)
    # All of it but what it would do: the values are set, and one of them is shown.
    head, _, _ = whole.rpartition(f"echo 'begin {NONCE}'".encode())
    script = head + b'printf %s "$text_after"\n}\nmain\n'
    done = subprocess.run([*shell, "-s"], input=script, capture_output=True, check=True)
    after = order(tmp_path).edit.after or ""
    assert done.stdout == after.encode("utf-8", "surrogateescape")


def test_a_change_that_is_not_there_is_too_late(tmp_path: Path) -> None:
    change = f"20261122T101500Z-{NONCE}"
    script = decide_script(change, "confirm", NONCE, str(tmp_path))
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, check=True)
    answer = read_answer(NONCE, done.stdout)
    assert (answer.is_whole, answer.why) == (True, "late")
