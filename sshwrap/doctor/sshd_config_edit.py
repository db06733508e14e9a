"""The edits that doctor makes in sshd_config, and takes back, as texts.

Laws. What the admin wrote stays byte for byte and in its order; changed and removed is only what
stands under our own mark. No edit is handed out that `evaluate` has not proved on the edited texts:
what is wanted holds for the account, and nothing else changes for it or for anybody else. The same
edit made twice is made once. Nothing is written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sshwrap.doctor.sshd_config import (
    GATHERS,
    HAS_INCLUDE,
    Criteria,
    Origin,
    Place,
    Unsupported,
    evaluate,
    origin_of,
)
from sshwrap.doctor.sshd_config_lines import Line, parse, render
from sshwrap.ssh.version import Version

DROP_IN = (
    "00-sshwrap.conf"  # before the others: among values, and among Match blocks, the first wins
)
MARK = re.compile(r"# sshwrap, \d{4}-\d\d-\d\d: ")
INDENT = "    "
# In "Match User" some are patterns, some are split or cut off by one version or another, and a
# quote or a backslash is read in three ways.
NOT_IN_USER = re.compile(r"""[*?!,"'\\#=\x00-\x1f\x7f]|^$|^ | $""")
NOT_IN_ARGUMENT = re.compile(r"""["'\\#\x00-\x1f\x7f]|^\s*$""")
KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
LONGEST_WHY = 200


