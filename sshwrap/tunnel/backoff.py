"""When to try again: seconds from now, by what went wrong and how often.

Laws. Nobody is ever given up: only a faulty option or file waits for a person without end. `jitter`
is in [0, 1) and comes from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sshwrap.ssh.failure import Disposition

if TYPE_CHECKING:
    from sshwrap.ssh.failure import Failure

FIRST_RETRY = 0.5
THROTTLED_LEAST = 20.0  # sshd's penalties are enforced from 15 s on
THROTTLED_MOST = 600.0  # PerSourcePenalties max
PORT_SOON = 1.0
PORT_PATIENCE = 180.0
PORT_LATER = 30.0
PERSON: tuple[float, ...] = (60.0, 300.0, 900.0)
# A key that worked before and is refused now: more often the server (a home directory not mounted,
# a directory service that starts) than the person. Wrong keys cost a penalty, so no sooner.
PERSON_WAS_UP: tuple[float, ...] = (20.0, 40.0, 80.0, 160.0, 300.0, 900.0)


def next_delay(
    failure: Failure,
    *,
    streak: int,
    streak_seconds: float,
    after_stable: bool,
    ever_up: bool,
    max_delay: float,
    jitter: float,
    heard_when_free: bool = False,
) -> float | None:
    """Seconds to wait; None: not by itself.

    `streak` is how often in a row (1 the first time), `streak_seconds` for how long, it has now
    failed with this disposition; `after_stable`: it had been up long enough to count as sound;
    `heard_when_free`: another tunnel of ours has the port, and it is known when it lets go.
    """
    match failure.disposition:
        case Disposition.RETRY:
            if after_stable:
                return 0.0
            delay = min(max_delay, FIRST_RETRY * 2.0 ** min(streak - 1, 30))
            return delay * (0.75 + 0.25 * jitter)
        case Disposition.SLOW:
            delay = min(THROTTLED_MOST, THROTTLED_LEAST * 2.0 ** min(streak - 1, 10))
            return delay * (1.0 + 0.25 * jitter)
        case Disposition.PORT:
            if streak_seconds < PORT_PATIENCE and not heard_when_free:
                return PORT_SOON * (1.0 + 0.5 * jitter)
            return PORT_LATER * (0.9 + 0.2 * jitter)
        case Disposition.PERSON:
            was_right = ever_up and failure.kind == "permission_denied"
            steps = PERSON_WAS_UP if was_right else PERSON
            return steps[min(streak, len(steps)) - 1] * (1.0 + 0.1 * jitter)
        case Disposition.CONFIG:
            return None
