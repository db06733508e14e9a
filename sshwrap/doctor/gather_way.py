"""The way to the server, by what the one sign-in's own log says of it.

Laws. No connection to sshd's port beside the sign-in, since each costs a penalty there: only where
ssh came through and got no greeting is the port looked at once. Through a jump host nothing but
the host key is seen from here.
"""

from __future__ import annotations

from dataclasses import replace

from sshwrap.doctor.facts import (
    Answer,
    ClientConfig,
    Connected,
    Fact,
    Known,
    SignIn,
    Unknown,
    Way,
    value_of,
)
from sshwrap.doctor.gather_here import Try
from sshwrap.doctor.remote import Connection, Pump
from sshwrap.doctor.sign_in import address_of, banner_of, host_key_of, tcp_of
from sshwrap.ssh.lines import bounded, clean

LOOK_SECONDS = 1.5
_THROUGH_JUMP = Unknown("the way goes through a jump host")
_OVER_TUNNEL = Unknown("the running tunnel was used: no new connection was made")


def jump_of(config: ClientConfig) -> str | None:
    """ProxyJump or ProxyCommand, as `ssh -G` says it."""
    for keyword in ("proxyjump", "proxycommand"):
        value = next(iter(config.values.get(keyword, ())), "none")
        if value != "none":
            return bounded(value, 300)
    return None


def known_as(config: ClientConfig) -> str:
    """The server's name in known_hosts: "host", "[host]:port", or what HostKeyAlias says."""
    alias = next(iter(config.values.get("hostkeyalias", ())), "none")
    if alias != "none":
        return alias
    return config.hostname if config.port == 22 else f"[{config.hostname}]:{config.port}"


def way_facts(
    config: ClientConfig, connection: Connection, addresses: Fact[tuple[str, ...]]
) -> Way:
    jump = jump_of(config)
    heard = connection.heard
    if connection.over_tunnel:
        return Way(
            by_tunnel=True,
            jump=jump,
            addresses=_THROUGH_JUMP if jump else addresses,
            tcp=_OVER_TUNNEL,
            banner=_OVER_TUNNEL,
            host_key=_OVER_TUNNEL,
            round_trip=_OVER_TUNNEL,
        )
    host_key = host_key_of(heard, known_as(config))
    banner = banner_of(heard)
    if jump is not None:
        return Way(
            jump=jump,
            addresses=_THROUGH_JUMP,
            tcp=_THROUGH_JUMP,
            banner=banner,
            host_key=host_key,
            round_trip=_THROUGH_JUMP,
        )
    used = address_of(heard)
    if not value_of(addresses) and used is not None:
        addresses = Known((used,))
    tcp = tcp_of(heard)
    connected = value_of(tcp)
    if connected is None and not value_of(addresses):
        tcp = Known(Connected(Answer.UNRESOLVED, 0.0))
    trip: Fact[float] = Unknown("no connection was made")
    if connected is not None and connected.answer is Answer.OPEN:
        trip = Known(connected.seconds)
    return Way(addresses=addresses, tcp=tcp, banner=banner, host_key=host_key, round_trip=trip)


def look_at_port(
    pump: Pump, way: Way, config: ClientConfig, sign_in: SignIn, seconds: float
) -> Way:
    """What the port says by itself, where ssh came through to it and was not greeted."""
    connected = value_of(way.tcp)
    is_silent = isinstance(way.banner, Unknown)
    if connected is None or connected.answer is not Answer.OPEN or not is_silent:
        return way
    if sign_in.failure is None or sign_in.failure.kind == "throttled":
        return way
    addresses = value_of(way.addresses)
    if not addresses:
        return way
    address = addresses[0]
    look = Try(pump, address, config.port, seconds=seconds, greeting_seconds=seconds)
    pump.until(lambda: look.connected is not None, seconds + 0.2)
    look.close()
    first = look.greeting.split(b"\n")[0].decode(errors="replace").rstrip("\r")
    is_open = look.connected is not None and look.connected.answer is Answer.OPEN
    if first or is_open:  # open, and silent for all that time
        return replace(way, banner=Known(bounded(clean(first), 300)))
    return way
