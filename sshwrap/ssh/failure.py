"""Why an ssh ended: its words first, its exit status last.

ssh exits 255 for nearly everything and 0 on SIGTERM, so the exit status only decides where no line
says anything. The kinds and their sentences are in catalogue.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from signal import SIGTERM

from sshwrap.ssh.catalogue import CATALOGUE
from sshwrap.ssh.catalogue import Disposition as Disposition
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.ssh.lines import bounded, clean
from sshwrap.ssh.sentences import fields

MAX_SENTENCE = 240  # characters of a summary or an advice: three lines of a terminal
MAX_SAID = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a tunnel is not up. `said` is ssh's own line ("" where it said nothing)."""

    kind: str
    disposition: Disposition
    summary: str
    said: str
    advice: str


def failure(kind: str, *, destination: str, profile: str, said: str = "", **detail: str) -> Failure:
    """The catalogue's failure of that kind, its sentences filled in.

    `detail` is what the rows of ssh/rows.py call its groups: host, port, user, path, reason,
    listen_host, listen_port, listen_path, status …; what is missing is left out of the sentence.
    Raises KeyError where the catalogue has no such kind.
    """
    entry = CATALOGUE[kind]
    known = fields(destination, profile, detail)
    return Failure(
        kind,
        entry.disposition,
        bounded(entry.summary.format_map(known), MAX_SENTENCE),
        bounded(clean(said), MAX_SAID),
        bounded(entry.advice.format_map(known), MAX_SENTENCE),
    )


def judge_exit(
    evidence: Sequence[Evidence],
    *,
    exit_status: int | None,
    signal: int | None,
    was_up: bool,
    destination: str,
    profile: str,
) -> Failure:
    """Why this ssh ended, from its words (oldest first), then from how it ended.

    `exit_status` and `signal`: one of the two is set. `was_up`: every forward had been confirmed.
    `destination` and `profile` are put into the sentences ("vps.example.com does not answer").
    """
    kind, said, detail = _judge(evidence, exit_status, signal, was_up)
    return failure(kind, destination=destination, profile=profile, said=said, **detail)


_Cause = tuple[str, str, dict[str, str]]

# Words that come with many causes: anything more telling is taken instead.
_VAGUE = frozenset({"closed_before_sign_in", "proxy_failed", "reset", "server_disconnected"})
# These end nothing by themselves; they explain a permission denied that follows.
_HINTS = frozenset({"key_unreadable", "key_missing", "key_type_refused", "agent_refused"})
# ssh ends with these only before it is up; later they answer a request over the control socket.
_SETUP = frozenset(
    {
        "port_taken",
        "socket_path_taken",
        "forwarding_refused",
        "port_not_permitted",
        "local_port_taken",
        "local_listen_failed",
    }
)
# clientloop.c:quit_message writes these to the terminal, not to the log (8.4 to 10.0).
_LATE_ON_TERMINAL = frozenset({"dropped", "reset"})
_LATE = {
    "closed_before_sign_in": "dropped",
    "proxy_failed": "dropped",
    "stalled": "keepalive_timeout",
}


def _judge(
    evidence: Sequence[Evidence], exit_status: int | None, signal: int | None, was_up: bool
) -> _Cause:
    signed_in = _last(evidence, Progress.AUTHENTICATED)
    if signed_in is None and not was_up:
        cause = _before_sign_in(evidence)
    else:  # where it was up long ago, the line of its sign-in may have been dropped
        cause = _after_sign_in(evidence, signed_in or 0, was_up)
    if signal is not None and (cause is None or cause[0] in _VAGUE):
        return "ended_by_signal", "", {"number": str(signal)}
    if cause is not None:
        return cause
    if exit_status == 0 and (was_up or signed_in is not None):
        # Signed in, and without a session, ssh exits 0 for TERM alone (clientloop.c:client_loop):
        # the server is not to blame.
        return "ended_by_signal", "", {"number": str(int(SIGTERM))}
    unknown = [item for item in _before_banner(evidence) if item.kind == "unknown"]
    if unknown:
        return "unknown", unknown[-1].said, {}
    return "ended", "", {} if exit_status is None else {"status": str(exit_status)}


