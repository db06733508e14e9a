"""The checks of sshd's effective configuration for this account and address.

What the running sshd does goes before what its files say: an edited file means nothing before the
next reload. A keyword that this account may not read is unknown, unless a test forward has told.
"""

from __future__ import annotations

import re

from sshwrap.doctor.checks_account import (
    DISABLED,
    FORWARDING,
    REFUSED_PORT,
    requested,
    spelling,
    tcp_kinds,
)
from sshwrap.doctor.facts import Facts, Known, Unknown, value_of
from sshwrap.doctor.judging import (
    Asked,
    Judged,
    fail,
    line,
    ok,
    origin,
    own,
    reload_lines,
    said_of,
    seconds_text,
    setting,
    signed_in,
    tried,
    unknown,
    user_of,
    warn,
    was_let_in,
    why_no_setting,
)
from sshwrap.profile.forward import Forward, Kind, describe_listen
from sshwrap.ssh.version import Version

ALL = ("yes", "all")
ALLOWED_KINDS = {
    "yes": frozenset(Kind),
    "all": frozenset(Kind),
    "remote": frozenset({Kind.REMOTE}),
    "local": frozenset({Kind.LOCAL, Kind.DYNAMIC}),
}
KERNEL_GIVES_UP = 2 * 3600 + 11 * 60  # seconds; tcp_keepalive_time and probes, as measured
LONG = 300  # seconds that a port may stay held by nobody before it is worth a warning
FREED_LATE = Version(9, 5)  # before it sshd needs about twice as long (fixed by 9d7193a83)
PENALTIES_SINCE = Version(9, 8)


def server_version(facts: Facts) -> Version | None:
    software = value_of(facts.server.software)
    return None if software is None else software.openssh


def sshd_configuration(facts: Facts, asked: Asked) -> Judged | None:
    valid = facts.server.is_valid
    if not signed_in(facts) or not isinstance(valid, Known):
        return None  # why it cannot be told stands with the keywords
    if valid.value:
        return ok("sshd -t is content with its files")
    said = facts.server.fault or "it does not say why"
    return fail(
        f"sshd refuses its configuration as it is: {said}",
        "The running sshd goes on with what it has read; at its next reload, restart or reboot it "
        "ends, and nobody gets in any more.",
        "on the server, as root, from a session that stays open until this says nothing:",
        line("sshd -t"),
        fold="sshd refuses its own files",
    )


def allow_tcp_forwarding(facts: Facts, asked: Asked) -> Judged | None:
    kinds = tcp_kinds(asked)
    if not kinds:
        return None
    value = setting(facts, "allowtcpforwarding")
    works = any(was_let_in(one) and one.forward.listen_path is None for one in tried(facts))
    if value is None:
        if works and kinds == {Kind.REMOTE}:
            return ok("a test forward was let in")
        return _disabled(facts) or why_no_setting(facts)
    if kinds <= ALLOWED_KINDS.get(value.lower(), frozenset()):
        return _not_reloaded(facts, "AllowTcpForwarding", value) or _is("AllowTcpForwarding", value)
    return _forbidden(facts, asked, "AllowTcpForwarding", value, works, "AllowTcpForwarding yes")


def disable_forwarding(facts: Facts, asked: Asked) -> Judged | None:
    if not asked.forwards and asked.has_profile:
        return None
    value = setting(facts, "disableforwarding")
    works = any(was_let_in(one) for one in tried(facts))
    if value is None:
        return ok("a test forward was let in") if works else why_no_setting(facts)
    if value.lower() != "yes":
        return _is("DisableForwarding", value)
    return _forbidden(facts, asked, "DisableForwarding", value, works, "DisableForwarding no")


