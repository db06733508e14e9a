"""A TOML table, read key by key: every fault is remembered with its place, none stops the reading.

Law. A value that has a fault reads as None, and whoever reads on takes that for "not given".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sshwrap.profile.fields import is_control, printable
from sshwrap.profile.keys import BY_NAME, NOT_YET
from sshwrap.profile.keywords import KEYWORDS, find_keyword, why_refused

TEXT_MAX = 4096  # characters of one value
ARGV_MAX = 256  # words of a command

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: `path` is ("remote_forward", 1) for the second of the list."""

    path: Path
    message: str

    def __str__(self) -> str:
        where = format_path(self.path)
        return f"{where}: {self.message}" if where else self.message


def format_path(path: Path) -> str:
    """As TOML would write it: `profile.web.remote_forward[1]`, `profile."a.b".port`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        bare = part.isascii() and part.replace("-", "_").replace("_", "a").isalnum()
        text += ("." if text else "") + (part if bare else f'"{printable(part)}"')
    return text


class Reader:
    """Reads one table by the types and bounds of keys.py, and collects its faults."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table
        self.faults: list[Fault] = []

    def fault(self, path: Path, message: str) -> None:
        self.faults.append(Fault(path, printable(message)))

    def string(self, key: str) -> str | None:
        value = self.table.get(key)
        return None if value is None else self._text((key,), value, "a string")

    def integer(self, key: str) -> int | None:
        value = self.table.get(key)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit():
            self.fault((key,), f"want an integer, not a string; write {key} = {value.lstrip('0')}")
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault((key,), f"want an integer, not {describe_type(value)}")
            return None
        return value if self._in_bounds(key, value) else None

    def number(self, key: str) -> float | None:
        value = self.table.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault((key,), f"want a number of seconds, not {describe_type(value)}")
            return None
        return value if self._in_bounds(key, value) else None

    def boolean(self, key: str) -> bool | None:
        value = self.table.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.fault((key,), f"want true or false, not {describe_type(value)}")
        return None

    def strings(self, key: str) -> list[tuple[Path, str]]:
        """Each string with its place; a string is a list of one."""
        value = self.table.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            text = self._text((key,), value, "a string or a list of strings")
            return [] if text is None else [((key,), text)]
        found: list[tuple[Path, str]] = []
        for index, item in enumerate(value):
            text = self._text((key, index), item, "a string")
            if text is not None:
                found.append(((key, index), text))
        return found

    def argv(self, key: str) -> tuple[str, ...] | None:
        """A program and its arguments; () where the list is empty: none, against [defaults]."""
        value = self.table.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            self.fault((key,), f"no shell reads it: write it as a list{_as_list(key, value)}")
            return None
        if not isinstance(value, list):
            self.fault((key,), f"want a list of strings, not {describe_type(value)}")
            return None
        if len(value) > ARGV_MAX:
            self.fault((key,), f"has {len(value)} words, {ARGV_MAX} at most")
            return None
        words = [
            word
            for index, item in enumerate(value)
            if (word := self._word((key, index), item)) is not None
        ]
        return tuple(words) if len(words) == len(value) else None

    def _word(self, path: Path, value: object) -> str | None:
        """An argument may be empty and have lines and tabs; a program is one line of text."""
        if not isinstance(value, str) or path[-1] == 0:
            return self._text(path, value, "a string")
        bare = value.replace("\n", "").replace("\t", "")
        return value if not bare.strip() or self._text(path, bare, "a string") else None

    def options(self, key: str) -> tuple[tuple[str, str], ...]:
        """(keyword, argument) of ssh_config(5), in the file's order; refused ones are faults."""
        table = self.table.get(key)
        if table is None:
            return ()
        if not isinstance(table, dict):
            self.fault((key,), f"want a table of keywords, not {describe_type(table)}")
            return ()
        found: list[tuple[str, str]] = []
        seen: dict[str, str] = {}
        for word, value in table.items():
            path = (key, word)
            keyword = self._keyword(path, word)
            if keyword is None:
                continue
            if keyword in seen:
                self.fault(path, f'the same keyword as "{seen[keyword]}"')
                continue
            seen[keyword] = word
            arguments = self._arguments(path, value)
            reason = why_refused(keyword, arguments[0] if arguments else "")
            if reason is not None:
                self.fault(path, f"cannot stand in ssh_options: {reason}")
                continue
            found += [(keyword, argument) for argument in arguments]
        return tuple(found)

    def refuse_unknown_keys(self) -> None:
        for key, value in self.table.items():
            if key in BY_NAME:
                continue
            if key in NOT_YET:
                self.fault((key,), "not supported yet by this version of sshwrap")
            else:
                self.fault((key,), f"unknown key{_hint(key, value)}")

    def _text(self, path: Path, value: object, want: str) -> str | None:
        if not isinstance(value, str):
            self.fault(path, f"want {want}, not {describe_type(value)}")
        elif not value.strip():
            self.fault(path, "is empty")
        elif len(value) > TEXT_MAX:
            self.fault(path, f"has {len(value)} characters, {TEXT_MAX} at most")
        elif (bad := next(filter(is_control, value), None)) is not None:
            self.fault(path, f'"{printable(value)}" holds a control character: {bad!r}')
        else:
            return value
        return None

    def _in_bounds(self, name: str, value: float) -> bool:
        key = BY_NAME[name]
        low, high = key.minimum, key.maximum
        # a NaN is in no bounds
        if (low is None or value >= low) and (high is None or value <= high):
            return True
        reason = f"; {key.below}" if key.below and low is not None and value < low else ""
        self.fault((name,), f"{shown(value)} is not {low}-{high}{reason}")
        return False

    def _keyword(self, path: Path, word: str) -> str | None:
        if not (word.isascii() and word.isalnum() and word[0].isalpha()):
            known = find_keyword(word)
            hint = f"; did you mean {known}?" if known else ""
            self.fault(path, f"is no keyword of ssh_config(5){hint}")
            return None
        known = find_keyword(word)
        if known is None and (close := closest(word, KEYWORDS)):
            self.fault(path, f"is no keyword of ssh_config(5); did you mean {close}?")
            return None
        return known or word  # a newer ssh's, or a vendor's: ssh itself will tell

    def _arguments(self, path: Path, value: object) -> list[str]:
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not value:
            self.fault(path, "is empty")
        arguments = []
        for index, item in enumerate(values):
            place = (*path, index) if isinstance(value, list) else path
            if isinstance(item, bool):
                arguments.append("yes" if item else "no")
            elif isinstance(item, int) and item.bit_length() <= 64:
                arguments.append(str(item))
            elif (text := self._text(place, item, "a string, an integer or a boolean")) is not None:
                arguments.append(text)
        return arguments


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one that was probably meant: equal but for case, "-" and "_", or a few letters off."""
    import difflib  # only where something is wrong

    plain = {name.lower().replace("_", ""): name for name in known}
    wanted = word.lower().replace("-", "").replace("_", "")
    matches = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.75)
    return plain[matches[0]] if matches else None


def shown(value: float) -> str:
    """A number; Python itself refuses to write integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 64:
        return "2^64 and more" if value > 0 else "-2^64 and less"
    return str(value)


def describe_type(value: object) -> str:
    """A TOML value, for "want …, not …"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'the string "{printable(value[:60])}"'
    if isinstance(value, int | float):
        return f"the number {shown(value)}"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


def _as_list(key: str, text: str) -> str:
    """`: on_up = ["notify-send", "it is up"]`, where it is plain what the words are."""
    import shlex  # only where something is wrong

    if any(char in text for char in "|&;<>$`*?(){}~\n"):
        return f': {key} = ["sh", "-c", "…"] for a shell of your own'
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    quoted = ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    return f": {key} = [{quoted}]" if words else ""


def _hint(key: str, value: object) -> str:
    if key.lower() in ("host", "server"):
        return "; did you mean destination?"
    if close := closest(key, BY_NAME):
        return f"; did you mean {close}?"
    keyword = find_keyword(key)
    if keyword is None:
        return ""
    if isinstance(value, bool):
        argument = "yes" if value else "no"
    else:
        argument = value if isinstance(value, str) else "…"
    if reason := why_refused(keyword, argument):
        return f": {keyword} is ssh_config's, and cannot be set: {reason}"
    return f'; write ssh_options = {{ {keyword} = "{printable(argument)}" }}'
