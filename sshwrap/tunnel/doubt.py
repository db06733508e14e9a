"""Is the line of a running ssh dead, though ssh itself does not know it yet?

Laws. Silence alone is never proof, nor is a new sign-in that gets through: both together are, and
only where they overlap. What is asked is how often in a row the kernel has sent the oldest data
again, by its timer, with nothing at all heard from the other side (`silent_retransmits`), and which
of these times fell into a sign-in on which no packet was lost, or stood within `NEAR` of its end:
then the way was good, and the old connection alone was not answered. One thing heard acquits.

Why a slow but living line is not taken for a dead one:
- Delay. A sign-in is a dozen round trips in a row and an acknowledgement is one, so on one way
  whatever is under way is answered before any sign-in gets through. A line that was slow and is
  quick now is seen by the retransmission that has to follow, and be lost, after the sign-in began.
- A stall. Retransmissions of the stall itself do not count as lost on a good line; the first one
  after it is answered. If that is far away the sign-in waits for it.
- Loss. With a share q of packets lost each way a retransmission goes unanswered with 1-(1-q)^2,
  and of a sign-in's dozen exchanges none is to lose anything; one that does takes back what those
  before it have proved. `SLOWLY` wants six packets in a row unheard (with the tail loss probe
  seven) and two such sign-ins. In 400,000 simulated keepalives each, that was so 0 times with
  q = 0.1, once with 0.2, 0 times with 0.3; ssh's own keepalive, 15 x 3, ended the same lines 0, 45
  and 968 times.

`QUICKLY` is enough where something else speaks for it: the machine was suspended, its network
changed, or the new connection comes from another address than the old one, as after a change of
the public address. Where a server was seen to get a new address from us while the old line lived
(a carrier's NAT with many) addresses tell nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

SUSPECT = 2  # retransmissions without an answer: worth a sign-in
NEAR = 3.0  # seconds after a sign-in for which it still tells of the way
AHEAD = 2.5  # seconds before the next retransmission: a sign-in can tell of it
GRACE_LEAST = 0.25  # seconds for an answer to come; or two round trips
PAUSE, PAUSE_MOST = 5.0, 80.0  # seconds from one sign-in to the next
SIGN_INS_MOST = 8  # for one suspicion; its retransmissions come ever more seldom
FORGET = 600.0  # seconds without a false alarm
REASON_LASTS = 30.0  # seconds for which a reason from outside makes us look closely

SILENT_SURELY, SILENT_MAYBE = 3.0, 15.0  # seconds; see `patience`
UNDER_WAY = 0.5  # seconds in which something may be heard that was sent before

CLOSE, BUSY = 0.4, 2.0  # seconds between looks: in doubt, with traffic
SLACK = 0.02  # seconds by which the kernel's timers may be late
LATE_MOST = 3.0  # seconds; an ssh that is later than that has other keepalives than we know of
INTERVAL = 15.0  # where ssh itself sends no keepalives
BUSY_SEGMENTS = 4  # more than a keepalive and its answer


class Need(NamedTuple):
    """How many retransmissions unheard in all, of these on a way that was good, in how many
    sign-ins."""

    unheard: int
    on_good_way: int
    sign_ins: int


QUICKLY = Need(3, 1, 1)
SLOWLY = Need(5, 3, 2)


class Why(StrEnum):
    """What made us look; the text stands behind "because"."""

    UNHEARD = "what was sent is not acknowledged"
    WOKE = "this machine was suspended"
    MOVED = "the network of this machine changed"
    PROBE = "no connection came back through the tunnel"
    KNOCK = "the address for visitors does not answer"


EVIDENCE = frozenset({Why.WOKE, Why.MOVED})  # not a consequence of loss, as the others may be


class Seen(NamedTuple):
    """A connection's socket at one moment, as the kernel has it; times in seconds."""

    unacked: int  # bytes that ssh has written and nobody has acknowledged
    retransmits: int  # of the oldest of them, in a row, by the timer
    due: float  # until the timer sends it again
    timeout: float  # of that timer: it doubles each time
    heard: float  # since anything was heard
    data: float  # since more than an acknowledgement was heard
    sent: int  # segments with data, ever
    resent: int  # segments sent again for any reason, ever
    round_trip: float


