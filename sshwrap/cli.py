"""Commands and options; the one error boundary; the exit status.

Laws. stdout is the answer, stderr the talk. A UserError is one line of fact, the words said and
one thing to do; anything else is a bug and keeps its traceback. What a verb needs is imported by
the verb: `status --json` loads no TOML, no asyncio and no rich.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import NoReturn

from sshwrap import __version__
from sshwrap.errors import ExitStatus, UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_TEXT = """\
exit status:
  0 as wanted · 1 not as wanted · 2 usage, or no such profile · 69 no usable ssh
  77 a person is needed · 78 bad profiles file · 130 interrupted (status: only 0 or 1)
"""

# Known from the README's outlook; whoever tries one should hear more than "invalid choice".
NOT_YET = ("key", "service", "export", "history", "completion")
RUN_FLAGS = ("-d", "--detach", "-q", "--quiet", "-v", "--verbose", "--no-input", "-h", "--help")
ADD_LONG = ("--public", "--replace", "--dry-run", "--from-unit", "--no-input", "--help")
RUN_OPTIONS = ("--name=", "--timeout=", "--profiles=", "--config=")

Verb = tuple[str, str, str]

# Verb, one line for the list of commands, an example for its own help.
VERBS: tuple[Verb, ...] = (
    ("up", "bring tunnels up, and show them until Ctrl-C (-d: in the background)", "up -d web"),
    (
        "run",
        "bring a tunnel up from a bare ssh or autossh command line (own options before it)",
        "run ssh -R 8080:localhost:80 vps",
    ),
    (
        "add",
        "write a profile from an ssh or autossh command line, or from systemd units",
        "add web ssh -R 12345:localhost:8080 root@vps.example.com",
    ),
    ("down", "take tunnels down", "down web"),
    ("restart", "restart tunnels with their profile read anew", "restart web"),
    ("reload", "take over edited profiles; unchanged tunnels are not touched", "reload"),
    ("status", "what is up, what is not, and why", "status --json"),
    ("logs", "what happened, and why", "logs web --since 22:00"),
    ("show", "a profile with the source of every value, and its ssh command line", "show web"),
    ("check", "validate the profiles file", "check --json"),
    (
        "doctor",
        "why can nobody reach my port; --fix puts it right (shows the change, and asks)",
        "doctor web --fix",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The console script: run one command, return its exit status."""
    _occupy_stdio()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return int(_run(words))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a closed pipe is still ours to hear of
    except UserError as error:
        _print_error(error)
        # A health check knows no third answer, and 2 means something else to some of them.
        asked_status = next((w for w in words if not w.startswith("-")), None) == "status"
        return int(ExitStatus.NOT_AS_WANTED if asked_status else error.status)
    except KeyboardInterrupt:
        return int(ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has enough; nothing is left to be flushed at the end either.
        _drop_stdout()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_stdout()
        _print_error(UserError("the answer could not be written", said=error.strerror))
        return int(ExitStatus.NOT_AS_WANTED)


def _occupy_stdio() -> None:
    """Started with 0, 1 or 2 closed (`>&-`): /dev/null stands there instead, so that no socket or
    pipe of ours gets the number, and writing is no error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _drop_stdout() -> None:
    """What is still in its buffer cannot be written, at the end of Python neither."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(words: list[str]) -> int:
    options = parse(words)
    from sshwrap.paths import find_places

    places = find_places(os.environ, profiles=options.profiles)
    from sshwrap.commands import run_verb

    return run_verb(options.verb, options, places)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; exits by itself for --help, --version and usage errors."""
    parser = build_parser()
    own, command = split_add(words) or split_run(words)
    files = {at + 1 for at, word in enumerate(own) if word in ("--profiles", "--config")}
    others = [word for at, word in enumerate(own) if at not in files]
    first = next((word for word in others if not word.startswith("-")), None)
    if first in NOT_YET:
        raise UserError(
            f'"{first}" is not in sshwrap {__version__} yet',
            advice="sshwrap --help    (what there is)",
            status=ExitStatus.USAGE,
        )
    names = [verb for verb, _, _ in VERBS]
    if first == "help":
        own = ["--help"]
    elif first is not None and first not in names:
        from difflib import get_close_matches

        close = get_close_matches(first, names, n=1)
        advice = f'did you mean "{close[0]}"?' if close else "sshwrap --help"
        raise UserError(f'no command "{first}"', advice=advice, status=ExitStatus.USAGE)
    options = parser.parse_args(own)
    if options.verb is None:
        options = parser.parse_args([*own, "status"])
    options.command = command
    return options


def split_run(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own words, and for `run` the command behind them, which is ssh's business.

    argparse cannot do this: `run -R …` begins with an option that is not ours.
    """
    rest = list(words)
    own: list[str] = []
    in_run = False
    while rest:
        word = rest[0]
        if in_run and word == "--":
            return own, rest[1:]
        if word in ("--profiles", "--config") or (in_run and word in ("--name", "--timeout")):
            own += rest[:2]
            del rest[:2]
        elif in_run and not (word in RUN_FLAGS or word.startswith(RUN_OPTIONS)):
            return own, rest
        elif not in_run and word != "run" and not word.startswith("-"):
            return list(words), []
        else:
            in_run = in_run or word == "run"
            own.append(rest.pop(0))
    return own, []


def split_add(words: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The same for `add`: behind NAME only what ssh does not have, `--long`, is ours; None where
    it is another verb."""
    rest, own = list(words), list[str]()
    seen: list[str] = []  # the verb, then NAME
    while rest and len(seen) < 2 and rest[0] != "--":
        word = rest[0]
        if word in ("--profiles", "--config"):
            own += rest[:2]
            del rest[:2]
        elif not seen and word != "add" and not word.startswith("-"):
            return None
        elif word == "--from-unit":
            return list(words), []
        elif seen and word.startswith("-") and not word.startswith("--") and word not in RUN_FLAGS:
            break  # ssh's: NAME is missing, and will be said to be
        else:
            seen += [] if word.startswith("-") else [word]
            own.append(rest.pop(0))
    while rest and rest[0] in ADD_LONG:
        own.append(rest.pop(0))
    if not seen:
        return None
    return own, rest[1:] if rest[:1] == ["--"] else rest


class _Parser(argparse.ArgumentParser):
    """Usage errors in our own voice: one line, then the example."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, advice=f"{self.prog} --help", status=ExitStatus.USAGE)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sshwrap",
        description="ssh -R that stays up, tells the truth, and says why when it can't.",
        epilog="example:\n  sshwrap run ssh -R '*:12345:localhost:8080' root@vps.example.com\n\n"
        + EXIT_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"sshwrap {__version__}")
    _common(parser, top=True)
    commands = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for verb, summary, example in VERBS:
        sub = commands.add_parser(
            verb,
            help=summary,
            description=summary,
            epilog=f"example:\n  sshwrap {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _common(sub, top=False)
        _OPTIONS[verb](sub)
    return parser


def _common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    # Understood before and behind the verb; behind it, absent must not undo what stood before.
    default = None if top else argparse.SUPPRESS
    flag = False if top else argparse.SUPPRESS
    parser.add_argument(
        "--profiles", "--config", metavar="FILE", default=default, help="the profiles file to use"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=flag, help="no talk, only the answer"
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=flag,
        help="up and run in front: all that ssh says; logs: every line of the journal; "
        "doctor: every check",
    )
    parser.add_argument(
        "--no-input",
        action="store_true",
        default=flag,
        help="never ask anything",
    )


def _names(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=text)


def _detach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help="hand them to the background supervisor, and return at the first verdict",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="with -d: how long to wait for a verdict (default: 30)",
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds')
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of lines')
    return int(text)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs (versioned)")


def _up(parser: argparse.ArgumentParser) -> None:
    _names(parser, "profiles, or patterns like 'cam-*' (default: all with autostart)")
    _detach(parser)


def _run_options(parser: argparse.ArgumentParser) -> None:
    _detach(parser)
    parser.add_argument("--name", metavar="NAME", help="what to call it (default: the host)")
    parser.usage = "sshwrap run [-d] [--name NAME] [--timeout SECONDS] [ssh or autossh] ARG…"


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="what to call it")
    parser.add_argument(
        "--from-unit",
        nargs="+",
        metavar="FILE",
        help="systemd units that run autossh or ssh; the names are those of the files",
    )
    parser.add_argument(
        "--public",
        action="store_true",
        help="a -R without a bind address is for everybody: it is written with *",
    )
    parser.add_argument(
        "--replace", action="store_true", help="in the place of a profile of that name"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be written, and stop"
    )
    parser.usage = (
        "sshwrap add [--public] [--replace] [--dry-run] NAME [ssh or autossh] ARG…\n"
        "       sshwrap add [--public] [--replace] [--dry-run] --from-unit FILE…"
    )


def _down(parser: argparse.ArgumentParser) -> None:
    _names(parser, "profiles or patterns (default: all that are wanted)")
    parser.add_argument(
        "-y",
        "--yes",
        action="store_true",
        help="also where you are connected through the very tunnel",
    )


def _reload(parser: argparse.ArgumentParser) -> None:
    _names(parser, "profiles or patterns (default: all that run)")


def _status(parser: argparse.ArgumentParser) -> None:
    _names(parser, "profiles or patterns (default: all)")
    _json(parser)
    parser.add_argument("--watch", action="store_true", help="go on showing them until Ctrl-C")


def _logs(parser: argparse.ArgumentParser) -> None:
    _names(parser, "profiles or patterns (default: all)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as things happen")
    parser.add_argument(
        "-n", "--lines", type=_count, metavar="N", help="the last N lines (default: 200)"
    )
    parser.add_argument(
        "--since",
        metavar="T",
        help='"22:00", "2026-11-22", "2026-11-22 22:00", or an age like 90m, 12h, 7d',
    )
    parser.add_argument("--until", metavar="T", help="the same forms")
    _json(parser)


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a profile")
    _json(parser)


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME or DESTINATION",
        help="a profile, or [user@]host (default: all that are not as asked, else the only one)",
    )
    fix = parser.add_argument_group("putting it right")
    fix.add_argument(
        "--fix", action="store_true", help="change what is wrong: shows a diff, asks, proves it"
    )
    fix.add_argument("--undo", action="store_true", help="take the last change back")
    fix.add_argument("--dry-run", action="store_true", help="show what would be done, and stop")
    fix.add_argument("-y", "--yes", action="store_true", help="do not ask before the change")
    fix.add_argument(
        "--public",
        action="store_true",
        help="judge as if a forward without a bind address said *; with --fix: make it so",
    )
    fix.add_argument(
        "--everybody",
        action="store_true",
        help="change it for every account on the server, not for this one alone",
    )
    fix.add_argument(
        "--gateway-ports",
        choices=("clientspecified", "yes"),
        metavar="ARGUMENT",
        help='the GatewayPorts to set: "clientspecified" (the default), or "yes"',
    )
    parser.add_argument(
        "--admin",
        metavar="[USER@]HOST",
        help="sign in as that to look and to fix, for this profile",
    )
    parser.add_argument(
        "--report", metavar="FILE", help='write one redacted text to paste ("-": to stdout)'
    )
    _json(parser)


_OPTIONS = {
    "doctor": _doctor,
    "up": _up,
    "run": _run_options,
    "add": _add,
    "down": _down,
    "restart": _down,
    "reload": _reload,
    "status": _status,
    "logs": _logs,
    "show": _show,
    "check": _json,
}


def _print_error(error: UserError) -> None:
    from sshwrap.render.message import error_lines
    from sshwrap.render.page import page_of, print_lines

    print_lines(error_lines(error), sys.stderr, page_of(sys.stderr, os.environ))
