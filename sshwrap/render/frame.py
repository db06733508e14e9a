"""The picture of the live view: which tunnels are shown, how much of each, and the footer.

Laws. Fixed order, whatever happens. What needs a person is given its lines first, then every
tunnel its one line, then the rest its details. Never more lines than the page has rows.
"""

from __future__ import annotations

from sshwrap.render.block import BRIEF, FULL, ONE_LINE, Columns, block
from sshwrap.render.layout import cut, wrap
from sshwrap.render.page import Line, Page
from sshwrap.render.words import STATE_TONES, clock, counts, urgency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any


def frame_lines(
    snapshots: Sequence[Mapping[str, Any]], page: Page, now_wall: datetime, hint: str
) -> list[Line]:
    """The whole view: at most `page.height - 1` lines, none as wide as the page.

    The last row stays free for the cursor, the last column because terminals differ about what a
    full line does.
    """
    inner = Page(page.width - 1, page.height, colour=page.colour, encoding=page.encoding)
    rows = max(page.height - 1, 1)
    footer = _counts_lines(snapshots, inner, now_wall)
    hints: list[Line] = [
        (("dim", text),)
        for each in hint.splitlines()
        for text in wrap(inner.clean(each), inner.width)
    ]
    if rows >= len(footer) + len(hints) + 5:
        footer = [(), *footer, *hints]
    above: list[Line] = [()] if rows >= 12 else []
    body = _fit(snapshots, inner, now_wall, max(rows - len(footer) - len(above), 0))
    return ([*above, *body, *footer] if body else footer)[-rows:]


def _counts_lines(
    snapshots: Sequence[Mapping[str, Any]], page: Page, now_wall: datetime
) -> list[Line]:
    """The time and how many tunnels are in which state, on as few lines as it takes."""
    lines: list[list[tuple[str, str]]] = [[("", clock(now_wall))]]
    separator = "   "
    for number, word in counts(snapshots):
        text = f"{number} {word}"
        used = sum(len(part) for _, part in lines[-1])
        if used + len(separator) + len(text) > page.width:
            lines.append([])
        elif lines[-1]:
            lines[-1].append(("", separator))
        separator = page.clean(" · ")
        lines[-1].append((STATE_TONES.get(word, ""), cut(text, page.width, page.missing)))
    return [
        tuple((tone, cut(text, page.width, page.missing)) for tone, text in line) for line in lines
    ]


def _fit(
    snapshots: Sequence[Mapping[str, Any]], page: Page, now_wall: datetime, rows: int
) -> list[Line]:
    """The blocks that fit into `rows`, in their order, and a line for those that do not."""
    chosen = _choose(snapshots, page, now_wall, rows)
    if len(chosen) < len(snapshots) and rows > 0:
        chosen = _choose(snapshots, page, now_wall, rows - 1)
    lines = [line for index in sorted(chosen) for line in chosen[index]]
    hidden = [each for index, each in enumerate(snapshots) if index not in chosen]
    if hidden and rows > 0:
        lines.append((("dim", cut(page.clean(_hidden_text(hidden)), page.width, page.missing)),))
    return lines


def _choose(
    snapshots: Sequence[Mapping[str, Any]], page: Page, now_wall: datetime, rows: int
) -> dict[int, list[Line]]:
    """Index of a tunnel -> its lines, as many and as much of each as `rows` can hold."""
    columns = Columns(snapshots, page)
    chosen: dict[int, list[Line]] = {}
    ranks = [urgency(each) for each in snapshots]
    urgent = sorted((i for i, rank in enumerate(ranks) if rank), key=lambda i: -ranks[i])
    calm = [i for i, rank in enumerate(ranks) if not rank]
    for indexes in (urgent, calm):
        fitting = indexes[: max(rows - sum(map(len, chosen.values())), 0)]
        for index in fitting:
            chosen[index] = block(snapshots[index], columns, page, now_wall, ONE_LINE)
        spare = rows - sum(map(len, chosen.values()))
        for size in (BRIEF, FULL):
            for index in fitting:
                lines = block(snapshots[index], columns, page, now_wall, size)
                more = len(lines) - len(chosen[index])
                if more <= spare:
                    spare -= more
                    chosen[index] = lines
    return chosen


def _hidden_text(hidden: Sequence[Mapping[str, Any]]) -> str:
    words = counts(hidden)
    if len(words) == 1:
        return f"+ {len(hidden)} more, all {words[0][1]}"
    return f"+ {len(hidden)} more: " + " · ".join(f"{number} {word}" for number, word in words)
