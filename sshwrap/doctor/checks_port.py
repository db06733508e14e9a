"""The checks of the port on the server: free, allowed to this account, on an address it has."""

from __future__ import annotations

from ipaddress import ip_address

from sshwrap.doctor.checks_gateway import in_force
from sshwrap.doctor.facts import Facts, GatewayPorts, Known, Port, Unknown, value_of
from sshwrap.doctor.findings import Verdict
from sshwrap.doctor.judging import (
    LOOPBACK_NAMES,
    Asked,
    Judged,
    command,
    fail,
    is_for_all,
    is_loopback_named,
    is_root,
    line,
    ok,
    own,
    setting,
    unknown,
    user_of,
    warn,
    was_let_in,
)
from sshwrap.profile.forward import Forward, describe_connect, describe_listen
from sshwrap.ssh.look import Listener, Owner
from sshwrap.tunnel.reach import EVERY_IPV4, EVERY_IPV6

PRIVILEGED = 1024  # Linux' and everybody's default of ip_unprivileged_port_start


def port_free(facts: Facts, asked: Asked) -> Judged | None:
    wanted = [one for one in asked.remote if one.listen_port != 0]
    if not wanted:
        return None
    judged = [_judge(facts, asked, _port(facts, forward)) for forward in wanted]
    for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN):
        for one in judged:
            if one.verdict is verdict:
                return one
    free = "; ".join(one.seen for one in judged)
    return ok(free, free)


def _port(facts: Facts, forward: Forward) -> Port | None:
    def key(one: Forward) -> tuple[object, ...]:
        return (one.listen_port, one.listen_path, one.connect_host, one.connect_port)

    return next((one for one in facts.ports if key(one.forward) == key(forward)), None)


def _judge(facts: Facts, asked: Asked, port: Port | None) -> Judged:
    if port is None:
        return unknown("nobody looked at it")
    if port.forward.listen_path is not None:
        return _judge_path(facts, asked, port)
    number = port.forward.listen_port
    if port.is_ours:
        return ok(f"{number} is held by the running tunnel")
    if isinstance(port.holders, Unknown):
        return unknown(port.holders)
    holders = [one for one in port.holders.value if _is_in_the_way(one, port.forward, facts)]
    if not holders:
        return ok(f"{number} is free")
    return _held(asked, port, holders)


def _is_in_the_way(listener: Listener, forward: Forward, facts: Facts) -> bool:
    """Whether sshd could not listen beside it: on one address of one family only one can."""
    asked = forward.listen_host
    if listener.address in (EVERY_IPV4, EVERY_IPV6) or in_force(facts) is not GatewayPorts(
        "clientspecified"
    ):
        return True
    if asked is None or asked.lower() == "localhost":
        return listener.address in LOOPBACK_NAMES
    if is_for_all(forward):
        return asked == "*" or _version(asked) == _version(listener.address)
    return asked == listener.address or _version(asked) is None


def _version(host: str) -> int | None:
    try:
        return ip_address(host).version
    except ValueError:
        return None


def _held(asked: Asked, port: Port, holders: list[Listener]) -> Judged:
    number = port.forward.listen_port
    at = " and ".join(sorted({one.address for one in holders}))
    name = asked.profile.name
    if port.recorded:
        seen = f"{number} is held by our own dead session ({at})"
        if asked.profile.reclaim:
            why = "The server has not noticed yet that its tunnel is gone; the next start ends it."
            return warn(seen, why, command("sshwrap", "up", name), fold=f"{number} is still held")
        why = "The server has not noticed yet that its tunnel is gone, and reclaim is false."
        return fail(seen, why, "wait until sshd notices, or set reclaim = true in the profile")
    look = line(f"sudo ss -ltnp 'sport = :{number}'")
    half = "sshd then takes the other half only, and still reports success. "
    half = half if len({":" in one.address for one in holders}) == 1 else ""
    if port.programs:
        who = ", ".join(port.programs)
        return fail(
            f"{number} is held by {who} ({at})",
            f"{half}Two cannot listen on one port.",
            f"stop {who} there, or choose another listen port; who it is, on the server:",
            look,
            fold=f"{number} is taken by {who}",
        )
    if any(one.owner is not Owner.OTHER for one in holders):
        return fail(
            f"{number} is held by this very account ({at})",
            f"{half}A dead session of an earlier tunnel, a tunnel from another machine, or a "
            "program of this account: which one, only root can see.",
            "see who it is, then end it or choose another listen port; on the server:",
            look,
            fold=f"{number} is taken",
        )
    uids = sorted({one.uid for one in holders if one.uid is not None})
    who = "uid " + ", ".join(map(str, uids)) if uids else "another account"
    return fail(
        f"{number} is held by {who} ({at})",
        f"{half}Two cannot listen on one port.",
        "see who it is, or choose another listen port; on the server:",
        look,
        fold=f"{number} is taken by {who}",
    )