def allow_stream_local_forwarding(facts: Facts, asked: Asked) -> Judged | None:
    forwards = [one for one in asked.remote if one.listen_path is not None]
    if not forwards:
        return None
    value = setting(facts, "allowstreamlocalforwarding")
    works = any(was_let_in(own(facts, one)) for one in forwards)
    if value is None:
        return ok("the socket was opened") if works else why_no_setting(facts)
    if value.lower() in (*ALL, "remote"):
        return _is("AllowStreamLocalForwarding", value)
    keyword = "AllowStreamLocalForwarding"
    return _forbidden(facts, asked, keyword, value, works, f"{keyword} yes")


def _forbidden(
    facts: Facts, asked: Asked, keyword: str, value: str, works: bool, cure: str
) -> Judged:
    where = origin(facts, keyword.lower())
    if works:
        return warn(
            f'{keyword} is "{value}" by now, and the running sshd does not know it yet{where}',
            "A test forward was let in; after sshd's next reload or restart none is.",
            *_by_hand(facts, asked, cure),
            fold=f'{keyword} is "{value}" from the next reload on',
        )
    return fail(
        f'{keyword} is "{value}"{where}',
        "sshd refuses every forward of this account that it does not allow.",
        *_by_hand(facts, asked, cure),
        fold=f'{keyword} is "{value}"',
    )


def _by_hand(facts: Facts, asked: Asked, *lines: str) -> tuple[str, ...]:
    """The lines of sshd_config and the reload that puts them to use."""
    user = user_of(facts, asked)
    return (
        "as root on the server, in a file of /etc/ssh/sshd_config.d that sorts first:",
        *((line(f"Match User {user}"),) if user else ()),
        *(line(f"    {one}" if user else one) for one in lines),
        "then check it and have sshd read it:",
        *reload_lines(facts),
    )


def _disabled(facts: Facts) -> Judged | None:
    """The server says that forwarding is off, and it is not the key's doing."""
    options = value_of(facts.account.key_options)
    said = said_of(tried(facts), DISABLED)
    if not said or options is None or FORWARDING not in options:
        return None
    return fail(
        "the server refuses to forward ports for this account",
        f"It said: {said}",
        "as root on the server: AllowTcpForwarding yes, no DisableForwarding; then",
        *reload_lines(facts),
        fold="forwarding is disabled",
    )


def _not_reloaded(facts: Facts, keyword: str, value: str) -> Judged | None:
    """The files allow it and the running sshd does not."""
    if _disabled(facts) is None or setting(facts, "disableforwarding") == "yes":
        return None
    return fail(
        f'{keyword} is "{value}" in its files, and the running sshd still forbids it',
        "The file was edited and sshd not reloaded: it works by what it read at its start.",
        "on the server:",
        *reload_lines(facts),
        fold="sshd was not reloaded",
    )


# --- which ports ------------------------------------------------------------------------------


def permit_listen(facts: Facts, asked: Asked) -> Judged | None:
    wanted = [one for one in asked.remote_ports if one.listen_port]
    if not wanted:
        return None
    value = setting(facts, "permitlisten")
    if value is None:
        if all(was_let_in(own(facts, one)) for one in wanted):
            return ok("the forwards were let in")
        refused = said_of((one for one in tried(facts) if not one.is_spare), REFUSED_PORT)
        options = value_of(facts.account.key_options)
        if refused and options is not None and "permitlisten" not in options:
            return fail(
                "the server refuses this port for this account",
                f"It said: {refused}\n{spelling(wanted[0])}",
                *_by_hand(facts, asked, f"PermitListen {wanted[0].listen_port}"),
                fold="the port is not permitted",
            )
        return why_no_setting(facts)
    permitted = value.split()
    missing = [one for one in wanted if not _is_permitted(one, permitted)]
    if not missing:
        return _is("PermitListen", value)
    forward = missing[0]
    more = " ".join([*(one for one in permitted if one != "none"), str(forward.listen_port)])
    return fail(
        f'PermitListen is "{value}", which does not permit "{requested(forward)}"'
        + origin(facts, "permitlisten"),
        spelling(forward),
        *_by_hand(facts, asked, f"PermitListen {more}"),
        fold=f"PermitListen does not permit {describe_listen(forward)}",
    )


