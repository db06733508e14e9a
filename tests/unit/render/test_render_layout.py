"""Lines that are too wide keep their words and hang below their beginning."""

from __future__ import annotations

import pytest

from sshwrap.render.layout import hang


@pytest.mark.parametrize(
    ("text", "cells", "lines"),
    [
        ("10:30:51  cam  down", 30, ["10:30:51  cam  down"]),
        ("10:30:51  cam  down: no answer", 20, ["10:30:51  cam", "    down: no answer"]),
        ("a" * 12, 5, ["aaaaa", "aaaaa", "aa"]),
        ("网页网页网页", 5, ["网页", "网页", "网页"]),
    ],
)
def test_a_hanging_line_keeps_its_gaps_and_its_words(
    text: str, cells: int, lines: list[str]
) -> None:
    assert hang(text, cells, 4 if cells > 10 else 0) == lines
