"""sshd_config(5): which line wins for whom, and which lines it beats.

Laws. Nothing is guessed: what cannot be told, and what sshd would refuse, is `Unsupported` with its
reason. sshd reads its files twice (servconf.c): first what stands outside of any Match, and for a
connection once more what stands in the Match blocks that are for it; whatever the second reading
finds beats the first, wherever it stands. Within a reading the first value wins, but for the
keywords that gather all values and the few where the last one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sshwrap.doctor.sshd_config_lines import Line, parse
from sshwrap.doctor.sshd_config_match import (
    BadConfig,
    Criteria,
    Told,
    as_bytes,
    is_for_all,
    matches,
)
from sshwrap.ssh.version import Version

__all__ = [
    "Criteria",
    "Origin",
    "Place",
    "Unsupported",
    "evaluate",
    "include_patterns",
    "match_blocks_on",
    "origin_of",
]

HAS_INCLUDE = Version(8, 2)
DEEPEST = 16  # servconf.c:SERVCONF_MAX_DEPTH
HOME = "/etc/ssh"  # of a relative Include, whatever file it stands in

ALIASES = {
    "hostdsakey": "hostkey",
    "keepalive": "tcpkeepalive",
    "dsaauthentication": "pubkeyauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "challengeresponseauthentication": "kbdinteractiveauthentication",  # the same since 8.7
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "hostbasedacceptedkeytypes": "hostbasedacceptedalgorithms",
}
GATHERS = {
    *("allowusers", "denyusers", "allowgroups", "denygroups", "acceptenv", "subsystem"),
    *("port", "listenaddress", "hostkey", "hostcertificate"),
}
LAST_WINS = {"streamlocalbindmask", "fingerprinthash"}
VARIES = {"ipqos"}  # the last wins in 9.2, the first in 10.x
# "none" is set without a look at what is set already (servconf.c), a time only where nothing is.
NONE_WINS = {"unusedconnectiontimeout"}
# Not allowed in a Match block, except in "Match all", where the first reading takes them.
GLOBAL_ONLY = {
    *("addressfamily", "ciphers", "compression", "fingerprinthash", "hostcertificate", "hostkey"),
    *("hostkeyagent", "hostkeyalgorithms", "ignoreuserknownhosts", "kexalgorithms"),
    *(
        "listenaddress",
        "logingracetime",
        "macs",
        "maxstartups",
        "modulifile",
        "persourcemaxstartups",
    ),
    *("persourcenetblocksize", "persourcepenalties", "persourcepenaltyexemptlist", "pidfile"),
    *("port", "printlastlog", "printmotd", "securitykeyprovider", "sshdauthpath"),
    *("sshdsessionpath", "strictmodes", "syslogfacility", "tcpkeepalive", "usedns", "usepam"),
    *("versionaddendum", "xauthlocation", "permituserenvironment"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file: `block` is the Match line that it stands under ("Match User root"), ""
    outside of any."""

    file: str
    line: int
    argument: str
    block: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a keyword's value comes from; `winner` None: sshd's own default. `also`: the lines
    that count beside the winner, for a keyword that gathers its values."""

    keyword: str
    winner: Place | None
    beaten: tuple[Place, ...] = ()
    also: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsupported:
    """It cannot be told from the files; `reason` names file and line."""

    reason: str


def evaluate(
    files: Mapping[str, str], main: str, criteria: Criteria, *, version: Version
) -> Mapping[str, Origin | Unsupported] | Unsupported:
    """For every keyword of the files (lower case, see ALIASES) the line that wins for this
    connection. A keyword that is not there: sshd's own default.

    `files`: absolute path -> text; all that the patterns of `include_patterns` find has to be
    there, since what is not is taken not to exist. Unsupported: sshd would refuse the files, or
    which of them it reads cannot be told.
    """
    try:
        general = list(_Reading(files, version, None).settings(main))
        matched = list(_Reading(files, version, criteria).settings(main))
    except BadConfig as refused:
        return Unsupported(str(refused))
    keywords = dict.fromkeys(keyword for keyword, _, _ in general + matched)
    return {keyword: _judge(keyword, general, matched) for keyword in keywords}


def origin_of(
    reading: Mapping[str, Origin | Unsupported] | Unsupported, keyword: str
) -> Origin | Unsupported:
    """Of one keyword, in any case and by any of its names."""
    if isinstance(reading, Unsupported):
        return reading
    name = _name_of(keyword.lower())
    return reading.get(name, Origin(name, None))


def match_blocks_on(
    files: Mapping[str, str], main: str, keyword: str, *, version: Version
) -> tuple[Place, ...] | Unsupported:
    """Every line that sets the keyword in a Match block, whoever that is for."""
    try:
        found = list(_Reading(files, version, None).settings(main))
    except BadConfig as refused:
        return Unsupported(str(refused))
    name = _name_of(keyword.lower())
    places = [place for one, place, _ in found if one == name and place.block]
    return tuple(dict.fromkeys(places))


def include_patterns(text: str, *, version: Version) -> tuple[str, ...]:
    """What a file's Include lines look for: absolute glob(7) patterns, in order."""
    if version < HAS_INCLUDE:
        return ()
    lines = [line for line in parse(text, version) if line.keyword == "include" and not line.fault]
    return tuple(_absolute(pattern) for line in lines for pattern in line.arguments)


