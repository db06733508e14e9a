#!/usr/bin/env -S python3 -IS
"""An ssh that does what a scenario says, on a real pty; see tests/support/scenarios.py.

FAKE_SSH_SCENARIO names a JSON file (a list of steps) or a folder that may hold
  NNN.json       the steps of the first, second … start; the last of them serves all later ones
  started.N      made by start N, before its first step: what it was started with
  ssh.json       {"version": for -V, "effective": lines for -G}; without these
                 the usual version, and what the system's ssh answers
  look.json      {"lines": what the server's side shows to a look, "wait_for": a file before that};
                 without it nobody answers at a control socket
  looked.N       made by the N-th client of a control socket that asks for a look
  HOST/          the same again for one destination alone (look.json, which knows none, aside)
A step is a list, its name first:
  log TEXT, terminal TEXT       a line, ended as ssh ends it there
  raw log|terminal TEXT         exactly these bytes (TEXT is latin-1): partial lines, any line end
  chatter log|terminal BYTES    at least so many bytes of numbered lines
  close log|terminal            nothing of ours holds it open any more
  touch PATH, wait_for PATH     say that we are here; wait for a file to appear
  record PATH                   write what this process was started with
  ignore NAME…                  signals, as "TERM"
  on NAME [STEP…]               what to do when the signal comes
  established                   signals as in ssh's main loop: TERM is exit 0, HUP INT QUIT 255
  grandchild PATH               a child that keeps every descriptor, deaf to HUP; its pid to PATH
  grandchild_chatter PATH       the same, and it never stops writing to the log
  wait                          for signals, for ever
  exit STATUS, die NAME         the end; after the last step it is exit 0
Nothing here waits for time to pass, and nothing outlives the alarm that is set at the start.
"""

from __future__ import annotations

import getopt
import json
import os
import select
import signal
import stat
import sys
from pathlib import Path

TYPE_CHECKING = False  # typing, shutil and threading would double the time of a start
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Steps = list[list[Any]]

FLAGS = "46AaCfGgKkMNnqsTtVvXxYyB:b:c:D:E:e:F:I:i:J:L:l:m:O:o:P:p:Q:R:S:W:w:"
LONGEST_LIFE = 240  # seconds; a test that fails must not leave one behind
VERSION = "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026"


def main(arguments: list[str]) -> None:
    signal.alarm(LONGEST_LIFE)
    try:
        options, rest = getopt.getopt(arguments, FLAGS)
    except getopt.GetoptError as error:
        fail(f"unknown option -- {error.opt}")
    flags = dict(options)
    place = Path(os.environ["FAKE_SSH_SCENARIO"])
    if place.is_dir() and rest and (place / host_of(rest[0])).is_dir():
        place /= host_of(rest[0])
    if "-V" in flags:
        print(about(place).get("version", VERSION), file=sys.stderr)
    elif "-G" in flags:
        print_effective(about(place), arguments)
    elif "-S" in flags and "-N" not in flags:
        answer_client(place, flags)
    elif "-N" not in flags and any("ClearAllForwardings=yes" in word for word in arguments):
        # A second sign-in beside a tunnel, no start of one: it does not get through.
        print(f"ssh: connect to host {host_of(rest[0])} port 22: Connection refused")
        sys.exit(255)
    else:
        run(steps_of(place), flags.get("-E"), flags.get("-S"))


def host_of(destination: str) -> str:
    return destination.removeprefix("ssh://").rpartition("@")[2].partition("/")[0]


def about(place: Path) -> dict[str, Any]:
    file = place / "ssh.json"
    said: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return said


def answer_client(place: Path, flags: dict[str, str]) -> None:
    """A client of the control socket: a look is answered where the scenario says how."""
    file = place / "look.json"
    if "-O" in flags or "-W" in flags or not file.is_file():
        fail(f"Control socket connect({flags['-S']}): No such file or directory")
    script = sys.stdin.read()
    number(place, "looked", {"script": script})
    said = json.loads(file.read_text())
    if said["wait_for"] is not None:
        wait_for(said["wait_for"])
    nonce = script.partition("begin ")[2].partition("'")[0]
    print("\n".join(["", f"begin {nonce}", *said["lines"], f"end {nonce}"]))


def print_effective(said: dict[str, Any], arguments: list[str]) -> None:
    """What the scenario says; else what the system's ssh makes of this command line alone."""
    if "effective" in said:
        print("\n".join(said["effective"]))
        return
    import shutil

    real = shutil.which("ssh", path="/usr/bin:/bin:/usr/local/bin:/opt/homebrew/bin")
    if real is None:
        fail("no ssh on this machine, and the scenario has no answer for -G")
    os.execv(real, ["ssh", "-F", "/dev/null", *arguments])  # noqa: S606  a later -F counts


def steps_of(place: Path) -> Steps:
    if place.is_dir():
        start = number(place, "started", started_with())
        scenarios = sorted(place.glob("[0-9]*.json"))
        place = scenarios[min(start, len(scenarios)) - 1]
    steps: Steps = json.loads(place.read_text())
    return steps