class SignedIn(NamedTuple):
    """What has become of a sign-in. `is_clean`: nothing of it was sent twice; `elsewhere`: from
    another address than the old connection."""

    got_through: bool
    is_clean: bool = False
    elsewhere: bool = False
    round_trip: float = 0.0


class Window(NamedTuple):
    """A time in which the way was good: a clean sign-in, and a little after it."""

    began: float
    ended: float
    elsewhere: bool
    round_trip: float


@dataclass(frozen=True, slots=True)
class Doubt:
    """All that is remembered of one connection; times are of a monotonic clock."""

    interval: float  # of ssh's keepalives
    reason: Why | None = None  # from outside
    reason_at: float = 0.0
    since: float | None = None  # what is suspected now has begun then
    windows: tuple[Window, ...] = ()
    signing_in: float | None = None  # when the one under way began
    sign_ins: int = 0  # for this suspicion
    through: int = 0  # of these
    last: float | None = None  # when the last one began, for whatever suspicion
    alarms: int = 0  # false ones in a row
    alarm_at: float = 0.0
    addresses_tell: bool = True
    sent: int | None = None  # segments, at the last look

    @property
    def is_quiet(self) -> bool:
        """Nothing is held against the line."""
        return self.since is None and self.reason is None


class Step(NamedTuple):
    """What to do: look again after so many seconds; begin a sign-in; it is dead, because."""

    pause: float
    sign_in: bool = False
    dead: str | None = None


def silent_retransmits(seen: Seen) -> tuple[float, ...]:
    """How long ago each one was that nothing was heard after, the latest first.

    The kernel tells how many there were and when the next is due; the timeout doubles.
    """
    found = []
    ago, gap = seen.timeout - seen.due, seen.timeout / 2
    for _ in range(seen.retransmits if seen.unacked else 0):
        if ago >= seen.heard:
            break
        found.append(max(0.0, ago))
        ago, gap = ago + gap, gap / 2
    return tuple(found)


def suspected(doubt: Doubt, why: Why, now: float) -> Doubt:
    """Somebody else has a reason to doubt the line."""
    old = doubt.reason
    if old in EVIDENCE and why not in EVIDENCE and now - doubt.reason_at < REASON_LASTS:
        return doubt
    return replace(doubt, reason=why, reason_at=now)


def looked(doubt: Doubt, seen: Seen, now: float) -> tuple[Doubt, Step]:
    """The socket was looked at."""
    unheard = silent_retransmits(seen)
    has_traffic = doubt.sent is not None and seen.sent - doubt.sent > BUSY_SEGMENTS
    doubt = replace(doubt, sent=seen.sent)
    if doubt.reason is not None and now - doubt.reason_at >= REASON_LASTS:
        doubt = replace(doubt, reason=None)
    if len(unheard) < SUSPECT and (doubt.reason is None or _has_answered(doubt, seen, now)):
        return acquitted(doubt, now), Step(_calm(doubt, seen, has_traffic))
    if doubt.since is None and len(unheard) >= SUSPECT:
        doubt = replace(doubt, since=now)
    pause = _close(doubt, seen)
    dead = _verdict(doubt, seen, unheard, now)
    if dead is not None:
        return doubt, Step(pause, dead=dead)
    if not _wants_sign_in(doubt, seen, unheard, now):
        return doubt, Step(pause)
    doubt = replace(doubt, signing_in=now, last=now, sign_ins=doubt.sign_ins + 1)
    return doubt, Step(pause, sign_in=True)


def signed_in(doubt: Doubt, answer: SignedIn, now: float) -> Doubt:
    """The sign-in under way has ended."""
    if doubt.signing_in is None:
        return doubt
    began, doubt = doubt.signing_in, replace(doubt, signing_in=None)
    if answer.got_through:
        doubt = replace(doubt, through=doubt.through + 1)
    if answer.got_through and not answer.is_clean:
        return replace(doubt, windows=())  # this way loses packets: what was good may be chance
    if answer.got_through:
        elsewhere = answer.elsewhere and doubt.addresses_tell
        window = Window(began, now, elsewhere, answer.round_trip)
        doubt = replace(doubt, windows=(*doubt.windows, window))
    return doubt


