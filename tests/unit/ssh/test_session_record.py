"""The record: there and back, everything that is none, and where one may be used."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.ssh.session_record import (
    MOST_BYTES,
    Here,
    Machine,
    SessionRecord,
    record_from_json,
    record_to_json,
    why_unusable,
)

BOOT = "3d91a283-f20a-4009-a329-6773d7f2e03a"
MACHINE = Machine("c0ffee", "attic", ("card 02:00:00:00:00:01", "serial 1"), "/home/ann/state")
RECORD = SessionRecord(
    profile="web",
    destination="root@vps",
    server="192.0.2.1:22",
    session_pid=4242,
    session_started=99,
    session_boot_id=BOOT,
    session_uid=1000,
    machine=MACHINE,
    ssh_pid=77,
    ssh_started=1234,
    boot_id=BOOT,
)
HERE = Here("web", "root@vps", "192.0.2.1:22", MACHINE, ssh_is_alive=False)
TEXT = st.text(min_size=1, max_size=30)


@given(
    pid=st.integers(2, 2**22),
    started=st.integers(1, 2**60),
    uid=st.integers(0, 2**32 - 1),
    text=TEXT,
    machine_id=st.none() | TEXT,
    hardware=st.lists(TEXT, max_size=3),
    elsewhere=st.none() | st.integers(1, 2**60),
)
def test_there_and_back(
    pid: int,
    started: int,
    uid: int,
    text: str,
    machine_id: str | None,
    hardware: list[str],
    elsewhere: int | None,
) -> None:
    record = replace(
        RECORD,
        session_pid=pid,
        session_started=started,
        session_uid=uid,
        destination=text,
        machine=Machine(machine_id, text, tuple(hardware), text),
        ssh_started=elsewhere,
        boot_id=None if elsewhere is None else BOOT,
    )
    assert record_from_json(record_to_json(record)) == record
    assert record_from_json(record_to_json(record).encode()) == record


def changed(**values: Any) -> str:
    return json.dumps({"v": 1, **asdict(RECORD), **values})


def machine(**values: Any) -> str:
    return changed(machine={**asdict(MACHINE), **values})


def without(key: str) -> str:
    content = {"v": 1, **asdict(RECORD)}
    del content[key]
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "not json",
        "\0" * 100,
        "[" * 10_000,
        '{"v":' * 2_000,
        record_to_json(RECORD)[:-3],
        record_to_json(RECORD) * 2,
        record_to_json(RECORD) + " " * MOST_BYTES,
        changed(v=2),
        changed(v=True),
        changed(v="1"),
        changed(more=1),
        *(without(key) for key in ("v", *asdict(RECORD))),
        *(changed(session_pid=pid) for pid in (1, 0, -1, -4242, 2**31, 4242.0, True, "4242", None)),
        *(changed(session_pid=pid) for pid in ([4242], {}, "1; rm", float("nan"), 10**30)),
        *(changed(session_started=value) for value in (0, -1, 2**64, None, "99")),
        *(changed(session_uid=value) for value in (-1, 2**32, None, "0", False)),
        *(changed(session_boot_id=value) for value in ("", None, BOOT[1:], BOOT + "\n", "';kill")),
        *(changed(profile=value) for value in ("", None, 1, "x" * 5000)),
        *(changed(machine=value) for value in (None, [], "m", {})),
        *(changed(ssh_pid=value) for value in (1, None, "77")),
        changed(ssh_started=0),
        changed(boot_id="today"),
        machine(host=""),
        machine(host=None),
        machine(machine_id=""),
        machine(hardware="serial"),
        machine(hardware=[1]),
        machine(hardware=["x"] * 65),
        machine(state_dir=7),
        machine(more=1),
        '{"v": 1, "session_pid": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_record(text: str) -> None:
    assert record_from_json(text) is None


def test_bytes_that_are_no_text() -> None:
    assert record_from_json(b"\xff\xfe" + record_to_json(RECORD).encode()) is None


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_one_is_none_or_another_sound_one(data: st.DataObject) -> None:
    """A byte of the disk gone wrong: never a traceback, never a process that is no process."""
    raw = bytearray(record_to_json(RECORD).encode())
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=3)):
        raw[at] = data.draw(st.integers(0, 255))
    found = record_from_json(bytes(raw))
    assert found is None or (found.session_pid > 1 and found.session_started > 0)


def test_usable_here() -> None:
    assert why_unusable(RECORD, HERE) is None


def of(**values: Any) -> Machine:
    return replace(MACHINE, **values)


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (replace(HERE, machine=of(machine_id="other")), "another machine"),
        (replace(HERE, machine=of(machine_id=None)), "another machine"),
        (replace(HERE, machine=of(host="cellar")), 'made on "attic", and this is "cellar"'),
        (replace(HERE, machine=of(hardware=("serial 2",))), "other hardware"),
        (replace(HERE, machine=of(state_dir="/elsewhere")), '"/home/ann/state"'),
        (replace(HERE, profile="ha"), "web to root@vps"),
        (replace(HERE, destination="ann@vps"), "web to root@vps"),
        (replace(HERE, server="192.0.2.2:22"), "192.0.2.1:22"),
        (replace(HERE, ssh_is_alive=True), "still runs, as pid 77"),
    ],
)
def test_not_usable(here: Here, why: str) -> None:
    assert why in (why_unusable(RECORD, here) or "")


@pytest.mark.parametrize("hardware", [(), ("card 02:00:00:00:00:01",), ("serial 1", "card new")])
def test_a_card_taken_out_or_put_in_is_the_same_machine(hardware: tuple[str, ...]) -> None:
    assert why_unusable(RECORD, replace(HERE, machine=of(hardware=hardware))) is None


@pytest.mark.parametrize(
    ("host", "hardware", "is_usable"),
    [
        ("attic", (), True),
        ("localhost", (), False),
        ("(none)", (), False),
        ("localhost", ("serial 1",), True),
    ],
)
def test_without_a_machine_id(host: str, hardware: tuple[str, ...], is_usable: bool) -> None:
    same = Machine(None, host, hardware, "/s")
    why = why_unusable(replace(RECORD, machine=same), replace(HERE, machine=same))
    assert (why is None) == is_usable


def test_a_reason_is_one_clean_line() -> None:
    record = replace(RECORD, machine=of(host="a\x1b[2J\nb"))
    assert why_unusable(record, HERE) == (
        'the record was made on "a\\033[2J\\012b", and this is "attic"'
    )
