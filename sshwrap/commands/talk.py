"""What commands say beside their answer (stderr), and the tunnels they show as their answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from sshwrap.errors import UserError
from sshwrap.render.layout import hang
from sshwrap.render.message import error_lines, note_lines
from sshwrap.render.page import page_of, print_lines
from sshwrap.render.table import status_lines, status_rows


def note(text: str) -> None:
    """One line of talk; what a terminal has no room for goes below it, not broken in a word."""
    page = page_of(sys.stderr, os.environ)
    for line in note_lines(text):
        plain = "".join(words for _, words in line)
        first, *rest = hang(page.clean(plain), page.width, 2)
        if not rest:
            print_lines([line], sys.stderr, page)
        else:
            print_lines([(("", words),) for words in (first, *rest)], sys.stderr, page)


def tell_error(error: UserError) -> None:
    print_lines(error_lines(error), sys.stderr, page_of(sys.stderr, os.environ))


def show_tunnels(tunnels: Sequence[dict[str, Any]], stream: TextIO) -> None:
    """As `status` shows them: in full on a terminal, tab-separated in a pipe."""
    page = page_of(stream, os.environ)
    if stream.isatty():
        print_lines(status_lines(tunnels, page, datetime.now(UTC)), stream, page)
    else:
        stream.write("".join(row + "\n" for row in status_rows(tunnels, page)))
        stream.flush()
