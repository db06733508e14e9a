"""Every bind address under every GatewayPorts, on real sshds: what listens, and what is said of it.

The server is in a network namespace of its own, with outer addresses that nobody else has.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sshwrap.ssh.look import Owner
from sshwrap.ssh.mux import Refused
from sshwrap.tunnel.reach import Reach, addresses_to_probe, judge_probes, judge_reach
from tests.support.children import World
from tests.support.masters import PATIENCE, Master, masters, remote, seen
from tests.support.needs import needs_namespaces, needs_program, needs_sshd
from tests.support.sshd import Sshd, find_sshd

pytestmark = [needs_sshd, needs_namespaces, needs_program("ip"), needs_program("nsenter")]

OUTER, OUTER_6 = "203.0.113.5", "2001:db8::5"
EVERY, LOCAL = ("0.0.0.0", "::"), ("127.0.0.1", "::1")

# bind address: (what listens, reach) under no, yes and clientspecified
TABLE: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "": ((LOCAL, "as_asked"), (EVERY, "as_asked"), (LOCAL, "as_asked")),
    "localhost:": ((LOCAL, "as_asked"), (EVERY, "exposed"), (LOCAL, "as_asked")),
    ":": ((LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY, "as_asked")),
    "*:": ((LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY, "as_asked")),
    "127.0.0.1:": ((LOCAL[:1], "as_asked"), (EVERY, "exposed"), (LOCAL[:1], "as_asked")),
    "[::1]:": ((LOCAL[1:], "as_asked"), (EVERY, "exposed"), (LOCAL[1:], "as_asked")),
    "0.0.0.0:": ((LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY[:1], "as_asked")),
    "[::]:": ((LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY[1:], "as_asked")),
    f"{OUTER}:": ((LOCAL, "loopback_only"), (EVERY, "exposed"), ((OUTER,), "as_asked")),
    f"[{OUTER_6}]:": ((LOCAL, "loopback_only"), (EVERY, "exposed"), ((OUTER_6,), "as_asked")),
    "127.0.0.2:": ((LOCAL, "loopback_only"), (EVERY, "exposed"), (("127.0.0.2",), "as_asked")),
    "198.51.100.9:": ((LOCAL, "loopback_only"), (EVERY, "exposed"), ((), "refused")),
    "no-such-host.invalid:": ((LOCAL, "loopback_only"), (EVERY, "exposed"), ((), "refused")),
}
PORTS = {bind: 20000 + number for number, bind in enumerate(TABLE)}
TARGET = "127.0.0.1:9"


@pytest.fixture
def world() -> Iterator[World]:
    with masters() as world:
        yield world


class Away:
    """A server in a network namespace, and a master that is signed in there."""

    def __init__(
        self, make_sshd: Callable[..., Sshd], tmp_path: Path, world: World, before: str = ""
    ) -> None:
        self._make, self._world = make_sshd, world
        self._program = tmp_path / "sshd-away"
        path = find_sshd()
        commands = (
            "ip link set lo up",
            f"ip address add {OUTER}/32 dev lo",
            f"ip address add {OUTER_6}/128 dev lo nodad",
            before or "true",
            f'exec {path} "$@"',
        )
        inner = "; ".join(commands).replace("'", "'\\''")
        self._program.write_text(f"#!/bin/sh\nexec unshare --net sh -c '{inner}' {path} \"$@\"\n")
        self._program.chmod(0o755)

    def sign_in(self, specs: list[str], **options: str) -> Master:
        self.server = self._make(program=str(self._program), options=options)
        nsenter = shutil.which("nsenter")
        inside = f"{nsenter} --net=/proc/{self.server.pid}/ns/net"
        # Nobody outside can connect to it; its own sshd answers on a pipe instead.
        log = f"-E {self.server.log_file}"
        proxy = f"{inside} {find_sshd()} -i -f {self.server.sshd_config} {log}"
        return Master(self._world, self.server, specs, options={"ProxyCommand": proxy})


@pytest.fixture
def away(make_sshd: Callable[..., Sshd], tmp_path: Path, world: World) -> Away:
    return Away(make_sshd, tmp_path, world)


def spec(bind: str) -> str:
    return f"{bind}{PORTS[bind]}:{TARGET}"


def probed(master: Master, bind: str) -> Reach:
    """What is said of it where no session may be opened."""
    forward = remote(spec(bind))
    found = {
        address: master.ask(
            lambda told, address=address: master.control.probe(
                forward, address, PORTS[bind], told, deadline=PATIENCE
            )
        )
        for address in addresses_to_probe(forward)
    }
    return judge_probes(forward, None, found)


@pytest.mark.parametrize(
    ("column", "gateway_ports"), [*enumerate(["no", "yes", "clientspecified"])]
)
def test_the_table(away: Away, column: int, gateway_ports: str) -> None:
    rows = {bind: columns[column] for bind, columns in TABLE.items()}
    granted = [bind for bind, (_, reach) in rows.items() if reach != "refused"]
    master = away.sign_in([spec(bind) for bind in granted], GatewayPorts=gateway_ports)
    for bind in rows.keys() - set(granted):
        answer = master.ask(lambda told, bind=bind: master.control.add(remote(spec(bind)), told))
        assert answer == Refused(f"remote port forwarding failed for listen port {PORTS[bind]}")
    found = seen(master, *PORTS.values())
    assert {one.owner for one in found.listeners} == {Owner.OURS}
    judged = {bind: judge_reach(remote(spec(bind)), None, found) for bind in granted}
    shown = {bind: (one.bound, one.reach) for bind, one in judged.items()}
    assert shown == {bind: rows[bind] for bind in granted}
    # And the same without a look, wherever that can be told.
    without = {bind: probed(master, bind) for bind in granted}
    assert {bind: (one.bound, one.reach) for bind, one in without.items()} == shown
    assert master.count("visitor_opened") == 0


def test_a_server_that_forwards_no_ipv6(away: Away) -> None:
    master = away.sign_in([spec("*:")], GatewayPorts="yes", AddressFamily="inet")
    judged = judge_reach(remote(spec("*:")), None, seen(master, PORTS["*:"]))
    assert judged[:2] == ("as_asked", ("0.0.0.0",))
    assert judged.reason == "IPv4 only: the server's sshd forwards no IPv6"
    assert probed(master, "*:") == ("as_asked", ("0.0.0.0",), "IPv4 only")


def test_a_server_without_ipv6(
    make_sshd: Callable[..., Sshd], tmp_path: Path, world: World
) -> None:
    off = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
    away = Away(make_sshd, tmp_path, world, before=off)
    master = away.sign_in([spec("localhost:")])
    found = seen(master, PORTS["localhost:"])
    assert not found.has_ipv6
    judged = judge_reach(remote(spec("localhost:")), None, found)
    assert judged == ("as_asked", ("127.0.0.1",), "IPv4 only: the server has no IPv6")
    assert probed(master, "localhost:") == ("as_asked", ("127.0.0.1",), "IPv4 only")
