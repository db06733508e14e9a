from __future__ import annotations

import shlex

from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.errors import UserError
from sshwrap.profile.forward import Forward, Kind
from sshwrap.render.message import error_lines, failure_lines, note_lines
from sshwrap.render.page import Page
from sshwrap.render.show import Value, command_lines, show_lines
from tests.support.screens import failure, texts

ARGV = [
    *("ssh", "-N", "-T", "-v", "-E", "/dev/stdout", "-o", "LogLevel=DEBUG1"),
    *("-o", "ExitOnForwardFailure=yes", "-S", "/home/me/my state/%%/x"),
    *("-R", "*:12345:localhost:8080", "--", "root@vps.example.com"),
]


def test_an_error_is_the_fact_the_words_and_one_thing_to_do() -> None:
    error = UserError('port "80800" is not 0-65535\nport "x" is no number', advice="sshwrap check")
    assert texts(error_lines(error), Page()) == [
        'sshwrap: port "80800" is not 0-65535',
        'sshwrap: port "x" is no number',
        "  try: sshwrap check",
    ]
    said = UserError("state directory: not writable", said="Permission denied: '/x'")
    assert texts(error_lines(said), Page())[1] == "  said: Permission denied: '/x'"


def test_a_failure_names_its_profile_and_quotes_ssh() -> None:
    taken = failure(
        "port 12345 is taken on vps.example.com",
        "Error: remote port forwarding failed for listen port 12345",
        "sshwrap logs web",
    )
    assert texts(failure_lines(taken, "web"), Page()) == [
        "sshwrap: web: port 12345 is taken on vps.example.com",
        "  ssh: Error: remote port forwarding failed for listen port 12345",
        "  try: sshwrap logs web",
    ]
    refused = failure("refused", "ssh: connect to host x port 22: Connection refused")
    assert texts(failure_lines(refused, "web"), Page())[1:] == [
        "  ssh: connect to host x port 22: Connection refused"
    ]


def test_a_message_cannot_paint_the_screen() -> None:
    error = UserError("bad\033[2J", said="[b]\007", advice="x")
    assert texts(error_lines(error), Page(colour=True)) == [
        "\033[31msshwrap: \033[0mbad\\033[2J",
        "\033[2m  said: \033[0m[b]\\007",
        "\033[2m  try: \033[0mx",
    ]


def test_a_note() -> None:
    assert texts(note_lines("already up; watching"), Page()) == ["sshwrap: already up; watching"]


def test_show() -> None:
    values = [Value("destination", "root@vps.example.com", "profile"), Value("port", "22", "ssh")]
    forwards = [
        Forward(Kind.REMOTE, "*:12345:localhost:8080"),
        Forward(Kind.LOCAL, "5432:db:5432", source="/home/me/.ssh/config"),
    ]
    page = Page(200)
    assert texts(show_lines("web", values, forwards, ARGV, page), page) == [
        "web",
        "  destination  root@vps.example.com    profile",
        "  port         22                      ssh",
        "  -R           *:12345:localhost:8080  profile",
        "  -L           5432:db:5432            /home/me/.ssh/config",
        "",
        "ssh -N -T -v -E /dev/stdout -o LogLevel=DEBUG1 -o ExitOnForwardFailure=yes \\",
        "    -S '/home/me/my state/%%/x' -R '*:12345:localhost:8080' -- \\",
        "    root@vps.example.com",
    ]


def test_a_pasted_command_is_the_command() -> None:
    pasted = "\n".join(command_lines(ARGV, 80)).replace("\\\n", " ")
    assert shlex.split(pasted) == ARGV


@settings(max_examples=25)
@given(st.lists(st.text(alphabet="ab -'\"$\\`*?~!#&|;()<>é门\u200b", max_size=30), min_size=1))
def test_any_printable_words_survive_the_shell(argv: list[str]) -> None:
    words = [word for word in argv if word.isprintable()] or ["x"]
    lines = command_lines(words, 40)
    assert shlex.split("".join(line.removesuffix("\\") + " " for line in lines)) == words


def test_control_characters_are_shown_as_the_shell_reads_them() -> None:
    assert command_lines(["ssh", "a\tb'c\\d\u200b"], 80) == [
        "ssh $'a\\011b\\'c\\\\d\\342\\200\\213'"
    ]
