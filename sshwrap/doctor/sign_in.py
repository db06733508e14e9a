"""Doctor's one sign-in: its command line, and what ssh's own log tells of the way and the account.

Laws. It carries no forward and is nobody's client: it is master of a control socket of its own, so
that whatever is asked later needs no other sign-in. It asks nobody anything. Only ssh's log proves
something; what came over the terminal can explain a failure and no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sshwrap.doctor.facts import (
    Answer,
    Connected,
    Fact,
    HostKey,
    HostKeyState,
    Known,
    SignIn,
    Software,
    Unknown,
)
from sshwrap.ssh.argv import LOG_PATH, connection_argv
from sshwrap.ssh.evidence import (
    Evidence,
    Progress,
    classify_line,
    classify_terminal_line,
    keep_words,
)
from sshwrap.ssh.failure import Failure, failure, judge_exit
from sshwrap.ssh.lines import bounded
from sshwrap.ssh.version import has_fork_after_authentication, has_log_verbose, parse_version

if TYPE_CHECKING:
    from sshwrap.profile.model import Profile
    from sshwrap.ssh.version import Version

CONNECT_SECONDS = 5  # at most, greeting included: somebody waits for the answer
_LINES_MOST = 2000
_SAID = 300


def master_argv(
    profile: Profile, version: Version, control_path: str, *, ssh: str = "ssh"
) -> tuple[str, ...]:
    """First value wins in ssh, so what is needed stands before what a person may set."""
    argv = [ssh, "-N", "-T", "-n", "-v", "-E", LOG_PATH]
    argv += ["-S", control_path.replace("%", "%%")]  # ssh expands it
    for keyword, argument in _ours(profile, version):
        argv += ["-o", f"{keyword}={argument}"]
    return (*argv, *connection_argv(profile), "--", profile.destination)


def _ours(profile: Profile, version: Version) -> list[tuple[str, str]]:
    options = [
        ("LogLevel", "DEBUG1"),
        ("BatchMode", "yes"),
        ("ControlMaster", "yes"),
        ("ControlPersist", "no"),
        ("ClearAllForwardings", "yes"),
        ("ServerAliveInterval", "5"),  # it may lie idle while somebody reads a plan
        ("ServerAliveCountMax", "3"),
        ("ConnectTimeout", str(min(profile.connect_timeout, CONNECT_SECONDS))),
        ("ConnectionAttempts", "1"),
        ("UpdateHostKeys", "no"),  # doctor only looks
        ("PermitLocalCommand", "no"),
        ("RemoteCommand", "none"),
        ("RequestTTY", "no"),
        ("ForwardAgent", "no"),
        ("ForwardX11", "no"),
        ("Tunnel", "no"),
    ]
    if has_log_verbose(version):
        options.append(("LogVerbose", "none"))
    if has_fork_after_authentication(version):
        options += [("ForkAfterAuthentication", "no"), ("SessionType", "none")]
    return options


@dataclass(frozen=True, slots=True)
class Heard:
    """What the sign-in's ssh has said, in order: (line, whether it came over the terminal, when it
    was read, in seconds from any beginning)."""

    items: tuple[tuple[str, bool, float], ...] = ()

    def hear(self, line: str, now: float, *, from_terminal: bool = False) -> Heard:
        if len(self.items) >= _LINES_MOST:
            return self
        return Heard((*self.items, (line, from_terminal, now)))

    @property
    def log(self) -> tuple[str, ...]:
        return tuple(line for line, from_terminal, _ in self.items if not from_terminal)

    @property
    def evidence(self) -> list[Evidence]:
        found = []
        for line, from_terminal, _ in self.items:
            classify = classify_terminal_line if from_terminal else classify_line
            found.append(classify(line) or keep_words(line, from_terminal=from_terminal))
        return [one for one in found if one is not None]

    def first(self, kind: Progress) -> Evidence | None:
        found = (classify_line(line) for line in self.log)
        return next((one for one in found if one is not None and one.kind == kind), None)

    @property
    def is_signed_in(self) -> bool:
        return self.first(Progress.AUTHENTICATED) is not None

    @property
    def is_ready(self) -> bool:
        """Its control socket answers from here on."""
        return self.first(Progress.INTERACTIVE) is not None


# --- the way -------------------------------------------------------------------------------------


def address_of(heard: Heard) -> str | None:
    """The server's address that ssh has come through to, as a number."""
    at = [
        one.get("address")
        for one in map(classify_line, heard.log)
        if one is not None and one.kind in (Progress.CONNECTING, Progress.AUTHENTICATED)
    ]
    return next((address for address in reversed(at) if address), None)


def tcp_of(heard: Heard) -> Fact[Connected]:
    """What the connect came to, and how long it took."""
    begun: float | None = None
    for line, from_terminal, at in heard.items:
        found = None if from_terminal else classify_line(line)
        kind = found.kind if found is not None else None
        if kind == Progress.CONNECTING:
            begun = at
        elif kind == Progress.CONNECTED and begun is not None:
            return Known(Connected(Answer.OPEN, max(0.0, at - begun)))
        elif found is not None and kind in _ANSWERS:
            seconds = 0.0 if begun is None else max(0.0, at - begun)
            return Known(Connected(_ANSWERS[kind], seconds, bounded(line, _SAID)))
    return Unknown("ssh has not said what became of the connection")


_ANSWERS = {
    "refused": Answer.REFUSED,
    "timed_out": Answer.TIMEOUT,
    "no_route": Answer.NO_ROUTE,
    "network_unreachable": Answer.NO_ROUTE,
    "connect_blocked": Answer.NO_ROUTE,
    "name_not_resolved": Answer.UNRESOLVED,
}


