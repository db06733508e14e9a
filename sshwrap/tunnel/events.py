"""What happens to a tunnel (events) and what it asks of the world (effects)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sshwrap.profile.forward import Forward
from sshwrap.profile.model import Profile
from sshwrap.ssh.evidence import Evidence
from sshwrap.tunnel.reach import Reach


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks, in seconds: `mono` for durations, `wall` only to be shown."""

    mono: float
    wall: float


# --- events -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WantUp:
    by: str  # "up", "run", "start" …: goes into the journal


@dataclass(frozen=True, slots=True)
class WantDown:
    by: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """The tunnel's deadline has come (and, to start, its turn)."""


@dataclass(frozen=True, slots=True)
class Spawned:
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    said: str  # the system's words


@dataclass(frozen=True, slots=True)
class Heard:
    evidence: tuple[Evidence, ...]  # in ssh's order


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another profile of this user, and the port of the server that it has."""

    profile: str
    port: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone and reaped; status or signal is set. `neighbour` where that has the port
    that ssh was refused."""

    status: int | None
    signal: int | None
    neighbour: Neighbour | None = None


@dataclass(frozen=True, slots=True)
class Renew:
    """A profile read anew; `restart` where a running ssh was told something else, or on demand.
    Other forwards alone are none: they are changed on the live connection."""

    profile: Profile
    added: tuple[Forward, ...]  # what ssh_config adds
    hostname: str
    restart: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of ChangeForwards: `trouble` None where all of it is a fact; then a port (where
    the server chose it) and a reach for each forward that was added, in their order."""

    ports: tuple[int | None, ...]
    reaches: tuple[Reach, ...]
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Poke:
    """Reconnect now (SIGUSR1), or the network is back: whatever waits is due."""

    restart: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What listens on the server, one answer for each forward."""

    reaches: tuple[Reach, ...]


@dataclass(frozen=True, slots=True)
class Knocked:
    """One connection from this machine to the address that visitors use, for one forward."""

    index: int
    outcome: str  # open, refused, timeout, unknown
    milliseconds: float | None


@dataclass(frozen=True, slots=True)
class LineDead:
    """Another sign-in gets through and this line does not: it will not come back."""

    why: str
    silent: float  # seconds since something last came over it


@dataclass(frozen=True, slots=True)
class Reclaiming:
    """Our own dead session holds the port, and is being asked to go."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    outcome: str  # ended, gone, not_ours, no_shell, failed
    text: str
    free: bool  # the port is worth an immediate try


@dataclass(frozen=True, slots=True)
class PortHeld:
    """Whose the port is that ssh was refused, as far as it can be seen."""

    text: str


Event = (
    WantUp
    | WantDown
    | Deadline
    | Spawned
    | SpawnFailed
    | Heard
    | Exited
    | Renew
    | Changed
    | Poke
    | Looked
    | Knocked
    | LineDead
    | Reclaiming
    | Reclaimed
    | PortHeld
)


# --- effects ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start ssh and answer with Spawned or SpawnFailed."""


@dataclass(frozen=True, slots=True)
class Look:
    """See what listens, and answer with Looked."""


@dataclass(frozen=True, slots=True)
class ChangeForwards:
    """Take these back and ask for those on the live connection; answer with Changed."""

    removed: tuple[Forward, ...]
    added: tuple[Forward, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """An entry of the journal, without its time and profile."""

    entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HoldDestination:
    """The server throttles us: nobody starts towards it for so many seconds."""

    seconds: float


Effect = Spawn | Look | ChangeForwards | Signal | Record | HoldDestination
