"""A profile put into the text of a file: that table, and not a byte beside it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.file import parse_profiles
from sshwrap.profile.ssh_command import parse_command
from sshwrap.profile.write import format_table, profile_table, with_profile
from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.version import Version

NEW: dict[str, Any] = {"destination": "b", "remote_forward": ["2:a:1"], "port": 22}
BEFORE = "# head\n\n[defaults]\nport = 1 # one\n\n"
AFTER = '# --- the camera\n[profile."c.m"]\ndestination = "x" # y\n'

WORDS = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=8)
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,8}\Z")
TABLES = st.fixed_dictionaries(
    {"destination": WORDS, "remote_forward": st.lists(WORDS, min_size=1, max_size=3)},
    optional={
        "port": st.integers(1, 65535),
        "description": st.text(max_size=20).filter(lambda t: t.isprintable()),
        "autostart": st.booleans(),
        "ssh_options": st.dictionaries(NAMES, WORDS | st.lists(WORDS), min_size=1, max_size=2),
    },
)
COMMENTS = st.sampled_from(["", "\n", "# x [profile.a]\n", '#"""\n', "\n\n# é\n"])


@settings(max_examples=25)
@given(tables=st.dictionaries(NAMES, TABLES, max_size=4), comment=COMMENTS, crlf=st.booleans())
def test_any_profile_can_be_added_and_replaced(
    tables: dict[str, dict[str, Any]], comment: str, crlf: bool
) -> None:
    text = comment
    for name, table in tables.items():
        text += format_table(name, table) + comment
    if crlf:
        text = text.replace("\n", "\r\n")
    added = with_profile(text, "new", NEW)
    assert added is not None
    assert added.startswith(text) or "new" in tables
    assert tomllib.loads(added)["profile"] == {**tables, "new": NEW}
    for name in tables:
        again = with_profile(text, name, NEW)
        assert again is not None
        assert tomllib.loads(again)["profile"] == {**tables, name: NEW}


@pytest.mark.parametrize(
    ("table", "left"),
    [
        ('[profile.web]\ndestination = "a"\nport = 2\n\n', "\n"),
        ('[ profile . "web" ] # here\n# mine\nremote_forward = [\n "1:a:1", # c\n]\n', "# mine\n"),
        ('[profile.web]\ndestination = """\na"""\n[profile.web.ssh_options]\nCiphers = "c"\n', ""),
    ],
)
def test_only_that_table_is_replaced(table: str, left: str) -> None:
    made = with_profile(BEFORE + table + AFTER, "web", NEW)
    assert made == BEFORE + format_table("web", NEW) + left + AFTER


def test_the_ends_of_lines_stay() -> None:
    text = (BEFORE + "[profile.web]\nport = 1\n\n" + AFTER).replace("\n", "\r\n")
    made = with_profile(text, "web", NEW)
    assert made is not None
    assert made == (BEFORE + format_table("web", NEW) + "\n" + AFTER).replace("\n", "\r\n")


def test_no_final_newline() -> None:
    assert with_profile("# a", "web", NEW) == "# a\n\n" + format_table("web", NEW)
    made = with_profile("[profile.web]\nport = 1", "web", NEW)
    assert made == format_table("web", NEW)


@pytest.mark.parametrize(
    "text", ["profile = { web = { port = 1 }, b = {} }\n", "profile = 1\n", "[[profile]]\na = 1\n"]
)
def test_where_it_cannot_be_done_nothing_is(text: str) -> None:
    assert with_profile(text, "web", NEW) is None


@pytest.mark.parametrize(
    "line",
    [
        "ssh -R 12345:203.0.113.7:12345 root@vps.example.com -p 2222",
        "autossh -M 0 -NC -i key -R '*:1:a:1' -L 2:b:2 -D 1080 -J j@k:22 -F conf -l me vps",
        "ssh -o 'SendEnv A' -o 'SendEnv B' -o Ciphers=x -o ServerAliveInterval=15 -R 1:${H}:1 v",
        "ssh -4 -R /run/a.sock:/run/b.sock -o ProxyCommand='nc \"%h\" \\\\ %p' -i 'ü \"x' v",
    ],
)
def test_the_file_comes_to_the_same_command_line(line: str) -> None:
    import shlex

    environ = {"HOME": "/home/u", "H": "host"}
    parsed = parse_command(
        shlex.split(line), environ=environ, service_port={}.get, cwd="/cwd", name="web"
    )
    text = with_profile("", "web", profile_table(parsed.profile, parsed.given))
    assert text is not None
    profile = parse_profiles(text, Path("/etc/p.toml"), environ=environ)["web"]
    ways = [
        build_argv(one, Version(9, 2), control_path=None, ssh="ssh")
        for one in (parsed.profile, profile)
    ]
    assert ways[0] == ways[1]


def test_what_was_said_stands_there_though_it_is_the_default() -> None:
    parsed = parse_command(
        ["-o", "ServerAliveInterval=15", "-R", "1:a:1", "v"],
        environ={},
        service_port={}.get,
        cwd="/",
    )
    assert profile_table(parsed.profile, parsed.given)["server_alive_interval"] == 15
