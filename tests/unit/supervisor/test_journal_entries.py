"""One entry, one bounded line; and any line is an entry, damaged, or of a newer version."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.supervisor.journal import (
    ENTRY_BYTES,
    STRING_CHARACTERS,
    Reading,
    encode_entry,
    time_of,
)

ENTRY = {"v": 1, "at": "2026-11-22T10:00:00.000Z", "profile": "web", "event": "up"}

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())  # lone surrogates too
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=50)
@given(ANYTHING)
def test_whatever_an_entry_holds_one_line_is_written_and_read_back(value: object) -> None:
    line = encode_entry(ENTRY | {"text": value})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    reading = Reading()
    reading.take(line[:-1])
    assert [entry["event"] for entry in reading.entries] == ["up"]


def test_plain_values_are_kept_as_they_are() -> None:
    entry = ENTRY | {"after": 1.5, "first": True, "retry_in": None, "text": "安全组 [red] é"}
    line = encode_entry(entry)
    assert json.loads(line) == entry
    assert "安全组".encode() in line


def test_a_path_that_is_not_utf_8_comes_back_as_it_was() -> None:
    assert json.loads(encode_entry({"text": "/caf\udce9"}))["text"] == "/caf\udce9"


def test_a_number_that_json_has_not_becomes_null() -> None:
    entry = json.loads(encode_entry({"a": math.inf, "b": math.nan}))
    assert entry == {"a": None, "b": None}


def test_a_long_string_is_cut_and_shows_it() -> None:
    text = json.loads(encode_entry(ENTRY | {"text": "x" * 100_000}))["text"]
    assert len(text) == STRING_CHARACTERS
    assert text.endswith("x…")


def test_a_thousand_forwards_fit() -> None:
    forwards = [{"kind": "remote", "address": f"h:{n}"} for n in range(1000)]
    assert len(json.loads(encode_entry(ENTRY | {"forwards": forwards}))["forwards"]) == 1000


@pytest.mark.parametrize(
    "value",
    [["y" * 3000] * 500, [[["z" * 300] * 20] * 20] * 20, {str(n): "w" * 900 for n in range(900)}],
    ids=["many", "deep", "keys"],
)
def test_an_entry_is_bounded_whatever_it_holds(value: object) -> None:
    line = encode_entry(ENTRY | {"text": value})
    assert len(line) <= ENTRY_BYTES
    assert json.loads(line).items() >= ENTRY.items()


def test_endless_nesting_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert len(encode_entry(ENTRY | {"text": loop})) <= ENTRY_BYTES


@pytest.mark.parametrize(
    ("line", "damaged", "newer"),
    [
        (b'{"v":1,"at":"2026-11-22T10:00:00.000Z","event":"up"}', 0, 0),
        (b'{"v":1,"at":"2099-01-01T00:00:00Z","event":"from the future"}', 0, 0),
        (b"", 0, 0),
        (b'{"v":1,"at":"2026-11-22T10:00:0', 1, 0),
        (b'{"v":1,"event":"no time"}', 1, 0),
        (b'{"v":1,"at":"yesterday"}', 1, 0),
        (b'{"v":1,"at":"2026-11-22T10:00:00"}', 1, 0),
        (b'{"v":1,"at":7}', 1, 0),
        (b'{"at":"2026-11-22T10:00:00Z"}', 1, 0),
        (b'{"v":"1","at":"2026-11-22T10:00:00Z"}', 1, 0),
        (b"[1]", 1, 0),
        (b"\xff\xfe\x00", 1, 0),
        (b"[" * 100_000, 1, 0),
        (b'{"v":2,"moment":[]}', 0, 1),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_every_line_counts_as_one_thing(line: bytes, damaged: int, newer: int) -> None:
    reading = Reading()
    reading.take(line)
    assert (reading.damaged, reading.newer) == (damaged, newer)
    assert len(reading.entries) == (1 if line and not damaged and not newer else 0)


def test_a_time_is_aware_in_any_zone() -> None:
    assert time_of(ENTRY) == datetime(2026, 11, 22, 10, tzinfo=UTC)
    elsewhere = datetime(2026, 11, 22, 18, tzinfo=timezone(timedelta(hours=8)))
    assert time_of({"at": "2026-11-22T18:00:00+08:00"}) == elsewhere