def _judge_path(facts: Facts, asked: Asked, port: Port) -> Judged:
    path = port.forward.listen_path or ""
    if port.is_ours:
        return ok(f"{path} is held by the running tunnel")
    if isinstance(port.is_in_path_of_socket, Unknown):
        return unknown(port.is_in_path_of_socket)
    if not port.is_in_path_of_socket.value:
        return ok(f"{path} is free")
    if (setting(facts, "streamlocalbindunlink") or "").lower() == "yes":
        return ok(f"{path} is there, and sshd will replace it")
    return fail(
        f"{path} is there already",
        "sshd does not replace it: the forward fails as long as the file is there.",
        "if nobody serves on it any more:",
        line(asked.ssh(command("rm", "-f", path).strip())),
    )


def privileged_port(facts: Facts, asked: Asked) -> Judged | None:
    low = [one for one in asked.remote_ports if 0 < (one.listen_port or 0) < PRIVILEGED]
    if not low:
        return None
    number = low[0].listen_port or 0
    if all(was_let_in(own(facts, one)) for one in low):
        return ok(f"{number} was opened")
    root = is_root(facts, asked)
    if root:
        return ok(f"root may listen on {number}")
    start = value_of(facts.server.unprivileged_from)
    if start is not None and all((one.listen_port or 0) >= start for one in low):
        return ok(f"any account may listen from {start} on")
    if root is None or start is None:
        why = f"Below {PRIVILEGED} only root may listen, unless the server says otherwise."
        return unknown("nobody could see from which port on this account may listen", why)
    user = user_of(facts, asked) or "this account"
    return fail(
        f"{number} is below {start}, and {user} is not root",
        "There only root may listen. sshd gives no reason when it refuses.",
        f"use a listen port from {start} on, sign in as root, or as root on the server:",
        line(f"sysctl -w net.ipv4.ip_unprivileged_port_start={number}"),
        fold=f"{number} is for root alone",
    )


def bind_address(facts: Facts, asked: Asked) -> Judged | None:
    named = [
        one
        for one in asked.remote_ports
        if one.listen_host is not None and not is_for_all(one) and not is_loopback_named(one)
    ]
    if not named:
        return None
    for forward in named:
        port = _port(facts, forward)
        exists = unknown("nobody looked at it") if port is None else port.address_exists
        if isinstance(exists, Judged):
            return exists
        if isinstance(exists, Unknown):
            return unknown(exists)
        if not exists.value:
            return fail(
                f'"{forward.listen_host}" is no address of the server',
                "sshd cannot listen there. Behind a provider's NAT the public address is not one "
                "of the server's own.",
                "write * for every address, or one of those that it has:",
                line(asked.ssh("ip", "-br", "address")),
                fold=f"{forward.listen_host} is not there",
            )
    return ok(", ".join(f"the server has {one.listen_host}" for one in named))


def target_sshd(facts: Facts, asked: Asked) -> Judged | None:
    """Whoever comes through the tunnel to an sshd comes from 127.0.0.1, as everybody else."""
    if not isinstance(facts.here.targets, Known):
        return None
    found = [one.forward for one in facts.here.targets.value if one.is_sshd]
    if not found:
        return None
    open_to_all = [one for one in found if _is_open(facts, asked.judged(one))]
    shown = describe_connect(found[0])
    if not open_to_all:
        return ok(f"{shown} is an sshd, and only the server itself gets to it")
    forward = open_to_all[0]
    listen = forward.listen_port or "PORT"
    return warn(
        f"{shown} is an sshd, and everybody can knock at it on {describe_listen(forward)}",
        "It sees every visitor as 127.0.0.1: a stranger's wrong passwords lock you out with "
        "them (PerSourcePenalties, fail2ban).",
        "keep it on the server and come through it: in the profile",
        line(f'remote_forward = ["localhost:{listen}:{shown}"]'),
        "and from elsewhere:",
        line(f"ssh -J {asked.profile.destination} -p {listen} localhost"),
        "or exempt it, in sshd_config of this machine:",
        line("PerSourcePenaltyExemptList 127.0.0.1,::1"),
        fold="an sshd behind it is open to everybody",
    )


def _is_open(facts: Facts, forward: Forward) -> bool:
    value = in_force(facts)
    if forward.listen_path is not None:
        return False
    if value is GatewayPorts.YES:
        return True
    return (
        value is not GatewayPorts.NO
        and not is_loopback_named(forward)
        and (forward.listen_host is not None)
    )
