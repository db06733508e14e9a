"""A journal's entries -> how long a tunnel was up, away, and nobody knows.

Laws. An outage begins at the last proof of life, not when it was noticed. Only wanted time counts.
What no entry tells is unknown: it is neither up nor away, and it is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sshwrap.render.plain import number, text_of
from sshwrap.render.words import parse_time

UP, AWAY, UNKNOWN, UNWANTED = "up", "away", "unknown", "unwanted"
ENDED = "ended"  # with its supervisor: away if the next one finds it still wanted, else unwanted


class Tally:
    """Seconds in each condition between the first moment told of and the last."""

    def __init__(self) -> None:
        self.seconds = {UP: 0.0, AWAY: 0.0, UNKNOWN: 0.0, UNWANTED: 0.0, ENDED: 0.0}
        self.drops = 0
        self.start: datetime | None = None  # where what is known begins
        self.away_since: datetime | None = None  # where it is still away at the end

    @property
    def share_up(self) -> float | None:
        """0 to 1, of the wanted time; None where none was."""
        wanted = self.seconds[UP] + self.seconds[AWAY]
        return self.seconds[UP] / wanted if wanted else None


def tally(entries: Iterable[Mapping[str, Any]], since: datetime | None, until: datetime) -> Tally:
    """Count one profile's entries, oldest first.

    `until` is the end of what is known: now, where its supervisor answers. A clock that was set
    back adds nothing twice.
    """
    walk = _Walk(since)
    for entry in entries:
        at = parse_time(entry.get("at"))
        if at is not None:
            walk.entry(entry, min(at, until))
    walk.advance(until)
    walk.tally.away_since = walk.away_since if walk.condition == AWAY else None
    return walk.tally


class _Walk:
    def __init__(self, since: datetime | None) -> None:
        self.at = since
        self.condition = UNKNOWN
        self.away_since: datetime | None = None
        self.tally = Tally()
        self.tally.start = since

    def advance(self, to: datetime) -> None:
        if self.at is None:
            self.at = self.tally.start = to
        elif to > self.at:
            self.tally.seconds[self.condition] += (to - self.at).total_seconds()
            self.at = to

    def turn(self, condition: str, at: datetime) -> None:
        """The condition from `at` on; `at` may lie before what was already walked."""
        self.advance(at)
        if condition == AWAY and self.condition != AWAY:
            self.away_since = max(at, self.at or at)
        self.condition = condition

    def entry(self, entry: Mapping[str, Any], at: datetime) -> None:
        match text_of(entry, "event"):
            case "up":
                if self.condition in (UNKNOWN, UNWANTED, ENDED):
                    self.turn(AWAY, at - _span(entry, "after"))
                self.turn(UP, at)
            case "down":
                if self.condition != UP:
                    self.turn(UP, at - _span(entry, "up_for"))
                seen = parse_time(entry.get("last_seen")) or at
                self.turn(AWAY, min(seen, at))
                self.tally.drops += 1
            case "attempt_failed" | "needs_person":
                self.turn(AWAY, at)
            case "wanted":
                self.wanted(text_of(entry, "by"), at)
            case "unwanted":
                ended = text_of(entry, "by") == "supervisor ended"
                self.turn(ENDED if ended else UNWANTED, at)
            case "changed":
                self.taken_up(text_of(entry, "before"))
        self.advance(at)

    def wanted(self, by: str, at: datetime) -> None:
        if by != "restart":
            self.taken_up("ended" if by == "start" else "gone")
        self.turn(AWAY, at)

    def taken_up(self, before: str) -> None:
        """By another supervisor, at the end of a time of which no entry tells: the one `before` was
        ended and left it wanted, or went without a word, some time after its last entry."""
        if before == "ended" and self.condition == ENDED:
            self.away_since = self.at
            self.condition = AWAY
        elif before and self.condition == UP:
            self.condition = UNKNOWN


def _span(entry: Mapping[str, Any], key: str) -> timedelta:
    return timedelta(seconds=min(max(number(entry, key) or 0, 0), 1e9))
