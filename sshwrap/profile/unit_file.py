"""A systemd unit -> the command it runs, as far as that can be told without systemd.

Laws. Read as systemd.syntax(7), systemd.unit(5) and systemd.service(5) have it. What systemd alone
knows is refused by name, never guessed; what is not carried over has a note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
DROPPED = ("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecCondition")


class UnitError(ValueError):
    """`str(error)` completes the sentence "autossh.service: …"."""


@dataclass(frozen=True, slots=True)
class Unit:
    """`words`: the program and its arguments. `variables`: its environment. `user`: as it says."""

    words: tuple[str, ...]
    variables: Mapping[str, str]
    user: str
    description: str
    directory: str
    notes: tuple[str, ...]


@dataclass
class _Service:
    keys: dict[str, list[str]] = field(default_factory=dict)

    def last(self, key: str) -> str:
        return (self.keys.get(key) or [""])[-1]


def read_unit(
    text: str,
    *,
    file_name: str,
    specifiers: Mapping[str, str],
    read_file: Callable[[str], str | None],
) -> Unit:
    """Raises UnitError. `specifiers`: letter -> value, of those that the caller knows (%h, %u …);
    those of the name are told from `file_name`. `read_file`: None where it cannot be read."""
    sections = _sections(text)
    service, notes = sections.get("Service", _Service()), list[str]()
    known = {**_of_name(file_name), **specifiers}
    commands = [one for one in service.keys.get("ExecStart", []) if one]
    if len(commands) != 1:
        raise UnitError(f"has {len(commands)} ExecStart=, one is wanted")
    variables: dict[str, str] = {}
    for line in service.keys.get("Environment", []):
        for word in split_words(line):
            name, _, value = _specified(word, known).partition("=")
            variables[name] = value
    for path in service.keys.get("EnvironmentFile", []):
        place = _specified(path.removeprefix("-"), known)
        found = read_file(place)
        if found is None:
            notes.append(f"EnvironmentFile={place}: cannot be read")
        else:
            variables |= read_environment(found)
    words = [_specified(word, known) for word in split_words(commands[0].lstrip("@-:+!|"))]
    words = [word for one in words for word in _expanded(one, variables)]
    if commands[0][:1] == "@" and len(words) > 1:
        del words[1]  # argv[0], under another name
    notes += [
        f"{key}=: dropped: sshwrap runs no other program" for key in DROPPED if service.last(key)
    ]
    if restart := service.last("Restart"):
        notes.append(f"Restart={restart}: dropped: sshwrap tries again by itself")
    notes += [
        f"{name}: dropped: sshwrap sets no environment for ssh"
        for name in variables
        if not name.startswith("AUTOSSH_") and not any(name in one for one in commands)
    ]
    return Unit(
        tuple(words),
        variables,
        _specified(service.last("User"), known),
        _specified(sections.get("Unit", _Service()).last("Description"), known),
        _specified(service.last("WorkingDirectory"), known),
        tuple(notes),
    )


def read_environment(text: str) -> dict[str, str]:
    """An EnvironmentFile: NAME=VALUE, quotes and continuations understood, no shell."""
    found: dict[str, str] = {}
    for line in _joined(text):
        name, equals, value = line.partition("=")
        if equals:
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def split_words(text: str) -> list[str]:
    """extract_first_word() of systemd: quotes of both kinds, C escapes in either."""
    words: list[str] = []
    word: str | None = None
    quote, at = "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            taken, at = _escape(text, at)
            word = (word or "") + taken
        elif quote:
            if char == quote:
                quote = ""
            else:
                word = (word or "") + char
        elif char in "\"'":
            quote, word = char, word or ""
        elif char in " \t\r":
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + char
    if quote:
        raise UnitError(f"a quote is not closed in: {text}")
    return words if word is None else [*words, word]


def _escape(text: str, at: int) -> tuple[str, int]:
    char = text[at : at + 1]
    if char in ESCAPES:
        return ESCAPES[char], at + 1
    for letter, digits, base in (("x", 2, 16), ("u", 4, 16), ("U", 8, 16), ("", 3, 8)):
        start = at + len(letter)
        number = text[start : start + digits]
        if char.startswith(letter) and len(number) == digits:
            try:
                return chr(int(number, base)), start + digits
            except (ValueError, OverflowError):
                continue
    return (char, at + 1) if char and char in "\\\"'" else ("\\", at)


def _joined(text: str) -> list[str]:
    """Lines, continuations joined by a blank; comments also stand between them."""
    found: list[str] = []
    begun = ""
    for raw in text.replace("\r\n", "\n").split("\n"):
        line = raw.strip() if not begun else raw.rstrip()
        if line.lstrip()[:1] in ("#", ";") or (not line and not begun):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        found.append(begun + line)
        begun = ""
    return [*found, begun] if begun else found


def _sections(text: str) -> dict[str, _Service]:
    found: dict[str, _Service] = {}
    section = _Service()
    for line in _joined(text):
        if line.startswith("[") and line.endswith("]"):
            section = found.setdefault(line[1:-1], _Service())
            continue
        key, equals, value = line.partition("=")
        if equals and value.strip():
            section.keys.setdefault(key.strip(), []).append(value.strip())
        elif equals:
            section.keys[key.strip()] = []  # an empty value takes back what was said before
    return found


def _of_name(file_name: str) -> dict[str, str]:
    stem = file_name.rpartition(".")[0] or file_name
    prefix, at, instance = stem.partition("@")
    known = {"n": file_name, "N": stem, "p": prefix, "P": _unescaped(prefix)}
    known |= {"j": prefix.rpartition("-")[2], "J": _unescaped(prefix.rpartition("-")[2])}
    if instance or not at:
        known |= {"i": instance, "I": _unescaped(instance)}
    return known


def _unescaped(text: str) -> str:
    """systemd-escape --unescape"""
    plain, at = "", 0
    text = text.replace("-", "/")
    while at < len(text):
        taken, after = _escape(text, at + 1) if text[at : at + 2] == "\\x" else (text[at], at + 1)
        plain, at = plain + taken, after
    return plain


def _specified(text: str, known: Mapping[str, str]) -> str:
    done, rest = "", text
    while (start := rest.find("%")) >= 0:
        letter = rest[start + 1 : start + 2]
        if letter == "%":
            value = "%"
        elif letter in known and letter:
            value = known[letter]
        elif letter in ("i", "I"):
            raise UnitError(
                "is a template, and its instance is not told: name it as in"
                " /etc/systemd/system/*.wants/, with the instance behind the @"
            )
        else:
            raise UnitError(f'"%{letter}" is known to systemd alone')
        done, rest = done + rest[:start] + value, rest[start + 2 :]
    return done + rest


def _expanded(word: str, variables: Mapping[str, str]) -> list[str]:
    """`${NAME}` anywhere, `$NAME` as a word of its own (then split), `$$`."""
    if word.startswith("$") and word[1:].isidentifier():
        return _value(word[1:], variables).split()
    done, rest = "", word
    while (start := rest.find("$")) >= 0:
        done, rest = done + rest[:start], rest[start + 1 :]
        if rest.startswith("{") and "}" in rest:
            name, _, rest = rest[1:].partition("}")
            done += _value(name, variables)
        else:
            done += "$"
            rest = rest.removeprefix("$")
    return [done + rest]


def _value(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        raise UnitError(
            f"{name} is set in no Environment= and no EnvironmentFile= that can be read"
        )
    return variables[name]
