"""What the contestants share: a server, a page, an environment, and how their doings are timed.

Laws. Everything is on loopback and in one temporary folder. What is started here is ended here, by
pid, whatever happens in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from tests.support.sshd import Sshd
from tests.support.web import Web

PAGE_TIMEOUT = 30.0
# sshd answers a port that nobody listens on at once, so this is the grain of what is measured.
POLL_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class World:
    """`environ`: what every contestant is started with; `folder`: for whatever they write."""

    folder: Path
    server: Sshd
    web: Web
    environ: dict[str, str]


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    # A hundred tunnels at once are to be measured, not sshd's defence against them.
    options = {"MaxStartups": "1000", "LogLevel": "INFO"}
    with Sshd(folder / "sshd", options=options) as server, Web(text="bench") as web:
        yield World(folder, server, web, environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """The caller's, without what would slow sshwrap down or lead it to the caller's own tunnels."""
    ours = ("SSHWRAP_", "AUTOSSH_", "PYTHON", "SSH_", "COVERAGE_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {
        "SSHWRAP_STATE_DIR": str(folder / "state"),
        "SSHWRAP_PROFILES": str(folder / "profiles.toml"),
        "AUTOSSH_GATETIME": "0",
        # With its default of 600 it takes any end within a minute for a quick one, and waits; with
        # 100, as sshwrap does, one within ten seconds. -M 0 polls nothing.
        "AUTOSSH_POLL": "100",
        "TERM": "xterm-256color",
    }


def page(port: int) -> bool:
    """Whether the page is served at this port of loopback, now."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := connection.recv(4096):
                answer += data
    except OSError:
        return False
    return b" 200 " in answer and b"bench" in answer


def seconds_to_page(
    port: int, begun: float, *, who: str, meanwhile: Callable[[], None] = lambda: None
) -> float:
    """Seconds from `begun` (monotonic) to the first page served; `meanwhile` at every look."""
    pause = Event()
    while not page(port):
        if time.monotonic() - begun > PAGE_TIMEOUT:
            raise TimeoutError(f"{who}: no page at port {port} within {PAGE_TIMEOUT:g} s")
        meanwhile()
        pause.wait(POLL_SECONDS)
    return time.monotonic() - begun


def let_pass(seconds: float) -> None:
    """Where a stretch of time is itself what is measured, or what a tunnel has to be up for."""
    Event().wait(max(0.0, seconds))


# --- what a process has cost --------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """Time on a processor so far, all threads, to the nanosecond (a tick would be 10 ms)."""
    total = 0
    for task in Path("/proc", str(pid), "task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_kib(pid: int) -> tuple[int, int]:
    """(PSS, RSS): with shared pages divided among those who have them, and as if it were alone."""
    found: dict[str, int] = {}
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()[1:]:
        key, _, rest = line.partition(":")
        found[key] = int(rest.split()[0])
    return found["Pss"], found["Rss"]
