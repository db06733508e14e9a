"""What the reader's end can show, and the one door through which text goes there.

Laws. Everything ssh or a server prints is data: no control character and nothing that turns the
reading direction leaves `Page.clean` or `paint`, and nothing is read as markup. Colour only
underlines what the words already say. Colour is five codes written by hand: rich.console alone
costs a table more time than everything else it does, and rich's Live would block on a stopped
terminal.
"""

from __future__ import annotations

import os

from sshwrap.ssh.lines import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

# A line of the screen: (tone, text) pairs. Tones: "", good, warn, bad, dim, strong.
Line = tuple[tuple[str, str], ...]

TONES = {"good": "32", "warn": "33", "bad": "31", "dim": "2", "strong": "1"}
RESET = "\033[0m"
NOT_WRAPPED = 100_000

# A text of several lines is one line here; any other control character stays, and stays visible.
_BREAKS = dict.fromkeys(map(ord, "\n\r\v\f\x85\u2028\u2029"), " ")
_SPELLED = str.maketrans({"→": "->", "…": "...", "·": "-"})


class Page:
    """Width and height in cells, whether colour shows, and the encoding of what is written."""

    __slots__ = ("colour", "encoding", "height", "missing", "width")

    def __init__(
        self, width: int = 80, height: int = 24, *, colour: bool = False, encoding: str = "utf-8"
    ) -> None:
        self.width = max(width, 1)
        self.height = max(height, 1)
        self.colour = colour
        self.encoding = encoding
        self.missing = self.clean("…")  # stands where something was cut

    def clean(self, text: str) -> str:
        """`text` as it can be written here: one line, control characters visible, encodable."""
        if not text.isprintable():
            text = clean(text.translate(_BREAKS))
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            text = text.translate(_SPELLED)
            text = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return text


def paint(line: Line, page: Page) -> str:
    """The line as it is written: cleaned, coloured where the page shows colour, no line end."""
    if not page.colour:
        return "".join(page.clean(text) for _, text in line).rstrip()
    return "".join(
        f"\033[{TONES[tone]}m{page.clean(text)}{RESET}" if tone else page.clean(text)
        for tone, text in line
        if text
    ).rstrip()


def print_lines(lines: Iterable[Line], stream: TextIO, page: Page) -> None:
    stream.write("".join(paint(line, page) + "\n" for line in lines))
    stream.flush()


def is_dumb(environ: Mapping[str, str]) -> bool:
    return environ.get("TERM", "dumb") in ("", "dumb", "unknown")


def wants_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the live view may draw on `stream`; else one clean line a change."""
    return stream.isatty() and not is_dumb(environ) and not environ.get("NO_COLOR")


def shows_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """NO_COLOR wins over FORCE_COLOR; either counts only when it is not empty."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and not is_dumb(environ)


def terminal_size(fd: int, environ: Mapping[str, str]) -> tuple[int, int]:
    """Columns and rows of the terminal; COLUMNS and LINES, then 80 by 24, where it knows none."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns = rows = 0
    return columns or _number(environ.get("COLUMNS"), 80), rows or _number(environ.get("LINES"), 24)


def page_of(stream: TextIO, environ: Mapping[str, str]) -> Page:
    """The page that `stream` is; what goes into a pipe or a file is not wrapped.

    COLUMNS is what a person sets to have it otherwise.
    """
    columns, rows = NOT_WRAPPED, 24
    if stream.isatty():
        columns, rows = terminal_size(stream.fileno(), environ)
    return Page(
        _number(environ.get("COLUMNS"), columns),
        rows,
        colour=shows_colour(stream, environ),
        encoding=stream.encoding or "ascii",
    )


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() and int(text) > 0 else otherwise