def banner_of(heard: Heard) -> Fact[str]:
    """ "SSH-2.0-…", or what the port said instead of it."""
    for line in heard.log:
        found = _VERSION.fullmatch(line)
        if found is not None:
            return Known(bounded(f"SSH-{found[1]}-{found[2]}", _SAID))
    for line in heard.log:
        found = _INSTEAD.fullmatch(line)
        if found is not None:
            return Known(bounded(found[1], _SAID))
    return Unknown("the server has not sent one")


# kex.c:kex_exchange_identification
_VERSION = re.compile(r"debug1: Remote protocol version (\S+), remote software version (.*)")
_INSTEAD = re.compile(r"debug1: kex_exchange_identification: banner line \d+: (.*)")


def software_of(banner: Fact[str]) -> Fact[Software]:
    if isinstance(banner, Unknown):
        return banner
    found = re.fullmatch(r"SSH-[0-9.]+-(.*)", banner.value)
    if found is None:
        return Unknown("no SSH server answers", banner.value)
    return Known(Software(found[1], parse_version(found[1])))


def host_key_of(heard: Heard, name: str) -> Fact[HostKey]:
    """`name`: as known_hosts has this server, where ssh does not say it."""
    shown = next((m for line in heard.log if (m := _SHOWN.fullmatch(line)) is not None), None)
    fingerprint = "" if shown is None else f"{shown[2]} ({_TYPES.get(shown[1], shown[1])})"
    evidence = heard.evidence
    log = [one for one in evidence if not one.from_terminal]
    for state, kinds in _STATES:
        of_state = [one for one in log if one.kind in kinds]
        if of_state:
            details = {key: value for one in of_state for key, value in one.detail if value}
            place = (
                f"{details['file']}:{details['line']}" if {"file", "line"} <= set(details) else ""
            )
            known_as = details.get("known_as") or name
            return Known(HostKey(state, fingerprint, place, known_as))
    match = next((m for line in heard.log if (m := _MATCHES.fullmatch(line)) is not None), None)
    if match is not None:
        found = next((m for line in heard.log if (m := _FOUND.fullmatch(line)) is not None), None)
        place = "" if found is None else found[1]
        return Known(HostKey(HostKeyState.KNOWN, fingerprint, place, match[1]))
    if any(line.startswith("Warning: Permanently added ") for line in heard.log):
        return Known(HostKey(HostKeyState.KNOWN, fingerprint, "", name))
    if shown is None:
        return Unknown("the server has not shown its host key")
    if heard.is_signed_in:  # by a certificate, or with nobody checking it
        return Known(HostKey(HostKeyState.KNOWN, fingerprint, "", name))
    return Unknown("ssh has not said whether it knows the host key")


_SHOWN = re.compile(r"debug1: Server host (?:key|certificate): (\S+) (SHA256:\S+).*")
_MATCHES = re.compile(r"debug1: Host '(.*)' is known and matches the .*")
_FOUND = re.compile(r"debug1: Found key in (.*:\d+)")
_STATES = (
    (HostKeyState.CHANGED, ("host_key_changed", "host_key_revoked")),
    (HostKeyState.UNKNOWN, ("host_key_unknown",)),
)
# As ssh-keygen -l has them (sshkey.c).
_TYPES = {
    "ssh-ed25519": "ED25519",
    "ssh-rsa": "RSA",
    "ssh-dss": "DSA",
    "ecdsa-sha2-nistp256": "ECDSA",
    "ecdsa-sha2-nistp384": "ECDSA",
    "ecdsa-sha2-nistp521": "ECDSA",
}


# --- the account ---------------------------------------------------------------------------------


def sign_in_of(
    heard: Heard,
    *,
    is_ready: bool,
    exit_status: int | None,
    signal: int | None,
    destination: str,
    profile: str,
) -> SignIn:
    """`is_ready`: its control socket answers. `exit_status` and `signal` None: it still runs, and
    where it is not ready it has taken too long."""
    if is_ready:
        return SignIn(None, method_of(heard))
    if exit_status is None and signal is None:
        return SignIn(_too_long(heard, destination, profile))
    judged = judge_exit(
        heard.evidence,
        exit_status=exit_status,
        signal=signal,
        was_up=False,
        destination=destination,
        profile=profile,
    )
    return SignIn(judged)


def _too_long(heard: Heard, destination: str, profile: str) -> Failure:
    connected = heard.first(Progress.CONNECTED) is not None
    greeted = heard.first(Progress.SERVER_VERSION) is not None
    kind = "stalled" if greeted else "greeting_timeout" if connected else "timed_out"
    at = heard.first(Progress.CONNECTING)
    port = (at.get("port") if at is not None else None) or ""
    said = heard.log[-1] if heard.log else ""
    return failure(kind, destination=destination, profile=profile, said=said, port=port)


def method_of(heard: Heard) -> str:
    found = heard.first(Progress.AUTHENTICATED)
    method = found.get("method") if found is not None else None
    if method:
        return method
    before = (re.fullmatch(r"debug1: Authentication succeeded \((.*)\)\.", x) for x in heard.log)
    return next((match[1] for match in before if match is not None), "")


def key_options_of(heard: Heard) -> Fact[tuple[str, ...]]:
    """What the key may do, as sshd says it to ssh -v; () where it may do nothing of it."""
    found = heard.first(Progress.KEY_OPTIONS)
    if found is None:
        return Unknown("the server does not say it")
    return Known(tuple((found.get("options") or "").split()))