def number(folder: Path, what: str, said: dict[str, Any]) -> int:
    """Which of these this is, from 1; two at once never get the same number."""
    found = 1
    mine = folder / f".{os.getpid()}"
    mine.write_text(json.dumps(said))
    while True:
        try:
            os.link(mine, folder / f"{what}.{found}")
        except FileExistsError:
            found += 1
        else:
            mine.unlink()
            return found


def started_with() -> dict[str, Any]:
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "argv": sys.argv,
        "env": dict(os.environ),
        "cwd": str(Path.cwd()),
        # Masks; Python itself ignores PIPE and XFSZ, and handles INT.
        "ignored": int(status["SigIgn"], 16),
        "blocked": int(status["SigBlk"], 16),
        # Without the one that reads this very folder.
        "descriptors": {
            int(entry.name): str(entry.readlink())
            for entry in Path("/proc/self/fd").iterdir()
            if entry.is_symlink()
        },
        "terminals": [descriptor for descriptor in range(3) if os.isatty(descriptor)],
        "leads_session": os.getsid(0) == os.getpid(),
        "has_controlling_terminal": Path("/dev/tty").exists() and opens("/dev/tty"),
    }


def opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        return False
    return True


def run(steps: Steps, log: str | None, control: str | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else 2
    Fake(descriptor, control).obey(steps)


class Fake:
    def __init__(self, log: int, control: str | None = None) -> None:
        self.outputs = {"log": log, "terminal": 2}
        self.control = None if control is None else Path(control.replace("%%", "%"))

    def obey(self, steps: Steps) -> None:
        for name, *arguments in steps:
            step = getattr(self, f"do_{name}", None)
            if step is None:
                fail(f"no such step: {name!r}")
            step(*arguments)

    def write(self, where: str, data: bytes) -> None:
        while data:
            data = data[os.write(self.outputs[where], data) :]

    def do_log(self, text: str) -> None:
        signed_in = text.startswith("Authenticated to ")
        if signed_in and self.control is not None and not self.control.exists():
            # Nobody listens there, but it is there from the sign-in on (mux.c:muxserver_listen).
            os.mknod(self.control, 0o600 | stat.S_IFSOCK)
        self.write("log", text.encode() + b"\r\n")  # log.c:do_log

    def do_terminal(self, text: str) -> None:
        self.write("terminal", text.encode() + b"\n")

    def do_raw(self, where: str, text: str) -> None:
        self.write(where, text.encode("latin-1"))

    def do_chatter(self, where: str, size: int) -> None:
        line = b"debug1: chatter %09d " + b"x" * 75 + b"\r\n"
        block = 500
        for first in range(0, size // 100 + 1, block):
            self.write(where, b"".join(line % number for number in range(first, first + block)))

    def do_close(self, where: str) -> None:
        # The terminal was our stdin as well, and stdout is the log by another name.
        for descriptor in {self.outputs[where], *((0, 2) if where == "terminal" else (1,))}:
            os.close(descriptor)

    def do_touch(self, path: str) -> None:
        Path(path).touch()

    def do_wait_for(self, path: str) -> None:
        wait_for(path)

    def do_record(self, path: str) -> None:
        put(path, json.dumps(started_with()))

    def do_ignore(self, *names: str) -> None:
        for name in names:
            signal.signal(signal_of(name), signal.SIG_IGN)

    def do_on(self, name: str, steps: Steps) -> None:
        signal.signal(signal_of(name), lambda *_: self.obey(steps))

    def do_established(self) -> None:
        # clientloop.c:signal_handler; 7.6 and later say nothing
        self.do_on("TERM", [["log", "debug1: Exit status 0"], ["exit", 0]])
        for name in ("HUP", "INT", "QUIT"):
            self.do_on(name, [["exit", 255]])

    def do_grandchild(self, path: str) -> None:
        self.fork(path, [["wait"]])

    def do_grandchild_chatter(self, path: str) -> None:
        self.fork(path, [["chatter", "log", 1 << 40]])

    def fork(self, path: str, steps: Steps) -> None:
        ready = Path(f"{path}.ready")
        pid = os.fork()
        if pid == 0:
            signal.alarm(LONGEST_LIFE)
            self.do_ignore("HUP")
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in any program but Python
            ready.touch()
            self.obey(steps)
            os._exit(0)
        wait_for(str(ready))
        put(path, str(pid))

    def do_wait(self) -> None:
        while True:
            signal.pause()

    def do_exit(self, status: int) -> None:
        os._exit(status)

    def do_die(self, name: str) -> None:
        signal.signal(signal_of(name), signal.SIG_DFL) if name != "KILL" else None
        os.kill(os.getpid(), signal_of(name))
        self.do_wait()


def wait_for(path: str) -> None:
    while not Path(path).exists():
        select.select([], [], [], 0.01)


def signal_of(name: str) -> signal.Signals:
    return signal.Signals[f"SIG{name}"]


def put(path: str, text: str) -> None:
    """Whoever waits for the file finds it complete."""
    part = Path(f"{path}.part")
    part.write_text(text)
    part.rename(path)


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(255)


if __name__ == "__main__":
    main(sys.argv[1:])
