"""`logs`: what happened and why; the story of a night for people, JSON lines for programs."""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sshwrap.commands.choose import choose
from sshwrap.commands.talk import note
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.render.layout import width
from sshwrap.render.page import Page, page_of, print_lines
from sshwrap.render.plain import failure_of, plain_line, text_of
from sshwrap.render.story import Folder, Teller, Told, story_lines
from sshwrap.render.words import count
from sshwrap.supervisor.journal import Follower, Reading, read_entries
from sshwrap.supervisor.overview import overview
from sshwrap.tunnel.entries import rfc3339

DEFAULT_LINES = 200
POLL_PAUSE_MS = 250
HELD_PAUSE = 30.0
AGES = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def logs(options: Namespace, places: Places) -> int:
    now = datetime.now(UTC)
    since = None if options.since is None else parse_moment(options.since, now)
    until = None if options.until is None else parse_moment(options.until, now)
    if since is not None and until is not None and since > until:
        raise UserError(
            f'--since "{options.since}" is after --until "{options.until}"',
            status=ExitStatus.USAGE,
        )
    names = _names(options, places)
    if options.follow:
        return _follow(options, places, names, since)
    reading = read_entries([places.journal_file(name) for name in names], since=since, until=until)
    _tell_damage(reading, options)
    entries = _last(reading.entries, options.lines, bounded=since is None)
    if options.json:
        _write_json(entries)
        return int(ExitStatus.OK)
    page = page_of(sys.stdout, os.environ)
    if not reading.entries:
        if not options.quiet:
            note("nothing has happened" + (" in that time" if since or until else " yet"))
        return int(ExitStatus.OK)
    if options.verbose:
        for entry in entries:
            sys.stdout.write(plain_line(entry, page, stamp="date") + "\n")
            said = text_of(failure_of(entry), "said")
            if said:
                sys.stdout.write(page.clean(f"    ssh: {said}") + "\n")
        return int(ExitStatus.OK)
    end = until or _known_until(places, names, entries)
    whole = reading.entries
    shown = options.lines if options.lines is not None or since else DEFAULT_LINES
    story = story_lines(whole, page, now, since=since, until=end, last=shown)
    print_lines(story, sys.stdout, page)
    return int(ExitStatus.OK)


def _names(options: Namespace, places: Places) -> list[str]:
    journals = places.journal_names()
    if not options.names:
        return journals
    known = [tunnel["profile"] for tunnel in overview(places, os.environ).tunnels]
    return choose(options.names, dict.fromkeys([*journals, *known]))


def _last(
    entries: Sequence[Mapping[str, Any]], lines: int | None, *, bounded: bool
) -> list[Mapping[str, Any]]:
    count = lines if lines is not None else (DEFAULT_LINES if bounded else None)
    if count is None:
        return list(entries)
    return list(entries[max(0, len(entries) - count) :])


def _known_until(
    places: Places, names: Sequence[str], entries: Sequence[Mapping[str, Any]]
) -> datetime | None:
    """Up to now, unless every tunnel's supervisor is gone: nobody knows what came after."""
    from sshwrap.render.words import parse_time

    tunnels = [t for t in overview(places, os.environ).tunnels if t["profile"] in names]
    gone = [t for t in tunnels if (t["failure"] or {}).get("kind") == "supervisor_gone"]
    if tunnels and len(gone) == len(tunnels):
        return parse_time(entries[-1].get("at"))
    return None


def _follow(options: Namespace, places: Places, names: list[str], since: datetime | None) -> int:
    chosen = list(names) if options.names else None

    def find() -> list[str]:
        return [places.journal_file(name) for name in chosen or places.journal_names()]

    follower = Follower(find)
    page = page_of(sys.stdout, os.environ)
    first = follower.poll(final=False)
    entries: list[Mapping[str, Any]] = [
        e for e in first.entries if since is None or str(e.get("at", "")) >= rfc3339_of(since)
    ]
    teller = _Teller(page, max([width(name) for name in names] or [0]), options)
    teller.tell(_last(entries, options.lines or 10, bounded=since is None))
    released_at = time.monotonic()
    try:
        while True:
            # Nobody to read us any more is the one event to wait for; the journal is polled.
            poll = select.poll()
            poll.register(sys.stdout.fileno(), 0)
            if any(
                event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(POLL_PAUSE_MS)
            ):
                return int(ExitStatus.OK)
            teller.tell(follower.poll().entries)
            if time.monotonic() - released_at >= HELD_PAUSE:
                teller.release()
                released_at = time.monotonic()
    except KeyboardInterrupt:
        return int(ExitStatus.OK)


def rfc3339_of(moment: datetime) -> str:
    return rfc3339(moment.timestamp())


class _Teller:
    """Entries as they come, as lines or as JSON."""

    def __init__(self, page: Page, names: int, options: Namespace) -> None:
        self._page = page
        self._json = options.json
        self._folder = Folder()
        self._teller = Teller(page, datetime.now(UTC), names)

    def tell(self, entries: Sequence[Mapping[str, Any]]) -> None:
        if self._json:
            _write_json(entries)
            return
        self._write([told for entry in entries for told in self._folder.feed(entry)])

    def release(self) -> None:
        """Repeats are held back until something else happens, but not for ever: it goes on."""
        if not self._json:
            self._write(self._folder.rest())

    def _write(self, told: Sequence[Told]) -> None:
        lines = [line for each in told for line in self._teller.lines(each)]
        if lines:
            print_lines(lines, sys.stdout, self._page)


def _write_json(entries: Sequence[Mapping[str, Any]]) -> None:
    for entry in entries:
        sys.stdout.write(json.dumps(entry, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _tell_damage(reading: Reading, options: Namespace) -> None:
    if options.quiet:
        return
    if reading.damaged:
        note(f"left out: {count(reading.damaged, 'damaged line')} of the journal")
    if reading.newer:
        note(f"left out: {count(reading.newer, 'line')} that a newer sshwrap wrote")


def parse_moment(text: str, now: datetime) -> datetime:
    """ "22:00" (the last time it was that), a date, a date and time, or an age ("90m", "7d").

    Local time unless the text has a zone; raises UserError (2).
    """
    age = re.fullmatch(r"(\d{1,9})([smhdw])(?: ago)?", text.strip())
    try:
        if age is not None:
            return now - timedelta(seconds=int(age[1]) * AGES[age[2]])
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text.strip()):
            parts = [int(part) for part in text.split(":")]
            local = now.astimezone()
            moment = local.replace(
                hour=parts[0], minute=parts[1], second=parts[2] if parts[2:] else 0, microsecond=0
            )
            return moment if moment <= local else moment - timedelta(days=1)
        if text.strip() in ("today", "yesterday"):
            start = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
            return start - timedelta(days=text.strip() == "yesterday")
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo is not None else moment.astimezone()
    except (ValueError, OverflowError):
        raise UserError(
            f'"{text}" is no time',
            advice='"22:00", "2026-11-22", "2026-11-22 22:00", or an age like 90m, 12h, 7d',
            status=ExitStatus.USAGE,
        ) from None
