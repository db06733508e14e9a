"""Following a journal: whatever happens to its files, every entry once and in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sshwrap.supervisor.journal import (
    Follower,
    Journal,
    read_entries,
    rotated,
)
from tests.support.entries import entry, numbers, texts
from tests.support.waiting import wait_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.jsonl"


def test_first_all_there_is_then_the_news(path: Path) -> None:
    journal = Journal(path)
    follower = Follower(lambda: [path])
    assert follower.poll().entries == []
    journal.append(entry(1))
    assert texts(follower.poll().entries) == ["1"]
    assert follower.poll().entries == []
    journal.append(entry(2))
    journal.append(entry(3))
    assert texts(follower.poll().entries) == ["2", "3"]


def test_half_a_line_waits_for_its_other_half(path: Path) -> None:
    follower = Follower(lambda: [path])
    Journal(path).append(entry(1))
    line = path.read_bytes()
    path.write_bytes(line + line[:30])
    assert texts(follower.poll().entries) == ["1"]
    assert follower.poll().entries == []
    path.write_bytes(line + line)
    reading = follower.poll()
    assert (texts(reading.entries), reading.damaged) == (["1"], 0)


def test_a_half_line_that_is_taken_back_repeats_nothing(path: Path) -> None:
    follower = Follower(lambda: [path])
    journal = Journal(path)
    journal.append(entry(1))
    line = path.read_bytes()
    path.write_bytes(line + line[:30])
    follower.poll()
    os.truncate(path, len(line))  # as `append` does when the disk is full
    assert follower.poll().entries == []
    journal.append(entry(2))
    reading = follower.poll()
    assert (texts(reading.entries), reading.damaged) == (["2"], 0)


@pytest.mark.parametrize("between", [1, 5, 17, 60])
def test_rotations_between_two_looks(path: Path, between: int) -> None:
    journal = Journal(path, max_bytes=2500, keep=4)
    follower = Follower(lambda: [path])
    seen: list[str] = []
    for number in range(240):
        journal.append(entry(number))
        if number % between == 0:
            seen += texts(follower.poll().entries)
    seen += texts(follower.poll().entries)
    assert seen == numbers(0, 240)


def test_a_truncated_or_replaced_file_is_read_from_its_start(path: Path) -> None:
    follower = Follower(lambda: [path])
    journal = Journal(path)
    for number in range(3):
        journal.append(entry(number))
    assert len(follower.poll().entries) == 3
    os.truncate(path, 0)
    journal.append(entry(3))
    assert texts(follower.poll().entries) == ["3"]
    path.unlink()
    assert follower.poll().entries == []
    for number in range(4, 10):  # soon longer than it was, perhaps under the same inode number
        journal.append(entry(number))
    assert texts(follower.poll().entries) == numbers(4, 10)


def test_a_file_cut_short_is_read_again_rather_than_in_the_middle(path: Path) -> None:
    follower = Follower(lambda: [path])
    journal = Journal(path)
    journal.append(entry(0, said="x" * 200))
    first = path.stat().st_size
    journal.append(entry(1))
    follower.poll()
    os.truncate(path, first)
    reading = follower.poll()
    assert (texts(reading.entries), reading.damaged) == (["0"], 0)
    journal.append(entry(2))
    assert texts(follower.poll().entries) == ["2"]


def test_a_new_journal_joins_in(tmp_path: Path) -> None:
    follower = Follower(lambda: sorted(tmp_path.glob("*.jsonl")))
    Journal(tmp_path / "a.jsonl").append(entry(2))
    assert texts(follower.poll().entries) == ["2"]
    Journal(tmp_path / "b.jsonl").append(entry(1))
    Journal(tmp_path / "a.jsonl").append(entry(3))
    assert texts(follower.poll().entries) == ["1", "3"]


WRITER = """
import sys
from sshwrap.supervisor.journal import Journal
journal = Journal(sys.argv[1], max_bytes=4000, keep=9)
name, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    if number % 50 == 0:
        sys.stdin.read(1)
    journal.append({"at": "2026-11-22T10:00:00.000Z", "profile": name, "text": str(number)})
    if number % 50 == 49:
        print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def test_a_follower_beside_a_writer_sees_every_entry_once(path: Path) -> None:
    # The writer rotates about every second batch, while we read as fast as we can.
    follower = Follower(lambda: [path])
    seen: list[str] = []

    def look() -> int:
        reading = follower.poll()
        assert reading.damaged == 0
        seen.extend(texts(reading.entries))
        return len(seen)

    with writer(path, "web", 2000) as process:
        assert process.stdin is not None
        for batch in range(40):
            process.stdin.write(b"g")
            due = 50 * (batch + 1)
            wait_for(lambda due=due: look() >= due, every=0, what=lambda: f"{len(seen)} seen")
    assert seen == numbers(0, 2000)


def test_a_file_that_another_writer_has_just_rotated_is_not_rotated_again(path: Path) -> None:
    journal = Journal(path)
    journal.append(entry(1))
    with path.open("rb") as opened_before:
        path.rename(rotated(path, 1))
        journal.append(entry(2))
        assert journal._rotate(opened_before.fileno())
    assert not rotated(path, 2).exists()
    assert texts(read_entries([path]).entries) == ["1", "2"]


def test_two_writers_at_once_lose_nothing(path: Path) -> None:
    with writer(path, "one", 150) as one, writer(path, "two", 150) as two:
        for _ in range(3):
            for process in (one, two):
                assert process.stdin is not None
                process.stdin.write(b"g")
            for process in (one, two):
                assert process.stdout is not None
                assert process.stdout.readline()
    reading = read_entries([path])
    assert reading.damaged == 0
    for name in ("one", "two"):
        mine = [entry["text"] for entry in reading.entries if entry["profile"] == name]
        assert sorted(mine, key=int) == numbers(0, 150)
