"""What every check shares: what was asked for, what a judgement is, and the words of both.

Laws. A check is a function of facts and of what was asked; it asks nobody and leaves nothing behind
for another. What is not known stays unknown, with the reason: no default stands in for an answer.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sshwrap.doctor.facts import Facts, Known, Shell, Tried, Unknown, value_of
from sshwrap.doctor.findings import Section, Verdict
from sshwrap.profile.destination import DestinationError, parse_destination
from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.listeners import WILDCARDS
from sshwrap.profile.model import Profile
from sshwrap.tunnel.reach import LOOPBACKS, UNKNOWN

LOOPBACK_NAMES = ("localhost", *LOOPBACKS)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is judged: a profile, or (`has_profile` False) a destination alone, without forwards.

    `forwards` are those that count: the profile's and those that ssh_config adds. `as_public`: a
    remote forward without a bind address is judged as if it said "*".
    """

    profile: Profile
    forwards: tuple[Forward, ...] = ()
    as_public: bool = False
    has_profile: bool = True

    @property
    def name(self) -> str:
        """What a sentence calls it: "web", "root@vps.example.com"."""
        return self.profile.name if self.has_profile else self.profile.destination

    @property
    def remote(self) -> tuple[Forward, ...]:
        return tuple(one for one in self.forwards if one.kind is Kind.REMOTE)

    @property
    def remote_ports(self) -> tuple[Forward, ...]:
        """The remote forwards that listen on a TCP port, "*" filled in where judged as public."""
        return tuple(self.judged(one) for one in self.remote if one.listen_path is None)

    def judged(self, forward: Forward) -> Forward:
        is_left = forward.listen_host is None and forward.listen_path is None
        if self.as_public and forward.kind is Kind.REMOTE and is_left:
            return replace(forward, listen_host="*")
        return forward

    @property
    def root(self) -> str:
        """For --admin: root of the same server, its name as it was typed: ssh_config may know it by
        that name alone."""
        try:
            host = parse_destination(self.profile.destination).host
        except DestinationError:
            host = self.profile.destination.rpartition("@")[2]
        return f"root@{host}"

    def doctor(self, *options: str) -> str:
        """The command line of doctor for this, with these options."""
        return shlex.join(["sshwrap", "doctor", self.name, *options])

    def ssh(self, *words: str, program: str = "ssh") -> str:
        """ssh's (or ssh-copy-id's) command line to the destination, to paste."""
        profile = self.profile
        argv = [program]
        if profile.ssh_config is not None:
            argv += ["-F", profile.ssh_config]
        if profile.port is not None:
            argv += ["-p", str(profile.port)]
        if profile.proxy_jump is not None:
            argv += ["-o", f"ProxyJump={profile.proxy_jump}"]
        destination = profile.destination
        if profile.user is not None and "://" not in destination:
            destination = f"{profile.user}@{destination}"
        elif profile.user is not None:
            argv += ["-o", f"User={profile.user}"]
        return shlex.join([*argv, destination, *words])


@dataclass(frozen=True, slots=True)
class Judged:
    """`seen`, `why`, `advice` as in Finding. `fold`: what the section's one line says of it, ""
    for nothing. `cause`: the check that explains it, where it is another's consequence."""

    verdict: Verdict
    seen: str
    fold: str = ""
    why: str = ""
    advice: str = ""
    cause: str = ""


Judge = Callable[[Facts, Asked], Judged | None]


@dataclass(frozen=True, slots=True)
class Check:
    """`title` is the healthy condition; `judge` answers None where the check does not apply."""

    id: str
    section: Section
    title: str
    judge: Judge


def ok(seen: str, fold: str = "") -> Judged:
    return Judged(Verdict.OK, seen, fold)


def warn(seen: str, why: str, *advice: str, fold: str = "") -> Judged:
    return Judged(Verdict.WARN, seen, fold or seen, why, "\n".join(advice))


def fail(seen: str, why: str, *advice: str, fold: str = "") -> Judged:
    return Judged(Verdict.FAIL, seen, fold or seen, why, "\n".join(advice))


def explained(judged: Judged, by: str) -> Judged:
    """The same, as the consequence of what another check has found."""
    return replace(judged, advice=f"see {by}", cause=by)


def unknown(fact: Unknown | str, why: str = "") -> Judged:
    """Unknown, with the reason; somebody's own words stand behind it."""
    if isinstance(fact, str):
        return Judged(Verdict.UNKNOWN, f"unknown, because {fact}", why=why)
    said = f"it said: {fact.said}" if fact.said else ""
    return Judged(Verdict.UNKNOWN, f"unknown, because {fact.reason}", why=why or said)


def command(*words: str) -> str:
    """A line of advice to paste."""
    return "    " + shlex.join(words)


def line(text: str) -> str:
    """A line of advice that is shell already, or a line for a file."""
    return "    " + text


# --- what several checks ask of the facts ----------------------------------------------------


def is_for_all(forward: Forward) -> bool:
    """Whether the forward names every address."""
    return forward.listen_host in WILDCARDS


def is_loopback_named(forward: Forward) -> bool:
    host = forward.listen_host
    return host is not None and (host.lower() in LOOPBACK_NAMES or host.startswith("127."))


