"""The journal on real file systems: rotation, full disks, crashes, readers and followers."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sshwrap.supervisor.journal import (
    REMEMBERED,
    Follower,
    Journal,
    read_entries,
    rotated,
)
from tests.support.entries import START, entry, numbers, texts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.jsonl"


# --- writing -----------------------------------------------------------------


def test_an_entry_is_a_line_in_a_file_for_us_alone(path: Path) -> None:
    journal = Journal(path)
    journal.append(entry(1))
    journal.append(entry(2, failure={"kind": "dropped", "said": "安全"}))
    first, second = path.read_text("utf-8").splitlines()
    assert json.loads(first) == {"v": 1} | entry(1)
    assert json.loads(second)["failure"] == {"kind": "dropped", "said": "安全"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert journal.unwritten == 0


def test_files_are_bounded_and_the_youngest_entries_are_kept(path: Path) -> None:
    journal = Journal(path, max_bytes=1000, keep=3)
    for number in range(200):
        journal.append(entry(number))
    assert sorted(p.name for p in path.parent.iterdir()) == [
        *("web.jsonl", "web.jsonl.1", "web.jsonl.2", "web.jsonl.3")
    ]
    assert all(p.stat().st_size <= 1000 for p in path.parent.iterdir())
    found = texts(read_entries([path]).entries)
    assert found == numbers(200 - len(found), 200)
    assert len(found) >= 30


def test_an_entry_larger_than_a_file_is_kept_whole(path: Path) -> None:
    journal = Journal(path, max_bytes=100, keep=2)
    journal.append(entry(1, said="x" * 500))
    journal.append(entry(2))
    assert texts(read_entries([path]).entries) == ["1", "2"]


@pytest.mark.parametrize("torn", [b'{"v":1,"at":"2026-11-', b"\x00" * 50, b"x"])
def test_after_a_torn_line_the_next_entry_stands_on_its_own(path: Path, torn: bytes) -> None:
    Journal(path).append(entry(1))
    with path.open("ab") as file:
        file.write(torn)
    Journal(path).append(entry(2))
    Journal(path).append(entry(3))
    reading = read_entries([path])
    assert texts(reading.entries) == ["1", "2", "3"]
    assert reading.damaged == 1


def test_a_last_line_that_only_lacks_its_end_counts(path: Path) -> None:
    Journal(path).append(entry(1))
    path.write_bytes(path.read_bytes()[:-1])
    assert texts(read_entries([path]).entries) == ["1"]
    Journal(path).append(entry(2))
    reading = read_entries([path])
    assert (texts(reading.entries), reading.damaged) == (["1", "2"], 0)


def test_a_removed_file_is_simply_there_again(path: Path) -> None:
    journal = Journal(path)
    journal.append(entry(1))
    path.unlink()
    journal.append(entry(2))
    assert texts(read_entries([path]).entries) == ["2"]


@pytest.mark.parametrize("trouble", ["missing", "directory", "link"])
def test_trouble_is_told_once_and_nothing_is_lost(tmp_path: Path, trouble: str) -> None:
    told: list[str] = []
    path = tmp_path / "journal" / "web.jsonl"
    if trouble != "missing":
        path.parent.mkdir()
    if trouble == "directory":
        path.mkdir()
    elif trouble == "link":
        path.symlink_to(tmp_path / "elsewhere")
    journal = Journal(path, on_trouble=told.append)
    for number in range(3):
        journal.append(entry(number))
    assert not journal.flush()
    assert journal.unwritten == 3
    assert len(told) == 1
    assert told[0].startswith(f'journal "{path}" cannot be written: ')
    assert not (tmp_path / "elsewhere").exists()
    if trouble == "missing":
        path.parent.mkdir()
    elif trouble == "directory":
        path.rmdir()
    else:
        path.unlink()
    assert journal.flush()
    assert texts(read_entries([path]).entries) == numbers(0, 3)
    assert journal.unwritten == 0


def test_more_than_is_remembered_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "web.jsonl"
    journal = Journal(path)
    for number in range(REMEMBERED + 5):
        journal.append(entry(number))
    assert journal.unwritten == REMEMBERED + 5
    path.parent.mkdir()
    journal.append(entry(REMEMBERED + 5))
    lost, *kept = read_entries([path]).entries
    assert lost == {
        "v": 1,
        "at": entry(5)["at"],
        "profile": "web",
        "event": "lost",
        "text": "6 entries before this could not be written: no such file or directory",
    }
    assert texts(kept) == numbers(6, REMEMBERED + 6)
    assert journal.unwritten == 0


def test_each_outage_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "web.jsonl"
    journal = Journal(path, on_trouble=told.append)
    for _ in range(3):
        path.mkdir()
        journal.append(entry(1))
        journal.append(entry(2))
        path.rmdir()
        assert journal.flush()
        path.unlink()
    assert len(told) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("left", [0, 1, 50, 150, 4096])
def test_a_full_disk(small_disk: Path, left: int) -> None:
    told: list[str] = []
    path = small_disk / "web.jsonl"
    journal = Journal(path, on_trouble=told.append)
    journal.append(entry(0, said="x" * (4096 - 200)))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        file.write(b"x" * (free - left // 4096 * 4096))
    number = 1
    while not told:  # the pages that the journal has already are filled first
        journal.append(entry(number, said="y" * left))
        number += 1
    journal.append(entry(number))
    number += 1
    assert told == [f'journal "{path}" cannot be written: no space left on device']
    before = read_entries([path])
    assert texts(before.entries) == numbers(0, number - journal.unwritten)
    filler.unlink()
    journal.append(entry(number))
    reading = read_entries([path])
    assert texts(reading.entries) == numbers(0, number + 1)
    assert reading.damaged == 0


def test_a_file_size_limit(tmp_path: Path) -> None:
    # The same short write as on a full disk, for those who may not mount one.
    source = """
