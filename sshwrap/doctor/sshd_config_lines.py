"""The lines of an sshd_config: read without loss, and split into words as sshd splits them.

Laws. `render(parse(text)) == text` for every text. A line that sshd would refuse has a `fault` and
is never guessed at. OpenSSH splits arguments in two ways: since 8.7 by misc.c:argv_split, before
that by misc.c:strdelim after everything behind a "#" was cut off (servconf.c:load_server_config).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sshwrap.ssh.version import Version

SPLITS_BY_ARGV = Version(8, 7)
BLANK = " \t\r\n"  # misc.c:WHITESPACE; argv_split knows blank and tab only
AT_END = BLANK + "\f"
KEYWORD = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Line:
    """`raw` is the line with its end. `keyword` is in lower case, "" for a comment or an empty
    line; `rest` is what follows it, for Match, which splits its words by itself. `fault`: why sshd
    would refuse the line, or ""."""

    number: int
    raw: str
    keyword: str = ""
    arguments: tuple[str, ...] = ()
    rest: str = ""
    fault: str = ""

    @property
    def argument(self) -> str:
        """The arguments as one text, to show."""
        return " ".join(self.arguments)


def parse(text: str, version: Version = SPLITS_BY_ARGV) -> tuple[Line, ...]:
    """The lines of a file as an sshd of that version reads them. Only "\\n" ends a line."""
    raws = text.split("\n")
    ended = [f"{raw}\n" for raw in raws[:-1]] + ([raws[-1]] if raws[-1] else [])
    return tuple(_line(number, raw, version) for number, raw in enumerate(ended, 1))


def render(lines: Iterable[Line]) -> str:
    return "".join(line.raw for line in lines)


def _line(number: int, raw: str, version: Version) -> Line:
    if "\0" in raw:  # sshd would join what stands before it with the next line
        return Line(number, raw, fault="it has a NUL byte")
    by_argv = version >= SPLITS_BY_ARGV
    text = raw if by_argv else raw.partition("#")[0]
    text = text.lstrip(" \t\r").rstrip(AT_END)
    word, rest = next_word(text)
    if word == "":
        word, rest = next_word(rest)
    if not word or word.startswith("#"):
        fault = "its quotes do not pair" if word is None and text else ""
        return Line(number, raw, fault=fault)
    # bytes: sshd's strcasecmp knows ASCII only, and str.lower would make a "k" of the kelvin sign
    keyword = re.sub("[A-Z]+", lambda found: found[0].lower(), word)
    if KEYWORD.fullmatch(keyword) is None:
        return Line(number, raw, keyword, rest=rest or "", fault=f'"{word[:40]}" is no keyword')
    if not rest:
        return Line(number, raw, keyword, fault=f'"{word}" has no argument')
    arguments = split_by_argv(rest) if by_argv else split_by_strdelim(rest)
    if arguments is None:
        return Line(number, raw, keyword, rest=rest, fault="its quotes do not pair")
    fault = "" if arguments else f'"{word}" has no argument'
    return Line(number, raw, keyword, arguments, rest, fault)


def next_word(text: str | None) -> tuple[str | None, str | None]:
    """misc.c:strdelim: the first word and what is left; one "=" may stand behind the word.

    The word None: there is nothing left, or a quote has no other. What is left None: that was all.
    """
    if text is None:
        return None, None
    found = re.search(r'[ \t\r\n"=]', text)
    if found is None:
        return text, None
    before, rest = text[: found.start()], text[found.end() :]
    if found[0] == '"':
        quoted, quote, rest = rest.partition('"')
        return (before + quoted, rest.lstrip(BLANK)) if quote else (None, None)
    rest = rest.lstrip(BLANK)
    if found[0] != "=" and rest.startswith("="):
        rest = rest[1:].lstrip(BLANK)
    return before, rest


def split_by_strdelim(text: str) -> tuple[str, ...] | None:
    """None: a quote has no other."""
    words = []
    rest: str | None = text
    while rest:
        word, rest = next_word(rest)
        if word is None:
            return None
        if word == "":  # sshd reads no further
            break
        words.append(word)
    return tuple(words)


def split_by_argv(text: str) -> tuple[str, ...] | None:
    """misc.c:argv_split: single and double quotes, a backslash before a quote, a backslash or,
    outside of quotes, a blank; "#" at a word's start ends the line. None: a quote has no other."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == "#":
            break
        word, at, quote = _argv_word(text, at)
        if quote:
            return None
        words.append(word)
    return tuple(words)


def _argv_word(text: str, at: int) -> tuple[str, int, str]:
    """A word, the place behind it, and the quote that is still open there."""
    word, quote = "", ""
    while at < len(text):
        char, after = text[at], text[at + 1 : at + 2]
        if char == "\\" and after and (after in "\"'\\" or (after == " " and not quote)):
            word += after
            at += 1
        elif not quote and char in " \t":
            break
        elif not quote and char in "\"'":
            quote = char
        elif char == quote:
            quote = ""
        else:
            word += char
        at += 1
    return word, at, quote