@dataclass(frozen=True, slots=True)
class Edit:
    """`before` None: there is no such file; `after` None: it is to be removed."""

    path: str
    before: str | None
    after: str | None

    @property
    def changes(self) -> bool:
        """False: it is all there already."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Refused:
    """No edit of ours would do it; `reason` names what stands in the way."""

    reason: str


def after(files: Mapping[str, str], edit: Edit) -> dict[str, str]:
    """The files as they are when the edit has been made."""
    others = {path: text for path, text in files.items() if path != edit.path}
    return others if edit.after is None else {**others, edit.path: edit.after}


def plan_edit(
    files: Mapping[str, str],
    main: str,
    wanted: Mapping[str, str],
    *,
    criteria: Criteria,
    scope_user: str | None,
    version: Version,
    today: str,
    why: str,
    drop_in_folder: str | None,
) -> Edit | Refused:
    """The least edit by which the keywords get these arguments for a connection like `criteria`.

    `scope_user`: for this account alone; None: for everybody. `today` as 2026-11-28. `why` goes
    into the comment above what is written. `drop_in_folder`: where a file of our own may be put,
    None where there is no such place; it is of use only if `main` includes what lies there.

    Which place wins (servconf.c). For everybody, the first value outside of any Match: a drop-in
    that sorts first, where the Include stands above all other values; else a line above everything
    in `main`. For one user, the first Match block that is for them and sets the keyword: a block in
    the drop-in, else one at the end of `main`, where it still beats all that is outside of a Match.
    A Match ends with its file, so a drop-in needs nothing behind its block; in `main` "Match all"
    closes it, or what is appended to the file one day would be for that user alone.
    """
    fault = _unwritable(wanted, scope_user)
    if fault:
        return Refused(fault)
    paths = [main]
    if drop_in_folder is not None and version >= HAS_INCLUDE:
        paths.insert(0, f"{drop_in_folder.rstrip('/')}/{DROP_IN}")
    mark = f"# sshwrap, {today}: {_one_line(why)}"
    reasons = []
    for path in paths:
        before = files.get(path)
        for text in _texts(before or "", wanted, scope_user, mark, version, closes=path == main):
            edit = Edit(path, before, text)
            reason = _fault(files, edit, main, wanted, scope_user, criteria, version)
            if reason is None:
                return edit
            reasons.append(reason)
    return Refused(reasons[0])


def plan_removal(
    files: Mapping[str, str],
    path: str,
    keywords: frozenset[str],
    *,
    scope_user: str | None,
    version: Version,
) -> Edit:
    """Take back what `plan_edit` wrote to that file: these keywords (lower case), for that account
    or for everybody. Lines that somebody has put beside ours stay, and for whom they are."""
    before = files.get(path)
    if before is None:
        return Edit(path, None, None)
    lines = parse(before, version)
    if scope_user is None:
        text = render(_without_general(lines, keywords))
    else:
        text = render(_without_user(lines, keywords, scope_user))
    is_ours = path.rpartition("/")[2] == DROP_IN
    return Edit(path, before, None if is_ours and not text.strip() else text)


def is_ours(files: Mapping[str, str], place: Place, *, version: Version) -> bool:
    """Whether we wrote that line: it stands under our mark."""
    lines = parse(files.get(place.file, ""), version)
    general = {at + 1 for at in _marks(lines) if lines[at + 1].keyword != "match"}
    blocks = {
        inner
        for at in _marks(lines)
        if lines[at + 1].keyword == "match"
        for inner in range(at + 1, _end_of_ours(lines, at))
    }
    return place.line - 1 in general | blocks


# --- what can be written -----------------------------------------------------------------------


def _unwritable(wanted: Mapping[str, str], user: str | None) -> str | None:
    if user is not None and NOT_IN_USER.search(user):
        return f'the name "{user}" cannot be written in a Match line'
    for keyword, argument in wanted.items():
        if not KEYWORD.fullmatch(keyword) or keyword.lower() in {"match", "include"}:
            return f'"{keyword}" is no keyword to set'
        if keyword.lower() in GATHERS:
            return f'"{keyword}" gathers its values: a new line would not take the others\' place'
        if NOT_IN_ARGUMENT.search(argument):
            return f'the argument "{argument}" cannot be written on a line'
    return None


def _one_line(why: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in why).split())[:LONGEST_WHY]


def _texts(
    text: str,
    wanted: Mapping[str, str],
    user: str | None,
    mark: str,
    version: Version,
    *,
    closes: bool,
) -> Iterator[str]:
    """The texts to try, the one that moves least first."""
    end = "\r\n" if re.match(r"[^\n]*\r\n", text) else "\n"
    lines = parse(text, version)
    if user is not None:
        yield render(_with_user(lines, wanted, user, mark, end, closes=closes))
        return
    kept, moved = lines, lines
    for keyword, argument in wanted.items():
        kept = _with_general(kept, keyword, argument, mark, end)
        bare = _without_general(moved, frozenset({keyword.lower()}))
        moved = _with_general(bare, keyword, argument, mark, end)
    yield render(kept)
    yield render(moved)


def _raw(text: str) -> Line:
    """A line of ours, to be rendered only."""
    return Line(0, text)


def _ended(lines: tuple[Line, ...], end: str) -> tuple[Line, ...]:
    if lines and not lines[-1].raw.endswith("\n"):
        return (*lines[:-1], replace(lines[-1], raw=lines[-1].raw + end))
    return lines


def _marks(lines: tuple[Line, ...]) -> Iterator[int]:
    """Where a mark of ours stands above a directive."""
    for at, line in enumerate(lines[:-1]):
        if MARK.match(line.raw) and lines[at + 1].keyword:
            yield at


# --- for everybody: a mark and one line ----------------------------------------------------------


def _with_general(
    lines: tuple[Line, ...], keyword: str, argument: str, mark: str, end: str
) -> tuple[Line, ...]:
    stanza = (_raw(f"{mark}{end}"), _raw(f"{keyword} {argument}{end}"))
    for at in _marks(lines):
        if lines[at + 1].keyword == keyword.lower() and not lines[at + 1].raw.startswith(INDENT):
            if _same(lines[at + 1].argument, argument):
                return lines
            return _read((*lines[:at], *stanza, *lines[at + 2 :]))
    first = next((at for at, line in enumerate(lines) if line.keyword or line.fault), len(lines))
    if first and MARK.match(lines[first - 1].raw):  # it belongs to what stands below it
        first -= 1
    return _read((*_ended(lines[:first], end), *stanza, *lines[first:]))


def _without_general(lines: tuple[Line, ...], keywords: frozenset[str]) -> tuple[Line, ...]:
    gone = {
        one for at in _marks(lines) if lines[at + 1].keyword in keywords for one in (at, at + 1)
    }
    return tuple(line for at, line in enumerate(lines) if at not in gone)


def _read(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    return parse(render(lines))


# --- for one user: a mark, a Match line, lines that are indented ---------------------------------


def _with_user(
    lines: tuple[Line, ...],
    wanted: Mapping[str, str],
    user: str,
    mark: str,
    end: str,
    *,
    closes: bool,
) -> tuple[Line, ...]:
    at = _block_of(lines, user)
    if at is None:
        name = f'"{user}"' if " " in user else user
        made = [mark, f"Match User {name}"]
        made += [f"{INDENT}{keyword} {argument}" for keyword, argument in wanted.items()]
        made += ["Match all"] if closes else []
        return (*_ended(lines, end), *(_raw(f"{one}{end}") for one in made))
    stop = _end_of_ours(lines, at)
    ours = list(_ended(lines[at + 2 : stop], end))
    for keyword, argument in wanted.items():
        line = _raw(f"{INDENT}{keyword} {argument}{end}")
        there = [one for one in ours if one.keyword == keyword.lower()]
        if not there:
            ours.append(replace(line, keyword=keyword.lower(), arguments=(argument,)))
        elif not _same(there[0].argument, argument):
            ours[ours.index(there[0])] = line
    if render(ours) == render(lines[at + 2 : stop]):
        return lines
    return (*lines[:at], _raw(f"{mark}{end}"), lines[at + 1], *ours, *lines[stop:])


def _without_user(lines: tuple[Line, ...], keywords: frozenset[str], user: str) -> tuple[Line, ...]:
    at = _block_of(lines, user)
    if at is None:
        return lines
    stop = _end_of_ours(lines, at)
    kept = [line for line in lines[at + 2 : stop] if line.keyword not in keywords]
    last = _end_of_block(lines, at + 1)
    if any(line.keyword for line in (*kept, *lines[stop:last])):
        return (*lines[: at + 2], *kept, *lines[stop:])
    # Our "Match all" stays where it says for whom lines are that came behind it.
    behind = lines[last + 1 : _end_of_block(lines, last)] if last < len(lines) else ()
    closed = last == stop < len(lines) and lines[last].raw.rstrip("\r\n") == "Match all"
    closed = closed and not any(line.keyword for line in behind)
    return (*lines[:at], *kept, *lines[stop + 1 if closed else stop :])


def _block_of(lines: tuple[Line, ...], user: str) -> int | None:
    """Where the mark of this user's block stands."""
    for at in _marks(lines):
        line = lines[at + 1]
        if line.keyword == "match" and line.arguments == ("User", user):
            return at
    return None