import resource, sys
from sshwrap.supervisor.journal import Journal
told = []
journal = Journal(sys.argv[1], on_trouble=told.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (250, resource.RLIM_INFINITY))
for number in range(4):
    journal.append({"at": f"2026-11-22T10:00:0{number}.000Z", "text": str(number) * 60})
print(journal.unwritten, open(sys.argv[1]).read().count("text"), *told)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.flush())
"""
    path = tmp_path / "web.jsonl"
    command = [sys.executable, "-c", source, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f'2 2 journal "{path}" cannot be written: file too large',
        "True",
    ]
    reading = read_entries([path])
    assert texts(reading.entries) == [str(number) * 60 for number in range(4)]
    assert reading.damaged == 0


def test_out_of_descriptors(path: Path) -> None:
    told: list[str] = []
    journal = Journal(path, on_trouble=told.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        journal.append(entry(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told == [f'journal "{path}" cannot be written: too many open files']
    journal.append(entry(2))
    assert texts(read_entries([path]).entries) == ["1", "2"]


# --- reading -----------------------------------------------------------------


def test_nothing_there_is_no_entries(path: Path) -> None:
    reading = read_entries([path])
    assert (reading.entries, reading.damaged, reading.newer) == ([], 0, 0)


def test_both_bounds_are_included(path: Path) -> None:
    journal = Journal(path)
    for number in range(6):
        journal.append(entry(number))
    since, until = START + timedelta(seconds=2), START + timedelta(seconds=4)
    assert texts(read_entries([path], since=since).entries) == numbers(2, 6)
    assert texts(read_entries([path], until=until).entries) == numbers(0, 5)
    assert texts(read_entries([path], since=since, until=until).entries) == numbers(2, 5)


def test_damaged_and_newer_lines_are_counted_and_the_rest_is_read(path: Path) -> None:
    Journal(path).append(entry(1))
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n{"v":2,"what":"ever"}\n\n[]\n{"v":3}\n')
    Journal(path).append(entry(2))
    reading = read_entries([path])
    assert texts(reading.entries) == ["1", "2"]
    assert (reading.damaged, reading.newer) == (2, 2)


def test_a_clock_that_jumps_loses_nothing_and_changes_no_order(path: Path) -> None:
    journal = Journal(path)
    for number in (5, 86_400_000, 1, 6):
        journal.append(entry(number))
    assert texts(read_entries([path]).entries) == ["5", "86400000", "1", "6"]


def test_several_journals_are_one_story(tmp_path: Path) -> None:
    for name, moments in (("a", (1, 4)), ("b", (2, 3, 5))):
        journal = Journal(tmp_path / f"{name}.jsonl")
        for number in moments:
            journal.append(entry(number))
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert texts(read_entries(paths).entries) == numbers(1, 6)


def test_a_rotation_that_a_crash_has_cut_in_two(path: Path) -> None:
    journal = Journal(path, max_bytes=400)
    for number in range(12):
        journal.append(entry(number))
    path.rename(rotated(path, 9))  # stands for "the journal is just not there"
    rotated(path, 9).rename(path.with_name("aside"))
    aside = len(path.with_name("aside").read_text().splitlines())
    rotated(path, 1).rename(rotated(path, 5))  # and a gap after it
    found = texts(read_entries([path]).entries)
    assert sorted(found, key=int) == numbers(0, 12 - aside)


def test_a_rotation_while_the_files_are_opened_shows_one_twice(path: Path) -> None:
    Journal(path).append(entry(1))
    rotated(path, 1).hardlink_to(path)  # opened as the youngest, and again once it has moved
    assert texts(read_entries([path]).entries) == ["1"]


def test_the_last_words_of_an_older_file_are_heard(path: Path) -> None:
    journal = Journal(path)
    follower = Follower(lambda: [path])
    journal.append(entry(1))
    assert texts(follower.poll().entries) == ["1"]
    journal.append(entry(2))
    os.truncate(path, path.stat().st_size - 1)  # a crash right before the line's end
    path.rename(rotated(path, 1))
    journal.append(entry(3))
    assert texts(follower.poll().entries) == ["2", "3"]
    assert texts(read_entries([path]).entries) == ["1", "2", "3"]


def test_a_flood_without_an_end_is_not_kept_in_memory(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(40):
            file.write(b"x" * (1 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), hard))
    try:
        follower = Follower(lambda: [path])
        assert follower.poll().entries == []
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    Journal(path, max_bytes=1 << 30).append(entry(1))
    assert texts(follower.poll().entries) == ["1"]