def _is_permitted(forward: Forward, permitted: list[str]) -> bool:
    """channels.c:open_listen_match_tcpip: the host as it was asked for, or any; the port or any."""
    asked_host, _, asked_port = requested(forward).rpartition(":")
    for one in permitted:
        if one == "any":
            return True
        host, colon, port = one.rpartition(":")
        host = host.strip("[]") if colon else "*"
        if port in ("*", asked_port) and host in ("*", asked_host.strip("[]")):
            return True
    return False


def stream_local_bind_unlink(facts: Facts, asked: Asked) -> Judged | None:
    paths = [one.listen_path for one in asked.remote if one.listen_path is not None]
    if not paths:
        return None
    value = setting(facts, "streamlocalbindunlink")
    if value is None:
        return why_no_setting(facts)
    if value.lower() == "yes":
        return _is("StreamLocalBindUnlink", value)
    return warn(
        f'StreamLocalBindUnlink is "{value}"' + origin(facts, "streamlocalbindunlink"),
        "sshd never removes the socket, not even after a clean end: the next start fails on it. "
        "ssh's own option of that name does not help.",
        *_by_hand(facts, asked, "StreamLocalBindUnlink yes"),
        fold="an old socket stays in the way",
    )


# --- how long, how many -----------------------------------------------------------------------


def client_alive(facts: Facts, asked: Asked) -> Judged | None:
    """A warning only where sshwrap cannot end its own dead session itself."""
    if not any(one.listen_port for one in asked.remote_ports):
        return None
    interval = _seconds(setting(facts, "clientaliveinterval"))
    count = _number(setting(facts, "clientalivecountmax"))
    if interval is None or count is None:
        return why_no_setting(facts)
    worst = _worst(interval, count, server_version(facts))
    held = f"a dead session keeps the port for up to {seconds_text(worst)}"
    why = _why_no_reclaim(facts, asked)
    if why is None:
        return ok(f"{held}, unless sshwrap ends it: it can")
    if worst <= LONG:
        return ok(held)
    where = origin(facts, "clientaliveinterval" if interval == 0 else "clientalivecountmax")
    return warn(
        f"{held}: ClientAliveInterval is {interval}, ClientAliveCountMax {count}{where}",
        f"Until then the tunnel cannot come back; sshwrap cannot end that session: {why}.",
        *_by_hand(facts, asked, "ClientAliveInterval 15", "ClientAliveCountMax 3"),
        fold=held,
    )


def _worst(interval: int, count: int, version: Version | None) -> float:
    """Seconds from the last sign of life until sshd lets go of the port."""
    if interval == 0 or count == 0:  # CountMax 0 never ends a session (since 8.2)
        return KERNEL_GIVES_UP
    late = version is not None and version < FREED_LATE
    return interval * (count + 1) * (2 if late else 1)


def _why_no_reclaim(facts: Facts, asked: Asked) -> str | None:
    """Why sshwrap cannot end its own dead session; None where it can, or where nobody knows."""
    if not asked.profile.reclaim:
        return "the profile says reclaim = false"
    if not asked.profile.run_on_server:
        return "the profile says run_on_server = false"
    if signed_in(facts) and isinstance(facts.account.shell, Unknown):
        return facts.account.shell.reason
    return None


def unused_connection_timeout(facts: Facts, asked: Asked) -> Judged | None:
    if not isinstance(facts.server.effective, Known):
        return unknown(facts.server.effective)
    value = setting(facts, "unusedconnectiontimeout")
    seconds = _seconds(value)
    if value is None or value.lower() == "none" or not seconds:
        return _is("UnusedConnectionTimeout", value or "none")
    return warn(
        f'UnusedConnectionTimeout is "{value}"' + origin(facts, "unusedconnectiontimeout"),
        f"sshd ends a tunnel that no visitor uses for {seconds_text(seconds)}: it drops and comes "
        "back again and again. A listener does not count as a use.",
        *_by_hand(facts, asked, "UnusedConnectionTimeout none"),
        fold=f"idle tunnels are ended after {seconds_text(seconds)}",
    )


