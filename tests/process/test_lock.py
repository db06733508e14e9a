"""Locks between real processes: one holder, freed by any death, undisturbed by lookers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sshwrap.errors import UserError
from sshwrap.supervisor.lock import holder, is_locked, try_lock
from tests.support.waiting import wait_for

# Takes the lock, says so, and keeps it until its standard input ends.
HOLD = """
import sys
from sshwrap.supervisor.lock import try_lock
lock = try_lock(sys.argv[1], "test holder")
print("held" if lock else "refused", flush=True)
sys.stdin.read()
"""

# Takes and releases it, its file removed each time; a second holder at one time is "twice".
CONTEND = """
import os, sys
from sshwrap.supervisor.lock import try_lock
path, witness, rounds = sys.argv[1], sys.argv[1] + ".witness", int(sys.argv[2])
while rounds:
    if lock := try_lock(path):
        os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
        os.unlink(witness)
        lock.release(remove=True)
        rounds -= 1
print("done")
"""

LOOK = """
import sys
from sshwrap.supervisor.lock import is_locked
print("looking", flush=True)
while True:
    is_locked(sys.argv[1])
"""


@contextmanager
def program(source: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", source, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_holder_until_it_gives_it_up(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert not is_locked(path)
    assert holder(path) is None
    lock = try_lock(path, "sshwrap up web")
    assert lock is not None
    assert is_locked(path)
    assert holder(path) == {"pid": os.getpid(), "what": "sshwrap up web"}
    assert try_lock(path) is None
    lock.release()
    lock.release()
    assert not is_locked(path)
    assert holder(path) is None
    again = try_lock(path)
    assert again is not None
    again.release(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_for_us_alone(tmp_path: Path) -> None:
    lock = try_lock(str(tmp_path / "lock"))
    assert lock is not None
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    lock.release()


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with program(HOLD, path) as process:
        assert first_line(process) == "held"
        assert try_lock(path) is None
        assert holder(path) == {"pid": process.pid, "what": "test holder"}
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert not is_locked(path)
        assert holder(path) is None  # what it wrote still stands there, and means nothing
        assert json.loads(Path(path).read_text())["pid"] == process.pid
        lock = try_lock(path)
        assert lock is not None
        lock.release()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1, 2]", b"12345\n", b"{" * 100_000])
def test_whatever_stands_in_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    assert not is_locked(str(path))
    lock = try_lock(str(path), "it")
    assert lock is not None
    assert (holder(str(path)) or {})["what"] == "it"
    path.write_bytes(content)
    assert holder(str(path)) == {}
    lock.release()


def test_a_removed_file_is_another_lock_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    old = try_lock(str(path))
    path.unlink()
    assert not is_locked(str(path))
    new = try_lock(str(path))
    assert old is not None
    assert new is not None
    old.release(remove=True)
    assert is_locked(str(path))
    new.release()


def test_never_two_holders_though_each_removes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with program(CONTEND, path, 150) as one, program(CONTEND, path, 150) as two:
        assert [first_line(one), first_line(two)] == ["done", "done"]


def test_looking_never_keeps_anybody_from_taking_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    Path(path).touch()
    with program(LOOK, path) as looker:
        assert first_line(looker) == "looking"
        for _ in range(300):
            lock = try_lock(path)
            assert lock is not None
            lock.release()


def test_a_looker_that_was_stopped_costs_a_moment_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        before = time.monotonic()
        assert try_lock(str(path)) is None
        assert time.monotonic() - before < 15
    lock = try_lock(str(path))
    assert lock is not None
    lock.release()


def test_programs_that_we_start_do_not_inherit_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = try_lock(path)
    assert lock is not None
    command = [sys.executable, "-c", "print('there', flush=True); input()"]
    with subprocess.Popen(
        command, close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert first_line(child) == "there"
        lock.release()
        assert not is_locked(path)
        child.communicate("\n")


def test_a_child_that_was_forked_keeps_it_when_its_parent_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    source = """
import os, sys
from sshwrap.supervisor.lock import try_lock
lock = try_lock(sys.argv[1], "parent")
if os.fork():
    os._exit(0)
lock.describe("background supervisor")
print(os.getpid(), flush=True)
sys.stdin.read()
"""
    with program(source, path) as parent:
        child = int(first_line(parent))
        parent.wait(10)
        assert child != parent.pid
        assert is_locked(path)
        assert holder(path) == {"pid": child, "what": "background supervisor"}
        assert parent.stdin is not None
        parent.stdin.close()
        wait_for(lambda: not is_locked(path))


def test_a_link_or_a_missing_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, said in [
        ("link", "symbolic links"),
        ("none/lock", "No such file"),
        ("", "directory"),
    ]:
        with pytest.raises(UserError, match="cannot be opened") as caught:
            try_lock(str(tmp_path / name))
        assert said in str(caught.value.said)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UserError, match="cannot be read"):
        is_locked(str(tmp_path / "link"))
