"""What `sshwrap doctor` finds on a real server and a real way to it, check by check, as JSON.

Laws. A row says all that is wrong in its world: nothing else may fail or warn there. Where a check
can be wrong, some row has it wrong and another has it well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.netlab.conftest import home_cli
from tests.netlab.doctoring import Report, examine
from tests.netlab.home_cli import HomeCli
from tests.netlab.lab import Lab
from tests.netlab.server import Value
from tests.netlab.test_servers import OPENSSH

CLIENTSPECIFIED = {"GatewayPorts": "clientspecified"}
SOCKET = "/tmp/web.sock:localhost:8080"
FULL_BLOCK = "Match User tunnel\n    MaxSessions 0\n"


@dataclass(frozen=True)
class Row:
    """One state of sshd_config, a profile, and the verdict of one check by it. `also`: what else is
    wrong then; `since`: the first OpenSSH that knows it."""

    check: str
    verdict: str
    options: Mapping[str, Value] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    match: str = ""
    words: tuple[str, ...] = ()
    since: tuple[int, int] = (8, 0)
    more: int = 0  # profiles beside it that go to this server

    @property
    def wrong(self) -> set[str]:
        return {*self.also, *([self.check] if self.verdict in ("fail", "warn") else [])}


def forward(spec: str, **more: object) -> dict[str, Any]:
    return {"remote_forward": spec, **more}


HERE_ONLY = forward("localhost:12345:localhost:8080")
BARE = forward("12345:localhost:8080")
ONE = forward("203.0.113.7:12345:localhost:8080")
LOW = forward("*:80:localhost:8080")
ROWS = (
    Row(
        "gateway-ports", "fail", says=("asked for every address", "127.0.0.1"), also=("test-port",)
    ),
    Row("gateway-ports", "fail", {"GatewayPorts": "no"}, ONE, ("203.0.113.7",), ("test-port",)),
    Row("gateway-ports", "ok", {"GatewayPorts": "yes"}),
    Row("gateway-ports", "ok", CLIENTSPECIFIED),
    Row("gateway-ports", "ok", CLIENTSPECIFIED, ONE),
    Row(
        *("gateway-ports", "fail", {"GatewayPorts": "yes"}, HERE_ONLY),
        ("listens on every address", '"yes" overrides'),
        ("test-port",),
    ),
    Row(
        "gateway-ports", "fail", {"GatewayPorts": "yes"}, ONE, ('"yes" overrides',), ("test-port",)
    ),
    Row("gateway-ports", "ok", {}, HERE_ONLY),
    Row("gateway-ports", "ok", {}, BARE, ("the server only",)),
    Row("gateway-ports", "ok", {"GatewayPorts": "yes"}, BARE, ("every address",)),
    Row("gateway-ports", "fail", {}, BARE, (), ("test-port",), words=("--public",)),
    Row("gateway-ports", "ok", CLIENTSPECIFIED, BARE, words=("--public",)),
    Row(
        *("gateway-ports", "fail", {}, {}),
        ("sshd_config:", "gatewayports no   (in Match User tunnel)"),
        ("test-port",),
        match="Match User tunnel\n    GatewayPorts no\n",
    ),
    Row("allow-tcp-forwarding", "ok", CLIENTSPECIFIED | {"AllowTcpForwarding": "remote"}),
    Row(
        *("allow-tcp-forwarding", "fail", CLIENTSPECIFIED | {"AllowTcpForwarding": "no"}, {}),
        ('AllowTcpForwarding is "no"', "Match User tunnel", "AllowTcpForwarding yes"),
        ("test-port", "forwards"),
    ),
    Row(
        *("allow-tcp-forwarding", "fail", CLIENTSPECIFIED | {"AllowTcpForwarding": "local"}, {}),
        ('"local"',),
        ("test-port", "forwards"),
    ),
    Row(
        *("disable-forwarding", "fail", CLIENTSPECIFIED | {"DisableForwarding": "yes"}, {}),
        ("DisableForwarding no",),
        ("test-port", "forwards"),
    ),
    Row("disable-forwarding", "ok", CLIENTSPECIFIED | {"DisableForwarding": "no"}),
    Row(
        "allow-stream-local-forwarding",
        "ok",
        {"StreamLocalBindUnlink": "yes"},
        forward(SOCKET),
    ),
    Row(
        "allow-stream-local-forwarding",
        "fail",
        {"AllowStreamLocalForwarding": "no", "StreamLocalBindUnlink": "yes"},
        forward(SOCKET),
        ("refuses every forward",),
    ),
    Row(
        "allow-stream-local-forwarding",
        "fail",
        {"AllowStreamLocalForwarding": "local", "StreamLocalBindUnlink": "yes"},
        forward(SOCKET),
    ),
    Row("stream-local-bind-unlink", "ok", {"StreamLocalBindUnlink": "yes"}, forward(SOCKET)),
    Row("stream-local-bind-unlink", "warn", {}, forward(SOCKET), ("never removes the socket",)),
    Row("permit-listen", "ok", CLIENTSPECIFIED | {"PermitListen": "12345"}),
    Row("permit-listen", "ok", {"PermitListen": "localhost:12345"}, BARE),
    Row(
        *("permit-listen", "fail", CLIENTSPECIFIED | {"PermitListen": "localhost:12345"}, {}),
        ("The spelling of the address counts",),
        ("forwards",),
    ),
    Row(
        *("permit-listen", "fail", {"PermitListen": "127.0.0.1:12345"}, BARE),
        ('asks for "localhost"',),
        ("forwards",),
    ),
    Row(
        *("permit-listen", "fail", CLIENTSPECIFIED | {"PermitListen": "none"}, {}),
        ('"none"',),
        ("forwards",),
    ),
    Row("client-alive", "ok", CLIENTSPECIFIED, {}, ("2 h 11 min", "it can")),
    Row(
        "client-alive",
        "ok",
        CLIENTSPECIFIED | {"ClientAliveInterval": 15, "ClientAliveCountMax": 3},
        {"reclaim": False},
    ),
    Row(
        *("client-alive", "warn", CLIENTSPECIFIED, {"reclaim": False}),
        ("2 h 11 min", "ClientAliveInterval 15"),
    ),
    Row(
        "client-alive",
        "warn",
        CLIENTSPECIFIED | {"ClientAliveInterval": 600, "ClientAliveCountMax": 3},
        {"reclaim": False},
        ("ClientAliveInterval is 600",),
    ),
    Row("unused-connection-timeout", "ok", CLIENTSPECIFIED),
    Row(
        "unused-connection-timeout",
        "warn",
        CLIENTSPECIFIED | {"UnusedConnectionTimeout": "5m"},
        {},
        ("5 min",),
        since=(9, 2),
    ),
    Row("max-sessions", "ok", CLIENTSPECIFIED),
    Row(
        *("max-sessions", "warn", CLIENTSPECIFIED, {}, ("MaxSessions is 0",)),
        match=FULL_BLOCK,
        words=("--admin", "root@vps4.example.com"),
    ),
    Row("max-startups", "ok", CLIENTSPECIFIED),
    Row(
        *("max-startups", "warn", CLIENTSPECIFIED | {"MaxStartups": "2:30:4"}, {}),
        ('"2:30:4"', "3 profiles"),
        more=2,
    ),
    Row(
        *("max-startups", "warn", CLIENTSPECIFIED | {"PerSourceMaxStartups": "1"}, {}),
        ("PerSourceMaxStartups", "2 profiles"),
        since=(8, 5),
        more=1,
    ),
    Row("penalties", "ok", CLIENTSPECIFIED, since=(9, 8)),
    Row(
        "penalties",
        "warn",
        CLIENTSPECIFIED | {"PerSourcePenalties": "authfail:60s min:15s noauth:0"},
        {},
        ("one failed sign-in",),
        since=(9, 8),
    ),
    Row(
        "privileged-port",
        "fail",
        CLIENTSPECIFIED,
        LOW,
        ("80 is below 1024, and tunnel is not root",),
    ),
    Row(
        "privileged-port",
        "ok",
        CLIENTSPECIFIED,
        LOW | {"destination": "root@vps4.example.com"},
    ),
    Row("bind-address", "ok", CLIENTSPECIFIED, ONE),
    Row(
        "bind-address",
        "fail",
        CLIENTSPECIFIED,
        forward("203.0.113.99:12345:localhost:8080"),
        ('"203.0.113.99" is no address of the server',),
    ),
    Row("port-free", "ok", CLIENTSPECIFIED, {}, ("12345 is free",)),
    Row("root", "ok", CLIENTSPECIFIED, {}, ("neither root nor sudo",)),
    Row("root", "ok", CLIENTSPECIFIED, {"destination": "root@vps4.example.com"}, ("is root",)),
    Row("target", "fail", CLIENTSPECIFIED, forward("*:12345:localhost:8099"), ("nothing listens",)),
    Row("target", "ok", CLIENTSPECIFIED),
    Row(
        *("name-resolves", "fail", {}, {"destination": "tunnel@nosuch.example.com"}),
        ("getent hosts nosuch.example.com",),
    ),
    Row("name-resolves", "ok", CLIENTSPECIFIED, {"destination": "tunnel@203.0.113.7"}),
)
TELLING = (0, 3, 5, 14, 21, 33)  # of ROWS: these run also where nothing slow does


def put_right(lab: Lab, row: Row) -> None:
    """The server as the row has it: nothing of the row before is left."""
    lab.server.options = {}
    lab.server.reload_sshd(match=row.match, **row.options)


def judged(cli: HomeCli, row: Row) -> Report:
    more = {
        f"more-{number}": forward(f"{20000 + number}:localhost:8080") for number in range(row.more)
    }
    cli.profiles(web=row.profile, **more)
    return examine(cli, *row.words)


def faults(row: Row, report: Report) -> list[str]:
    """What is not as the row says."""
    found = []
    if report[row.check] != row.verdict:
        found.append(f"{row.check} is {report[row.check]}")
    else:
        text = report.text(row.check)
        found += [
            f"{row.check} does not say {word!r}:\n{text}" for word in row.says if word not in text
        ]
    if report.wrong() != row.wrong:
        found.append(f"wrong: {sorted(report.wrong())}")
    return [f"{row}\n{one}\n{report}" for one in found]


@pytest.mark.parametrize("number", TELLING)
def test_what_the_server_does(make_lab: Callable[..., Lab], number: int) -> None:
    row = ROWS[number]
    lab = make_lab()
    lab.serve_page()
    lab.server.start_sshd(match=row.match, **row.options)
    with home_cli(lab) as cli:
        assert not faults(row, judged(cli, row))


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", OPENSSH)
def test_every_row_on_every_openssh(make_lab: Callable[..., Lab], kind: str) -> None:
    lab = make_lab(server=kind)
    lab.serve_page()
    lab.server.start_sshd()
    found: list[str] = []
    with home_cli(lab) as cli:
        for row in ROWS:
            if lab.server.version() >= row.since:
                put_right(lab, row)
                found += faults(row, judged(cli, row))
    assert not found, "\n\n".join(found)
