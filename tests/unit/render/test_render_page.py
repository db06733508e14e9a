from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.render.layout import cut, pad, split_at, width, wrap
from sshwrap.render.page import (
    NOT_WRAPPED,
    Page,
    page_of,
    paint,
    print_lines,
    shows_colour,
    wants_live,
)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1  # no size is to be had of it


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\033[31mred\033[0m", "\\033[31mred\\033[0m"),
        ("a\x07b\x7fc\x9bd", "a\\007b\\177c\\302\\233d"),
        ("one\ntwo\tthree\r\nfour\u2028five", "one two three  four five"),
        ("abc\u202edef\u2066", "abc\\342\\200\\256def\\342\\201\\246"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
        ("门牌号 → ok", "门牌号 → ok"),
        ("\udcff", "\\355\\263\\277"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert Page().clean(text) == shown


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "a -> b - c... \\u95e8 \\xe9"),
        ("latin-1", "a -> b - c... \\u95e8 \xe9"),
        ("utf-8", "a → b · c… 门 é"),
    ],
)
def test_signs_are_spelled_where_the_encoding_lacks_them(encoding: str, shown: str) -> None:
    assert Page(encoding=encoding).clean("a → b · c… 门 é") == shown


@settings(max_examples=25)
@given(st.text(), st.sampled_from(["utf-8", "ascii", "latin-1"]), st.booleans())
def test_nothing_but_printable_text_and_our_own_colour_leaves(
    text: str, encoding: str, colour: bool
) -> None:
    painted = paint((("bad", text), ("", text)), Page(encoding=encoding, colour=colour))
    painted.encode(encoding)
    bare = painted.replace("\033[31m", "").replace("\033[0m", "")
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in bare)
    assert not set(bare) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


def test_colour_is_only_added() -> None:
    line = (("good", "up"), ("", "  web"), ("dim", ""))
    assert paint(line, Page()) == "up  web"
    assert paint(line, Page(colour=True)) == "\033[32mup\033[0m  web"


def test_lines_are_printed_as_lines() -> None:
    out = io.StringIO()
    print_lines([(("", "one"),), (("bad", "two"),)], out, Page())
    assert out.getvalue() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("environ", "live", "colour"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, True),
        ({}, False, False),
    ],
)
def test_what_a_terminal_gets(environ: dict[str, str], live: bool, colour: bool) -> None:
    assert wants_live(FakeTerminal(), environ) is live
    assert shows_colour(FakeTerminal(), environ) is colour


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({"TERM": "xterm"}, False), ({"FORCE_COLOR": "0"}, False), ({"FORCE_COLOR": "1"}, True)],
)
def test_a_pipe_is_never_live(environ: dict[str, str], colour: bool) -> None:
    assert wants_live(io.StringIO(), environ) is False
    assert shows_colour(io.StringIO(), environ) is colour


@pytest.mark.parametrize(
    ("stream", "environ", "columns"),
    [
        (io.StringIO(), {}, NOT_WRAPPED),
        (io.StringIO(), {"COLUMNS": "60"}, 60),
        (FakeTerminal(), {}, 80),
        (FakeTerminal(), {"COLUMNS": "60"}, 60),
        (FakeTerminal(), {"COLUMNS": "wide"}, 80),
        (FakeTerminal(), {"COLUMNS": "0"}, 80),
    ],
)
def test_width(stream: Any, environ: dict[str, str], columns: int) -> None:
    assert page_of(stream, environ).width == columns


def test_cells() -> None:
    assert width("门牌") == 4
    assert pad("门牌", 6) == "门牌  "
    assert split_at("门牌号", 5) == ("门牌", "号")
    assert cut("门牌号码", 6, "…") == "门牌…"
    assert cut("abcdef", 4, "...") == "a..."
    assert cut("abcdef", 2, "...") == "ab"
    assert cut("abc", 3, "…") == "abc"


def test_wrap_breaks_at_spaces_and_long_words_anywhere() -> None:
    assert wrap("the tunnel is fine", 10) == ["the tunnel", "is fine"]
    assert wrap("vps.example.com:12345 → x", 10) == ["vps.exampl", "e.com:1234", "5 → x"]
    assert wrap("", 10) == []
    assert wrap("门门", 1) == []


@settings(max_examples=25)
@given(st.text(alphabet="ab 门→é\u0301😀", max_size=60), st.integers(2, 30))
def test_no_wrapped_line_is_wider_than_asked(text: str, cells: int) -> None:
    lines = wrap(text, cells)
    assert all(width(line) <= cells for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(text.split())


@settings(max_examples=25)
@given(st.text(alphabet="ab 门→é😀", max_size=60), st.integers(0, 30))
def test_no_cut_text_is_wider_than_asked(text: str, cells: int) -> None:
    assert width(cut(text, cells, "…")) <= cells
