"""Every check, in the order in which they are told.

Laws. An id is never renamed or used for something else; a title states the healthy condition; each
check has a heading in docs/doctor.md. A check that does not apply leaves no finding.
"""

from __future__ import annotations

from sshwrap.doctor import (
    checks_account,
    checks_gateway,
    checks_here,
    checks_live,
    checks_path,
    checks_port,
    checks_server,
)
from sshwrap.doctor.facts import Facts
from sshwrap.doctor.findings import Finding, Section
from sshwrap.doctor.judging import Asked as Asked
from sshwrap.doctor.judging import Check as Check
from sshwrap.doctor.judging import Judged as Judged

_HERE, _PATH, _ACCOUNT = Section.HERE, Section.PATH, Section.ACCOUNT
_SERVER, _PORT, _LIVE = Section.SERVER, Section.PORT, Section.LIVE

CHECKS: tuple[Check, ...] = (
    Check("ssh-version", _HERE, "ssh is there and new enough", checks_here.ssh_version),
    Check(
        "ssh-config", _HERE, "ssh_config does not get into the tunnel's way", checks_here.ssh_config
    ),
    Check("identity-file", _HERE, "ssh can use a key alone", checks_here.identity_file),
    Check("agent", _HERE, "the agent holds the key", checks_here.agent),
    Check("target", _HERE, "every target answers from this machine", checks_here.target),
    Check("name-resolves", _PATH, "the server's name has an address", checks_path.name_resolves),
    Check("tcp", _PATH, "the server takes connections", checks_path.tcp),
    Check("banner", _PATH, "an SSH server greets", checks_path.banner),
    Check("host-key", _PATH, "the host key is the one that was accepted", checks_path.host_key),
    Check("latency", _PATH, "the way is short enough", checks_path.latency),
    Check("sign-in", _ACCOUNT, "the account gets in, alone", checks_account.sign_in),
    Check("shell", _ACCOUNT, "a session can be had", checks_account.shell),
    Check("key-options", _ACCOUNT, "the key may do what is asked", checks_account.key_options),
    Check("root", _ACCOUNT, "the account may change its sshd", checks_account.root),
    Check(
        "sshd-configuration",
        _SERVER,
        "sshd accepts its configuration",
        checks_server.sshd_configuration,
    ),
    Check(
        "allow-tcp-forwarding",
        _SERVER,
        "AllowTcpForwarding allows the forwards",
        checks_server.allow_tcp_forwarding,
    ),
    Check(
        "disable-forwarding",
        _SERVER,
        "DisableForwarding is not set",
        checks_server.disable_forwarding,
    ),
    Check(
        "allow-stream-local-forwarding",
        _SERVER,
        "AllowStreamLocalForwarding allows the sockets",
        checks_server.allow_stream_local_forwarding,
    ),
    Check(
        "gateway-ports",
        _SERVER,
        "GatewayPorts lets each forward listen where it asks to",
        checks_gateway.gateway_ports,
    ),
    Check("permit-listen", _SERVER, "PermitListen has the ports", checks_server.permit_listen),
    Check(
        "stream-local-bind-unlink",
        _SERVER,
        "an old socket is replaced",
        checks_server.stream_local_bind_unlink,
    ),
    Check(
        "client-alive",
        _SERVER,
        "a dead session does not keep the port for long",
        checks_server.client_alive,
    ),
    Check(
        "unused-connection-timeout",
        _SERVER,
        "an idle tunnel is left alone",
        checks_server.unused_connection_timeout,
    ),
    Check(
        "max-sessions", _SERVER, "a session beside the tunnel is let in", checks_server.max_sessions
    ),
    Check("max-startups", _SERVER, "all profiles can sign in together", checks_server.max_startups),
    Check("penalties", _SERVER, "a failed sign-in locks nobody out", checks_server.penalties),
    Check("port-free", _PORT, "the listen port is free, or ours", checks_port.port_free),
    Check(
        "privileged-port",
        _PORT,
        "the account may listen on the port",
        checks_port.privileged_port,
    ),
    Check("bind-address", _PORT, "the server has the bind address", checks_port.bind_address),
    Check(
        "target-sshd",
        _PORT,
        "an sshd behind the tunnel is not open to everybody",
        checks_port.target_sshd,
    ),
    Check("test-port", _LIVE, "a test port listens where it is asked to", checks_live.spare_port),
    Check("forwards", _LIVE, "the tunnel's own forwards are as asked", checks_live.forwards),
    Check("loop", _LIVE, "a connection on the server comes back here", checks_live.loop),
    Check(
        "from-here",
        _LIVE,
        "this machine gets in by the address that visitors use",
        checks_live.from_here,
    ),
)


def run_checks(facts: Facts, asked: Asked) -> tuple[Finding, ...]:
    """One finding for each check that applies, in the order of CHECKS."""
    found = ((check, check.judge(facts, asked)) for check in CHECKS)
    return tuple(_finding(check, judged) for check, judged in found if judged is not None)


def _finding(check: Check, judged: Judged) -> Finding:
    return Finding(
        check.id,
        check.section,
        check.title,
        judged.verdict,
        judged.seen,
        judged.why,
        judged.advice,
        judged.fold,
        judged.cause,
    )
