"""One situation to record, and what can happen in it once the tunnel is up."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from record_peers import TARGET

HOME = "/home/you"
CONFIRMED = "all expected forwarding replies"
INTERACTIVE = "Entering interactive session"
Act = Callable[[Any, Any], None]  # (recorder, client)


@dataclass(frozen=True)
class Scenario:
    """`expected` is a failure's name; None where ssh is ended by our order."""

    name: str
    expected: str | None
    forwards: str = f"-R 8080:localhost:{TARGET}"
    options: str = ""  # before the forwards, which are last
    destination: str = "tunnel@vps.example.com"
    port: int | None = 2222
    key: str | None = "key"
    control: str = f"{HOME}/state/ctl"
    uid: int = 1000
    alive: int = 15
    timeout: int = 10
    server: dict[str, str] = field(default_factory=dict)
    jump_server: dict[str, str] = field(default_factory=dict)
    authorized_keys: str = "{key}\n"
    banner: bytes = b""
    nologin: str = ""
    agent: str = ""
    files: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    foreign_file: str = ""
    host_key_changed: bool = False
    host_key_revoked: bool = False
    host_key_unknown: bool = False
    failed_before: int = 0
    before: Callable[[Any], None] | None = None
    then: Act | None = None
    then_when: str = CONFIRMED
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] = (99, 0)

    def argv(self, environment: dict[str, str]) -> list[str]:
        argv = ["ssh", "-N", "-T", "-n", "-v", "-E", "/dev/stdout"]
        argv += self.options.split()
        keywords = {
            "LogLevel": "DEBUG1",
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "ControlMaster": "yes",
            "ControlPersist": "no",
            "ConnectTimeout": str(self.timeout),
            "ServerAliveInterval": str(self.alive),
            "ServerAliveCountMax": "1" if self.alive == 1 else "3",
        }
        for keyword, argument in keywords.items():
            argv += ["-o", f"{keyword}={argument}"]
        argv += ["-S", self.control]
        if self.port is not None:
            argv += ["-p", str(self.port)]
        if self.key is not None:
            argv += ["-i", f"{HOME}/.ssh/{self.key}", "-o", "IdentitiesOnly=yes"]
        return [*argv, *self.forwards.split(), "--", self.destination]


# What happens in a running tunnel


def end(recorder: Any, client: Any) -> None:
    client.signal(signal.SIGTERM)


def kill(recorder: Any, client: Any) -> None:
    client.signal(signal.SIGKILL)


def hang_up(recorder: Any, client: Any) -> None:
    client.signal(signal.SIGHUP)


def visited(*ports: int) -> Act:
    def act(recorder: Any, client: Any) -> None:
        for port in ports:
            recorder.peers.visit(port)
        end(recorder, client)

    return act


def visited_socket(recorder: Any, client: Any) -> None:
    recorder.peers.visit_path(recorder.root / "home/tunnel/web.sock")
    end(recorder, client)


def sessions_killed(recorder: Any, client: Any) -> None:
    recorder.peers.kill_sessions()


def sessions_ended(recorder: Any, client: Any) -> None:
    recorder.peers.kill_sessions(signal.SIGTERM)


def line_reset(recorder: Any, client: Any) -> None:
    recorder.peers.relay.reset()
    with contextlib.suppress(OSError):
        recorder.peers.visit(8080)


def line_stalled(recorder: Any, client: Any) -> None:
    recorder.peers.relay.is_stalled.set()


def line_damaged(recorder: Any, client: Any) -> None:
    recorder.peers.relay.damages.set()


def stall_after(count: int) -> Callable[[Any], None]:
    def before(recorder: Any) -> None:
        recorder.peers.relay.stall_after = count

    return before


def two_held(recorder: Any) -> None:
    recorder.peers.hold_sign_in(2)
