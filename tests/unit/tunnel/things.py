"""Made-up profiles, lines of ssh's log and moments for the tunnel's tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.model import Profile
from sshwrap.ssh.evidence import Evidence, classify_line, classify_terminal_line
from sshwrap.tunnel.events import (
    Event,
    Heard,
    Looked,
    Moment,
    Record,
    Spawn,
    Spawned,
    SpawnFailed,
)
from sshwrap.tunnel.machine import Result, step
from sshwrap.tunnel.model import Tunnel, new_tunnel
from sshwrap.tunnel.reach import Reach

WEB = Forward(
    Kind.REMOTE,
    "*:12345:localhost:8080",
    listen_host="*",
    listen_port=12345,
    connect_host="localhost",
    connect_port=8080,
)
ANY = Forward(
    Kind.REMOTE,
    "0:localhost:8080",
    listen_port=0,
    connect_host="localhost",
    connect_port=8080,
)
LOCAL = Forward(
    Kind.LOCAL,
    "9000:localhost:80",
    listen_port=9000,
    connect_host="localhost",
    connect_port=80,
)

AS_ASKED = Reach("as_asked", ("0.0.0.0", "::"), None)
ON_LOOPBACK = Reach("loopback_only", ("127.0.0.1", "::1"), None)
HALF = Reach("half_bound", ("::",), "another program listens on 0.0.0.0")
UNSEEN = Reach("unknown", None, "the key runs a command of its own")

AUTHENTICATED = 'Authenticated to vps.example.com ([203.0.113.7]:22) using "publickey".'
INTERACTIVE = "debug1: Entering interactive session."
CONFIRMED = "debug1: forwarding_success: all expected forwarding replies received"
REFUSED = "ssh: connect to host vps.example.com port 22: Connection refused"
DENIED = "root@vps.example.com: Permission denied (publickey)."
TAKEN = "Error: remote port forwarding failed for listen port 12345"
SILENT = "Timeout, server vps.example.com not responding."
THROTTLED = "debug1: kex_exchange_identification: banner line 0: Not allowed at this time"


def profile(*forwards: Forward, **fields: object) -> Profile:
    chosen = forwards or (WEB,)
    return Profile(
        name="web",
        destination="root@vps.example.com",
        remote_forward=tuple(f for f in chosen if f.kind is Kind.REMOTE),
        local_forward=tuple(f for f in chosen if f.kind is Kind.LOCAL),
        dynamic_forward=tuple(f for f in chosen if f.kind is Kind.DYNAMIC),
        **fields,  # type: ignore[arg-type]
    )


def evidence(*lines: str) -> tuple[Evidence, ...]:
    """What ssh's log proves, as the supervisor would hand it over."""
    found = [classify_line(line) for line in lines]
    return tuple(each for each in found if each is not None)


def on_terminal(*lines: str) -> tuple[Evidence, ...]:
    """The same of what stands on the terminal."""
    found = [classify_terminal_line(line) for line in lines]
    return tuple(each for each in found if each is not None)


def at(seconds: float) -> Moment:
    return Moment(1_000.0 + seconds, 1_700_000_000.0 + seconds)


def fresh(*forwards: Forward, ever_up: bool = False, **fields: object) -> Tunnel:
    return new_tunnel(profile(*forwards, **fields), (), "vps.example.com", at(0), ever_up=ever_up)


class Life:
    """A tunnel driven by hand: `do` steps it and answers Spawn, as the loop would."""

    def __init__(self, tunnel: Tunnel, *, spawns: bool = True) -> None:
        self.tunnel = tunnel
        self.effects: list[object] = []
        self._spawns = spawns
        self._pid = 100

    def do(self, event: Event, seconds: float, jitter: float = 0.0) -> Tunnel:
        self._take(step(self.tunnel, event, at(seconds), jitter))
        while any(isinstance(effect, Spawn) for effect in self.effects):
            self.effects = [e for e in self.effects if not isinstance(e, Spawn)]
            self._pid += 1
            answer = Spawned(self._pid) if self._spawns else SpawnFailed("no such file")
            self._take(step(self.tunnel, answer, at(seconds), jitter))
        return self.tunnel

    def _take(self, result: Result) -> None:
        self.tunnel, effects = result
        self.effects += effects

    def come_up(self, seconds: float, *lines: str) -> Tunnel:
        """ssh's words that end with its confirmation, and a look that finds all as it was asked."""
        self.do(Heard(evidence(*lines, CONFIRMED)), seconds)
        return self.do(Looked((AS_ASKED,) * len(self.tunnel.forwards)), seconds)

    def entries(self, event: str) -> list[Mapping[str, Any]]:
        """What the journal holds of these."""
        records = [e.entry for e in self.effects if isinstance(e, Record)]
        return [entry for entry in records if entry["event"] == event]

    def records(self) -> list[str]:
        """The journal's events so far."""
        return [e.entry["event"] for e in self.effects if isinstance(e, Record)]
