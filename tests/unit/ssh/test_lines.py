from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.ssh.lines import MAX_LINE, LineSplitter, bounded, clean


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"log\r\nterminal\r\r\n", ["log", "terminal"]),
        (b"\n\r\n\r\r\n", []),
        (b"\rEnter passphrase\n", ["Enter passphrase"]),
        (b"a\rdebug1: forwarding_success\n", ["a\\015debug1: forwarding_success"]),
        ("a\u2028b\u0085c\n".encode(), ["a\\342\\200\\250b\\302\\205c"]),
        (b"\x1b[2J\x07\x00\x7f\n", ["\\033[2J\\007\\000\\177"]),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
        (b"col\tumn\n", ["col umn"]),
        ("bad \u202etxt.exe\n".encode(), ["bad \\342\\200\\256txt.exe"]),
        ("网页\u3000é 🙂\n".encode(), ["网页\u3000é 🙂"]),
    ],
)
def test_complete_lines(raw: bytes, lines: list[str]) -> None:
    assert LineSplitter().feed(raw) == lines


def test_a_begun_line_waits_for_its_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"tunnel@vps's pass") == []
    assert splitter.feed(b"word: ") == []
    assert splitter.flush() == ["tunnel@vps's password: "]
    assert splitter.flush() == []
    assert splitter.feed(b"next\n") == ["next"]


def test_a_character_may_come_in_pieces() -> None:
    splitter = LineSplitter()
    pieces = [splitter.feed(bytes([byte])) for byte in "é🙂\r\n".encode()]
    assert [line for lines in pieces for line in lines] == ["é🙂"]


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("letter", ["x", "网", "\x07"])
def test_a_long_line_is_cut_with_a_mark(letter: str, ending: bytes) -> None:
    splitter = LineSplitter()
    lines = splitter.feed((letter * (3 * MAX_LINE)).encode() + ending) or splitter.flush()
    assert len(lines[0]) == MAX_LINE
    assert lines[0].endswith("…")
    exact = splitter.feed(b"y" * MAX_LINE + b"\n")
    assert exact == ["y" * MAX_LINE]


def test_a_flood_without_an_end_stays_bounded() -> None:
    splitter = LineSplitter()
    chunk = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(64):
            assert splitter.feed(chunk) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000
    assert splitter.feed(b"the end\nnext\n")[1:] == ["next"]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40)))
def test_chunks_do_not_matter(chunks: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.flush()
    whole = LineSplitter()
    assert lines == whole.feed(b"".join(chunks)) + whole.flush()


@settings(max_examples=50)
@given(st.text())
def test_clean_text_obeys_nothing(text: str) -> None:
    cleaned = clean(text)
    assert all(letter.isprintable() or letter.isspace() for letter in cleaned)
    assert not set(cleaned) & {"\n", "\r", "\x1b", "\u2028", "\u202e"}
    assert clean(cleaned) == cleaned


def test_bounded() -> None:
    assert bounded("abcd", 4) == "abcd"
    assert bounded("abcde", 4) == "abc…"
