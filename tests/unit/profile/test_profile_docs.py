"""docs/profiles.md and the JSON Schema say what the code says."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import jsonschema
import pytest

from scripts.profile_docs import PAGE, SCHEMA, page, schema, schema_text
from sshwrap.profile.file import parse_profiles
from sshwrap.profile.forward import ForwardError, Kind, parse_forward
from sshwrap.profile.keys import KEYS, Type

TEXT = PAGE.read_text(encoding="utf-8")
VALIDATOR = jsonschema.Draft202012Validator(schema())
GOOD: dict[str, Any] = {
    "defaults": {"port": 22},
    "profile": {"web": {"destination": "vps", "remote_forward": "1080"}},
}


def test_the_page_is_up_to_date() -> None:
    assert page(TEXT) == TEXT, "run scripts/profile_docs.py"


def test_the_schema_is_up_to_date() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run scripts/profile_docs.py"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert list(schema()["$defs"]["keys"]["properties"]) == [key.name for key in KEYS]


def test_every_example_is_legal() -> None:
    lines = [f"{key.name} = {key.example}" for key in KEYS]
    legal = "[profile.web]\n" + "\n".join(lines).replace('"root@', '"')
    assert parse_profiles(legal, PAGE, environ={"HOME": "/"})["web"].port == 2222
    VALIDATOR.validate(tomllib.loads(legal))


def test_the_file_on_the_page_is_legal() -> None:
    text = TEXT.partition("```toml\n")[2].partition("```")[0]
    profiles = parse_profiles(text, PAGE, environ={})
    assert list(profiles) == ["web", "home"]
    assert profiles.warnings == ()
    VALIDATOR.validate(tomllib.loads(text))


def specs_under(heading: str) -> list[str]:
    """What stands in backquotes in the first column of the table with that heading."""
    rows = TEXT.partition(heading)[2].partition("\n\n")[0].splitlines()[2:]
    return [cell for row in rows for cell in row.split("|")[1].split("`")[1::2]]


def test_the_forwards_on_the_page_are_what_they_are_said_to_be() -> None:
    legal = specs_under("| spec | listens on | connects to |\n")
    traps = specs_under("| spec | what ssh would make of it |\n")
    assert len(legal) > 12
    assert len(traps) > 9
    for spec in legal:
        parse_forward(Kind.REMOTE, spec, environ={}, service_port={"http": 80}.get)
    for spec in traps:
        kind = Kind.DYNAMIC if spec.startswith("1080:") else Kind.REMOTE
        with pytest.raises(ForwardError):
            parse_forward(kind, spec, environ={}, service_port={"http": 80}.get)


def changed(**keys: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    document["profile"]["web"].update(keys)
    return document


@pytest.mark.parametrize(
    "document",
    [
        {},
        GOOD,
        {"defaults": {"destination": "vps"}, "profile": {"web": {}}},
        changed(remote_forward=["1", "2"], ssh_options={"Ciphers": "x", "SendEnv": ["A"]}),
        changed(ssh_options={"StrictHostKeyChecking": "accept-new", "Compression": True}),
    ],
)
def test_what_the_schema_takes(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "document",
    [
        {"profiles": {}},
        {"profile": {"web": {}}},
        {"defaults": {}, "profile": {"web": {}}},
        {"profile": {"a b": {"destination": "vps"}}},
        {"defaults": {"prt": 22}},
        changed(attended=True),
        changed(remote_forward=[7]),
        changed(description=""),
        changed(ssh_options={"LogLevel": "QUIET"}),
        changed(ssh_options={"Port": 22}),
        changed(ssh_options={"StrictHostKeyChecking": "no"}),
        changed(ssh_options={"StrictHostKeyChecking": False}),
        changed(ssh_options={"a b": "c"}),
        changed(ssh_options={"Ciphers": {}}),
        *(
            changed(**{key.name: bound})
            for key in KEYS
            if key.minimum is not None and key.maximum is not None
            for bound in (key.minimum - 1, key.maximum + 1, "7")
        ),
        *(changed(**{key.name: 7}) for key in KEYS if key.type not in (Type.INTEGER, Type.NUMBER)),
    ],
)
def test_what_the_schema_refuses_so_does_the_code(document: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(Exception, match=r"profile|defaults"):
        parse_profiles(as_toml(document), PAGE, environ={})


def as_toml(document: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {_value(value)}" for key, value in document.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f'"{key}" = {_value(item)}' for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
