"""The live view: events scroll by above, the tunnels stand below and are drawn again in place.

Laws. Nothing here waits for the terminal: what a stopped one does not take stays behind, the event
lines (bounded) to be written later, a frame to be dropped for the next. A write that was begun is
finished before anything else, so that no escape sequence is ever torn. Nothing above the frame is
ever erased. The view has no clock: it draws when it is told, at most one frame a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from sshwrap.render.frame import frame_lines
from sshwrap.render.layout import hang
from sshwrap.render.page import Line, Page, paint, shows_colour, terminal_size
from sshwrap.render.terminal import Terminal

EVENT_INDENT = 10  # below the name, behind the time
HELD_LINES = 1000  # event lines kept for a terminal that is stopped
PATIENCE_MS = 300  # for the last words, when nothing is waiting for us any more
HIDE_CURSOR, SHOW_CURSOR = "\033[?25l", "\033[?25h"
ERASE_BELOW = "\033[J"


class LiveView:
    """Drawn on the terminal `stream` is; the caller sees to `close` whatever happens.

    `hint` is the footer's last line or lines: what Ctrl-C does here.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str], *, hint: str) -> None:
        self._fd = stream.fileno()
        self._environ = environ
        self._encoding = stream.encoding or "ascii"
        self._colour = shows_colour(stream, environ)
        self._hint = hint
        self._terminal = Terminal(self._fd)
        self._news: tuple[Sequence[Mapping[str, Any]], datetime] | None = None
        self._events: deque[str] = deque()
        self._lost = 0
        self._unwritten = b""
        self._drawn = 0  # lines of the frame that stands above the cursor
        self._changed = False
        self._paused = False
        self._hidden = False  # the cursor

    def update(self, snapshots: Sequence[Mapping[str, Any]], now_wall: datetime) -> None:
        """Take what is to be shown from the next `tick` on."""
        self._news = snapshots, now_wall
        self._changed = True

    def set_hint(self, hint: str) -> None:
        """What the footer says from the next frame on; "" for nothing."""
        self._hint = hint
        self._changed = True

    def event(self, line: str) -> None:
        """Have `line` written above the view by the next `tick` that can."""
        if len(self._events) == HELD_LINES:
            self._events.popleft()
            self._lost += 1
        self._events.append(line)
        self._changed = True

    def tick(self) -> bool:
        """Write what is due and can be written; True where nothing is left unwritten.

        The caller's pace is the frame rate: twice a second is enough for any reader.
        """
        self._unwritten = self._terminal.write(self._unwritten)
        if self._unwritten:
            return False
        if self._changed and not self._paused:
            self._changed = False
            self._unwritten = self._terminal.write(self._picture().encode(self._encoding))
        return not self._unwritten

    def pause(self) -> None:
        """Take the view off the terminal: somebody else (ssh, with a question) needs it now."""
        if not self._paused:
            self._paused = True
            erase = self._to_top() + self._cursor(hide=False)
            self._drawn = 0
            self._write_out(erase)

    def resume(self) -> None:
        """Draw again with the next `tick`; the cursor has to be at the beginning of a line."""
        self._paused = False
        self._changed = True

    def close(self, final_lines: Iterable[Line] = ()) -> None:
        """Leave the last frame standing, write the last lines below it, give the cursor back.

        The one place that waits, a moment at most: a terminal that is merely slow gets all of it.
        """
        if self._terminal.gone:
            return
        page = self._page()
        last = [paint(line, page) for line in final_lines]
        events = "" if self._paused else (self._picture() if self._changed else "")
        # A ^C that the terminal echoed stands on the cursor's line: it keeps that line.
        words = "".join(f"{text}\r\n" for text in last)
        if last and self._drawn:
            words = "\r\n" + words
        self._write_out(events + self._cursor(hide=False) + words)
        self._terminal.close()

    def _picture(self) -> str:
        """Everything between one state of the screen and the next, as one piece of writing."""
        page = self._page()
        above = []
        if self._lost:
            above.append(page.clean(f"… {self._lost} lines more, in: sshwrap logs"))
            self._lost = 0
        for line in self._events:
            above += hang(page.clean(line), page.width - 1, EVENT_INDENT)
        self._events.clear()
        top = self._to_top()
        frame: list[str] = []
        if self._news is not None:
            snapshots, now_wall = self._news
            frame = [
                paint(line, page) for line in frame_lines(snapshots, page, now_wall, self._hint)
            ]
        self._drawn = len(frame)
        lines = "".join(f"{text}\r\n" for text in (*above, *frame))
        return self._cursor(hide=True) + top + lines

    def _to_top(self) -> str:
        """From the cursor's line to the frame's first, everything from there on erased.

        Rows that a narrower terminal has wrapped are not counted: some terminals wrap what is
        already written and some cut it, and to guess too many would erase the story above.
        """
        height = terminal_size(self._fd, self._environ)[1]
        up = min(self._drawn, height - 1)
        return "\r" + (f"\033[{up}A" if up else "") + ERASE_BELOW

    def _cursor(self, *, hide: bool) -> str:
        if hide == self._hidden:
            return ""
        self._hidden = hide
        return HIDE_CURSOR if hide else SHOW_CURSOR

    def _page(self) -> Page:
        columns, rows = terminal_size(self._fd, self._environ)
        return Page(columns, rows, colour=self._colour, encoding=self._encoding)

    def _write_out(self, text: str) -> None:
        """Write behind what is still unwritten, with a moment's patience for a slow terminal."""
        rest = self._terminal.write(self._unwritten + text.encode(self._encoding))
        while rest and self._terminal.is_writable(PATIENCE_MS):
            rest = self._terminal.write(rest)
        self._unwritten = rest
