"""Scenarios for tests/support/fake_ssh.py: what a real ssh says, step by step.

`write(folder, up(forwards), failing([...]))` makes the first start come up and all later ones
fail; `install(folder)` is the program to run, with FAKE_SSH_SCENARIO naming the folder.
The words are those of OpenSSH 9.2, from a real run.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sshwrap.profile.forward import Forward, Kind

Step = list[Any]
Steps = list[Step]

# Of the multicast addresses for documents: whoever connects to one is told "Network is unreachable"
# by the kernel itself, whatever network this machine has. Nothing ever leaves it.
ADDRESS = "233.252.0.5"

FAKE_SSH = Path(__file__).with_name("fake_ssh.py")


def install(folder: Path) -> Path:
    """A program that is the fake ssh, run by this very Python whatever PATH says."""
    program = folder / "ssh"
    command = shlex.join([sys.executable, "-IS", str(FAKE_SSH)])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    return program


def write(
    folder: Path,
    *scenarios: Steps,
    version: str | None = None,
    effective: Sequence[str] | None = None,
) -> Path:
    """One scenario a start, the last for all later ones; what -V and -G say, if not the usual."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, steps in enumerate(scenarios, 1):
        put(folder / f"{number:03}.json", steps)
    said = {"version": version, "effective": None if effective is None else list(effective)}
    put(folder / "ssh.json", {key: value for key, value in said.items() if value is not None})
    return folder


