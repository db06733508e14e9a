"""`show`: a profile with the source of every value, and the ssh command line it comes to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from sshwrap.profile.forward import Forward, Kind
from sshwrap.render.layout import pad, width
from sshwrap.render.page import Line, Page

OPTIONS = {Kind.REMOTE: "-R", Kind.LOCAL: "-L", Kind.DYNAMIC: "-D"}
COMMAND_WIDTH = 80


class Value(NamedTuple):
    """One key of a profile: its value as text, and where it comes from ("profile", "default" …)."""

    key: str
    text: str
    source: str


def show_lines(
    name: str,
    values: Sequence[Value],
    forwards: Sequence[Forward],
    argv: Sequence[str],
    page: Page,
) -> list[Line]:
    """Name, values, forwards (ssh_config's among them), and a command to paste into a shell."""
    rows = [(page.clean(value.key), page.clean(value.text), value.source) for value in values]
    rows += [(OPTIONS[each.kind], page.clean(each.spec), each.source) for each in forwards]
    keys = max((width(key) for key, _, _ in rows), default=0)
    # A few very long values must not push every source off the screen.
    texts = min(
        max((width(text) for _, text, _ in rows), default=0),
        max(min(page.width, COMMAND_WIDTH) // 2, 8),
    )
    return [
        (("strong", name),),
        *(
            (("", f"  {pad(key, keys)}  {pad(text, texts)}"), ("dim", f"  {source}"))
            for key, text, source in rows
        ),
        (),
        *((("", line),) for line in command_lines(argv, min(page.width, COMMAND_WIDTH))),
    ]


def command_lines(argv: Sequence[str], cells: int) -> list[str]:
    """The command in lines of at most `cells` where its words allow, to paste as it stands.

    An option and its argument stay on one line. A control character goes in as the shell's
    `$'…'`, so that what is shown is what is run.
    """
    lines: list[str] = []
    line = ""
    for group in _groups(argv):
        words = " ".join(_quote(word) for word in group)
        if line and width(line) + 1 + width(words) + 2 > cells:
            lines.append(f"{line} \\")
            line = f"    {words}"
        else:
            line = f"{line} {words}" if line else words
    return [*lines, line] if line else lines


def _groups(argv: Sequence[str]) -> list[list[str]]:
    """Words that belong together: `-o` and `-R` with what follows them."""
    groups: list[list[str]] = []
    rest = list(argv)
    while rest:
        takes = len(rest[0]) == 2 and rest[0][0] == "-" and rest[0][1] in "BbcDEeFIiJLlmOopPQRSWw"
        groups.append(rest[:2] if takes else rest[:1])
        rest = rest[len(groups[-1]) :]
    return groups


def _quote(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(
        f"\\{char}" if char in "\\'" else char if char.isprintable() else _escape(char)
        for char in word
    )
    return f"$'{escaped}'"


def _escape(char: str) -> str:
    """In octal, byte by byte: what bash, zsh and ksh read back in `$'…'`."""
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
