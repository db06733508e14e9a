"""`status`: for a person on a terminal, and as tab-separated lines for everything else.

Neither loads rich unless a text holds more than ASCII: a table has to cost no more than a few
starts of Python, and rich.console alone is half of that.
"""

from __future__ import annotations

from sshwrap.render.block import FULL, Columns, block
from sshwrap.render.forward import connect_text, listen_text, troubles
from sshwrap.render.page import Line, Page
from sshwrap.render.words import state_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any


def status_lines(
    snapshots: Sequence[Mapping[str, Any]], page: Page, now_wall: datetime
) -> list[Line]:
    """Every tunnel in full, in the order given."""
    columns = Columns(snapshots, page)
    return [line for each in snapshots for line in block(each, columns, page, now_wall, FULL)]


def status_rows(snapshots: Iterable[Mapping[str, Any]], page: Page) -> list[str]:
    """One tab-separated line a forward, no header.

    Profile, state word, whole seconds in that state, address, what it leads to, what is wrong;
    "-" where there is nothing to say. No cell holds a tab or a line break.
    """
    rows: list[str] = []
    for snapshot in snapshots:
        seconds = snapshot.get("_seconds_in_state")
        since = str(int(seconds)) if isinstance(seconds, int | float) else ""
        first = [snapshot["profile"], state_word(snapshot), since]
        up, failure = snapshot["state"] == "up", snapshot["failure"]
        why = failure["summary"] if failure and not up else ""
        ends = [
            [listen_text(each), connect_text(each), "; ".join(troubles(each)) if up else why]
            for each in snapshot["forwards"]
        ]
        rows += [
            "\t".join(page.clean(cell) or "-" for cell in first + end)
            for end in ends or [["", "", why]]
        ]
    return rows
