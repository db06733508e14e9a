"""`scripts/lab`: the lab of tests/netlab by hand; one process keeps it, commands talk to that.

Laws. One lab a machine, or one for each SSHWRAP_LAB_FOLDER. It lives in that folder, which only
root may enter, as long as its keeper does; what a killed keeper left is removed by the next `up`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.lab_talk import VERBS, Talk
from tests.netlab.hosts import HERE, PYTHON
from tests.netlab.lab import SERVER4, SERVER6, Lab, missing
from tests.support.waiting import wait_for

FOLDER = Path(os.environ.get("SSHWRAP_LAB_FOLDER") or "/run/sshwrap-lab")
CONTROL = FOLDER / "control"
LOG = FOLDER / "keeper.log"
OURS = {"control", "control.part", "hosts", "keeper.log"}
PORT = 12345
HOSTS = ("home", "router", "internet", "server", "visitor")


def main() -> int:
    options = parse(sys.argv[1:] or ["--help"])
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except LabError as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class LabError(Exception):
    """What a person has to know, in one line."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/lab",
        description="A small internet to play in: break the line and watch what happens.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(run=run)
        return found

    up_ = command("up", up, "make the hosts; what is there already stays")
    up_.add_argument(
        "--server",
        metavar="KIND",
        help="bullseye, bookworm or trixie, systemd or dropbear (as built by scripts/systems); "
        "default: this machine's own sshd",
    )
    up_.add_argument("--no-nat", action="store_true", help="the home has a public address")
    up_.add_argument(
        "--loose-nat",
        action="store_true",
        help="the router takes up connections that it does not know: after an address change "
        "the server says RST",
    )
    up_.add_argument("--no-ipv6", action="store_true", help="nobody has an address of IPv6")
    command("down", down, "everything is gone")
    command("status", status, "addresses, who listens, which faults last")
    enter_ = command("enter", enter, "a shell, or COMMAND, in one of the hosts")
    enter_.add_argument("--as", dest="account", default="root", help="in the home: you")
    enter_.add_argument("host", choices=HOSTS)
    enter_.add_argument("command", nargs=argparse.REMAINDER)
    fault_ = command("fault", fault, "something befalls it; without a name: what can")
    fault_.add_argument("verb", nargs="?")
    fault_.add_argument("arguments", nargs="*")
    sshd_ = command("sshd", sshd, "restart the server's sshd with these options of sshd_config")
    sshd_.add_argument("settings", nargs="+", metavar="KEYWORD=VALUE")
    for name, run, text in (
        ("visit", visit, "what a visitor of the server's port meets"),
        ("watch", watch, "the same ten times a second; a line each time that it changes"),
    ):
        visit_ = command(name, run, text)
        visit_.add_argument("port", nargs="?", type=int, default=PORT)
        visit_.add_argument("-6", dest="six", action="store_true", help="by IPv6")
    keep_ = commands.add_parser("keep")
    keep_.add_argument("what", type=json.loads)
    keep_.set_defaults(run=keep)
    return parser.parse_args(words)


# --- commands ------------------------------------------------------------------------------------


def up(options: argparse.Namespace) -> int:
    if is_up():
        print("it is up already")
    else:
        if (reason := missing()) is not None:
            raise LabError(reason)
        remove_folder()
        FOLDER.mkdir(mode=0o700)
        what = {
            "server": options.server,
            "nat": not options.no_nat,
            "strict": not options.loose_nat,
            "ipv6": not options.no_ipv6,
        }
        with LOG.open("w") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "scripts.lab", "keep", json.dumps(what)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def there() -> bool:
            if keeper.poll() is not None:
                raise LabError(LOG.read_text().strip().rpartition("\n")[2])
            return is_up()

        wait_for(there, within=60, what=lambda: f"the lab is up: {LOG.read_text()}")
    print(ask("status"))
    print("\nnext:  scripts/lab enter home sshwrap up web")
    return 0


def down(_: argparse.Namespace) -> int:
    if is_up():
        ask("down")
    wait_for(lambda: not is_up(), within=30, what="the lab ends")
    remove_folder()
    return 0


def remove_folder() -> None:
    """Where it is a lab's: someone may have named another one."""
    if FOLDER.exists():
        strange = {entry.name for entry in FOLDER.iterdir()} - OURS
        if strange:
            raise LabError(f"{FOLDER} holds what is no lab's: {', '.join(sorted(strange))}")
        shutil.rmtree(FOLDER)


def status(_: argparse.Namespace) -> int:
    print(ask("status"))
    return 0


def enter(options: argparse.Namespace) -> int:
    command = options.command or ["bash", "--norc"]
    where = json.loads(ask("enter", options.host, options.account, *command))
    os.execve(where["argv"][0], where["argv"], where["env"])  # noqa: S606 (no shell is wanted)


def fault(options: argparse.Namespace) -> int:
    if options.verb is None:
        for verb in VERBS:
            print(f"{verb.usage:<34} {verb.help}")
        return 0
    print(ask("fault", options.verb, *options.arguments))
    return 0


def sshd(options: argparse.Namespace) -> int:
    print(ask("sshd", *options.settings))
    return 0


def visit(options: argparse.Namespace) -> int:
    for line in _visits(options, "once", "3"):
        print(_told(line))
    return 0


def watch(options: argparse.Namespace) -> int:
    before = ""
    for line in _visits(options, "always", "2", "0.1"):
        told = _told(line)
        if told != before:
            print(f"{time.strftime('%H:%M:%S')}  {told}", flush=True)
        before = told
    return 0


def _visits(options: argparse.Namespace, mode: str, *seconds: str) -> Iterator[str]:
    address = SERVER6 if options.six else SERVER4
    program = (*PYTHON, str(HERE / "visits.py"), mode, address, str(options.port), *seconds)
    where = json.loads(ask("enter", "visitor", "root", *program))
    with subprocess.Popen(
        where["argv"], env=where["env"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        yield from child.stdout


def _told(line: str) -> str:
    told = json.loads(line)
    page = told["page"]
    return f"not served: {told['error']}" if page is None else f"served: {page.splitlines()[0]}"


# --- the keeper ----------------------------------------------------------------------------------


def keep(options: argparse.Namespace) -> int:
    """The lab, until somebody asks for its end, or TERM, or INT."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        lab = Lab(FOLDER / "hosts", **options.what)
    except FileNotFoundError as error:
        raise LabError(error) from None
    with lab, socket.socket(socket.AF_UNIX) as listener:
        talk = Talk(lab)
        talk.furnish()
        listener.bind(f"{CONTROL}.part")
        listener.listen()
        Path(f"{CONTROL}.part").rename(CONTROL)  # it is there once it answers
        try:
            while not talk.is_over:
                answer_one(listener, talk)
        finally:
            CONTROL.unlink()
    return 0


def answer_one(listener: socket.socket, talk: Talk) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError), connection.makefile("rw") as stream:
        words = json.loads(stream.readline() or "[]")
        if not words:
            return
        try:
            answer = {"said": talk.do(words[0], words[1:])}
        except (RuntimeError, ValueError, OSError, AssertionError) as error:
            answer = {"error": str(error)}
        stream.write(json.dumps(answer) + "\n")


def ask(*words: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(CONTROL))
        except OSError:
            raise LabError("there is no lab: scripts/lab up") from None
        with client.makefile("rw") as stream:
            stream.write(json.dumps(words) + "\n")
            stream.flush()
            answer = json.loads(stream.readline() or '{"error": "its keeper has ended"}')
    if "error" in answer:
        raise LabError(answer["error"])
    return str(answer["said"])


def is_up() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(CONTROL))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
