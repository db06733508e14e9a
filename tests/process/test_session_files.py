"""The record on disk, and what tells this machine and its processes from others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sshwrap.paths import Places
from sshwrap.ssh.session_record import Machine, SessionRecord, record_to_json
from sshwrap.supervisor import reclaim
from sshwrap.supervisor.reclaim import (
    is_alive,
    read_record,
    remove_record,
    this_machine,
    write_record,
)
from tests.support.needs import needs_user
from tests.support.processes import process

BOOT = "3d91a283-f20a-4009-a329-6773d7f2e03a"
MACHINE = Machine("m", "h", (), "/s")
RECORD = SessionRecord("web", "vps", "vps:22", 4242, 99, BOOT, 1000, MACHINE, 77, 1234, BOOT)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places("/nowhere.toml", str(tmp_path / "state"))
    places.prepare_state_dir()
    return places


def test_written_read_and_removed(places: Places) -> None:
    assert read_record(places, "web") is None
    write_record(places, RECORD)
    assert read_record(places, "web") == RECORD
    path = Path(places.session_file("web"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["web.json"]
    assert path.parent.stat().st_mode & 0o777 == 0o700
    remove_record(places, "web")
    remove_record(places, "web")
    assert read_record(places, "web") is None


def test_a_damaged_one_is_none(places: Places) -> None:
    path = Path(places.session_file("web"))
    for text in (b"", b"\0" * 300, record_to_json(RECORD).encode()[:100], b"\xff"):
        path.write_bytes(text)
        assert read_record(places, "web") is None
    path.write_text(record_to_json(RECORD) + " " * 20_000)
    assert read_record(places, "web") is None
    path.unlink()
    path.mkdir()
    assert read_record(places, "web") is None


@needs_user
def test_one_that_may_not_be_read_is_none(places: Places) -> None:
    write_record(places, RECORD)
    Path(places.session_file("web")).chmod(0)
    assert read_record(places, "web") is None


def test_an_older_one_stays_where_the_new_one_cannot_be_written(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(places, RECORD)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_record(places, SessionRecord("web", "v", "v:22", 5, 9, BOOT, 1, MACHINE, 7, 1, BOOT))
    assert read_record(places, "web") == RECORD


def test_this_machine_is_the_same_twice(places: Places) -> None:
    found = this_machine(places)
    assert found == this_machine(places)
    assert found.host == os.uname().nodename
    assert found.state_dir == os.path.realpath(places.state_dir)


def test_a_state_directory_by_another_way_is_the_same(places: Places, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(places.state_dir)
    assert this_machine(Places("/nowhere.toml", str(link))) == this_machine(places)


def test_what_stays_with_the_machine(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permanent addresses of real cards and the board's serial number, and no other."""
    cards = tmp_path / "net"
    for name, address, kind, is_real in (
        ("eth0", "02:00:00:00:00:01", "0", True),
        ("wlan0", "02:00:00:00:00:02", "3", True),  # set by somebody: a made-up one, maybe
        ("usb0", "02:00:00:00:00:03", "1", True),  # random
        ("docker0", "02:00:00:00:00:04", "0", False),
        ("ib0", "00:00:00:00:00:00", "0", True),
    ):
        (cards / name).mkdir(parents=True)
        (cards / name / "address").write_text(f"{address}\n")
        (cards / name / "addr_assign_type").write_text(f"{kind}\n")
        if is_real:
            (cards / name / "device").mkdir()
    (cards / "bonding_masters").write_text("")
    serial = tmp_path / "serial"
    serial.write_bytes(b"10000000abcdef\0")
    monkeypatch.setattr(reclaim, "_CARDS", str(cards))
    monkeypatch.setattr(reclaim, "_SERIAL", str(serial))
    ids = [tmp_path / "none", tmp_path / "empty", tmp_path / "id"]
    ids[1].write_text("\n")
    ids[2].write_text("c0ffee\n")
    monkeypatch.setattr(reclaim, "_MACHINE_ID", tuple(map(str, ids)))
    found = this_machine(places)
    assert found.hardware == ("card 02:00:00:00:00:01", "serial 10000000abcdef")
    assert found.machine_id == "c0ffee"
    monkeypatch.setattr(reclaim, "_CARDS", str(tmp_path / "none"))
    monkeypatch.setattr(reclaim, "_SERIAL", str(tmp_path / "none"))
    monkeypatch.setattr(reclaim, "_MACHINE_ID", ())
    bare = this_machine(places)
    assert (bare.machine_id, bare.hardware) == (None, ())


def test_who_is_alive() -> None:
    ours = process(os.getpid())
    assert ours is not None
    assert is_alive(ours.pid, ours.started)
    assert not is_alive(ours.pid, ours.started + 1)  # the pid is another's now
    assert is_alive(ours.pid, None)  # nobody can tell
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    found = process(child.pid)
    assert found is not None
    assert is_alive(child.pid, found.started)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid, found.started)  # a zombie
    child.communicate()
    assert not is_alive(child.pid, found.started)
    assert not is_alive(child.pid, None)
