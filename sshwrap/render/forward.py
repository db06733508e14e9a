"""A forward as a person reads it: its two ends, who reaches it, what is wrong, what to do.

Laws. "from here" stands with whatever this machine alone has seen. What was not seen is no trouble
and never called well. "up, but" is said for what `ok` counts as wrong, and for a target that does
not answer. Advice is something that can be done as it stands.
"""

from __future__ import annotations

from sshwrap.tunnel.snapshot import EVERY_ADDRESS, WRONG_REACH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - names, nothing is bound here
NO_ENTRY = ("refused", "timeout")
LOOPBACK = ("localhost", "ip6-localhost", "::1")
OWN_LOOPBACK = 'on the server\'s own loopback: its GatewayPorts is "no"'
DASH_G = "(-g does not change that: it is for -L and -D)"


def listen_text(forward: Mapping[str, Any]) -> str:
    """What a visitor types; the option before it where it is not a remote forward."""
    option = {"local": "-L ", "dynamic": "-D "}.get(forward["kind"], "")
    if forward["address"]:
        return option + str(forward["address"])
    if forward["listen_path"]:
        return option + str(forward["listen_path"])
    host = forward["listen_host"] or ("*" if forward["kind"] == "remote" else "localhost")
    if not forward["listen_port"]:
        return f"{option}a port that the server chooses"
    return option + host_port(host, forward["listen_port"])


def connect_text(forward: Mapping[str, Any]) -> str:
    if forward["connect_path"]:
        return str(forward["connect_path"])
    if not forward["connect_port"]:
        return "SOCKS proxy"
    return host_port(forward["connect_host"] or "localhost", forward["connect_port"])


def troubles(forward: Mapping[str, Any]) -> list[str]:
    """What is not as asked with a forward whose tunnel is up: one sentence each, or none."""
    # Where the listener itself is wrong, that explains why nobody gets in: one sentence, not two.
    wrong = _listens_wrong(forward) or _not_reached(forward)
    found = [wrong] if wrong else []
    if forward["target"] == "refused":
        where = " on this machine" if is_here(forward) else ""
        found.append(
            f"nothing answers on {connect_text(forward)}{where}: the tunnel is fine and serves "
            "again as soon as the program does"
        )
    return found


def advice(forward: Mapping[str, Any], profile: str) -> list[str]:
    """The one thing to do about where it listens or who gets in, line by line; [] for nothing."""
    reach, port = forward["reach"], port_of(forward)
    if reach == "half_bound":
        there = ", on the server" if forward["kind"] == "remote" else ""
        return [f"see who holds it{there}:", f"  sudo ss -ltnp 'sport = :{port}'"]
    if reach == "loopback_only":
        return [f"sshwrap doctor {profile} --fix"]
    if reach == "exposed":
        return [f"sshwrap doctor {profile}"]
    if not _is_for_all(forward) or forward["from_here"] not in NO_ENTRY:
        return []
    if forward["from_here"] == "refused" and reach != "as_asked":
        return [f"sshwrap doctor {profile} --fix"]
    return [
        "on the server, where ufw is its firewall:",
        f"  sudo ufw allow {port}/tcp",
        'else its provider\'s firewall ("security group", 安全组)',
    ]


def facts(forward: Mapping[str, Any]) -> list[str]:
    """What was seen of it that is no trouble: it answers, where it listens, what was not seen."""
    found: list[str] = []
    reach, reason, answer = forward["reach"], forward["reach_reason"], forward["from_here"]
    bound, is_remote = forward["bound"] or (), forward["kind"] == "remote"
    on_loopback = is_remote and bool(bound) and all(map(is_loopback, bound))
    # Whoever has the other half, or the server's outer addresses, may be the one that answers.
    if answer == "open" and reach not in ("half_bound", "loopback_only"):
        found.append(f"answers from here{in_time(forward)}")
    elif answer in NO_ENTRY and not _is_for_all(forward) and not on_loopback:
        found.append(_seen(forward))
    if is_remote and reach not in WRONG_REACH and not forward["listen_path"]:
        chosen = forward["listen_host"] is None
        if on_loopback:
            wider = f"; for everybody, write *:{forward['spec']}" if chosen else ""
            found.append(f"on the server only{wider}")
        elif bound and (chosen or (answer == "unknown" and not reason)):
            found.append(f"listens on {where(bound)}")
    if reach == "checking":
        found.append("looking where it listens")
    elif reach == "unknown" and reason and is_remote:
        found.append(f"not seen where it listens: {reason}")
    elif reach == "as_asked" and reason:
        found.append(str(reason))
    return found


