"""A tunnel: a profile under supervision, and the laws that hold of it in every state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.model import Profile
from sshwrap.ssh.evidence import Evidence
from sshwrap.ssh.failure import Disposition, Failure
from sshwrap.tunnel.events import Moment, Renew
from sshwrap.tunnel.reach import Reach

EVIDENCE_KEPT = 64
UNKNOWN = "unknown"  # evidence of a line that no row knows
UNKNOWN_KEPT = 8


class State(StrEnum):
    DOWN = "down"
    WAITING = "waiting"  # for its time to try
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    FAILED = "failed"  # a person is needed; looks again by itself, slowly


WITH_CHILD = frozenset({State.STARTING, State.UP, State.STOPPING})


@dataclass(frozen=True, slots=True)
class ForwardState:
    forward: Forward
    confirmed: bool = False
    allocated_port: int | None = None
    last_allocated: int | None = None  # by the run before, to tell of a change
    reach: Reach | None = None  # None: nobody has looked yet
    from_here: str = "unknown"  # open, refused, timeout, unknown
    from_here_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Streak:
    """How often in a row, and since when (monotonic), it failed with one disposition."""

    disposition: Disposition | None = None
    count: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Tunnel:
    profile: Profile
    forwards: tuple[ForwardState, ...]  # the profile's, then those of ssh_config
    hostname: str  # the server's name as ssh_config resolves it
    since: Moment
    drops_since: float  # wall
    state: State = State.DOWN
    wanted: bool = False
    deadline: float | None = None  # monotonic
    pid: int | None = None
    attempt: int = 0  # tries since it was last up, the running one included
    ever_up: bool = False  # kept on disk: a key that worked once is not simply wrong
    was_up: bool = False  # since this supervisor has it
    stable: bool = False
    drops: int = 0
    failure: Failure | None = None
    failure_at: float | None = None  # wall
    ordered: Failure | None = None  # why we ended the process ourselves, where it was not wished
    evidence: tuple[Evidence, ...] = ()
    awaits_replies: bool = False
    confirmed: bool = False  # by ssh, for every forward; what is left is to look
    cut: Moment | None = None  # stopping a dead line: since when it had been up
    silent: float = 0.0  # and for how long nothing had come over it, seconds
    holder: str | None = None  # who has the port that we were refused
    reclaiming: bool = False  # our own dead session is being asked to go
    # Its forwards are being changed while it is up; where that is two, the last one comes next.
    renewing: tuple[Renew, ...] = ()
    streak: Streak = field(default_factory=Streak)
    away_since: Moment | None = None  # wanted and not up


def new_tunnel(
    profile: Profile,
    added: tuple[Forward, ...],
    hostname: str,
    now: Moment,
    *,
    ever_up: bool = False,
) -> Tunnel:
    return Tunnel(
        profile=profile,
        forwards=forward_states(profile, added),
        hostname=hostname,
        since=now,
        drops_since=now.wall,
        ever_up=ever_up,
    )


def broken_laws(tunnel: Tunnel) -> list[str]:
    """What holds of every tunnel that `step` gives back, and does not hold here: nothing."""
    state = tunnel.state
    remote = [s for s in tunnel.forwards if s.forward.kind is Kind.REMOTE]
    timed = state in (State.STARTING, State.STOPPING)
    laws = {
        "a process in starting, up and stopping, and nowhere else": (tunnel.pid is not None)
        == (state in WITH_CHILD),
        "what nobody wants is down or stopping": tunnel.wanted
        or state in (State.DOWN, State.STOPPING),
        "what is wanted is never down": not (tunnel.wanted and state is State.DOWN),
        "failed for a reason": state is not State.FAILED or tunnel.failure is not None,
        "neither starting nor stopping for ever": not timed or tunnel.deadline is not None,
        "up by ssh's word for every forward": state is not State.UP
        or all(s.confirmed for s in remote),
        "up without a failure": state is not State.UP or tunnel.failure is None,
        "confirmed only with a process": not tunnel.confirmed or state in WITH_CHILD,
        "reclaiming only while it waits": not tunnel.reclaiming or state is State.WAITING,
        "wanted and away has a beginning": (tunnel.away_since is not None)
        == (tunnel.wanted and state is not State.UP),
        "changed live only while it is up": not tunnel.renewing or state is State.UP,
        "bounded": len(tunnel.evidence) <= EVIDENCE_KEPT and len(tunnel.renewing) <= 2,
    }
    return [law for law, holds in laws.items() if not holds]


def unconfirmed(tunnel: Tunnel) -> tuple[ForwardState, ...]:
    """No ssh, no listener: what a server had allocated is only remembered, to tell of a change."""
    return tuple(
        ForwardState(s.forward, last_allocated=s.allocated_port or s.last_allocated)
        for s in tunnel.forwards
    )


def forward_states(profile: Profile, added: tuple[Forward, ...]) -> tuple[ForwardState, ...]:
    return tuple(ForwardState(forward) for forward in (*profile.forwards, *added))


def keep_evidence(evidence: tuple[Evidence, ...], new: Evidence) -> tuple[Evidence, ...]:
    """Bounded: the first words (how far it came) and the last ones.

    Lines that no row knows have a small share of their own: a server that talks a lot before the
    sign-in must not push out the line that says that the sign-in was good.
    """
    if new.kind == UNKNOWN:
        strange = [index for index, each in enumerate(evidence) if each.kind == UNKNOWN]
        if len(strange) >= UNKNOWN_KEPT:
            oldest = strange[UNKNOWN_KEPT // 2]
            evidence = evidence[:oldest] + evidence[oldest + 1 :]
    if len(evidence) >= EVIDENCE_KEPT:
        half = EVIDENCE_KEPT // 2
        evidence = evidence[:half] + evidence[half + 1 :]
    return (*evidence, new)
