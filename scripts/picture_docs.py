#!/usr/bin/env python3
"""Make docs/pictures/*.svg from a real run: real servers, real failures, the real commands.

Laws. The run has a network and an /etc/hosts of its own (namespaces, so it takes root), where the
names and addresses are those that documentation may use; nothing outside of it is touched. A
picture is written anew only where it says something else than before.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pexpect  # noqa: E402 (a script runs from anywhere)
import pyte  # noqa: E402

from scripts.terminal_svg import DimScreen, last_row, svg  # noqa: E402
from tests.support.sshd import Sshd  # noqa: E402
from tests.support.web import Web  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 88, 44
SSHWRAP = (sys.executable, "-m", "sshwrap")
HOME = Path("/srv")  # of whoever runs sshwrap: a file system in memory, for us alone
INSIDE = "SSHWRAP_PICTURES_INSIDE"

# RFC 5737's addresses; the first server is also visited, from the visitor's.
SERVERS = {
    "vps.example.com": "203.0.113.7",
    "vps2.example.net": "203.0.113.8",
    "db.example.org": "203.0.113.9",
}
VISITOR = "198.51.100.23"

# Who is there, what the server was found to do, and that nobody knows db's new key.
SCENE = re.compile(
    r"2 visitors now.*\bcam +waiting [^\n]*\n[^\n]*refuses.*\bdb +needs you", re.DOTALL
)

PROFILES = """\
[defaults]
ssh_config = "ssh_config"

[profile.web]
destination    = "root@vps.example.com"
remote_forward = ["*:12345:localhost:8080"]

[profile.ha]
destination    = "root@vps.example.com"
remote_forward = ["*:8100:localhost:8123"]

[profile.cam]
destination    = "root@vps2.example.net"
remote_forward = ["*:2201:192.0.2.30:22"]

[profile.db]
destination    = "root@db.example.org"
remote_forward = ["localhost:5432:localhost:5432"]
"""


def main() -> int:
    if INSIDE in os.environ:
        run()
        return 0
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("pictures: left as they are (a run takes root and unshare)", file=sys.stderr)
        return 0
    command = ["unshare", "--net", "--mount", sys.executable, str(Path(__file__).resolve())]
    return subprocess.run(command, env=os.environ | {INSIDE: "1"}, check=False).returncode


def run() -> None:
    with ExitStack() as stack:
        folder = HOME
        make_world(folder)
        servers = {
            name: stack.enter_context(
                Sshd(
                    folder / name,
                    addresses=[address],
                    port=22,
                    alias=name,
                    options={"GatewayPorts": "clientspecified"},
                )
            )
            for name, address in SERVERS.items()
        }
        write_files(folder, servers)
        stack.enter_context(Web(port=8080))
        servers["vps2.example.net"].stop()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": str(ROOT),
            "SSHWRAP_PROFILES": str(folder / "profiles.toml"),
            "SSHWRAP_STATE_DIR": str(folder / "state"),
        }
        live = Terminal("sshwrap up", [*SSHWRAP, "up"], env)
        stack.callback(live.close)
        live.wait_for(lambda text: text.count(" up ") == 2 and "cam  try 1 failed" in text)
        servers["vps2.example.net"].start()  # it comes, and goes again
        live.wait_for(lambda text: re.search(r"cam +up", text) is not None)
        for _ in range(41):
            visit(12345)
        visit(8100)
        servers["vps2.example.net"].stop()
        held = [hold(12345), hold(12345)]
        live.wait_for(lambda text: SCENE.search(text) is not None)
        live.save("live", "sshwrap up: four tunnels in the live view")
        status = Terminal("sshwrap status", [*SSHWRAP, "status"], env)
        status.child.wait()
        status.wait_for(lambda text: "db" in text)
        status.save("status", "sshwrap status: the same four tunnels, once")
        for connection in held:
            connection.close()


def make_world(folder: Path) -> None:
    """A home, and loopback with the servers' and the visitor's addresses and names; all of it
    goes with the last process inside."""
    assert not ROOT.is_relative_to(folder), f"the checkout lies below {folder}"
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
    hosts = folder / "hosts"
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in SERVERS.items())]
    hosts.write_text("\n".join(lines) + "\n")
    commands = [
        ["mount", "--bind", str(hosts), "/etc/hosts"],
        ["ip", "link", "set", "lo", "up"],
        *(["ip", "address", "add", a, "dev", "lo"] for a in (*SERVERS.values(), VISITOR)),
    ]
    for command in commands:
        subprocess.run(command, check=True)


def write_files(folder: Path, servers: dict[str, Sshd]) -> None:
    text, known = "", ""
    for name, server in servers.items():
        # What was accepted once; db has been installed anew since.
        accepted = servers["vps.example.com"] if name == "db.example.org" else server
        kind, key = accepted.host_key.with_suffix(".pub").read_text().split()[:2]
        known += f"{name} {kind} {key}\n"
        text += f"Host {name}\n    IdentityFile {server.client_key}\n"
    text += (
        f"Host *\n    IdentitiesOnly yes\n    IdentityAgent none\n    CheckHostIP no\n"
        f"    UserKnownHostsFile {folder}/known_hosts\n    GlobalKnownHostsFile /dev/null\n"
    )
    (folder / "known_hosts").write_text(known)
    (folder / "ssh_config").write_text(text)
    (folder / "profiles.toml").write_text(PROFILES)
    (folder / "profiles.toml").chmod(0o600)


def visit(port: int) -> None:
    connection = hold(port)
    try:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass  # the target's program does not run: that is one of the pictures
    finally:
        connection.close()


def hold(port: int) -> socket.socket:
    """A visitor from the internet, who stays."""
    address = (SERVERS["vps.example.com"], port)
    return socket.create_connection(address, timeout=10, source_address=(VISITOR, 0))


class Terminal:
    """sshwrap on a terminal, and what is to be seen there; `typed` is the command as it was typed.

    `echo`: what is typed into it is seen, as a terminal does it unless told otherwise.
    """

    def __init__(
        self, typed: str, argv: Sequence[str], env: Mapping[str, str], *, echo: bool = False
    ) -> None:
        self._screen = DimScreen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._stream.feed(f"$ {typed}\r\n".encode())
        program, *arguments = argv
        self.child = pexpect.spawn(
            program, arguments, env=dict(env), dimensions=(ROWS, COLUMNS), echo=echo
        )

    def wait_for(self, holds: Callable[[str], bool], within: float = 60) -> None:
        deadline = time.monotonic() + within
        while not holds(self.text()):
            assert time.monotonic() < deadline, "not on the screen:\n" + self.text()
            try:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=0.2))
            except (pexpect.TIMEOUT, pexpect.EOF):
                pass

    def text(self) -> str:
        return "\n".join(self._screen.display)

    def save(self, name: str, title: str) -> None:
        path = PICTURES / f"{name}.svg"
        picture = svg(self._screen, last_row(self._screen), title=title)
        if not path.exists() or _words(path.read_text()) != _words(picture):
            path.parent.mkdir(exist_ok=True)
            path.write_text(picture)
            print(f"{path.name}: written", file=sys.stderr)

    def close(self) -> None:
        """Ctrl-C, as a person would."""
        if self.child.isalive():
            self.child.kill(signal.SIGINT)
            self.child.expect(pexpect.EOF, timeout=20)
        self.child.close()


def _words(picture: str) -> set[str]:
    """What it says; times, counts and the order of what happens at once differ from run to run."""
    return {
        word for text in re.findall(r">([^<]+)<", picture) for word in re.findall(r"[a-z]+", text)
    }


if __name__ == "__main__":
    raise SystemExit(main())