def user_of(facts: Facts, asked: Asked) -> str:
    """The profile's account on the server, as far as it is known; "" where it is not. With --admin
    the session is another's."""
    config = value_of(facts.here.config)
    named = asked.profile.destination.removeprefix("ssh://").rpartition("@")[0]
    return (config.user if config else "") or session_user(facts) or asked.profile.user or named


def session_user(facts: Facts) -> str:
    """Who has signed in to look; "" where no session told."""
    shell = value_of(facts.account.shell)
    return shell.user if shell else ""


def host_of(facts: Facts, asked: Asked) -> str:
    """The server's name as a visitor would write it."""
    config = value_of(facts.here.config)
    if config is not None and config.hostname:
        return config.hostname
    return asked.profile.destination.removeprefix("ssh://").rpartition("@")[2]


def is_root(facts: Facts, asked: Asked) -> bool | None:
    """Whether the profile's account is root."""
    shell: Shell | None = value_of(facts.account.shell)
    user = user_of(facts, asked)
    if shell is not None and shell.user == (user or shell.user):
        return shell.uid == 0
    return user == "root" if user else None


def signed_in(facts: Facts) -> bool | None:
    sign_in = value_of(facts.account.sign_in)
    return None if sign_in is None else sign_in.failure is None


def tried(facts: Facts) -> tuple[Tried, ...]:
    return value_of(facts.live.tried) or ()


def own(facts: Facts, forward: Forward) -> Tried | None:
    """The trial of this very forward (not of a spare port), where there was one."""
    return next((one for one in tried(facts) if _is_of(one, forward) and not one.is_spare), None)


def trial_of(facts: Facts, forward: Forward) -> Tried | None:
    """The best there is about this forward: its own trial, else that of a spare port for it."""
    spare = [one for one in tried(facts) if one.is_spare and one.reach is not None]
    alike = [one for one in spare if one.forward.listen_host == forward.listen_host]
    return own(facts, forward) or next(iter(alike or spare), None)


def _is_of(one: Tried, forward: Forward) -> bool:
    keys = ("listen_port", "listen_path", "connect_host", "connect_port", "connect_path")
    same = all(getattr(one.forward, key) == getattr(forward, key) for key in keys)
    hosts = (one.forward.listen_host, forward.listen_host)
    return same and (hosts[0] == hosts[1] or (None in hosts and "*" in hosts))


def was_let_in(trial: Tried | None) -> bool:
    """Whether the server opened a listener for it."""
    return trial is not None and trial.reach is not None


def said_of(trials: Iterable[Tried], *words: str) -> str:
    """The server's refusal that holds these words, or ""."""
    for one in trials:
        if one.reach is None and any(word in one.said for word in words):
            return one.said
    return ""


def seen_reach(trial: Tried | None) -> str:
    """Its reach as in `status --json`, "unknown" where nobody has seen it."""
    return UNKNOWN if trial is None or trial.reach is None else trial.reach.reach


def setting(facts: Facts, keyword: str) -> str | None:
    """The effective argument of a keyword (lower case), all its lines joined; None: not known."""
    effective = value_of(facts.server.effective)
    if effective is None:
        return None
    lines = effective.get(keyword)
    return None if lines is None else " ".join(lines).strip()


def why_no_setting(facts: Facts) -> Judged:
    """Unknown, because the effective configuration could not be had."""
    effective = facts.server.effective
    if isinstance(effective, Known):
        return unknown("sshd -T does not show it: this sshd is too old, or does not know it")
    return unknown(effective)


def origin(facts: Facts, keyword: str) -> str:
    """Which line wins and what it beats, as lines to put below what was seen; "" where unknown."""
    origins = value_of(facts.server.origins)
    found = None if origins is None else origins.get(keyword)
    if found is None:
        return ""
    if found.winner is None:
        return "\nNo file says so: it is sshd's own default."
    rows = [f"\nIt comes from\n    {_place(found.winner, found.keyword)}"]
    rows += [f"    and beats {_place(one, found.keyword)}" for one in found.beaten[:4]]
    if len(found.beaten) > 4:
        rows.append(f"    and {len(found.beaten) - 4} more")
    return "\n".join(rows)


def _place(place: Any, keyword: str) -> str:
    block = f"   (in {place.block})" if place.block else ""
    return f"{place.file}:{place.line}   {keyword} {place.argument}{block}"


def reload_lines(facts: Facts) -> tuple[str, ...]:
    """What makes the running sshd read its files, as root, checked first."""
    listening = value_of(facts.server.listening)
    reloader = "" if listening is None or listening.reloader is None else listening.reloader.value
    unit = (listening.unit if listening is not None else "") or "ssh"
    unit = unit.removesuffix(".service")
    how = {
        "openrc": "rc-service sshd reload",
        "service": f"service {unit} reload",
        "pidfile": f"kill -HUP {listening.pid if listening is not None else '$PID'}",
    }.get(reloader, f"systemctl reload {unit}")
    return (line(f"sudo sh -c {shlex.quote(f'sshd -t && {how}')}"),)


def seconds_text(seconds: float) -> str:
    """ "31 ms", "5 s", "1 min 20 s", "2 h 11 min"."""
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    whole = round(seconds)
    for size, unit, small_size, small in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
