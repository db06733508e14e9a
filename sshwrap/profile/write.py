"""A profile -> a table of TOML, put into the text of a profiles file that otherwise stays as it is.

Laws. What comes out differs from what went in, as TOML, in that one table and in nothing else: that
is looked at before it is handed out. Comments and order stay, byte for byte.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from sshwrap.profile.keys import KEYS
from sshwrap.profile.locate import Statement, read_statements
from sshwrap.profile.model import Profile


def profile_table(profile: Profile, given: Iterable[str] = ()) -> dict[str, Any]:
    """The keys that differ from what a profile has anyway, and those `given`, which have to stand
    there because `[defaults]` may say otherwise; paths absolute, `${VAR}` of forwards expanded."""
    plain = Profile(profile.name, "")
    table: dict[str, Any] = {}
    for key in KEYS:
        value = getattr(profile, key.name)
        if value is None or (value == getattr(plain, key.name) and key.name not in given):
            continue
        if key.name.endswith("_forward"):
            value = [forward.spec for forward in value]
        elif key.name == "ssh_options":
            value = _options(value)
        elif key.name == "identity_file":
            value = value[0] if len(value) == 1 else list(value)
        if value not in ([], {}):
            table[key.name] = value
    return table


def format_table(name: str, table: Mapping[str, Any]) -> str:
    """`[profile.NAME]` and a line a key, in the order of keys.py."""
    order = [key.name for key in KEYS if key.name in table]
    rows = [f"{key} = {_value(table[key])}\n" for key in order]
    return f"[profile.{_key(name)}]\n" + "".join(rows)


def with_profile(text: str, name: str, table: Mapping[str, Any]) -> str | None:
    """`text` (valid TOML) with that profile as `table`: in the place of the one it has, or at the
    end; None where it cannot be done without touching something else (an inline table, say)."""
    before = tomllib.loads(text)
    wanted = copy.deepcopy(before)
    profiles = wanted.setdefault("profile", {})
    if not isinstance(profiles, dict):
        return None
    is_there = name in profiles
    profiles[name] = dict(table)
    end = "\r\n" if "\r\n" in text.partition("\n")[0] + "\n" else "\n"
    body = format_table(name, table).replace("\n", end)
    candidate = _replaced(text, name, body) if is_there else _appended(text, body, end)
    try:
        return candidate if tomllib.loads(candidate) == wanted else None
    except tomllib.TOMLDecodeError:
        return None


def _appended(text: str, body: str, end: str) -> str:
    if not text.strip():
        return text + body
    return text + ("" if text.endswith("\n") else end) + end + body


def _replaced(text: str, name: str, body: str) -> str:
    """Its statements go, wherever they are; comments stay, but for those inside a value."""
    lines = text.split("\n")
    ours = [one for one in read_statements(text) if _is_of(one, name)]
    gone = {at for one in ours for at in range(one.first - 1, one.first - 1 + len(one.lines))}
    headers = [one.first - 1 for one in ours if one.is_header]
    end = "\r\n" if body.endswith("\r\n") else "\n"
    if not headers:
        return _appended("\n".join(x for at, x in enumerate(lines) if at not in gone), body, end)
    place = headers[0]
    above = [line for at, line in enumerate(lines[:place]) if at not in gone]
    below = [line for at, line in enumerate(lines) if at > place and at not in gone]
    # body ends its last line itself; where nothing stands below, so did the file or it now does
    return "\n".join([*above, body + "\n".join(below)])


def _is_of(statement: Statement, name: str) -> bool:
    """It says something of that profile, and of nothing else."""
    profiles = statement.data.get("profile")
    return len(statement.data) == 1 and isinstance(profiles, dict) and list(profiles) == [name]


def _options(pairs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for keyword, argument in pairs:
        found.setdefault(keyword, []).append(argument)
    return {keyword: v[0] if len(v) == 1 else v for keyword, v in found.items()}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return _string(str(value))


def _key(word: str) -> str:
    bare = word.isascii() and word.replace("-", "_").replace("_", "a").isalnum()
    return word if bare else _string(word)


def _string(text: str) -> str:
    """TOML's basic string; not json.dumps, which leaves DEL as it is."""
    shown = (f"\\{c}" if c in '"\\' else f"\\u{ord(c):04x}" if _hidden(c) else c for c in text)
    return '"' + "".join(shown) + '"'


def _hidden(char: str) -> bool:
    return char < " " or "\x7f" <= char <= "\x9f"
