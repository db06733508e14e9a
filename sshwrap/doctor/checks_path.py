"""The checks of the way to the server: name, TCP, greeting, host key, delay.

Through a jump host nothing but the host key can be seen from here; the rest is then left out. A
running tunnel has come the whole way: asked over it, nothing of it is in doubt.
"""

from __future__ import annotations

import shlex

from sshwrap.doctor.facts import Answer, Facts, HostKey, HostKeyState, Known, Unknown, value_of
from sshwrap.doctor.judging import (
    Asked,
    Judged,
    command,
    fail,
    host_of,
    line,
    ok,
    seconds_text,
    signed_in,
    unknown,
    warn,
)
from sshwrap.ssh.version import parse_version

BY_TUNNEL = "the running tunnel came this way"
SLOW = 1.5  # seconds; a visitor waits that long for every new connection
SSH_GREETINGS = ("SSH-2.0-", "SSH-1.99-")  # RFC 4253, 5.1


def name_resolves(facts: Facts, asked: Asked) -> Judged | None:
    if facts.way.jump is not None:
        return None
    if isinstance(facts.way.addresses, Unknown):
        return unknown(facts.way.addresses)
    addresses = facts.way.addresses.value
    if addresses:
        return ok(", ".join(addresses), addresses[0])
    host = host_of(facts, asked)
    return fail(
        f"the name {host} has no address right now",
        "Either there is no such name, or this machine cannot reach a name server.",
        "check the spelling, and that this machine is online:",
        command("getent", "hosts", host),
        fold=f"{host} has no address",
    )


def tcp(facts: Facts, asked: Asked) -> Judged | None:
    if facts.way.jump is not None:
        if signed_in(facts):
            return ok(f"through {facts.way.jump}", f"through {facts.way.jump}")
        return None  # what failed on the way stands with the sign-in
    if facts.way.by_tunnel:
        return ok(BY_TUNNEL, BY_TUNNEL)
    if isinstance(facts.way.tcp, Unknown):
        return unknown(facts.way.tcp)
    connected = facts.way.tcp.value
    host, port = host_of(facts, asked), port_of(facts, asked)
    taken = seconds_text(connected.seconds)
    match connected.answer:
        case Answer.OPEN:
            is_timed = isinstance(facts.way.round_trip, Known)
            return ok(f"port {port} takes connections, {taken}", "" if is_timed else taken)
        case Answer.REFUSED:
            return fail(
                f"{host} refuses the connection on port {port}",
                "The machine is there and no program listens on that port: sshd is down, the "
                "machine is still booting, or it is another port.",
                "on the server (its console): see whether sshd runs, and on which port",
                line("sudo ss -ltnp | grep sshd"),
            )
        case Answer.TIMEOUT:
            return fail(
                f"{host} does not answer on port {port} in {taken}",
                "Nothing came back at all: it is switched off, has another address, or a "
                "firewall drops the packets.",
                "see that it is switched on, and that its provider's firewall lets the port in:",
                command("nc", "-vz", host, str(port)),
            )
        case Answer.NO_ROUTE:
            return fail(
                f"there is no way to {host}" + (f" ({connected.said})" if connected.said else ""),
                "A router, or this machine, says that it cannot deliver to that address.",
                "see that this machine is online:",
                line(f"ip route get {shlex.quote(next(iter(addresses(facts)), host))}"),
            )
        case Answer.UNRESOLVED:
            return unknown(f"the name {host} has no address")


def banner(facts: Facts, asked: Asked) -> Judged | None:
    if facts.way.jump is not None:
        return None
    if facts.way.by_tunnel:
        return ok(BY_TUNNEL)
    if isinstance(facts.way.banner, Unknown):
        return unknown(facts.way.banner)
    text = facts.way.banner.value
    host, port = host_of(facts, asked), port_of(facts, asked)
    for greeting in SSH_GREETINGS:
        if text.startswith(greeting):
            software = text.removeprefix(greeting)
            version = parse_version(software)
            return ok(text, f"OpenSSH {version}" if version else software.split(" ")[0])
    if not text:
        return fail(
            f"something answers on port {port} of {host} and does not greet",
            "sshd greets at once. This is another service, an overloaded sshd, or a network "
            "that answers for everybody.",
            "check host and port:",
            line(asked.ssh("-v", "true")),
            fold="no SSH greeting",
        )
    return fail(
        f'what answers on port {port} of {host} is no SSH server: "{text}"',
        "Its first line is not SSH's: a web server, or a network that shows its own page.",
        "check host and port; in a hotel or on a train, sign in on its web page first:",
        line(asked.ssh("-v", "true")),
        fold="no SSH server",
    )


def host_key(facts: Facts, asked: Asked) -> Judged:
    if facts.way.by_tunnel:
        return ok(f"the host key is known: {BY_TUNNEL}", "host key known")
    if isinstance(facts.way.host_key, Unknown):
        return unknown(facts.way.host_key)
    key = facts.way.host_key.value
    shown = f": {key.fingerprint}" if key.fingerprint else ""
    match key.state:
        case HostKeyState.KNOWN:
            return ok(f"the host key is known{shown}", "host key known")
        case HostKeyState.CHANGED:
            return _changed(key, asked)
        case HostKeyState.UNKNOWN:
            pass
    if signed_in(facts):
        return ok(f"the host key was new, and ssh has accepted it{shown}", "host key accepted")
    return fail(
        f"nobody has accepted this server's host key yet{shown}",
        "ssh asks once whether this is really the server; sshwrap never answers that for you.",
        "compare the fingerprint with the server's own, then answer yes:",
        line(asked.ssh("true")),
        fold="host key unknown",
    )


def _changed(key: HostKey, asked: Asked) -> Judged:
    file, _, number = key.place.rpartition(":")
    at = f" (line {number} of {file})" if file else ""
    known = f" -f {shlex.quote(file)}" if file else ""
    name = shlex.quote(key.name or asked.profile.destination.rpartition("@")[2])
    shown = f"\nIt shows\n    {key.fingerprint}" if key.fingerprint else ""
    return fail(
        f"not the host key that was accepted before{at}{shown}",
        "A reinstalled server, a hotel's sign-in page, or somebody in between. Nothing was sent; "
        "sshwrap never accepts a changed key.",
        "only if you know why it has changed (a reinstalled server):",
        line(f"ssh-keygen{known} -R {name}"),
        "then compare the new fingerprint with the server's own, and answer yes:",
        line(asked.ssh("true")),
        fold="another host key than before",
    )


def latency(facts: Facts, asked: Asked) -> Judged | None:
    if isinstance(facts.way.round_trip, Unknown):
        if facts.way.by_tunnel:
            return None  # no connection was made to time it by
        return unknown(facts.way.round_trip)
    taken = facts.way.round_trip.value
    if taken < SLOW:
        return ok(f"a round trip takes {seconds_text(taken)}", seconds_text(taken))
    return warn(
        f"a round trip takes {taken:.1f} s",
        "Every new connection of a visitor waits at least that long.",
        "see where the time goes:",
        command("ping", "-c", "5", host_of(facts, asked)),
        fold=f"slow: {taken:.1f} s",
    )


def port_of(facts: Facts, asked: Asked) -> int:
    config = value_of(facts.here.config)
    return config.port if config is not None else asked.profile.port or 22


def addresses(facts: Facts) -> tuple[str, ...]:
    return value_of(facts.way.addresses) or ()
