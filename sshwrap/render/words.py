"""The words that every screen shares: durations, times, counts, states.

Laws. Durations come from the supervisor's stopwatch, never from the wall clock; a time of day is
the reader's local one, with its date when that is not today. What is not known is not said.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil

from sshwrap.render.forward import troubles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

UP, BUT, STARTING, WAITING = "up", "up, but", "starting", "waiting"
STOPPING, NEEDS_YOU, DOWN = "stopping", "needs you", "down"

# In the order of a footer's counts.
STATE_WORDS = (UP, BUT, STARTING, WAITING, STOPPING, NEEDS_YOU, DOWN)
STATE_TONES = {
    UP: "good",
    BUT: "warn",
    STARTING: "",
    WAITING: "warn",
    STOPPING: "",
    NEEDS_YOU: "bad",
    DOWN: "dim",
}


def duration(seconds: float) -> str:
    """ "40 s", "1 min 43 s", "3 h 12 min", "2 d 4 h"; rounded down: never overstated."""
    whole = max(0, int(seconds))
    for size, unit, small_size, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def until(seconds: float) -> str:
    """ "in 14 s", rounded up; "at once" where it is due."""
    return f"in {duration(ceil(seconds))}" if seconds > 0 else "at once"


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time of a snapshot or journal; None for anything else (another version's)."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def clock(at: datetime) -> str:
    """Local time of day: "10:30:51"."""
    return at.astimezone().strftime("%H:%M:%S")


def moment(at: datetime, now_wall: datetime) -> str:
    """ "10:30" today, "2026-11-21 10:30" on any other day, in local time."""
    local = at.astimezone()
    today = local.date() == now_wall.astimezone().date()
    return local.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")


def later(now_wall: datetime, seconds: float) -> str:
    """The time of day that is `seconds` from now: "10:46:31"."""
    return clock(now_wall + timedelta(seconds=seconds))


def state_word(snapshot: Mapping[str, Any]) -> str:
    """The state as screens have it; "up, but" where a forward does not do what was asked."""
    state = snapshot["state"]
    if state == "up":
        return BUT if any(troubles(forward) for forward in snapshot["forwards"]) else UP
    return NEEDS_YOU if state == "failed" else str(state)


def urgency(snapshot: Mapping[str, Any]) -> int:
    """How much a person should see of it: 0 for what is as wanted, 4 where only they can help."""
    word = state_word(snapshot)
    if word == UP or (word == DOWN and not snapshot["wanted"]):
        return 0
    return {NEEDS_YOU: 4, WAITING: 3, DOWN: 3, BUT: 2}.get(word, 1)


def counts(snapshots: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """(number, state word), in the order of STATE_WORDS, without the zeros."""
    words = [state_word(snapshot) for snapshot in snapshots]
    known = (*STATE_WORDS, *sorted(set(words) - set(STATE_WORDS)))
    return [(words.count(word), word) for word in known if word in words]
