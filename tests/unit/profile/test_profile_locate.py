"""The line of every key, however it is written."""

from __future__ import annotations

import tomllib

import pytest

from sshwrap.profile.locate import Lines

TEXT = '''# a comment, with a comma,
[defaults]
port = 22  # x,

[profile.web]
destination = "a"
remote_forward = [
  "1:h:1",  # one ]
  # nothing here
  "2:h:2", "3:h:3",
  "[::1]:4:h:4"
]
description = """
text
[profile.no]
port = 1
"""
ssh_options = { Ciphers = "x", SendEnv = ["A", "B"] }
ssh_config = \'\'\'
a\'\'\'

[profile.web2.ssh_options]
Ciphers = "x"
SendEnv = [
  "A",
  "B # x" ]  # y
[profile]
dotted.port = 1
dotted."ssh_options".Ciphers = "x"
"quo.ted" = { destination = "x" }
[[list.of]]
tables = 1
[[list.of]]
others = 2
'''
LINES = Lines(TEXT)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("defaults",), 2),
        (("defaults", "port"), 3),
        (("profile", "web"), 5),
        (("profile", "web", "destination"), 6),
        (("profile", "web", "remote_forward"), 7),
        (("profile", "web", "remote_forward", 0), 8),
        (("profile", "web", "remote_forward", 1), 10),
        (("profile", "web", "remote_forward", 2), 10),
        (("profile", "web", "remote_forward", 3), 11),
        (("profile", "web", "description"), 13),
        (("profile", "web", "ssh_options", "SendEnv", 1), 18),
        (("profile", "web", "ssh_config"), 19),
        (("profile", "web2"), 22),
        (("profile", "web2", "destination"), 22),
        (("profile", "web2", "ssh_options", "Ciphers"), 23),
        (("profile", "web2", "ssh_options", "SendEnv", 0), 25),
        (("profile", "web2", "ssh_options", "SendEnv", 1), 26),
        (("profile", "dotted"), 28),
        (("profile", "dotted", "port"), 28),
        (("profile", "dotted", "ssh_options", "Ciphers"), 29),
        (("profile", "quo.ted", "destination"), 30),
        (("list", "of"), 31),
        (("list", "of", "others"), 34),
        (("nowhere",), 1),
    ],
)
def test_the_line_of_a_key(path: tuple[str | int, ...], line: int) -> None:
    assert LINES.line_of(path) == line


def test_the_text_is_toml_and_its_line_ends_do_not_matter() -> None:
    tomllib.loads(TEXT)
    lines = Lines(TEXT.replace("\n", "\r\n"))
    assert lines.line_of(("profile", "web", "remote_forward", 3)) == 11


def test_a_long_array_costs_little() -> None:
    text = "a = [\n" + "  '[x]',\n" * 150 + "]\nb = 1\n"
    lines = Lines(text)
    assert lines.line_of(("b",)) == 153
    assert lines.line_of(("a", 7)) == 9
    assert lines.line_of(("a", 149)) == 1  # too far in to look for
