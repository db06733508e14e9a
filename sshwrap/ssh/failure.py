"""Why an ssh ended: its words first, its exit status last.

ssh exits 255 for nearly everything and 0 on SIGTERM, so the exit status only decides where no line
says anything. The kinds and their sentences are in catalogue.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from signal import SIGTERM

from sshwrap.ssh.catalogue import CATALOGUE
from sshwrap.ssh.catalogue import Disposition as Disposition
from sshwrap.ssh.evidence import Evidence, Progress
from sshwrap.ssh.lines import bounded, clean

MAX_SENTENCE = 240  # characters of a summary or an advice: three lines of a terminal
MAX_SAID = 400
_MAX_DETAIL = 100


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
    fields = _fields(destination, profile, detail)
    return Failure(
        kind,
        entry.disposition,
        bounded(entry.summary.format_map(fields), MAX_SENTENCE),
        bounded(clean(said), MAX_SAID),
        bounded(entry.advice.format_map(fields), MAX_SENTENCE),
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


def _judge(
    evidence: Sequence[Evidence], exit_status: int | None, signal: int | None, was_up: bool
) -> _Cause:
    signed_in = _last(evidence, Progress.AUTHENTICATED)
    if signed_in is None:
        cause = _before_sign_in(evidence)
    else:
        cause = _after_sign_in(evidence, signed_in, was_up)
    if signal is not None and (cause is None or cause[0] in _VAGUE):
        return "ended_by_signal", "", {"number": str(signal)}
    if cause is not None:
        return cause
    if exit_status == 0 and signed_in is not None:
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
        return _cause(early, on_terminal, {})
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
        return _refine_forward(evidence, log, cause, context)
    # The banner came before; of what ssh itself says there the last is the end.
    said = [item for item in later if item.from_terminal and item.kind in _LATE_ON_TERMINAL]
    vague = said[-1:] or [item for item in log if item.kind in _VAGUE]
    return _cause(log, vague[0], context) if vague else None


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
        if item.kind == Progress.SIGNING_IN:
            context |= {"port": item.get("port") or "", "user": item.get("user") or ""}
    return context


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


class _Fields(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


_ALGORITHMS = {
    "key exchange method": "KexAlgorithms",
    "host key type": "HostKeyAlgorithms",
    "cipher": "Ciphers",
    "MAC": "MACs",
}


def _fields(destination: str, profile: str, detail: dict[str, str]) -> _Fields:
    """What the sentences of the catalogue may name; a server's text bounded and clean."""
    known = _Fields(
        {name: bounded(clean(value), _MAX_DETAIL) for name, value in detail.items() if value}
    )
    user, host, port = split_destination(destination)
    known.setdefault("host", host)
    port = known["port"] or port
    user = known["user"] or user
    reason, listen_port = known["reason"] or known["text"], known["listen_port"]
    ssh = ["ssh", *(["-p", port] if port not in ("", "22") and "://" not in destination else [])]
    known |= {
        "destination": destination,
        "profile": shlex.quote(profile),
        "because": f" ({reason})" if reason else "",
        "on_port": f" on port {port}" if port else "",
        "port_or_22": port or "22",
        "host_word": shlex.quote(known["host"]),
        "user_or_you": user or "this account",
        "ssh": shlex.join([*ssh, destination]),
        "copy_id": shlex.join(["ssh-copy-id", *ssh[1:], destination]),
        "from_source": f': "{known["source"]}"' if known["source"] else "",
        "command_quoted": f': "{known["command"]}"' if known["command"] else "",
        "spec_quoted": f'"{known["spec"]}"' if known["spec"] else "as written",
        "in_file": f" {known['file']}" if known["file"] else "",
        "with_status": f" (exit status {known['status']})" if known["status"] else "",
        "path": known["path"] or "of this profile",
        "path_word": shlex.quote(known["path"] or "~/.ssh/id_ed25519"),
        "listen": _listen(known),
        "listen_path_word": shlex.quote(known["listen_path"]),
        "local_holder": f"ss -ltnp 'sport = :{listen_port}'" if listen_port else "ss -lxp",
        "control_dir_word": shlex.quote(known["control_path"].rpartition("/")[0] or "."),
        "or_no_address": _or_no_address(known),
        "key_remedy": _key_remedy(known),
        "known_word": shlex.quote(known["known_as"] or known["host"]),
        "known_hosts": f" -f {shlex.quote(known['file'])}" if known["file"] else "",
        "what_word": known["what"] or "algorithm",
        "option": _ALGORITHMS.get(known["what"], "Ciphers"),
        # The server's text, and to be pasted: nothing but the characters of an algorithm's name.
        "first_offer": re.sub(r"[^A-Za-z0-9@.+-]", "", known["offer"].partition(",")[0]),
    }
    return known


def split_destination(destination: str) -> tuple[str, str, str]:
    """(user, host, port) of "[user@]host" or "ssh://[user@]host[:port]", "" for what it lacks."""
    is_uri = destination.startswith("ssh://")
    text = destination.removeprefix("ssh://").rstrip("/") if is_uri else destination
    user, _, host = text.rpartition("@")
    port = ""
    if is_uri and (match := re.fullmatch(r"(.+?):(\d+)", host)) and not host.endswith("]"):
        host, port = match.groups()
    return user, host.removeprefix("[").removesuffix("]"), port


def _listen(known: _Fields) -> str:
    if known["listen_path"]:
        return f"the socket {known['listen_path']}"
    if known["listen_port"] == "0":
        return "a free port"
    return f"port {known['listen_port']}" if known["listen_port"] else "the port"


def _or_no_address(known: _Fields) -> str:
    """sshd gives one answer for a port in use and for an address that it does not have."""
    host = known["listen_host"]
    if host in ("", "*", "localhost", "0.0.0.0", "::", "127.0.0.1", "::1"):  # noqa: S104
        return ""
    return f", or {host} is not an address of it"


def _key_remedy(known: _Fields) -> str:
    path = shlex.quote(known["path"] or "~/.ssh/id_ed25519")
    if known["mode"] or known["reason"] == "bad permissions":
        return f"chmod 600 {path}"
    return f"see what is wrong with it: ssh-keygen -y -f {path}"