def _before_sign_in(evidence: Sequence[Evidence]) -> _Cause | None:
    # The server's banner may be on the terminal from SERVICE_ACCEPTED on; what came before it is
    # ssh's, the shell's or the jump host's.
    log = [item for item in evidence if not item.from_terminal]
    early = [item for item in _before_banner(evidence) if item.from_terminal]
    cause = _first_telling(log)
    if cause is not None:
        if cause.kind == "permission_denied":
            return _permission_denied(log, early, cause)
        return _cause(log, cause, _context(log))
    on_terminal = _last_telling(early)
    if on_terminal is not None:
        return _cause(early, on_terminal, _jump(log, on_terminal))
    vague = next((item for item in log if item.kind in _VAGUE), None)
    if vague is None:
        hint = next((item for item in log + early if item.kind in _HINTS), None)
        return None if hint is None else _cause(log + early, hint, {})
    return _closed(evidence, log, early, vague)


def _closed(
    evidence: Sequence[Evidence], log: list[Evidence], early: list[Evidence], vague: Evidence
) -> _Cause:
    """The connection went away; where it was by then tells more than the line."""
    if _last(evidence, Progress.SERVICE_ACCEPTED) is not None:
        booting = next((item for item in evidence if item.kind == "server_booting"), None)
        if booting is not None:
            return "server_booting", booting.said, {}
        return "closed_during_sign_in", vague.said, _context(log)
    if _last(evidence, Progress.PROXY_STARTED) is not None:
        words = [item for item in early if item.kind == "proxy_failed"]
        words = words or [item for item in early if item.kind == "unknown"][-1:] or [vague]
        return "proxy_failed", words[0].said, dict(words[0].detail)
    return _cause(log, vague, _context(log))


def _after_sign_in(evidence: Sequence[Evidence], signed_in: int, was_up: bool) -> _Cause | None:
    begin = signed_in
    if was_up:
        marks = (Progress.ALL_CONFIRMED, Progress.INTERACTIVE)
        begin = max(_last(evidence, mark) or signed_in for mark in marks)
    later = [item for item in evidence[begin:] if not (was_up and item.kind in _SETUP)]
    log = [item for item in later if not item.from_terminal]
    context = _context([item for item in evidence if not item.from_terminal])
    cause = _first_telling(log)
    if cause is not None:
        return _refine_forward(evidence, log, _as_late(cause), context)
    # The banner came before; of what ssh itself says there the last is the end.
    said = [item for item in later if item.from_terminal and item.kind in _LATE_ON_TERMINAL]
    vague = said[-1:] or [item for item in log if item.kind in _VAGUE]
    return _cause(log, _as_late(vague[0]), context) if vague else None


def _as_late(cause: Evidence) -> Evidence:
    """Words that packet.c has for the sign-in and the main loop alike, as what they mean here."""
    kind = _LATE.get(cause.kind, cause.kind)
    if kind == "dropped" and " reset by " in cause.said:
        kind = "reset"
    return replace(cause, kind=kind)


def _refine_forward(
    evidence: Sequence[Evidence], log: list[Evidence], cause: Evidence, context: dict[str, str]
) -> _Cause:
    kind, said, detail = _cause(log, cause, context)
    if kind in ("forwarding_refused", "port_not_permitted"):
        # The line that names the port comes behind the one that names the reason.
        for item in log:
            if item.kind in ("port_taken", "socket_path_taken"):
                detail = dict(item.detail) | detail
        key = next((item for item in evidence if item.kind == Progress.KEY_OPTIONS), None)
        options = None if key is None else (key.get("options") or "").split()
        if kind == "forwarding_refused" and options is not None:
            kind = kind if "port-forwarding" in options else "key_may_not_forward"
    elif kind == "port_taken" and 0 < int(detail.get("listen_port", "0")) < 1024:
        kind = kind if detail.get("user") == "root" else "privileged_port"
    elif kind == "local_port_taken":
        # One `bind` line a family; "in use" in any of them is the cause.
        binds = [item for item in log if item.get("listen_port") and item.get("reason")]
        if binds:
            detail = dict(binds[-1].detail) | detail
        if binds and not any("in use" in (item.get("reason") or "") for item in binds):
            kind, said = "local_listen_failed", binds[-1].said
    return kind, said, detail


