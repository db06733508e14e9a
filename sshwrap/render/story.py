"""`logs`: a journal's entries -> the story of a bad night, readable at a glance.

Laws. What repeats is folded, and the fold says how often, until when, and that the answer was the
same: nothing is left out without a word. Several profiles are merged by time. A change of day is
a line of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sshwrap.render.availability import AWAY, UNKNOWN, UP, tally
from sshwrap.render.layout import cut, pad, width, wrap
from sshwrap.render.page import Line, Page
from sshwrap.render.plain import back_after, entry_words, failure_of, number, text_of
from sshwrap.render.words import clock, count, duration, parse_time

WORD_WIDTH = 9  # "needs you"
LONGEST_CYCLE = 8  # down, a try, more tries, reclaimed, up, and what is seen of it then
WORDS = {"attempt_failed": "tried"}
WORD_TONES = {
    "up": "good",
    "as asked": "good",
    "reclaimed": "good",
    "up, but": "warn",
    "doubt": "warn",
    "tried": "warn",
    "dead": "bad",
    "down": "bad",
    "lost": "bad",
    "needs you": "bad",
}


class Told(NamedTuple):
    """One line of the story. Lines with the same `key` say the same again."""

    at: datetime
    profile: str
    word: str
    text: str
    key: tuple[str, ...]
    away: float = 0.0  # seconds of outage that ended here
    until: datetime | None = None  # a fold: when the last of the folded happened


class Folder:
    """Entries, oldest first -> lines, repeats held back until something else happens.

    For `logs -f`: `feed` gives the lines that can be written now.
    """

    def __init__(self) -> None:
        self._last: dict[str, Told] = {}  # profile -> what the repeats are compared with
        self._held: dict[str, list[Told]] = {}  # first and last of the repeats, at most
        self._count: dict[str, int] = {}

    def feed(self, entry: Mapping[str, Any]) -> list[Told]:
        told = tell(entry)
        if told is None:
            return []
        last = self._last.get(told.profile)
        if last is not None and last.key == told.key:
            held = self._held.setdefault(told.profile, [])
            self._held[told.profile] = [*held[:1], told]
            self._count[told.profile] = self._count.get(told.profile, 0) + 1
            return []
        self._last[told.profile] = told
        return [*self._release(told.profile), told]

    def rest(self) -> list[Told]:
        """What is still held back, at the end of the entries."""
        return [told for profile in list(self._held) for told in self._release(profile)]

    def _release(self, profile: str) -> list[Told]:
        held, number_held = self._held.pop(profile, []), self._count.pop(profile, 0)
        if number_held < 2:
            return held
        first, last = held[0], held[-1]
        noun = {"tried": "more tries", "needs you": "more looks"}.get(first.word, "more times")
        text = f"{number_held} {noun} until {_until(first.at, last.at)}, the same answer"
        if noun == "more times":
            text = f"{number_held} {noun} until {_until(first.at, last.at)}: {first.text}"
        away = sum(told.away for told in held)
        return [Told(first.at, profile, first.word, text, ("more", *first.key), away, last.at)]


def tell(entry: Mapping[str, Any]) -> Told | None:
    """An entry as a line; None where it has no time (damaged)."""
    at = parse_time(entry.get("at"))
    if at is None:
        return None
    event, profile = text_of(entry, "event"), text_of(entry, "profile")
    # When the next try was due is no news any more once it has been made.
    word, text = entry_words({**entry, "retry_in": None})
    word = WORDS.get(event, word)
    key: tuple[str, ...] = (event, word, text)
    away = 0.0
    if event in ("attempt_failed", "down"):
        failure = failure_of(entry)
        key = (event, text_of(failure, "kind"), text_of(failure, "summary"))
    elif event == "up":
        away = number(entry, "after") or 0.0 if entry.get("first") is not True else 0.0
        text = "; ".join(back_after(entry)) or text if entry.get("first") is not True else text
        key = (event, word, str(entry.get("first") is True))
    return Told(at, profile, word, text, key, away)


def story_lines(
    entries: Sequence[Mapping[str, Any]],
    page: Page,
    now_wall: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    last: int | None = None,
) -> list[Line]:
    """A headline for every profile, then what happened; entries of one window, oldest first.

    `last`: only so many of the things that happened, the headline is of all of them.

    `until` is the end of what is known: now, unless the supervisor is gone or the reader said so.
    """
    profiles = list(dict.fromkeys(text_of(entry, "profile") for entry in entries))
    names = max((width(page.clean(name)) for name in profiles), default=0)
    lines: list[Line] = []
    for profile in profiles:
        own = [entry for entry in entries if text_of(entry, "profile") == profile]
        text = headline(own, now_wall, since=since, until=until or now_wall)
        lines += _hanging(("strong", pad(page.clean(profile), names)), text, page)
    folder = Folder()
    told = [line for entry in entries for line in folder.feed(entry)] + folder.rest()
    told = [
        line for name in profiles for line in fold_cycles([t for t in told if t.profile == name])
    ]
    told.sort(key=lambda line: line.at)
    told = told[len(told) - last :] if last is not None and last < len(told) else told
    teller = Teller(page, now_wall, names if len(profiles) > 1 else 0)
    return [*lines, *(line for each in told for line in teller.lines(each))]


class Teller:
    """Lays lines out, with a line of its own for each new day; `names` 0 leaves the name out."""

    def __init__(self, page: Page, now_wall: datetime, names: int) -> None:
        self._page = page
        self._names = min(names, max(8, page.width // 4))
        self._day: date = now_wall.astimezone().date()

    def lines(self, told: Told) -> list[Line]:
        page = self._page
        lines: list[Line] = []
        day = told.at.astimezone().date()
        if day != self._day:
            self._day = day
            lines.append((("dim", day.isoformat()),))
        name = pad(cut(page.clean(told.profile), self._names, page.missing), self._names) + "  "
        start = f"{clock(told.at)}  {name if self._names else ''}"
        indent = width(start) + WORD_WIDTH + 2
        narrow = page.width - indent < 24
        texts = wrap(page.clean(told.text), page.width - (4 if narrow else indent))
        head: Line = (("", start), (WORD_TONES.get(told.word, ""), told.word))
        gap = " " * (WORD_WIDTH + 2 - len(told.word))
        if not narrow and texts:
            head = (*head, ("", gap + texts.pop(0)))
        lines.append(head)
        lines += [(("", " " * (4 if narrow else indent) + text),) for text in texts]
        return lines


def fold_cycles(told: Sequence[Told]) -> list[Told]:
    """One profile's lines with what repeats in turn ("down, up, down, up …") told once."""
    lines: list[Told] = []
    index = 0
    while index < len(told):
        period, times = _cycle(told, index)
        lines += told[index : index + period]
        if times >= 3:
            rest = told[index + period : index + period * times]
            end = rest[-1].until or rest[-1].at
            text = f"the same {times - 1} more times until {_until(rest[0].at, end)}"
            away = sum(line.away for line in rest)
            text += f", {duration(away)} away in all" if away >= 1 else ""
            lines.append(Told(rest[0].at, rest[0].profile, "again", text, ("cycle",), away, end))
            index += period * times
        else:
            index += period
    return lines


