"""`sshwrap status`, and bare `sshwrap`: what is up, what is not, and why."""

from __future__ import annotations

import os
import sys

from sshwrap.errors import ExitStatus, UserError
from sshwrap.supervisor.overview import overview
from sshwrap.tunnel import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from sshwrap.paths import Places
    from sshwrap.supervisor.overview import Overview


def status(options: Namespace, places: Places) -> int:
    """0 when all that are wanted (or named) are up and not wrong, else 1; never anything else."""
    if options.watch:
        from sshwrap.commands.watch import watch_status

        return watch_status(options, places)
    try:
        view = overview(places, os.environ)
        tunnels = view.tunnels
        if options.names:
            tunnels = named(options.names, tunnels)
    except UserError as error:
        error.status = ExitStatus.NOT_AS_WANTED
        raise
    ok = all(tunnel["ok"] for tunnel in tunnels)
    if options.names:
        ok = ok and all(tunnel["state"] == "up" for tunnel in tunnels)
    if options.json:
        import json

        answer = snapshot.status(tunnels)
        answer["ok"] = ok
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        _show(tunnels, view, options.quiet)
    if isinstance(view.fault, UserError):
        _tell_fault(view.fault)
        ok = False
    return int(ExitStatus.OK if ok else ExitStatus.NOT_AS_WANTED)


def named(words: list[str], tunnels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The snapshots of the names and patterns given; raises UserError where there is none."""
    from sshwrap.commands.choose import choose

    by_name = {tunnel["profile"]: tunnel for tunnel in tunnels}
    return [by_name[name] for name in choose(words, by_name)]


def _show(tunnels: list[dict[str, Any]], view: Overview, quiet: bool) -> None:
    from datetime import UTC, datetime

    from sshwrap.render.page import page_of, print_lines
    from sshwrap.render.table import status_lines, status_rows

    page = page_of(sys.stdout, os.environ)
    if not tunnels and view.fault is None:
        if not quiet:
            sys.stderr.write(how_to_begin())
    elif sys.stdout.isatty():
        print_lines(status_lines(tunnels, page, datetime.now(UTC)), sys.stdout, page)
    else:
        sys.stdout.write("".join(row + "\n" for row in status_rows(tunnels, page)))


def how_to_begin() -> str:
    """For whoever has no profile yet."""
    return (
        "no tunnels yet. put two words before the ssh command you have:\n"
        "  sshwrap run ssh -R '*:12345:localhost:8080' root@vps.example.com\n"
    )


def _tell_fault(error: UserError) -> None:
    from sshwrap.render.message import error_lines
    from sshwrap.render.page import page_of, print_lines

    print_lines(error_lines(error), sys.stderr, page_of(sys.stderr, os.environ))
