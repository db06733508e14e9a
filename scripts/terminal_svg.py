"""A terminal's screen (pyte) -> an SVG picture that needs no font of anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import NamedTuple

import pyte
from pyte.screens import Char

CELL_WIDTH, CELL_HEIGHT = 8.4, 18.0
MARGIN = 16.0
BASELINE = 13.0  # of a line's text, below its top
FONT_SIZE = 14
BACKGROUND, FOREGROUND = "#1e2227", "#d8dee6"
COLOURS = {"green": "#7fc97a", "brown": "#e0b055", "red": "#ef7b73", "default": FOREGROUND}
# Whatever the reader's machine has; textLength keeps the columns in line with any of them.
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"


class Run(NamedTuple):
    """Cells of one line that look alike. A wide character has two `cells`, the second empty."""

    column: int
    cells: int
    text: str
    colour: str
    bold: bool
    dim: bool


def svg(screen: pyte.Screen, rows: int, *, title: str) -> str:
    """The first `rows` lines of the screen; `title` is what a reader hears who cannot see it."""
    width = 2 * MARGIN + screen.columns * CELL_WIDTH
    height = 2 * MARGIN + rows * CELL_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" xml:space="preserve">',
    ]
    for row in range(rows):
        y = MARGIN + row * CELL_HEIGHT + BASELINE
        lines += [_text(run, y) for run in _runs(screen, row)]
    return "\n".join([*lines, "</g>", "</svg>"]) + "\n"


def last_row(screen: pyte.Screen) -> int:
    """How many lines there are up to the last one that is not blank."""
    return max((n for n, line in enumerate(screen.display, 1) if line.strip()), default=0)


def _runs(screen: pyte.Screen, row: int) -> Iterator[Run]:
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    column = 0
    for look, same in groupby(cells, key=_look):
        texts = [cell.data for cell in same]
        text = "".join(texts)
        if text.strip():
            skipped = len(text) - len(text.lstrip(" "))
            blanks = len(text) - len(text.strip(" "))
            yield Run(column + skipped, len(texts) - blanks, text.strip(" "), *look)
        column += len(texts)


def _look(cell: Char) -> tuple[str, bool, bool]:
    # pyte knows no dim; DimScreen notes it as italics, which nothing here writes.
    return COLOURS.get(cell.fg, FOREGROUND), cell.bold, cell.italics


def _text(run: Run, y: float) -> str:
    x = MARGIN + run.column * CELL_WIDTH
    style = ' font-weight="bold"' if run.bold else ""
    style += ' opacity="0.6"' if run.dim else ""
    return (
        f'<text x="{x:g}" y="{y:g}" textLength="{run.cells * CELL_WIDTH:g}" '
        f'lengthAdjust="spacingAndGlyphs" fill="{run.colour}"{style}>{escape(run.text)}</text>'
    )


class DimScreen(pyte.Screen):
    """pyte passes over SGR 2 (dim), so it is carried as SGR 3."""

    def select_graphic_rendition(self, *attrs: int, **kwargs: bool) -> None:
        super().select_graphic_rendition(*(3 if one == 2 else one for one in attrs), **kwargs)
