"""The checks of the account: does it get in, what can be seen there, what may its key do."""

from __future__ import annotations

from sshwrap.doctor.facts import Answer, Facts, HostKeyState, Known, Rights, Unknown, value_of
from sshwrap.doctor.judging import (
    Asked,
    Judged,
    fail,
    line,
    ok,
    said_of,
    session_user,
    signed_in,
    tried,
    unknown,
    user_of,
    warn,
    was_let_in,
)
from sshwrap.profile.forward import Forward, Kind

# sshd's words (channels.c and serverloop.c, 7.8 to 10.x), which openssh.md 1.3 tells apart
DISABLED = "Server has disabled port forwarding"
REFUSED_PORT = "port forwarding refused"
FORWARDING, LISTEN = "port-forwarding", "permitlisten"  # words of `key options:`

METHODS = {
    "publickey": "a key",
    "password": "a password",
    "keyboard-interactive": "a password or code",
    "hostbased": "its host's key",
    "gssapi-with-mic": "Kerberos",
}
BY_HAND = ("password", "keyboard-interactive")
HOST_KEY = ("host_key_unknown", "host_key_changed", "host_key_revoked")
ON_THE_WAY = ("name_not_resolved", "refused", "timed_out", "no_route", "network_unreachable")


def sign_in(facts: Facts, asked: Asked) -> Judged:
    if isinstance(facts.account.sign_in, Unknown):
        return unknown(facts.account.sign_in)
    found = facts.account.sign_in.value
    if found.failure is not None:
        failure = found.failure
        if failure.kind in HOST_KEY and _host_key_is_told(facts):
            return unknown("nobody has accepted the host key that it shows now")
        if _is_no_ssh(facts) or (failure.kind in ON_THE_WAY and _way_is_told(facts)):
            return unknown("there is no connection to sign in over")
        said = failure.said if failure.said.startswith("ssh: ") else f"ssh: {failure.said}"
        return fail(
            failure.summary,
            said if failure.said else "The account has to get in before anything else can work.",
            failure.advice,
        )
    user = session_user(facts) or user_of(facts, asked) or "the account"
    what = METHODS.get(found.method, found.method)
    by = f" with {what}" if what else ""
    seen = f"{user} signs in{by}"
    if found.method in BY_HAND:
        return warn(
            f"{seen}; sshwrap cannot repeat that alone",
            "The line comes back only while you are there to type.",
            "put a key on the server:",
            line(asked.ssh(program="ssh-copy-id")),
            fold=seen,
        )
    options = value_of(facts.account.key_options) or ()
    may = " that may forward" if found.method == "publickey" and FORWARDING in options else ""
    over = " (asked over the running tunnel)" if found.over_tunnel else ""
    return ok(seen + may + over, seen + may)


def _host_key_is_told(facts: Facts) -> bool:
    key = value_of(facts.way.host_key)
    return key is not None and key.state is not HostKeyState.KNOWN


def _way_is_told(facts: Facts) -> bool:
    """Whether the checks of the path have failed for the same reason."""
    if facts.way.jump is not None:
        return False
    connected = value_of(facts.way.tcp)
    no_name = isinstance(facts.way.addresses, Known) and not facts.way.addresses.value
    # A name that nobody could be asked for in time is told by no check of the path.
    told = (Answer.REFUSED, Answer.TIMEOUT, Answer.NO_ROUTE)
    return no_name or (connected is not None and connected.answer in told)


def _is_no_ssh(facts: Facts) -> bool:
    """Whether what answers there is not sshd: told by the check of its greeting."""
    banner = value_of(facts.way.banner)
    return facts.way.jump is None and banner is not None and not banner.startswith("SSH-")


def shell(facts: Facts, asked: Asked) -> Judged:
    if isinstance(facts.account.shell, Unknown):
        if signed_in(facts):
            return unknown(
                facts.account.shell,
                "The tunnel needs no session. Without one nobody sees who listens on the server, "
                "and our own dead session cannot be ended: it goes when sshd notices.",
            )
        return unknown(facts.account.shell)
    found = facts.account.shell.value
    system = found.os_release or found.system
    runs = found.shell or "a session"
    return ok(f"{runs} on {system}" if system else f"{runs} can be had")


