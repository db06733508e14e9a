"""A profiles file with one forward written anew; everything else stays as it is, byte for byte.

Law. What comes out differs from what went in, as TOML, in that one value and in nothing else: that
is looked at before it is handed out. Where it cannot be done so, nothing is.
"""

from __future__ import annotations

import copy
import json
import tomllib
from typing import Any

from sshwrap.profile.locate import Lines

REACH_LINES = 40  # how far from where the array stands its element may be


def rewrite_forward(text: str, profile: str, index: int, old: str, new: str) -> str | None:
    """`text` with the `index`-th remote_forward of that profile as `new`; None where the spec
    `old`, as it is written, cannot be found (`${VAR}`, escapes, an array of `[defaults]`)."""
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    wanted = _with(before, profile, index, old, new)
    if wanted is None:
        return None
    lines = text.splitlines(keepends=True)
    first = Lines(text).line_of(("profile", profile, "remote_forward", index)) - 1
    for at in range(max(0, first), min(len(lines), first + REACH_LINES)):
        for quote in ("'", '"'):
            word = f"{quote}{old}{quote}"
            start = lines[at].find(word)
            while start >= 0:
                line = lines[at]
                written = line[:start] + json.dumps(new) + line[start + len(word) :]
                candidate = "".join([*lines[:at], written, *lines[at + 1 :]])
                if _loads(candidate) == wanted:
                    return candidate
                start = line.find(word, start + 1)
    return None


def _with(
    document: dict[str, Any], profile: str, index: int, old: str, new: str
) -> dict[str, Any] | None:
    wanted = copy.deepcopy(document)
    try:
        table = wanted["profile"][profile]
        value = table["remote_forward"]
        if isinstance(value, str) and index == 0 and value == old:
            table["remote_forward"] = new
        elif isinstance(value, list) and value[index] == old:
            value[index] = new
        else:
            return None
    except (KeyError, IndexError, TypeError):
        return None
    return wanted


def _loads(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
