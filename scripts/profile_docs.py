#!/usr/bin/env python3
"""Write what docs/ repeats of the profile's keys: the tables of profiles.md, and the JSON Schema.

scripts/profile_docs.py           write both
scripts/profile_docs.py --check   exit 1 where one of them is not what the code says
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sshwrap.profile.keys import KEYS, Key, Type  # noqa: E402 (a script runs from anywhere)
from sshwrap.profile.keywords import PROFILE_KEYS, REFUSED  # noqa: E402
from sshwrap.profile.model import NAME_MAX  # noqa: E402
from sshwrap.profile.reader import ARGV_MAX, TEXT_MAX  # noqa: E402

PAGE = ROOT / "docs" / "profiles.md"
SCHEMA = ROOT / "docs" / "profiles.schema.json"

_STRING = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX}
_STRINGS = {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}
_SCALAR = {"anyOf": [_STRING, {"type": ["integer", "boolean"]}]}


def schema() -> dict[str, Any]:
    """The file as JSON Schema (draft 2020-12); what a spec may say it does not know."""
    keys = {key.name: _property(key) for key in KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "profiles.toml of sshwrap",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": {
                "description": "keys for every profile that does not set them itself",
                "$ref": "#/$defs/keys",
            },
            "profile": {
                "type": "object",
                "propertyNames": {"pattern": f"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_MAX - 1}}}$"},
                "additionalProperties": {"$ref": "#/$defs/keys"},
            },
        },
        "if": {"required": ["defaults"], "properties": {"defaults": {"required": ["destination"]}}},
        "else": {
            "properties": {"profile": {"additionalProperties": {"required": ["destination"]}}}
        },
        "$defs": {
            "keys": {"type": "object", "additionalProperties": False, "properties": keys},
        },
    }


def _property(key: Key) -> dict[str, Any]:
    types: dict[Type, dict[str, Any]] = {
        Type.STRING: _STRING,
        Type.INTEGER: {"type": "integer"},
        Type.NUMBER: {"type": "number"},
        Type.BOOLEAN: {"type": "boolean"},
        Type.STRINGS: _STRINGS,
        Type.FORWARDS: _STRINGS,
        Type.OPTIONS: _options(),
        Type.ARGV: _argv(),
    }
    bounds = {"minimum": key.minimum, "maximum": key.maximum, "default": key.default}
    return {
        "description": key.meaning,
        **types[key.type],
        **{word: value for word, value in bounds.items() if value is not None},
    }


def _argv() -> dict[str, Any]:
    word = {"type": "string", "maxLength": TEXT_MAX}
    return {"type": "array", "maxItems": ARGV_MAX, "prefixItems": [_STRING], "items": word}


def _options() -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {
            "pattern": "^[A-Za-z][A-Za-z0-9]*$",
            "not": {"enum": sorted({*PROFILE_KEYS, *REFUSED})},
        },
        "properties": {"StrictHostKeyChecking": {**_SCALAR, "not": {"enum": ["no", "off", False]}}},
        "additionalProperties": {
            "anyOf": [*_SCALAR["anyOf"], {"type": "array", "minItems": 1, "items": _SCALAR}]
        },
    }


def key_table() -> str:
    rows = ["| key | type | meaning | default | example |", "| --- | --- | --- | --- | --- |"]
    for key in KEYS:
        bounds = "" if key.minimum is None else f", {key.minimum} to {key.maximum}"
        rows.append(
            f"| `{key.name}` | {key.type}{bounds} | {key.meaning} | {_default(key)} "
            f"| `{key.example}` |"
        )
    return "\n".join(rows)


def _default(key: Key) -> str:
    if key.default is None:
        return ""
    return f"`{json.dumps(key.default)}`"


def refused_table() -> str:
    rows = ["| keyword | why |", "| --- | --- |"]
    rows += [f"| {keyword} | write `{key} = …` |" for keyword, key in PROFILE_KEYS.items()]
    rows += [f"| {keyword} | {reason} |" for keyword, reason in REFUSED.items()]
    rows.append(
        "| StrictHostKeyChecking `no`, `off` | anybody's key would be taken for the server's;"
        ' `"accept-new"` takes an unknown key once and never a changed one |'
    )
    return "\n".join(rows)


def page(text: str) -> str:
    """`text` of profiles.md with its generated parts made anew."""
    for name, part in (("keys", key_table()), ("refused", refused_table())):
        begin, end = f"<!-- generated: {name} -->\n", f"\n<!-- end: {name} -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{PAGE.name}: no place for the generated part {name!r}")
        text = head + begin + part + end + tail
    return text


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    wanted = {PAGE: page(PAGE.read_text(encoding="utf-8")), SCHEMA: schema_text()}
    status = 0
    for path, text in wanted.items():
        there = path.read_text(encoding="utf-8") if path.exists() else None
        if there == text:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"{path.relative_to(ROOT)}: run scripts/profile_docs.py\n")
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
            sys.stderr.write(f"{path.relative_to(ROOT)}: written\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
