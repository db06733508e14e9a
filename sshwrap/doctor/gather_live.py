"""A real forward, for a second: where does it listen, does its loop answer, is it met from here?

Laws. What is opened here is taken back here, in every spelling that was asked for. No test port and
no knock where the way goes through a jump host: what lies behind it is not met from here. The
profile's own port is asked for only where it is free and nobody wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from sshwrap.doctor.facts import (
    Answer,
    Connected,
    Fact,
    GatewayPorts,
    Known,
    Tried,
    Unknown,
    value_of,
)
from sshwrap.doctor.gather_here import Try
from sshwrap.doctor.remote import Connection, Pump
from sshwrap.doctor.spare import (
    FOR_ALL,
    FOR_ONE,
    TEST_PORTS,
    is_for_all,
    is_wide_by_look,
    is_wide_by_probes,
    judge_gateway_ports,
    read_loop,
    to_nowhere,
)
from sshwrap.profile.forward import Forward
from sshwrap.ssh.evidence import classify_line
from sshwrap.ssh.look import COMMAND, Look, look_script, read_look
from sshwrap.ssh.mux import Added, Refused
from sshwrap.ssh.mux import Unknown as Unasked
from sshwrap.ssh.probe import Probed
from sshwrap.tunnel.reach import (
    LOOPBACK_IPV4,
    SECOND_LOOPBACK,
    Reach,
    judge_probes,
    judge_reach,
    where_to_probe,
)
from sshwrap.tunnel.where import EVERYBODY, as_number

ADD_SECONDS = 3.0
PROBE_SECONDS = 2.0
KNOCK_SECONDS = 3.0
LOOK_SECONDS = 3.0
CANCEL_SECONDS = 2.0
KNOCKS_MOST = 4  # of a tunnel's forwards: each may take KNOCK_SECONDS


@dataclass(frozen=True, slots=True)
class Place:
    """Where visitors come to: the server's name for screens, its number to knock at, or the reason
    why nobody can knock there from here."""

    hostname: str
    address: str | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """The test ports: their numbers, None where one was refused, `said` by the server."""

    for_all: int | None = None
    for_one: int | None = None
    said: str = ""
    is_gone: bool = False  # nobody answered at the control socket

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(port for port in (self.for_all, self.for_one) if port is not None)


def open_test_ports(connection: Connection, left: Callable[[float], float]) -> Opened:
    before = len(connection.heard.items)
    answers = connection.add(TEST_PORTS, left(ADD_SECONDS))
    said = next((why(connection, one, before) for one in answers if not _port(one)), "")
    is_gone = any(isinstance(one, Unasked) and one.why.value == "gone" for one in answers)
    return Opened(_port(answers[0]), _port(answers[1]), said, is_gone)


def _port(answer: Added | Refused | Unasked) -> int | None:
    return answer.port if isinstance(answer, Added) else None


def why(connection: Connection, answer: Added | Refused | Unasked, before: int) -> str:
    """The server's words of a refusal, best those it has said on the side (`debug1: Remote:`)."""
    for line, from_terminal, _ in connection.heard.items[before:]:
        found = None if from_terminal else classify_line(line)
        if found is not None and found.kind in _REFUSALS:
            return line.removeprefix("debug1: Remote: ")
    match answer:
        case Refused(said):
            return said
        case Unasked(reason=reason, said=said):
            return said or reason
    return "the server has named no port"


_REFUSALS = ("forwarding_refused", "port_not_permitted")


