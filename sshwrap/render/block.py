"""One tunnel as a few lines: its name, state and address, what is wrong, what to do.

Laws. A block has three sizes: one line; with every address and what is wrong; with ssh's own words,
the advice and the visitors. Each says no more than the snapshot knows ("unknown" is silence), and
no line is wider than the page.
"""

from __future__ import annotations

from sshwrap.render.forward import advice, connect_text, facts, listen_text, troubles
from sshwrap.render.layout import cut, pad, width, wrap
from sshwrap.render.page import Line, Page
from sshwrap.render.words import (
    BUT,
    DOWN,
    NEEDS_YOU,
    STARTING,
    STATE_TONES,
    UP,
    WAITING,
    count,
    duration,
    later,
    moment,
    parse_time,
    state_word,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

STATE_WIDTH = 9  # "needs you"
DURATION_WIDTH = 11  # "23 h 59 min"
SET_IN = 6  # a command below "do: "
ROOM_FOR_ADDRESS = 30  # with less, the addresses go below the name
ONE_LINE, BRIEF, FULL = 0, 1, 2


class Columns:
    """Where things stand on this page for these tunnels, in cells from the left."""

    __slots__ = ("address", "duration", "missing", "name", "stacked", "state", "width")

    def __init__(self, snapshots: Sequence[Mapping[str, Any]], page: Page) -> None:
        longest = max((width(page.clean(each["profile"])) for each in snapshots), default=0)
        self.width = page.width
        self.missing = page.missing
        self.name = max(1, min(longest, max(8, page.width // 4)))
        self.state = self.name + 2
        self.duration = self.state + STATE_WIDTH + 2
        self.address = self.duration + DURATION_WIDTH + 2
        self.stacked = page.width - self.address < ROOM_FOR_ADDRESS
        if self.stacked:
            self.address = self.duration = 2 if page.width < 48 else self.state


def block(
    snapshot: Mapping[str, Any], columns: Columns, page: Page, now_wall: datetime, size: int
) -> list[Line]:
    """The lines of one tunnel; `size` is ONE_LINE, BRIEF or FULL."""
    word = state_word(snapshot)
    seconds = snapshot.get("_seconds_in_state")
    since = duration(seconds) if isinstance(seconds, int | float) else ""
    head = _head(page.clean(snapshot["profile"]), word, since, columns)
    room = columns.width - columns.address
    texts = [_address_lines(forward, page, room) for forward in snapshot["forwards"]]
    if size == ONE_LINE:
        if not columns.stacked and texts:
            more = f" +{len(texts) - 1}" if len(texts) > 1 else ""
            first = cut(" ".join(texts[0]), room - len(more), page.missing) + more
            head = (*head, ("", first))
        return [head]

    lines: list[Line] = []
    for forward, address in zip(snapshot["forwards"], texts, strict=True):
        tone = "" if word in (UP, BUT) else "dim"
        lines += _indented(address, columns.address, tone)
        if word in (UP, BUT):
            lines += _of_forward(forward, columns, page, now_wall, size)
    said = _of_forwards(snapshot) if word == BUT and size == FULL else []
    said += _of_tunnel(snapshot, word, columns, now_wall, size)
    for tone, text in said:
        lines += _wrapped(page.clean(text), columns.duration, columns.width, tone)
    if not columns.stacked and lines and texts:
        return [(*head, *lines[0][1:]), *lines[1:]]  # the first address stands beside the name
    return [head, *lines]


def _head(name: str, word: str, since: str, columns: Columns) -> Line:
    state = (
        "strong" if word in (UP, BUT) else "",
        pad(cut(name, columns.name, columns.missing), columns.name),
    )
    shown = cut(word, columns.width - columns.state, columns.missing)
    if not columns.stacked:
        return (
            state,
            ("", "  "),
            (STATE_TONES.get(word, ""), shown),
            ("", " " * (STATE_WIDTH + 2 - len(shown)) + since.ljust(DURATION_WIDTH + 2)),
        )
    rest = columns.width - columns.state - len(shown)
    after = ("", f"  {since}") if len(since) + 2 <= rest else ("", "")
    return (state, ("", "  "), (STATE_TONES.get(word, ""), shown), after)


def _address_lines(forward: Mapping[str, Any], page: Page, room: int) -> list[str]:
    """The address and what it leads to: on one line where it fits, else each on its own."""
    listen = page.clean(listen_text(forward))
    connect = page.clean(f"→ {connect_text(forward)}")
    if width(listen) + 1 + width(connect) <= room:
        return [f"{listen} {connect}"]
    return wrap(listen, room) + wrap(connect, room)


def _of_forward(
    forward: Mapping[str, Any], columns: Columns, page: Page, now_wall: datetime, size: int
) -> list[Line]:
    lines: list[Line] = []
    if size == FULL:
        room = columns.width - columns.address
        known = [page.clean(fact) for fact in _facts(forward, now_wall)]
        for text in _joined(known, page, room):
            lines += _wrapped(text, columns.address, columns.width, "dim")
    for sentence in troubles(forward):
        lines += _wrapped(page.clean(sentence), columns.duration, columns.width, "warn")
    return lines


def _of_forwards(snapshot: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(tone, text): what to do about what is wrong with its forwards, the same advice once."""
    said: list[tuple[str, str]] = []
    told: list[list[str]] = []
    for forward in snapshot["forwards"]:
        steps = advice(forward, snapshot["profile"])
        if steps not in told:
            told.append(steps)
            said += _steps(steps)
    return said


def _steps(steps: Sequence[str]) -> list[tuple[str, str]]:
    """Advice, each line of it whole where it fits: a command is there to be copied."""
    return [("", f"    {step}" if index else f"do: {step}") for index, step in enumerate(steps)]


def _joined(known: Sequence[str], page: Page, room: int) -> list[str]:
    """Facts beside each other as far as they fit: a line breaks between two, not within one."""
    separator = page.clean(" · ")
    lines: list[str] = []
    for fact in known:
        if lines and width(lines[-1]) + width(separator) + width(fact) <= room:
            lines[-1] += separator + fact
        else:
            lines.append(fact)
    return lines


def _facts(forward: Mapping[str, Any], now_wall: datetime) -> list[str]:
    """What is known of a forward that is no trouble: where it listens, who answers, visitors."""
    known = facts(forward)
    visits = forward["connections"]
    if visits["total"] or visits["open"]:
        known.append(f"{count(visits['open'], 'visitor')} now, {visits['total']} in all")
    last = visits["last"]
    if last:
        at = parse_time(last["at"])
        known.append(f"last {last['address']}" + (f" at {moment(at, now_wall)}" if at else ""))
    return known


def _of_tunnel(
    snapshot: Mapping[str, Any], word: str, columns: Columns, now_wall: datetime, size: int
) -> list[tuple[str, str]]:
    """(tone, sentence) about the tunnel as a whole."""
    failure = snapshot["failure"]
    seconds = snapshot.get("_seconds_to_attempt")
    wanted_but_down = word == DOWN and snapshot["wanted"]
    said: list[tuple[str, str]] = []
    if snapshot["description"] and size == FULL:
        said.append(("dim", snapshot["description"]))
    if word in (WAITING, NEEDS_YOU) or wanted_but_down:
        what = [failure["summary"]] if failure else []
        if word == WAITING and snapshot.get("_reclaiming"):
            what.append("it may be our own dead session: looking, and ending it if it is")
        elif word == WAITING and isinstance(seconds, int | float):
            what.append(f"next try {until(seconds)}")
        elif wanted_but_down and not failure:
            what.append("wanted, and nobody looks after it")
        said.append((STATE_TONES[word], "; ".join(what)))
        if word == WAITING and snapshot.get("_holder"):
            said.append((STATE_TONES[word], snapshot["_holder"]))
        if failure and failure["said"] and size == FULL:
            said.append(("dim", quoted(failure["said"])))
        to_do = failure["advice"] if failure else ""
        if wanted_but_down and not to_do:
            to_do = f"sshwrap up -d {snapshot['profile']}"
        looks = isinstance(seconds, int | float) and word == NEEDS_YOU
        again = f"looks again by itself at {later(now_wall, seconds or 0)}" if looks else ""
        if to_do and (size == FULL or word == NEEDS_YOU):
            what_to_do, colon, command = to_do.rpartition(": ")
            fits = not colon or width(to_do) + 4 <= columns.width - columns.duration
            said += _steps([to_do] if fits else [f"{what_to_do}:", f"  {command}"])
        if again and size == FULL:
            said.append(("dim", again))
    elif word == STARTING and (snapshot["attempt"] > 1 or failure):
        tried = [f"try {snapshot['attempt']}"] if snapshot["attempt"] > 1 else []
        tried += [f"before: {failure['summary']}"] if failure else []
        said.append(("dim", "; ".join(tried)))
    if size == FULL:
        if snapshot["drops"] and word in (UP, BUT):
            since = parse_time(snapshot["drops_since"])
            when = f" since {moment(since, now_wall)}" if since else ""
            said.append(("dim", count(snapshot["drops"], "drop") + when))
        if snapshot["profile_changed"]:
            said.append(("", f"edited since: sshwrap reload {snapshot['profile']} takes it over"))
    return said


def quoted(said: str) -> str:
    """ssh's own words, marked as such; some of its lines bear the mark already."""
    return said if said.startswith("ssh: ") else f"ssh: {said}"


def _wrapped(text: str, indent: int, cells: int, tone: str) -> list[Line]:
    """In lines of at most `cells`; what is set in by a few blanks is so on each of them."""
    indent += min(len(text) - len(text.lstrip(" ")), SET_IN)
    return _indented(wrap(text, cells - indent), indent, tone)


def _indented(texts: Sequence[str], indent: int, tone: str) -> list[Line]:
    return [(("", " " * indent), (tone, text)) for text in texts]
