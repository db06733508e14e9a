"""Framing: however the bytes come, the same lines; nothing unbounded, nothing but objects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.supervisor.ipc import Broken, Lines, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=12)), st.data())
def test_any_cut_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    splitter, found = Lines(1000), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += splitter.feed(whole[start:end])
    assert found == [line for line in lines if line.strip()]


@settings(max_examples=50)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_encoded_is_one_line_and_comes_back(message: dict[str, object]) -> None:
    line = encode(message)
    assert line.index(b"\n") == len(line) - 1
    assert decode(line) == message


def test_a_lone_surrogate_travels() -> None:
    assert decode(encode({"path": "/caf\udce9"})) == {"path": "/caf\udce9"}


def test_a_line_may_be_as_long_as_the_bound_and_no_longer() -> None:
    assert Lines(5).feed(b"12345\n") == [b"12345"]
    for data in (b"123456", b"123456\n", b"1\n123456"):
        with pytest.raises(Broken, match="more than 5 bytes"):
            Lines(5).feed(data)


def test_the_bound_holds_over_many_small_pieces() -> None:
    lines = Lines(100)
    for _ in range(100):
        assert lines.feed(b"x") == []
    with pytest.raises(Broken):
        lines.feed(b"x")


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{", b"[]", b"1", b"null", b'"status"', b"\xff\xfe{}", b"\x00" * 8, b"\x80{}"),
        b"[" * 100_000,
        b'{"v": ' + b"9" * 5000 + b"}",
        json.dumps({"op": "status"}).encode("utf-16"),
    ],
    ids=lambda line: repr(line[:12]),
)
def test_what_is_no_object_is_broken(line: bytes) -> None:
    with pytest.raises(Broken, match="not "):
        decode(line)