def acquitted(doubt: Doubt, now: float) -> Doubt:
    """It was heard of, or its data are acknowledged: all that was held against it is forgotten."""
    alarms, alarm_at = doubt.alarms, doubt.alarm_at
    if doubt.through and doubt.reason is None:
        alarms, alarm_at = (1 if now - alarm_at > FORGET else alarms + 1), now
    return Doubt(
        doubt.interval,
        last=doubt.last,
        alarms=alarms,
        alarm_at=alarm_at,
        addresses_tell=doubt.addresses_tell and not any(one.elsewhere for one in doubt.windows),
        sent=doubt.sent,
    )


def _has_answered(doubt: Doubt, seen: Seen, now: float) -> bool:
    """Since there was a reason; what was under way at that moment does not count."""
    return seen.heard < now - doubt.reason_at - UNDER_WAY


def patience(why: Why, took: float) -> float:
    """Seconds that the old line has to stay silent after a sign-in that took so long, where the
    kernel shows nothing: a question over it takes fewer round trips than that."""
    return max(SILENT_SURELY if why in EVIDENCE else SILENT_MAYBE, 2 * took)


def silent_reason(waited: float, took: float) -> str:
    return (
        f"the server has not answered over it for {waited:.0f} s, though another sign-in got "
        f"through in {took:.1f} s (nothing else is to be seen of this connection here)"
    )


# --- the verdict ---------------------------------------------------------------------------------


def _verdict(doubt: Doubt, seen: Seen, unheard: tuple[float, ...], now: float) -> str | None:
    lost = [now - ago for ago in unheard if ago >= _grace(doubt)]
    used = [window for window in doubt.windows if any(_tells_of(window, at) for at in lost)]
    on_good_way = [at for at in lost if any(_tells_of(window, at) for window in used)]
    is_elsewhere = any(window.elsewhere for window in used)
    need = QUICKLY if is_elsewhere or doubt.reason in EVIDENCE else SLOWLY
    if len(lost) < need.unheard or len(on_good_way) < need.on_good_way or len(used) < need.sign_ins:
        return None
    took = used[-1].ended - used[-1].began
    came = " from another address" if is_elsewhere else ""
    return (
        f"nothing has come from the server for {seen.heard:.0f} s and what was sent to it "
        f"{len(lost) + 1} times is not acknowledged, though another sign-in{came} got through "
        f"in {took:.1f} s"
    )


def _tells_of(window: Window, moment: float) -> bool:
    return window.began <= moment <= window.ended + NEAR


def _grace(doubt: Doubt) -> float:
    """Seconds after which an answer should have come, as the way is now."""
    return max([GRACE_LEAST, *(2 * window.round_trip for window in doubt.windows)])


def _wants_sign_in(doubt: Doubt, seen: Seen, unheard: tuple[float, ...], now: float) -> bool:
    if doubt.signing_in is not None or doubt.sign_ins >= SIGN_INS_MOST:
        return False
    is_first = doubt.sign_ins == 0 and doubt.reason in EVIDENCE
    pause = PAUSE if is_first else _pause(doubt)
    if doubt.last is not None and now - doubt.last < pause:
        return False
    if is_first and doubt.reason is Why.WOKE:
        return True  # at once: of a line after a sleep there is no need to see anything first
    return len(unheard) >= SUSPECT and seen.due <= AHEAD


def _pause(doubt: Doubt) -> float:
    """From one sign-in to the next: longer after those that were for nothing."""
    in_vain = max(doubt.alarms, doubt.sign_ins - doubt.through)
    return min(PAUSE * 2.0**in_vain, PAUSE_MOST)


# --- when to look again --------------------------------------------------------------------------


def _calm(doubt: Doubt, seen: Seen, has_traffic: bool) -> float:
    if seen.unacked and seen.heard > CLOSE:  # under way, or lost: soon to be seen
        return max(0.1, min(CLOSE, seen.due + SLACK))
    if has_traffic or seen.unacked:
        return BUSY
    interval = doubt.interval or INTERVAL
    # ssh asks `interval` after it last heard something; a second later that is answered, or has
    # been sent again twice.
    due = interval - seen.data + 1.0
    if due > 0:
        return max(due, CLOSE)
    return CLOSE if due > -LATE_MOST else interval


def _close(doubt: Doubt, seen: Seen) -> float:
    """Right after the next retransmission, and when that should have been answered."""
    ago = seen.timeout - seen.due
    moments = (seen.due + SLACK, _grace(doubt) - ago + SLACK)
    return min([CLOSE, *(moment for moment in moments if moment >= SLACK)])