def key_options(facts: Facts, asked: Asked) -> Judged | None:
    if not asked.forwards and asked.has_profile:
        return None
    if isinstance(facts.account.key_options, Unknown):
        return unknown(facts.account.key_options)
    options = facts.account.key_options.value
    let_in = any(was_let_in(one) and one.forward.listen_path is None for one in tried(facts))
    if FORWARDING not in options and not let_in:
        refused = said_of(tried(facts), DISABLED)
        if options or refused:
            return _may_not_forward(facts, asked, options)
    if LISTEN in options:
        limited = _limited(facts, asked)
        if limited is not None:
            return limited
    if "command" in options:
        return ok("the key runs a command of its own: no session is opened for it")
    return ok("the key may forward" + (" to certain ports" if LISTEN in options else ""))


def _may_not_forward(facts: Facts, asked: Asked, options: tuple[str, ...]) -> Judged:
    listed = f"; its line allows: {', '.join(options)}" if options else ""
    user = user_of(facts, asked) or "the account"
    return fail(
        f"this key may not forward ports{listed}",
        "Its line on the server says restrict or no-port-forwarding.",
        f"in ~{user}/.ssh/authorized_keys there, begin the key's line with:",
        line("restrict,port-forwarding ssh-ed25519 AAAA…"),
        fold="the key may not forward",
    )


def _limited(facts: Facts, asked: Asked) -> Judged | None:
    """permitlisten= at the key: which ports only authorized_keys says, but a trial can tell."""
    trials = [one for one in tried(facts) if not one.is_spare]
    refused = [one for one in trials if one.reach is None and REFUSED_PORT in one.said]
    if refused:
        forward = refused[0].forward
        return fail(
            f'the key may not listen on "{requested(forward)}" (permitlisten)',
            spelling(forward),
            "in authorized_keys on the server, at this key:",
            line(f'restrict,port-forwarding,permitlisten="{forward.listen_port}"'),
            fold=f"the key may not listen on {forward.listen_port}",
        )
    wanted = [one for one in asked.remote if one.listen_path is None]
    done = [one.forward for one in trials if was_let_in(one)]
    if wanted and len(done) < len(wanted):
        return unknown(
            "the key is limited to certain ports, and only its line on the server says which",
            spelling(wanted[0]),
        )
    return None


def requested(forward: Forward) -> str:
    """What ssh asks the server for (channels.c:channel_request_remote_forwarding)."""
    host = {None: "localhost", "*": ""}.get(forward.listen_host, forward.listen_host)
    return f"{host}:{forward.listen_port}" if host else f"*:{forward.listen_port}"


def spelling(forward: Forward) -> str:
    """Why a port can be permitted and still be refused."""
    text = "The spelling of the address counts: "
    if forward.listen_host is None:
        text += 'a forward without a bind address asks for "localhost", not for 127.0.0.1'
    elif forward.listen_host == "*":
        text += 'a forward on "*" asks for every address, which "localhost:PORT" does not permit'
    else:
        text += f'this forward asks for "{forward.listen_host}"'
    return text + ". A bare port permits any."


def root(facts: Facts, asked: Asked) -> Judged:
    """Never a failure: a tunnel needs no root."""
    if isinstance(facts.account.rights, Unknown):
        return unknown(facts.account.rights)
    match facts.account.rights.value:
        case Rights.ROOT:
            return ok("the account is root")
        case Rights.SUDO:
            return ok("the account may use sudo")
        case Rights.SUDO_PASSWORD:
            return ok("the account may use sudo with its password; doctor --fix asks for it")
        case Rights.NONE:
            admin = asked.doctor("--fix", "--admin", asked.root)
            return ok(f"neither root nor sudo; to change its sshd: {admin}")


def tcp_kinds(asked: Asked) -> set[Kind]:
    """Which kinds of TCP forwards are asked for; remote where only a destination was given."""
    kinds: set[Kind] = {one.kind for one in asked.forwards if one.kind is not Kind.REMOTE}
    if asked.remote_ports or not asked.has_profile:
        kinds.add(Kind.REMOTE)
    return kinds