class Live:
    """`left`: how much there is of so many seconds; `nonce`: for the frames of looks."""

    def __init__(
        self,
        pump: Pump,
        connection: Connection,
        place: Place,
        left: Callable[[float], float],
        nonce: str,
    ) -> None:
        self._pump = pump
        self._connection = connection
        self._place = place
        self._left = left
        self._nonce = nonce
        self.knocks = 0

    # --- the test ports ------------------------------------------------------

    def try_test_ports(
        self, opened: Opened, look: Look | None
    ) -> tuple[Fact[GatewayPorts], tuple[Tried, ...]]:
        """What the open ones do; they are taken back before the answer."""
        try:
            return self._try_test_ports(opened, look)
        finally:
            self._connection.cancel(TEST_PORTS, self._left(CANCEL_SECONDS))

    def _try_test_ports(
        self, opened: Opened, look: Look | None
    ) -> tuple[Fact[GatewayPorts], tuple[Tried, ...]]:
        port = opened.for_all
        if port is None:
            refused = Unknown("the server refused a test port", opened.said)
            return refused, (Tried(FOR_ALL, True, said=opened.said),)
        probes = self._probes(FOR_ALL, port, (LOOPBACK_IPV4,))
        if look is None and not self._connection.over_tunnel:
            probes |= self._probes(FOR_ALL, port, (SECOND_LOOPBACK,))
        for_all = is_wide_by_look(look, port) if look else is_wide_by_probes(probes)
        for_one: bool | None = None
        if opened.for_one is not None and for_all is not False:
            for_one = (
                is_wide_by_look(look, opened.for_one)
                if look
                else is_wide_by_probes(
                    self._probes(FOR_ONE, opened.for_one, (LOOPBACK_IPV4, SECOND_LOOPBACK))
                )
            )
        reach = self._reach(FOR_ALL, port, look, probes)
        # The tunnel's supervisor would take it for a visitor of a port that it does not know.
        from_here: Fact[Connected] = Unknown("the running tunnel is knocked at instead")
        if not self._connection.over_tunnel:
            from_here = self._knock(FOR_ALL, port, reach)
        tried = Tried(
            FOR_ALL,
            True,
            port,
            reach,
            loop=read_loop(probes.get(LOOPBACK_IPV4)),
            from_here=from_here,
            address=_address(self._place.hostname, port),
        )
        return judge_gateway_ports(for_all, for_one), (tried,)

    # --- the profile's own ---------------------------------------------------

    def try_own(self, forward: Forward, *, has_session: bool) -> Tried:
        """Ask for it for a second; its port is free, and nobody wants it."""
        asked = to_nowhere(forward)
        before = len(self._connection.heard.items)
        try:
            (answer,) = self._connection.add((asked,), self._left(ADD_SECONDS))
            if not isinstance(answer, Added):
                return Tried(forward, False, said=why(self._connection, answer, before))
            port = answer.port or forward.listen_port or 0
            look = self._look(port) if has_session else None
            addresses: tuple[str, ...] = (LOOPBACK_IPV4, SECOND_LOOPBACK)
            if look is not None:
                found = [one for one in look.listeners if one.port == port]
                addresses = tuple(where_to_probe(one) for one in found[:1]) or (LOOPBACK_IPV4,)
            probes = self._probes(asked, port, addresses)
            reach = self._reach(asked, port, look, probes)
            return Tried(
                forward,
                False,
                port,
                reach,
                loop=read_loop(probes.get(addresses[0])),
                from_here=self._knock(forward, port, reach),
                address=_address(_visitor_host(forward, self._place.hostname), port),
            )
        finally:
            self._connection.cancel((asked,), self._left(CANCEL_SECONDS))

    def _look(self, port: int) -> Look | None:
        ran = self._connection.run(
            COMMAND, look_script(self._nonce, (port,)), self._left(LOOK_SECONDS)
        )
        found = read_look(self._nonce, ran.status, ran.out, ran.err, timed_out=ran.timed_out)
        return found if isinstance(found, Look) else None

    # --- the running tunnel's ------------------------------------------------

    def of_tunnel(self, forwards: Sequence[Forward], snapshot: Mapping[str, Any]) -> list[Tried]:
        """What its supervisor has seen, and one fresh knock at each that is for others."""
        found = []
        for forward in forwards:
            shown = next((one for one in snapshot["forwards"] if _is_shown(forward, one)), None)
            if shown is None:
                continue
            port = shown["allocated_port"] or forward.listen_port
            bound = shown["bound"]
            reach = Reach(
                shown["reach"], None if bound is None else tuple(bound), shown["reach_reason"]
            )
            came_back = shown["target"] in ("ok", "refused")
            tried = Tried(
                forward,
                False,
                port,
                reach,
                loop=Known(True) if came_back else Unknown("the running tunnel has not tried it"),
                address=shown["address"] or _address(self._place.hostname, port or 0),
            )
            if port and self.knocks >= KNOCKS_MOST:
                reason = f"only the first {KNOCKS_MOST} forwards are knocked at"
                tried = replace(tried, from_here=Unknown(reason))
            elif port:
                tried = replace(tried, from_here=self._knock(forward, port, reach))
            found.append(tried)
        return found

    # --- one question --------------------------------------------------------

    def _probes(self, forward: Forward, port: int, addresses: Sequence[str]) -> dict[str, Probed]:
        found = {}
        for address in addresses:
            probed = self._connection.probe(forward, address, port, self._left(PROBE_SECONDS))
            if probed is not None:
                found[address] = probed
        return found

    def _reach(
        self, forward: Forward, port: int, look: Look | None, probes: Mapping[str, Probed]
    ) -> Reach:
        if look is not None:
            return judge_reach(forward, port, look)
        return judge_probes(forward, port, probes)

    def _knock(self, forward: Forward, port: int, reach: Reach) -> Fact[Connected]:
        if self._place.why_not:
            return Unknown(self._place.why_not)
        host = self._place.address
        named = as_number(forward.listen_host or "")
        if forward.listen_host not in (None, *EVERYBODY):
            if named is None:
                return Unknown(f'only the server knows which address "{forward.listen_host}" is')
            host = named
        if reach.bound is not None and not is_for_all(reach.bound):
            return Unknown("it listens on the server only")
        if named is not None and ip_address(named).is_loopback:
            return Unknown("it is for the server only")
        if host is None:
            return Unknown("the server's address is not known")
        self.knocks += 1
        seconds = self._left(KNOCK_SECONDS)
        attempt = Try(self._pump, host, port, seconds=seconds, greeting_seconds=0.0)
        self._pump.until(lambda: attempt.connected is not None, seconds + 0.2)
        attempt.close()
        return Known(attempt.connected or Connected(Answer.TIMEOUT, seconds))


def _is_shown(forward: Forward, shown: Mapping[str, Any]) -> bool:
    keys = ("listen_host", "listen_port", "listen_path")
    return shown["kind"] == forward.kind.value and all(
        shown[key] == getattr(forward, key) for key in keys
    )


def _visitor_host(forward: Forward, hostname: str) -> str:
    return hostname if forward.listen_host in (None, *EVERYBODY) else forward.listen_host


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def needs_own(tried: Sequence[Tried], snapshot: Mapping[str, Any] | None) -> bool:
    """Whether only the profile's own port can tell more: the spare one was met by silence from
    here, or was refused (a key may be limited to its own port); and nobody wants the tunnel."""
    if snapshot is not None and (snapshot["wanted"] or snapshot["state"] not in ("down", "failed")):
        return False
    spare = next((one for one in tried if one.is_spare), None)
    if spare is None:
        return False
    knocked = value_of(spare.from_here)
    return spare.reach is None or (knocked is not None and knocked.answer is Answer.TIMEOUT)