def _cycle(told: Sequence[Told], start: int) -> tuple[int, int]:
    """(lines in the cycle that begins at `start`, how often it follows itself); (1, 1) is none."""
    for period in range(2, LONGEST_CYCLE + 1):
        keys = [line.key for line in told[start : start + period]]
        times, index = 1, start + period
        while len(keys) == period and keys == [t.key for t in told[index : index + period]]:
            times, index = times + 1, index + period
        if times >= 3:
            return period, times
    return 1, 1


def headline(
    entries: Sequence[Mapping[str, Any]],
    now_wall: datetime,
    *,
    since: datetime | None,
    until: datetime,
) -> str:
    """ "22:00 to 08:00: 99.4 % up, 3 drops, 3 min 31 s away", of one profile's entries."""
    counted = tally(entries, since, until)
    words = [_share(counted.share_up, counted.seconds[AWAY])]
    if counted.seconds[UP] or counted.drops:
        words.append(count(counted.drops, "drop") if counted.drops else "no drop")
    if counted.seconds[AWAY] and counted.share_up:
        away = counted.seconds[AWAY]
        words.append(f"{duration(away) if away >= 1 else 'less than 1 s'} away")
    if counted.away_since is not None:
        words.append(f"down since {_brief(counted.away_since, now_wall, seconds=True)}")
    if counted.seconds[UNKNOWN] >= 60:
        words.append(f"nothing known of {duration(counted.seconds[UNKNOWN])}")
    window = f"{_brief(counted.start or until, now_wall)} to {_brief(until, now_wall)}"
    return f"{window}: {', '.join(words)}"


def _hanging(name: tuple[str, str], text: str, page: Page) -> list[Line]:
    """The name, the text beside it, what does not fit below it."""
    indent = min(width(name[1]) + 3, page.width // 2)
    first, *rest = wrap(page.clean(text), page.width - indent)
    head: Line = (name, ("", f"   {first}"))
    return [head, *((("", " " * indent + each),) for each in rest)]


def _share(share: float | None, away: float) -> str:
    """Rounded down, so that 100 % means that it was never away."""
    if share is None:
        return "not wanted"
    if not away:
        return "100 % up"
    tenths = int(share * 1000) / 10
    return f"{int(share * 10000) / 100:.2f} % up" if tenths >= 99.9 else f"{tenths:.1f} % up"


def _brief(at: datetime, now_wall: datetime, *, seconds: bool = False) -> str:
    """The time of day; with its date where it is more than a day from now."""
    local = at.astimezone()
    day = "" if abs(now_wall - at) <= timedelta(days=1) else "%Y-%m-%d "
    return local.strftime(f"{day}%H:%M:%S" if seconds else f"{day}%H:%M")


def _until(start: datetime, end: datetime) -> str:
    local = end.astimezone()
    same_day = local.date() == start.astimezone().date()
    return local.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")
