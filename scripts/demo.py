#!/usr/bin/env python3
"""The whole story on this machine, on real parts, in well under a minute: `make demo`.

Laws. Every step shows the command that it runs, and what is printed is what happened. All of it
lives in one temporary directory and on loopback: nothing of the user's is read or changed. However
it ends (also by Ctrl-C, TERM or a failure) its processes and files are gone afterwards.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import demo_doctor  # noqa: E402 (a script runs from anywhere)
from sshwrap.paths import find_places  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.processes import Process, process, processes  # noqa: E402
from tests.support.sshd import Sshd  # noqa: E402
from tests.support.waiting import wait_for  # noqa: E402
from tests.support.web import Web, fetch  # noqa: E402

WITHIN = 20.0  # for any one thing to become true; all of them take a second or two
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def say(text: str) -> None:
    print("\n" + textwrap.fill(" ".join(text.split()), 78), flush=True)


def show_command(text: str) -> None:
    print(f"\n  \033[1m$ {text}\033[0m" if COLOUR else f"\n  $ {text}", flush=True)


def show(text: str) -> None:
    print(textwrap.indent(text.rstrip("\n"), "    "), flush=True)


class Stage:
    """The server, the web service, the profile, and the sshwrap command, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Sshd(folder / "server", alias="server")
        self.web = Web(text="Hello from the web service behind the tunnel.")
        self.port = free_port()  # where the server is to listen for visitors
        self.profiles = folder / "profiles.toml"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SSHWRAP_", "SSH_"))
        }
        self.env = kept | {
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "SSHWRAP_PROFILES": str(self.profiles),
            "SSHWRAP_STATE_DIR": str(folder / "state"),
        }

    def write_profile(self) -> None:
        self.profiles.write_text(
            "[profile.web]\n"
            f'destination    = "{self.server.alias}"\n'
            f'remote_forward = ["localhost:{self.port}:localhost:{self.web.port}"]\n'
            f"ssh_config     = {json.dumps(str(self.server.config))}\n"
        )
        self.profiles.chmod(0o600)

    def sshwrap(self, *words: str, expected: int | None = 0) -> None:
        """Run the command before everybody's eyes; its exit status is shown where it is not 0.

        RuntimeError where it is not the expected one (None: whatever comes).
        """
        show_command(" ".join(["sshwrap", *words]))
        done = subprocess.run(
            [sys.executable, "-m", "sshwrap", *words], env=self.env, check=False, timeout=60
        )
        if done.returncode != 0:
            print(f"  (exit status {done.returncode})", flush=True)
        if expected is not None and done.returncode != expected:
            raise RuntimeError(f"sshwrap {words[0]} ended with {done.returncode}, not {expected}")

    def ask(self, *words: str, timeout: float = 60) -> str:
        """Run the command unseen, for what it answers."""
        done = subprocess.run(
            [sys.executable, "-m", "sshwrap", *words],
            env=self.env,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
        )
        return done.stdout

    def tunnel(self) -> dict[str, object]:
        """The tunnel as `sshwrap status --json` tells of it."""
        found: dict[str, object] = json.loads(self.ask("status", "--json"))["tunnels"][0]
        return found

    def failure(self) -> str | None:
        """What kind keeps it from being up, if any does."""
        failure = self.tunnel()["failure"]
        return failure["kind"] if isinstance(failure, dict) else None

    def page(self) -> str | None:
        try:
            return fetch(self.port, timeout=5)
        except (OSError, http.client.HTTPException):
            return None

    def visit(self) -> float:
        """A visitor on the server, who knocks until there is a page -> the moment it was there.

        sshwrap says "up" a moment later, when it has looked.
        """
        show_command(f"visit http://localhost:{self.port}/")
        page = wait_for(self.page, within=WITHIN, what="a page through the tunnel") or ""
        served = time.monotonic()
        show(page)
        wait_for(lambda: self.tunnel()["state"] == "up", within=WITHIN, what="it is up")
        return served

    def is_ours(self, one: Process) -> bool:
        mark = b"SSHWRAP_STATE_DIR=" + os.fsencode(self.env["SSHWRAP_STATE_DIR"])
        try:
            environ = Path("/proc", str(one.pid), "environ").read_bytes()
        except OSError:  # gone, or not ours
            return False
        return one.pid != os.getpid() and mark in environ.split(b"\0")

    def strike(self) -> None:
        """End whatever of sshwrap still runs, whichever moment we were interrupted at."""
        if self.profiles.exists():
            try:
                self.ask("down", timeout=15)
            except subprocess.TimeoutExpired:
                pass  # the signals below do not need it
        for number in (signal.SIGTERM, signal.SIGKILL):
            for one in processes(self.is_ours):
                _send(one, number)
            try:
                wait_for(lambda: not processes(self.is_ours), within=10)
            except AssertionError:
                continue
            break
        places = find_places(self.env)
        if places.socket_dir != places.state_dir:
            shutil.rmtree(places.socket_dir, ignore_errors=True)


def _send(one: Process, number: int) -> None:
    now = process(one.pid)
    if now is not None and now.started == one.started:
        os.kill(one.pid, number)


