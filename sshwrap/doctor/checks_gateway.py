"""GatewayPorts: where sshd puts a remote forward's listener, by its files and by what it does.

Laws. What the running sshd was seen to do goes before its files. A forward without a bind address
leaves the choice to the server: wherever it is put is as asked. The table is that of
channels.c:channel_fwd_bind_addr, the same from 7.4 to 10.x.
"""

from __future__ import annotations

from enum import StrEnum

from sshwrap.doctor.facts import Facts, GatewayPorts, Known, Rights, Unknown, value_of
from sshwrap.doctor.judging import (
    Asked,
    Judged,
    fail,
    is_for_all,
    is_loopback_named,
    line,
    ok,
    origin,
    reload_lines,
    seen_reach,
    setting,
    trial_of,
    tried,
    unknown,
    user_of,
    warn,
)
from sshwrap.profile.forward import Forward, describe_listen
from sshwrap.tunnel.reach import EXPOSED, LOOPBACK_ONLY

DASH_G = "-g does not help: it is for -L and -D. For -R the server decides."
DOC = "docs/doctor.md#gateway-ports"
MAX_SHOWN = 40  # characters of a value that is none of the three


class Wrong(StrEnum):
    """What a value makes of a forward that asked for something else."""

    LOOPBACK = "loopback"  # others were asked for, only the server itself gets in
    EXPOSED = "exposed"  # everybody gets in, and only some were asked for


def gateway_ports(facts: Facts, asked: Asked) -> Judged | None:
    forwards = asked.remote_ports
    if not forwards and asked.has_profile:
        return None
    running, by_file = value_running(facts), value_by_file(facts)
    value = running or by_file
    if value is None:
        return _unknown(facts)
    wrong = _first_wrong(forwards, value)
    if wrong is None and asked.as_public and not forwards and value is GatewayPorts.NO:
        wrong = (None, Wrong.LOOPBACK)
    if running is not None and by_file is not None and running is not by_file:
        return _differ(facts, asked, running, by_file, wrong)
    if wrong is None:
        return _fine(facts, asked, value)
    return _wrong(facts, asked, value, *wrong)


def what_is_wrong(forward: Forward, value: GatewayPorts) -> Wrong | None:
    """What sshd makes of this listener by that value, where it is not what was asked for."""
    if forward.listen_host is None:
        return None
    if is_loopback_named(forward):
        return Wrong.EXPOSED if value is GatewayPorts.YES else None
    if value is GatewayPorts.NO:
        return Wrong.LOOPBACK
    is_one = not is_for_all(forward)
    return Wrong.EXPOSED if is_one and value is GatewayPorts.YES else None


def value_by_file(facts: Facts) -> GatewayPorts | None:
    """As `sshd -T` prints it, in either case of the keyword."""
    text = setting(facts, "gatewayports")
    try:
        return None if text is None else GatewayPorts(text.lower())
    except ValueError:
        return None


def value_running(facts: Facts) -> GatewayPorts | None:
    """What the running sshd was seen to do: by the pair of test ports, else by any forward that it
    put elsewhere than asked (the tunnel's own last: its session may be older than a reload)."""
    if isinstance(facts.live.gateway_ports, Known):
        return facts.live.gateway_ports.value
    for one in sorted(tried(facts), key=lambda each: not each.is_spare):
        told = {LOOPBACK_ONLY: GatewayPorts.NO, EXPOSED: GatewayPorts.YES}.get(seen_reach(one))
        if told is not None:
            return told
    return None


def in_force(facts: Facts) -> GatewayPorts | None:
    """What the running sshd does, else what its files say; None where neither is known."""
    return value_running(facts) or value_by_file(facts)


def is_wrong(facts: Facts, asked: Asked) -> bool:
    """Whether this check fails: the cause of what other checks then see."""
    value = in_force(facts)
    return value is not None and _first_wrong(asked.remote_ports, value) is not None


def _first_wrong(
    forwards: tuple[Forward, ...], value: GatewayPorts
) -> tuple[Forward | None, Wrong] | None:
    for forward in forwards:
        wrong = what_is_wrong(forward, value)
        if wrong is not None:
            return forward, wrong
    return None


def _unknown(facts: Facts) -> Judged:
    text = setting(facts, "gatewayports")
    if text is not None:
        return unknown(f'sshd -T says "{text[:MAX_SHOWN]}", which is none of its three values')
    if isinstance(facts.live.gateway_ports, Unknown):
        return unknown(facts.live.gateway_ports)
    return unknown("neither a test port nor sshd -T could tell")


def _fine(facts: Facts, asked: Asked, value: GatewayPorts) -> Judged:
    fold = f'GatewayPorts is "{value}"'
    if _is_for_account(facts):
        fold += f" for {user_of(facts, asked) or 'this account'}"
    left = [one for one in asked.remote_ports if one.listen_host is None]
    if not left:
        return ok(fold, fold)
    where = "every address" if value is GatewayPorts.YES else "the server only"
    return ok(f"{fold}: a forward without a bind address is on {where}", fold)