# --- the verdict -------------------------------------------------------------------------------

Setting = tuple[str, Place, Told]
Counted = tuple[Place, Told]


def _judge(keyword: str, general: list[Setting], matched: list[Setting]) -> Origin | Unsupported:
    first = _of(keyword, general)
    second = [] if keyword in GLOBAL_ONLY else _of(keyword, matched)
    counted = second or first
    if not counted:
        return Origin(keyword, None)
    decisive = _decisive(keyword, counted)
    for place, told in decisive:
        if told is Told.UNTOLD:
            where = f"{place.file}:{place.line}"
            return Unsupported(f'{where}: it cannot be told whom "{place.block}" is for')
    if keyword in VARIES and len({place.argument for place, _ in counted}) > 1:
        return Unsupported(f'which "{keyword}" holds differs from version to version')
    winners = tuple(dict.fromkeys(place for place, _ in decisive))
    candidates = dict.fromkeys(place for place, _ in [*second, *first])
    beaten = tuple(place for place in candidates if place not in winners)
    return Origin(keyword, winners[0], beaten, winners[1:])


def _decisive(keyword: str, counted: list[Counted]) -> list[Counted]:
    """The lines whose values hold. Of those that only may count, the one that would decide."""
    if keyword in GATHERS:
        return counted
    if keyword in LAST_WINS:
        return counted[-1:]
    if keyword in NONE_WINS:
        none = [one for one in counted if one[0].argument.lower() == "none"]
        return (none or counted)[:1]
    return counted[:1]


def _of(keyword: str, settings: list[Setting]) -> list[Counted]:
    """What counts, or may."""
    return [(place, told) for one, place, told in settings if one == keyword and told]


def _name_of(keyword: str) -> str:
    return ALIASES.get(keyword, keyword)


# --- one reading of the files --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """`criteria` None: the first reading, to which every Match but "Match all" is closed."""

    files: Mapping[str, str]
    version: Version
    criteria: Criteria | None
    lines: dict[str, tuple[Line, ...]] = field(default_factory=dict)

    def settings(self, main: str) -> Iterator[Setting]:
        """Every line that sets something, in reading order, and whether it counts. BadConfig."""
        if main not in self.files:
            raise BadConfig(f"{main}: it was not read")
        active = Told.YES if self.criteria is None else Told.NO
        yield from self._file(main, active, "", self.criteria is not None, 0)

    def _file(
        self, path: str, active: Told, block: str, before_match: bool, depth: int
    ) -> Iterator[Setting]:
        """`before_match`: the second reading outside of any Match, where lines do not count and
        the Match lines of an included file do. A Match ends with its file."""
        if depth > DEEPEST:
            raise BadConfig(f"{path}: Include stands in Include more than {DEEPEST} deep")
        most = Told.YES if before_match else active
        for line in self._lines(path):
            if line.fault:
                raise BadConfig(f"{path}:{line.number}: {line.fault}")
            if line.keyword == "match":
                active = min(most, self._told(path, line))
                block, before_match = f"Match {line.rest.strip()}", False
            elif line.keyword == "include":
                for found in self._included(path, line):
                    yield from self._file(found, active, block, before_match, depth + 1)
            elif line.keyword:
                place = Place(path, line.number, line.argument, block)
                yield _name_of(line.keyword), place, active

    def _lines(self, path: str) -> tuple[Line, ...]:
        if path not in self.lines:
            self.lines[path] = parse(self.files[path], self.version)
        return self.lines[path]

    def _told(self, path: str, line: Line) -> Told:
        try:
            if self.criteria is None:
                return Told.YES if is_for_all(line, self.version) else Told.NO
            return matches(line, self.criteria, self.version)
        except BadConfig as refused:
            raise BadConfig(f"{path}:{line.number}: {refused}") from None

    def _included(self, path: str, line: Line) -> Iterator[str]:
        where = f"{path}:{line.number}"
        if self.version < HAS_INCLUDE:
            raise BadConfig(f"{where}: OpenSSH {self.version} has no Include")
        for argument in line.arguments:
            if not argument or argument.startswith("~") or ".." in argument.split("/"):
                raise BadConfig(f'{where}: it cannot be told what "Include {argument}" reads')
            pattern = _glob(_absolute(argument))
            if pattern is None:
                raise BadConfig(f'{where}: it cannot be told what "Include {argument}" reads')
            yield from sorted(filter(pattern.fullmatch, self.files), key=as_bytes)


def _absolute(pattern: str) -> str:
    if not pattern.startswith(("/", "~")):
        pattern = f"{HOME}/{pattern}"
    return re.sub("/(\\./|/)*", "/", pattern)


def _glob(pattern: str) -> re.Pattern[str] | None:
    """glob(7) without GLOB_PERIOD: "*", "?" and "[" take no "/" and no dot at a name's start.
    None: it has a bracket or a backslash, whose reading differs from C library to C library."""
    if set(pattern) & set("[]\\"):
        return None
    parts = []
    for name in pattern.split("/"):
        hidden = "(?!\\.)" if name.startswith(("*", "?")) else ""
        parts.append(
            hidden + "".join({"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c)) for c in name)
        )
    return re.compile("/".join(parts), re.DOTALL)