def tell(stage: Stage) -> None:
    server = stage.server
    say("""1. The parts. An ssh server of our own on this machine, which stands for the one you have
        on the internet, with a key of its own to sign in with; and a small web service, which
        stands for the one you have at home. Nobody else can reach either of them.""")
    server.start()
    stage.web.start()
    show_command(f"sshd -f {server.sshd_config}")
    show(f"listens on {server.host}:{server.port}, as {server.user}")
    for note in server.notes:
        show(note)
    show_command(f"web service on localhost:{stage.web.port}")

    say("""2. The profile: what "ssh -R" would be told, in a file. Who visits the first port, on the
        server, gets to the second one, here.""")
    stage.write_profile()
    show_command("cat profiles.toml")
    show(stage.profiles.read_text())

    say("""3. Up, in the background. The command returns when ssh has confirmed the forward and
        sshwrap has looked, on the server, who listens there.""")
    stage.sshwrap("up", "-d", "web")
    stage.visit()

    say("4. The tunnel's ssh is killed. Nobody touches anything; the visitor knocks again.")
    pid = stage.tunnel()["ssh_pid"]
    assert isinstance(pid, int), "an ssh_pid while it is up"
    show_command(f"kill -KILL {pid}")
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    served = stage.visit()
    show(f"served again {served - began:.1f} s after the kill")

    say("5. The server goes away, as in a reboot. sshwrap says what it sees, and what comes next.")
    show_command("stop sshd")
    server.stop()
    wait_for(lambda: stage.failure() == "refused", within=WITHIN, what="it is noticed")
    stage.sshwrap("status", expected=1)
    show_command("start sshd")
    began = time.monotonic()
    server.start()
    served = stage.visit()
    show(f"served again {served - began:.1f} s after the server's return")

    tell_of_half_a_port(stage)

    say("7. What sshwrap remembers.")
    stage.sshwrap("logs", "web")

    say("8. Down.")
    stage.sshwrap("down", "web")
    assert stage.page() is None, "nobody is served any more"

    tell_of_gateway_ports(stage)


def tell_of_half_a_port(stage: Stage) -> None:
    say("""6. Another program takes the IPv4 half of the port. ssh reports success all the same; who
        looks sees it, and asks for the missing half until it is free.""")
    if not has_ipv6():
        show("(left out: this machine has no IPv6 on loopback)")
        return
    stage.sshwrap("down", "web")
    show_command(f"another program listens on {IPV4}:{stage.port}")
    other = wait_for(lambda: listen(stage.port), within=WITHIN, what="the port is free")
    try:
        stage.sshwrap("up", "-d", "web", expected=1)
    finally:
        other.close()
    show_command("the other program ends")
    began = time.monotonic()
    wait_for(lambda: stage.tunnel()["ok"], within=WITHIN, what="the port is whole")
    show(f"whole {time.monotonic() - began:.1f} s later, on the same connection")
    stage.sshwrap("status")


def tell_of_gateway_ports(stage: Stage) -> None:
    say("""9. The oldest complaint about "ssh -R": it works on the server itself, and nobody outside
        reaches it. Four hosts of their own: a home behind a router, a server on the internet whose
        sshd has GatewayPorts "no", as most have, and a visitor.""")
    reason = demo_doctor.why_not()
    if reason is not None:
        show(f"(left out: {reason})")
        return

    def run(*words: str, expected: int) -> None:
        show_command(" ".join(["sshwrap", *words]))
        status = there.sshwrap(*words)
        if status != 0:
            print(f"  (exit status {status})", flush=True)
        if status != expected:
            raise RuntimeError(f"sshwrap {words[0]} ended with {status}, not {expected}")

    with demo_doctor.outside(stage.folder / "hosts") as there:
        show_command("cat profiles.toml")
        show(there.profile)
        run("up", "-d", "web", expected=1)
        port = demo_doctor.PORT
        show_command(f"on the server: visit http://localhost:{port}/")
        show(there.on_the_server())
        show_command(f"from outside: visit http://vps4.example.com:{port}/")
        show(there.wait_until_served(False))

        say("10. Why, and what to do. Doctor looks over the running tunnel, and writes nothing.")
        run("doctor", "web", expected=1)

        say("""11. Put right: the change is shown first (here nobody is asked: --yes), made, and
            proved by a new sign-in; without that the server would take it back by itself.""")
        run("doctor", "web", "--fix", "--yes", expected=0)
        show_command(f"from outside: visit http://vps4.example.com:{port}/")
        show(there.wait_until_served(True))

        say("12. And taken back.")
        run("doctor", "web", "--undo", "--yes", expected=0)
        show_command(f"from outside: visit http://vps4.example.com:{port}/")
        show(there.wait_until_served(False))
        run("down", "web", expected=0)


IPV4 = "127.0.0.1"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def listen(port: int) -> socket.socket | None:
    """A listener on the IPv4 half of that port; None while somebody has it."""
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        other.bind((IPV4, port))
        other.listen()
    except OSError:
        other.close()
        return None
    return other


@contextmanager
def clearing(folder: Path) -> Iterator[Stage]:
    """The stage; afterwards nothing of it is left, whatever happened."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stage = Stage(folder)
        stack.callback(stage.server.stop)
        stack.callback(stage.web.stop)
        stack.callback(stage.strike)
        # Called first: what follows takes a second and must not be torn by another Ctrl-C.
        stack.callback(_ignore_signals)
        yield stage


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupted(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(play: Callable[[Stage], None] = tell) -> int:
    if not sys.platform.startswith("linux"):
        print("the demo watches its processes through /proc, so it needs Linux", file=sys.stderr)
        return 1
    for number in SIGNALS:
        signal.signal(number, _interrupted)
    began = time.monotonic()
    try:
        with clearing(Path(tempfile.mkdtemp(prefix="sshwrap-demo-"))) as stage:
            try:
                play(stage)
            except Exception as error:
                print(f"\nthe demo has failed: {error}", file=sys.stderr)
                stage.sshwrap("status", expected=None)
                stage.sshwrap("logs", expected=None)
                print(f"\nthe server's log:\n{stage.server.log()[-4000:]}", file=sys.stderr)
                return 1
    except SystemExit:
        print("\ninterrupted; all of it is gone", file=sys.stderr)
        raise
    say(f"""That took {time.monotonic() - began:.0f} s, and nothing of it is left on this machine.
        README.md has the same with your own server.""")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