def where(bound: Sequence[str]) -> str:
    """ "every address", "every IPv4 address", "127.0.0.1 and ::1"."""
    if EVERY_IPV4 in bound and EVERY_IPV6 in bound:
        return "every address"
    every = [each for each in bound if each in (EVERY_IPV4, EVERY_IPV6)]
    if every:
        return f"every {'IPv6' if every[0] == EVERY_IPV6 else 'IPv4'} address"
    return " and ".join(bound)


def in_time(forward: Mapping[str, Any]) -> str:
    """ " in 31 ms", " in 5 s"; "" where the supervisor does not tell."""
    taken = forward.get("_from_here_ms")
    if not isinstance(taken, int | float):
        return ""
    if taken < 1:
        return " in less than 1 ms"
    return (
        f" in {taken:.0f} ms" if taken < 1000 else f" in {taken / 1000:.1f} s".replace(".0 ", " ")
    )


def half_text(bound: Sequence[str], reason: str | None) -> str:
    """Which half of a port works, and who has the other one."""
    families = {"IPv6" if ":" in each else "IPv4" for each in bound}
    who = f"visitors by {families.pop()} alone" if len(families) == 1 else "not all visitors"
    held = reason or "another program has the other half"
    return f"only half ours: {who} get through; {held}; asked for again until it is free"


def wide_text(bound: Sequence[str]) -> str:
    if any(each in (EVERY_IPV4, EVERY_IPV6) for each in bound):
        return (
            f'wider than asked: sshd listens on {where(bound)}, its GatewayPorts is "yes" and '
            "overrides the address asked for"
        )
    return "wider than asked" + (f": sshd listens on {where(bound)}" if bound else "")


def is_loopback(host: str) -> bool:
    return host in LOOPBACK or host.startswith("127.")


def is_here(forward: Mapping[str, Any]) -> bool:
    """Whether the target of a remote forward is on this very machine."""
    return forward["kind"] == "remote" and bool(
        forward["connect_path"] or is_loopback(forward["connect_host"] or "localhost")
    )


def port_of(forward: Mapping[str, Any]) -> int | None:
    port: int | None = forward["allocated_port"] or forward["listen_port"]
    return port


def host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listens_wrong(forward: Mapping[str, Any]) -> str | None:
    port, bound = port_of(forward), forward["bound"] or ()
    match forward["reach"]:
        case "loopback_only":
            seen = "only programs on the server itself can connect"
            if forward["from_here"] in NO_ENTRY:
                seen = _seen(forward, timed=False)
            return f"{seen}: sshd put port {port} {OWN_LOOPBACK} {DASH_G}"
        case "half_bound":
            return f"port {port} is {half_text(bound, forward['reach_reason'])}"
        case "exposed":
            return f"port {port} is {wide_text(bound)}"
    return None


def _not_reached(forward: Mapping[str, Any]) -> str | None:
    """Everybody was asked for, and this machine does not get in."""
    answer = forward["from_here"]
    if not _is_for_all(forward) or answer not in NO_ENTRY:
        return None
    seen, bound = _seen(forward), forward["bound"] or ()
    if forward["reach"] == "as_asked":
        listens = f", though sshd listens on {where(bound)}" if bound else ""
        if answer == "timeout":
            return f"{seen}{listens}: a firewall drops it, the server's own or its provider's"
        return f"{seen}{listens}: a firewall refuses, or the name leads to another machine"
    if answer == "timeout":
        return f"{seen}: most likely a firewall drops it, the server's own or its provider's"
    return f"{seen}: most likely sshd put it {OWN_LOOPBACK} {DASH_G}"


def _seen(forward: Mapping[str, Any], *, timed: bool = True) -> str:
    if forward["from_here"] == "refused":
        return "refused from here"
    return "no answer from here" + (in_time(forward) if timed else "")


def _is_for_all(forward: Mapping[str, Any]) -> bool:
    return forward["kind"] == "remote" and forward["listen_host"] in EVERY_ADDRESS