def _end_of_ours(lines: tuple[Line, ...], at: int) -> int:
    """Behind the last indented line of the block whose mark is there."""
    stop = at + 2
    while stop < len(lines) and lines[stop].raw.startswith(INDENT) and lines[stop].keyword:
        stop += 1
    return stop


def _end_of_block(lines: tuple[Line, ...], at: int) -> int:
    """The next Match line, or the end of the file."""
    following = range(at + 1, len(lines))
    return next((one for one in following if lines[one].keyword == "match"), len(lines))


# --- the proof ---------------------------------------------------------------------------------


def _fault(
    files: Mapping[str, str],
    edit: Edit,
    main: str,
    wanted: Mapping[str, str],
    scope_user: str | None,
    criteria: Criteria,
    version: Version,
) -> str | None:
    """Why the edit does not do what it shall, or does more; None: it does it."""
    edited = after(files, edit)
    reading = evaluate(edited, main, criteria, version=version)
    for keyword, argument in wanted.items():
        origin = origin_of(reading, keyword)
        if isinstance(origin, Unsupported):
            return origin.reason
        if origin.winner is None:
            return f"{edit.path} is not read"
        if not _same(origin.winner.argument, argument):
            return f"{_shown(origin.winner)} wins"
        if origin.winner.file != edit.path:
            return f"{_shown(origin.winner)} says it already"
    stranger = replace(criteria, user=f"{criteria.user}-or-another", groups=())
    names = {keyword.lower() for keyword in wanted}
    for person, may_change in ((criteria, names), (stranger, set() if scope_user else names)):
        changed = _changed(files, edited, main, person, version) - may_change
        if changed:
            return f"it would change {', '.join(sorted(changed))} as well"
    return None


def _changed(
    files: Mapping[str, str],
    edited: Mapping[str, str],
    main: str,
    criteria: Criteria,
    version: Version,
) -> set[str]:
    old = evaluate(files, main, criteria, version=version)
    new = evaluate(edited, main, criteria, version=version)
    if isinstance(old, Unsupported) or isinstance(new, Unsupported):
        return {"everything"}
    return {
        keyword
        for keyword in {*old, *new}
        if _value(origin_of(old, keyword)) != _value(origin_of(new, keyword))
    }


def _value(origin: Origin | Unsupported) -> tuple[str, ...] | None:
    """What holds, wherever it stands; None: it cannot be told."""
    if isinstance(origin, Unsupported):
        return None
    places = (origin.winner, *origin.also)
    return tuple(place.argument for place in places if place is not None)


def _same(one: str, other: str) -> bool:
    return one.lower().split() == other.lower().split()


def _shown(place: Place) -> str:
    return f"{place.file}:{place.line}" + (f' under "{place.block}"' if place.block else "")
