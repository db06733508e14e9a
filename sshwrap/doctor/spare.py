"""Test ports and what they prove: which GatewayPorts the running sshd has for this account.

Laws. Ports that nobody needs, with a connect end where nobody is served; sshd's table of them is
channels.c:channel_fwd_bind_addr. What only one of the two has shown proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address

from sshwrap.doctor.facts import Fact, GatewayPorts, Known, Unknown
from sshwrap.profile.forward import Forward, Kind, format_forward
from sshwrap.ssh.look import Look
from sshwrap.ssh.probe import Found, Probed
from sshwrap.tunnel.reach import LOOPBACK_IPV4, SECOND_LOOPBACK

NOWHERE = (LOOPBACK_IPV4, 9)  # discard: nobody is served by a forward that is only tried
_EVERY = ("0.0.0.0", "::")  # noqa: S104 - names, nothing is bound here


def to_nowhere(forward: Forward) -> Forward:
    """The same listener, with a connect end that serves nobody."""
    host, port = NOWHERE
    tried = replace(forward, connect_host=host, connect_port=port, connect_path=None)
    return replace(tried, spec=format_forward(tried))


FOR_ALL = to_nowhere(Forward(Kind.REMOTE, "", "*", 0))
FOR_ONE = to_nowhere(Forward(Kind.REMOTE, "", LOOPBACK_IPV4, 0))
TEST_PORTS = (FOR_ALL, FOR_ONE)


def judge_gateway_ports(for_all: bool | None, for_one: bool | None) -> Fact[GatewayPorts]:
    """Whether each of TEST_PORTS came to listen on every address; None: not seen."""
    if for_all is False:
        return Known(GatewayPorts.NO)
    if for_all is None or for_one is None:
        return Unknown("it was not seen where the test ports listen")
    return Known(GatewayPorts.YES if for_one else GatewayPorts.CLIENTSPECIFIED)


def is_wide_by_look(look: Look, port: int) -> bool | None:
    """Whether whoever listens at this port does so on every address; None: nobody was seen."""
    at_port = [one.address for one in look.listeners if one.port == port]
    return any(one in _EVERY for one in at_port) if at_port else None


def is_wide_by_probes(probes: Mapping[str, Probed]) -> bool | None:
    """The same where no session was had. All of 127/8 is the server's own on Linux alone, so a
    refusal at 127.0.0.2 counts only beside an answer at 127.0.0.1."""
    first, second = probes.get(LOOPBACK_IPV4), probes.get(SECOND_LOOPBACK)
    if second is not None and second.found is Found.OURS:
        return True
    if first is None or second is None or first.found is not Found.OURS:
        return None
    return False if second.found is Found.NOBODY else None


def read_loop(probed: Probed | None) -> Fact[bool]:
    """Whether a connection from the server came back here."""
    if probed is None:
        return Unknown("the log of the running tunnel is not ours to read")
    match probed.found:
        case Found.OURS:
            return Known(True)
        case Found.NOBODY | Found.UNREACHABLE | Found.OTHER:
            return Known(False)
        case Found.FORBIDDEN:
            reason = "the server lets this account connect to nowhere (permitopen, PermitOpen)"
            return Unknown(reason, probed.said)
        case Found.SILENT:
            return Unknown("no answer over the connection in time")
    return Unknown(probed.said or "it could not be asked")


def is_for_all(bound: Iterable[str] | None) -> bool:
    """Whether somebody from outside can come to one of these addresses."""
    return any(not ip_address(one).is_loopback for one in bound or ())