def put(path: Path, value: object) -> None:
    """Written beside and renamed: a fake that starts meanwhile reads the old or the new one."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value))
    part.rename(path)


def started(folder: Path, number: int) -> dict[str, Any] | None:
    """What start `number` (from 1) was started with: pid, argv, env …; None before it."""
    try:
        found: dict[str, Any] = json.loads((folder / f"started.{number}").read_text())
    except FileNotFoundError:
        return None
    return found


def starts(folder: Path) -> int:
    return sum(1 for _ in folder.glob("started.*"))


def answer_looks(
    folder: Path,
    *ours: tuple[str, int],
    others: Sequence[tuple[str, int]] = (),
    wait_for: Path | None = None,
) -> None:
    """What listens on the server, for each look from now on; a look waits for that file first.

    The addresses and ports are of the fake's own listeners and of another account's; as Linux and
    our look_script write it.
    """
    rows = [(*one, "0", 7001 + n) for n, one in enumerate(ours)]
    rows += [(*one, "4711", 8001 + n) for n, one in enumerate(others)]
    tables = {4: ["table tcp"], 6: ["table tcp6"]}
    for address, port, uid, inode in rows:
        number = ip_address(address)
        words = [number.packed[at : at + 4][::-1].hex() for at in range(0, len(number.packed), 4)]
        local = f"{''.join(words).upper()}:{port:04X}"
        remote = "0" * len(number.packed) * 2 + ":0000"
        tables[number.version].append(f" 0: {local} {remote} 0A 0:0 00:0 0 {uid} 0 {inode} 1")
    held = [f"lrwx------ 1 root root 64 0 -> socket:[{7001 + n}]" for n in range(len(ours))]
    lines = [
        *("order little", "uid 0", "boot 01234567-89ab-cdef-0123-456789abcdef"),
        *("client 233.252.0.9 50000 233.252.0.5 22", "ipv6 yes"),
        f"session 4242 (sshd) S {' 0' * 18} 777 0",
        *tables[4],
        *tables[6],
        *("table files", "table session"),
        *held,
    ]
    put(folder / "look.json", {"lines": lines, "wait_for": wait_for and str(wait_for)})


def looks(folder: Path) -> int:
    """How often the server has been looked at."""
    return sum(1 for _ in folder.glob("looked.*"))


def sign_in(
    host: str = "vps.example.com",
    *,
    address: str = ADDRESS,
    port: int = 22,
    user: str = "root",
    banner: Sequence[str] = (),
) -> Steps:
    before = [
        f"debug1: Connecting to {host} [{address}] port {port}.",
        "debug1: Connection established.",
        "debug1: Local version string SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10",
        "debug1: Remote protocol version 2.0, remote software version "
        "OpenSSH_9.2p1 Debian-2+deb12u10",
        f"debug1: Authenticating to {host}:{port} as '{user}'",
        "debug1: SSH2_MSG_KEXINIT sent",
        "debug1: SSH2_MSG_KEXINIT received",
        "debug1: SSH2_MSG_NEWKEYS received",
        "debug1: SSH2_MSG_SERVICE_ACCEPT received",
    ]
    after = [
        "debug1: Authentications that can continue: publickey",
        f'Authenticated to {host} ([{address}]:{port}) using "publickey".',
    ]
    return [*log(*before), *terminal(*banner), *log(*after)]


def confirmed_lines(forwards: Sequence[Forward], allocated: Sequence[int] = ()) -> list[str]:
    """What ssh logs when the server grants every remote forward; `allocated` for those of port 0.

    ssh.c:ssh_init_forwarding, ssh_confirm_remote_forward, forwarding_success.
    """
    remote = [forward for forward in forwards if forward.kind is Kind.REMOTE]
    ports = iter(allocated)
    lines = []
    if remote:
        count = len(remote)
        lines.append(f"debug1: ssh_init_forwarding: expecting replies for {count} forwards")
    lines.append("debug1: Entering interactive session.")
    for forward in remote:
        listen, connect = listen_words(forward), connect_words(forward)
        lines.append(f"debug1: remote forward success for: listen {listen}, connect {connect}")
        if forward.listen_port == 0:
            lines.append(f"Allocated port {next(ports)} for remote forward to {connect}")
    if remote:
        lines.append("debug1: forwarding_success: all expected forwarding replies received")
    return lines


def listen_words(forward: Forward) -> str:
    if forward.listen_path is not None:
        return f"{forward.listen_path}:-2"  # PORT_STREAMLOCAL
    host = "" if forward.listen_host is None else f"{forward.listen_host}:"
    return f"{host}{forward.listen_port}"


def connect_words(forward: Forward) -> str:
    if forward.is_socks:
        return "socks:0"
    if forward.connect_path is not None:
        return f"{forward.connect_path}:-2"
    return f"{forward.connect_host}:{forward.connect_port}"


def up(forwards: Sequence[Forward], allocated: Sequence[int] = (), **server: Any) -> Steps:
    """Sign in, every forward confirmed, then there until a signal comes; `server`: see sign_in."""
    return [*_up(forwards, allocated, server), ["wait"]]


def up_until(
    path: Path, forwards: Sequence[Forward], allocated: Sequence[int] = (), **server: Any
) -> Steps:
    """As `up`, until the file appears: then the server closes the connection."""
    host = server.get("host", "vps.example.com")
    closed = f"Connection to {host} closed by remote host."
    return [*_up(forwards, allocated, server), ["wait_for", str(path)], *log(closed), ["exit", 255]]


def failing(lines: Sequence[str] = (), *, said: Sequence[str] = (), status: int = 255) -> Steps:
    """End with these lines of the log, and what is `said` on the terminal."""
    return [*log(*lines), *terminal(*said), ["exit", status]]


def refused(host: str = "vps.example.com", port: int = 22) -> Steps:
    return failing([f"ssh: connect to host {host} port {port}: Connection refused"])


def recorded(path: Path) -> Steps:
    """What a real ssh said and how it ended: a file of tests/recordings."""
    recording = json.loads(path.read_text())
    steps: Steps = []
    for where, text in recording["events"]:
        # The recording was made behind a pty; ours makes \r\n of \n as that one did.
        sent = text.replace("\r\n", "\n") if where == "terminal" else text
        steps.append(["raw", where, sent.encode().decode("latin-1")])
    ended = recording["exit"]
    if "signal" in ended:
        name = signal.Signals(ended["signal"]).name.removeprefix("SIG")
        return [*steps, ["die", name]]
    return [*steps, ["exit", ended["status"]]]


def log(*lines: str) -> Steps:
    return [["log", line] for line in lines]


def terminal(*lines: str) -> Steps:
    return [["terminal", line] for line in lines]


def _up(forwards: Sequence[Forward], allocated: Sequence[int], server: dict[str, Any]) -> Steps:
    lines = confirmed_lines(forwards, allocated)
    return [*sign_in(**server), ["established"], *log(*lines)]
