#!/usr/bin/env python3
"""Write what docs/commands.md repeats of the parser: every verb, option and exit status.

scripts/commands_docs.py        (a unit test compares the page with what this makes)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Set
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.generated import fill, write  # noqa: E402 (a script runs from anywhere)
from sshwrap.cli import VERBS, build_parser  # noqa: E402
from sshwrap.errors import ExitStatus  # noqa: E402

PAGE = ROOT / "docs" / "commands.md"

MEANING = {
    ExitStatus.OK: "as wanted",
    ExitStatus.NOT_AS_WANTED: "not as wanted: something that is wanted is not up, or a command "
    "could not do what it was asked",
    ExitStatus.USAGE: "usage, or no such profile",
    ExitStatus.NO_SSH: "no usable ssh: none on PATH, or one older than OpenSSH 8.4",
    ExitStatus.NEEDS_PERSON: "a person is needed: permission denied, an unknown or changed host "
    "key, a forward that the server forbids",
    ExitStatus.BAD_CONFIG: "the profiles file (or the ssh_config that a profile names) has a "
    "fault; nothing was started",
    ExitStatus.INTERRUPTED: "`up` or `run` in front ended by Ctrl-C (who only watches ends with 0)",
}


def verbs() -> dict[str, argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise SystemExit("the parser has no verbs")


def verb_table() -> str:
    rows = ["| command | does |", "| --- | --- |"]
    rows += [f"| [`{verb}`](#{verb}) | {_cell(summary)} |" for verb, summary, _ in VERBS]
    return "\n".join(rows)


def common_table() -> str:
    return _option_table(build_parser(), without=frozenset())


def verb_parts() -> dict[str, str]:
    """For each verb: its usage, what it takes, and its example."""
    common = {option for action in build_parser()._actions for option in action.option_strings}
    parts = {}
    for verb, parser in verbs().items():
        example = next(example for name, _, example in VERBS if name == verb)
        usage = " ".join(_usage(parser, common).split())
        table = _option_table(parser, without=common)
        parts[f"verb {verb}"] = "\n".join(
            filter(None, ["```", usage, f"sshwrap {example}", "```", table and f"\n{table}"])
        )
    return parts


def _usage(parser: argparse.ArgumentParser, common: Set[str]) -> str:
    """Without the options that every command has."""
    if parser.usage is not None:
        return parser.usage
    words = [parser.prog]
    for action in parser._actions:
        if common & set(action.option_strings):
            continue
        word = action.option_strings[0] if action.option_strings else ""
        value = str(action.metavar or "") if action.nargs != 0 else ""
        if action.option_strings:
            words.append(f"[{' '.join(filter(None, [word, value]))}]")
        else:
            forms = {"*": f"[{value} …]", "?": f"[{value}]"}
            words.append(forms.get(str(action.nargs), value))
    return " ".join(words)


def _option_table(parser: argparse.ArgumentParser, *, without: Set[str]) -> str:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or without & set(action.option_strings):
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings)
        value = f"`{action.metavar}`" if action.nargs != 0 and action.metavar else ""
        rows.append(f"| {' '.join(filter(None, [names, value]))} | {_cell(action.help or '')} |")
    return "\n".join(["| argument | meaning |", "| --- | --- |", *rows]) if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def status_table() -> str:
    rows = ["| status | meaning |", "| --- | --- |"]
    rows += [f"| {int(status)} | {MEANING[status]} |" for status in ExitStatus]
    return "\n".join(rows)


def page(text: str) -> str:
    """`text` of commands.md with its generated parts made anew."""
    parts = {
        "verbs": verb_table(),
        "common": common_table(),
        **verb_parts(),
        "exit status": status_table(),
    }
    return fill(text, parts, document=PAGE.name)


if __name__ == "__main__":
    write(PAGE, page(PAGE.read_text(encoding="utf-8")))
