"""doctor's options: what they mean, and that none is without effect."""

from __future__ import annotations

from typing import Any

import pytest

from sshwrap.cli import VERBS, build_parser, parse
from sshwrap.commands.doctor import refuse_contradictions
from sshwrap.errors import ExitStatus, UserError


def options(line: str) -> Any:
    return parse(["doctor", *line.split()])


def test_nothing_is_set_unless_it_is_given() -> None:
    found = vars(options(""))
    given = ("fix", "undo", "dry_run", "yes", "public", "everybody", "json", "verbose", "quiet")
    assert {name: found[name] for name in given} == dict.fromkeys(given, False)
    values = ("name", "gateway_ports", "admin", "report", "profiles")
    assert {name: found[name] for name in values} == dict.fromkeys(values)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "web -v --public",
        "me@host --json --admin root@host",
        "web --report - --public",
        "web --fix --dry-run --yes --public --everybody --gateway-ports yes --admin host",
        "web --undo --dry-run -y --admin ssh://root@host:2222 --no-input -q",
    ],
)
def test_what_goes_together(line: str) -> None:
    refuse_contradictions(options(line))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--fix --undo", "--fix and --undo are two things"),
        ("--fix --json", "--json and --report are for looking, not for changing"),
        ("--undo --report x", "--json and --report are for looking, not for changing"),
        ("--report x --json", "--report and --json are two answers"),
        ("--dry-run", "--dry-run goes with --fix or --undo"),
        ("--yes", "--yes goes with --fix or --undo"),
        ("--everybody", "--everybody goes with --fix"),
        ("--undo --everybody", "--everybody goes with --fix"),
        ("--gateway-ports clientspecified", "--gateway-ports goes with --fix"),
        ("--undo --gateway-ports yes", "--gateway-ports goes with --fix"),
        ("--undo --public", "--public goes with looking, or with --fix"),
        ("--admin=", "--admin: "),
        ("--admin root@", "--admin: "),
        ("--admin=-oProxyCommand=x", "--admin: "),
    ],
)
def test_what_does_not(line: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_contradictions(options(line))
    assert caught.value.message.startswith(words)
    assert caught.value.status is ExitStatus.USAGE
    assert caught.value.advice == "sshwrap doctor --help"


@pytest.mark.parametrize("line", ["a b", "--gateway-ports no", "--report", "--admin", "--fixx"])
def test_what_is_no_option(line: str) -> None:
    with pytest.raises(UserError) as caught:
        options(line)
    assert caught.value.status is ExitStatus.USAGE


def test_the_help_has_an_example_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["doctor", "--help"])
    assert caught.value.code == 0
    example = next(example for verb, _, example in VERBS if verb == "doctor")
    said = capsys.readouterr().out
    assert f"example:\n  sshwrap {example}\n" in said
    refuse_contradictions(parse(example.split()))
    for name in ("--fix", "--undo", "--dry-run", "--yes", "--public", "--admin", "--report"):
        assert name in said