def _permission_denied(log: list[Evidence], early: list[Evidence], cause: Evidence) -> _Cause:
    kinds = [item.kind for item in log]
    context = _context(log)
    if Progress.PARTIAL_SUCCESS in kinds:
        return "second_factor_needed", cause.said, context
    hint = next((item for item in log if item.kind in _HINTS), None)
    accepted = _last(log, Progress.KEY_ACCEPTED)
    if accepted is not None and Progress.METHODS_LEFT not in kinds[accepted:]:
        # Known to the server, and then not even tried: nothing could be signed with it.
        hint = next((item for item in log[accepted:] if item.kind in _HINTS), None)
        if hint is None:
            return "passphrase_needed", cause.said, context | dict(log[accepted].detail)
    hint = hint or next((item for item in early if item.kind == "key_missing"), None)
    if hint is not None:
        return _cause(log + early, hint, context)
    return _cause(log, cause, context)


def _first_telling(items: list[Evidence]) -> Evidence | None:
    return next(
        (
            item
            for item in items
            if item.is_failure and item.kind not in _VAGUE | _HINTS | {"unknown"}
        ),
        None,
    )


def _last_telling(items: list[Evidence]) -> Evidence | None:
    """Of the terminal the last: a jump host's own banner may stand before it."""
    return _first_telling(items[::-1])


def _cause(items: list[Evidence], cause: Evidence, context: dict[str, str]) -> _Cause:
    """`cause` with the details of all lines of its kind, and the one of them that reads best."""
    same = [item for item in items if item.kind == cause.kind] or [cause]
    detail: dict[str, str] = {}
    for item in same:
        detail = {name: value for name, value in item.detail if value} | detail
    plain = [item for item in same if not re.match(r"debug1: |@|SHA256:|Offending ", item.said)]
    return cause.kind, (plain or [cause])[0].said, context | detail


def _context(log: list[Evidence]) -> dict[str, str]:
    """Port and user, from the lines that led here."""
    context: dict[str, str] = {}
    for item in log:
        if item.kind in (Progress.CONNECTING, Progress.SIGNING_IN):
            context |= {"port": item.get("port") or "", "user": item.get("user") or ""}
    return context


def _jump(log: list[Evidence], cause: Evidence) -> dict[str, str]:
    """The jump host that `cause` is about, from the command line that ssh made of ProxyJump."""
    started = _last(log, Progress.PROXY_STARTED)
    command = "" if started is None else log[started].get("command") or ""
    # ssh.c:main: ssh [-l USER] [-p PORT] … -W '[%h]:%p' HOST; any other is a ProxyCommand
    match = re.search(r" -W '?\[\S+\]:\S+ (?P<host>\S+)$", command)
    if match is None or cause.kind.startswith("proxy_"):
        return {}
    host = cause.get("host") or match["host"]
    user, port = cause.get("user") or "", ""
    if host == match["host"]:  # else it is another hop, whose port is not known here
        user = user or _option(command, "-l")
        port = _option(command, "-p")
    at = f"{user}@{host}" if user else host
    return {"host": host, "user": user, "port": port, "at": at}


def _option(command: str, flag: str) -> str:
    match = re.search(rf" {flag} (\S+)", command)
    return match[1] if match else ""


def _before_banner(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Log and terminal in their order; of the terminal what came before SERVICE_ACCEPTED."""
    accepted = _last(evidence, Progress.SERVICE_ACCEPTED)
    return [
        item
        for index, item in enumerate(evidence)
        if accepted is None or index < accepted or not item.from_terminal
    ]


def _last(evidence: Sequence[Evidence], kind: str) -> int | None:
    return next(
        (index for index in range(len(evidence) - 1, -1, -1) if evidence[index].kind == kind), None
    )