def _is_for_account(facts: Facts) -> bool:
    origins = value_of(facts.server.origins)
    found = None if origins is None else origins.get("gatewayports")
    return bool(found and found.winner and found.winner.block)


def _wrong(
    facts: Facts, asked: Asked, value: GatewayPorts, forward: Forward | None, wrong: Wrong
) -> Judged:
    fold = f'GatewayPorts is "{value}"'
    where = origin(facts, "gatewayports")
    if wrong is Wrong.LOOPBACK:
        wanted = describe_wanted(forward)
        return fail(
            f"asked for {wanted}; sshd listens on {_bound(facts, forward)}, and still reports "
            f"success{where}",
            f"Only programs on the server itself can connect. {DASH_G}",
            *_advice(facts, asked),
            fold=fold,
        )
    shown = "the port" if forward is None else describe_listen(forward)
    return fail(
        f"{shown} was asked for, and sshd listens on every address{where}",
        'Whoever knows the port can connect: "yes" overrides the address that was asked for.',
        *_advice(facts, asked),
        fold=f"{fold} and opens {shown} to everybody",
    )


def describe_wanted(forward: Forward | None) -> str:
    """ "every address", "every IPv4 address", "203.0.113.7"."""
    host = None if forward is None else forward.listen_host
    every = {None: "", "*": "", "0.0.0.0": " IPv4", "::": " IPv6"}  # noqa: S104 - names
    return f"every{every[host]} address" if host in every else str(host)


def _bound(facts: Facts, forward: Forward | None) -> str:
    """The addresses, as far as they were seen."""
    trial = None if forward is None else trial_of(facts, forward)
    bound = trial.reach.bound if trial is not None and trial.reach is not None else None
    return " and ".join(bound) if bound else "the server's own loopback"


def _advice(facts: Facts, asked: Asked) -> tuple[str, ...]:
    software = value_of(facts.server.software)
    if software is not None and software.openssh is None:
        return _not_openssh(software.text)
    options = ["--fix", *(["--public"] if asked.as_public else [])]
    what = "shows the change, asks, proves it"
    if value_of(facts.account.rights) is Rights.NONE:
        options += ["--admin", asked.root]
        what = "as root, or as an account with sudo"
    return (
        line(f"{asked.doctor(*options)}    {what}"),
        line(f"by hand: {DOC}"),
    )


def _not_openssh(text: str) -> tuple[str, ...]:
    if text.lower().startswith("dropbear"):
        return (
            "dropbear has an option for it: start it with -a. On OpenWrt, as root there:",
            line("uci set dropbear.@dropbear[0].GatewayPorts=on && uci commit dropbear"),
            line("/etc/init.d/dropbear restart"),
        )
    return (f"by that server's own manual ({text[:MAX_SHOWN]}): remote forwards on every address",)


def _is_old_session(facts: Facts) -> bool:
    """Whether what was tried went over the running tunnel, which may be older than a reload."""
    sign_in = value_of(facts.account.sign_in)
    return sign_in is not None and sign_in.over_tunnel


def _differ(
    facts: Facts,
    asked: Asked,
    running: GatewayPorts,
    by_file: GatewayPorts,
    wrong: tuple[Forward | None, Wrong] | None,
) -> Judged:
    """The file was edited and sshd not reloaded."""
    said = f'its files say "{by_file}", and the running sshd does "{running}"'
    why = "A file was edited and sshd not reloaded: it works by what it read at its start."
    where = origin(facts, "gatewayports")
    later = _first_wrong(asked.remote_ports, by_file)
    fold = f'GatewayPorts is "{by_file}" in its files, "{running}" in the running sshd'
    if wrong is not None and later is None and _is_old_session(facts):
        return fail(
            f'its files say "{by_file}", and the tunnel\'s own session does "{running}"' + where,
            f"A session keeps the rules that it began with. {DASH_G}",
            "begin a new one; if it is no better, sshd has not been reloaded:",
            line(f"sshwrap restart {asked.profile.name}"),
            *reload_lines(facts),
            fold=f'GatewayPorts is "{by_file}" in its files, "{running}" in the tunnel\'s session',
        )
    if wrong is not None and later is None:
        return fail(
            said + where,
            f"{why} {DASH_G}",
            "on the server:",
            *reload_lines(facts),
            f"then: {asked.doctor()}",
            fold=fold,
        )
    if wrong is not None:
        return _wrong(facts, asked, running, *wrong)
    if later is not None:
        return warn(
            said + where,
            f"{why} From its next reload on the forward is not as asked any more.",
            *_advice(facts, asked),
            fold=fold,
        )
    return ok(f"{said}: sshd was not reloaded; either serves", f'GatewayPorts is "{running}"')
