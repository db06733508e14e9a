"""Findings -> one line of verdict, and the next command.

Laws. The first cause decides, in the order of the sections; what only follows from it is not told
again. "open to everybody" is never said without saying that sshwrap adds no encryption there.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from sshwrap.doctor.checks_gateway import Wrong, in_force, what_is_wrong
from sshwrap.doctor.checks_live import server_name
from sshwrap.doctor.facts import Facts, GatewayPorts, HostKeyState, value_of
from sshwrap.doctor.findings import Finding, Verdict
from sshwrap.doctor.judging import Asked, is_for_all, own, seen_reach, signed_in
from sshwrap.tunnel.reach import AS_ASKED, LOOPBACKS

HTTPS = "docs/https.md"
CLEAR_TEXT = (
    "open to everybody who knows the port; sshwrap adds no encryption between visitor and server "
    f"({HTTPS})"
)


@dataclass(frozen=True, slots=True)
class Summary:
    """`text`: one sentence, without a final period. `next`: a command to paste, or ""."""

    text: str
    next: str = ""


def exit_status(findings: Sequence[Finding]) -> int:
    """0 where nothing fails, else 1."""
    return int(any(one.verdict is Verdict.FAIL for one in findings))


def summarize(findings: Sequence[Finding], facts: Facts, asked: Asked) -> Summary:
    failed = [one for one in findings if one.verdict is Verdict.FAIL]
    causes = [one for one in failed if not one.cause] or failed
    if causes:
        return _of_failure(causes, facts, asked)
    return _of_success(findings, facts, asked)


def next_command(advice: str) -> str:
    """The first line of advice that is a command: set in, and nothing of a file."""
    for row in advice.splitlines():
        text = row.removeprefix("    ")
        first = text.strip().split(" ")[0]
        if text != row and first in _PROGRAMS:
            return text.partition("    ")[0].strip()
    return ""


_PROGRAMS = frozenset(
    {
        *("sshwrap", "ssh", "ssh-add", "ssh-keygen", "ssh-copy-id", "sudo", "chmod", "ls", "ss"),
        *("nc", "ping", "getent", "ip", "SSHWRAP_SSH=/usr/local/bin/ssh"),
    }
)


def _of_failure(causes: Sequence[Finding], facts: Facts, asked: Asked) -> Summary:
    first, name = causes[0], asked.name
    more = f"; {len(causes) - 1} more to put right" if len(causes) > 1 else ""
    match first.id:
        case "host-key" if _is_new(facts):
            text = f"{name} waits for you to accept the server's host key, once"
            return Summary(text + more, asked.ssh("true"))
        case "host-key":
            text = f"{name} stays down: the server shows another host key than before"
            return Summary(text + more)
        case "gateway-ports":
            return _of_gateway_ports(first, causes, facts, asked)
        case "target" if len(causes) == 1:
            text = f"nothing is wrong with the tunnel; {first.fold}"
            return Summary(text, next_command(first.advice))
        case "from-here":
            text = f"{name} listens on the server, and something in front of it keeps visitors out"
            return Summary(text + more, next_command(first.advice))
    return Summary(f"{name} does not work: {first.fold}{more}", next_command(first.advice))


def _is_new(facts: Facts) -> bool:
    key = value_of(facts.way.host_key)
    return key is not None and key.state is HostKeyState.UNKNOWN


def _of_gateway_ports(
    first: Finding, causes: Sequence[Finding], facts: Facts, asked: Asked
) -> Summary:
    value = in_force(facts)
    wrong = {what_is_wrong(one, value) for one in asked.remote_ports} if value else set()
    how, then = "works on the server only", "makes it reachable"
    if Wrong.EXPOSED in wrong and Wrong.LOOPBACK not in wrong:
        how, then = "is open wider than asked", "puts that right"
    left = len(causes) - 1
    text = f"{asked.name} {how}" + (
        f"; {left} more to put right" if left else f". One change {then}"
    )
    return Summary(text, next_command(first.advice))


def _of_success(findings: Sequence[Finding], facts: Facts, asked: Asked) -> Summary:
    warned = [one for one in findings if one.verdict is Verdict.WARN and not one.cause]
    name, state = asked.name, facts.live.state
    but = f"; {len(warned)} to look at" if warned else ""
    if not asked.has_profile:
        text = f"nothing that was seen keeps {name} from carrying tunnels{but}"
        return Summary(text, f"sshwrap run ssh -R '*:12345:localhost:8080' {shlex.quote(name)}")
    start = "" if state == "up" else shlex.join(["sshwrap", "up", name])
    if not signed_in(facts) and state != "up":
        unseen = sum(one.verdict is Verdict.UNKNOWN for one in findings)
        text = f"nothing wrong was seen of {name}, and {unseen} of {len(findings)} checks could not"
        return Summary(f"{text} be made{but}", start)
    public = [one for one in asked.remote_ports if is_for_all(one)]
    value = in_force(facts)
    if value is GatewayPorts.YES:  # and whatever leaves it to the server is as open
        public = list(asked.remote_ports)
    if public:
        addresses = ", ".join(server_name(facts, asked, one) for one in public)
        one = len(public) == 1
        if state == "up" and _is_seen(facts, asked):
            return Summary(f"{name} works: {addresses} {'is' if one else 'are'} {CLEAR_TEXT}{but}")
        return Summary(f"{name} can start; {addresses} will be {CLEAR_TEXT}{but}", start)
    left = [one for one in asked.remote_ports if one.listen_host is None]
    if left and (value is not None or _is_inside(facts, asked)):
        text = f"{name} is on the server only, as asked: its forward has no bind address{but}"
        return Summary(f"{text}. For everybody", asked.doctor("--fix", "--public"))
    if start:
        return Summary(f"{name} can start: nothing is in its way{but}", start)
    seen = "works as asked" if _is_seen(facts, asked) else "is up, and nothing wrong was seen"
    return Summary(f"{name} {seen}{but}")


def _is_seen(facts: Facts, asked: Asked) -> bool:
    """Whether every remote forward was seen to listen as asked."""
    return all(seen_reach(own(facts, one)) == AS_ASKED for one in asked.remote)


def _is_inside(facts: Facts, asked: Asked) -> bool:
    trials = [own(facts, one) for one in asked.remote_ports]
    return any(
        one is not None
        and one.reach is not None
        and bool(one.reach.bound)
        and set(one.reach.bound or ()) <= set(LOOPBACKS)
        for one in trials
    )