def max_sessions(facts: Facts, asked: Asked) -> Judged:
    count = _number(setting(facts, "maxsessions"))
    if count is None:
        return why_no_setting(facts)
    if count > 0 or not asked.profile.run_on_server:
        return ok(f"MaxSessions is {count}; the tunnel itself needs none")
    return warn(
        "MaxSessions is 0" + origin(facts, "maxsessions"),
        "The tunnel works. sshwrap cannot look who listens on the server, nor end its own dead "
        "session.",
        *_by_hand(facts, asked, "MaxSessions 10"),
        fold="no session can be had",
    )


def max_startups(facts: Facts, asked: Asked) -> Judged:
    value = setting(facts, "maxstartups")
    match = re.match(r"(\d{1,9})", value or "")
    if value is None or match is None:
        return why_no_setting(facts)
    limit, keyword = int(match[1]), "MaxStartups"
    from_one = _number(setting(facts, "persourcemaxstartups"))
    if from_one is not None and from_one < limit:
        limit, keyword, value = from_one, "PerSourceMaxStartups", str(from_one)
    profiles = facts.here.profiles_at_server
    if profiles <= limit:
        return ok(f'{keyword} is "{value}", for {_profiles(profiles)}')
    return warn(
        f'{keyword} is "{value}", and {_profiles(profiles)} go to this server'
        + origin(facts, keyword.lower()),
        "After an outage all of them sign in; sshwrap paces them, and sshd still turns some away "
        "while others sign in as well.",
        "put forwards to one server into one profile, or as root on the server (not for one "
        "account alone):",
        line(f"{keyword} {profiles * 2}" + (":30:200" if keyword == "MaxStartups" else "")),
        fold=f"{keyword} is low for {_profiles(profiles)}",
    )


def penalties(facts: Facts, asked: Asked) -> Judged | None:
    """PerSourcePenalties (9.8): failed sign-ins from one address add up."""
    if not isinstance(facts.server.effective, Known):
        version = server_version(facts)
        if version is not None and version < PENALTIES_SINCE:
            return None
        return unknown(facts.server.effective)
    value = setting(facts, "persourcepenalties")
    if value is None:
        return None  # older than 9.8
    parts = dict(part.partition(":")[::2] for part in value.split())
    each, limit = _seconds(parts.get("authfail")), _seconds(parts.get("min"))
    if value.lower() == "no" or not each or not limit:
        return ok("failed sign-ins cost nothing")
    strikes = -(-limit // each)
    seen = f"{strikes} failed sign-ins in a row from one address lock it out for a while"
    profiles = facts.here.profiles_at_server
    account = value_of(facts.account.sign_in)
    is_denied = account is not None and account.failure is not None
    is_denied = is_denied and facts.here.profiles_at_server >= strikes
    if strikes > 1 and not is_denied:
        return ok(seen)
    first = seen if strikes > 1 else "one failed sign-in locks this address out for a while"
    return warn(
        f"{first}, and {_profiles(profiles)} go to this server from here"
        + origin(facts, "persourcepenalties"),
        "Everybody behind the same address is locked out with them, also with the right key.",
        "put the sign-in right first; on the server an address can be exempted:",
        line("PerSourcePenaltyExemptList 198.51.100.23"),
        fold="failed sign-ins lock this address out",
    )


def _is(keyword: str, value: str) -> Judged:
    return ok(f'{keyword} is "{value}"')


def _profiles(number: int) -> str:
    return "1 profile" if number == 1 else f"{number} profiles"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,9}", text) else None


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _seconds(text: str | None) -> int | None:
    """sshd_config(5), TIME FORMATS; None of anything else."""
    if text is None or not re.fullmatch(r"(\d{1,9}[smhdw]?)+", text.lower()):
        return None
    parts = re.findall(r"(\d+)([smhdw]?)", text.lower())
    return sum(int(number) * _UNITS[unit] for number, unit in parts)
