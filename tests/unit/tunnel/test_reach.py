"""What listens, against what was asked: the table of sshd's rules, and every way not to know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sshwrap.profile.forward import Forward, Kind, parse_forward
from sshwrap.ssh.look import Listener, Look, Owner, SocketListener
from sshwrap.ssh.mux import Unknown, Why
from sshwrap.ssh.probe import Found, Probed
from sshwrap.tunnel.reach import (
    Reach,
    addresses_to_probe,
    doubtful_half,
    judge_listeners,
    judge_probes,
    judge_reach,
    missing_half,
)

PORT = 8080
EVERY = ("0.0.0.0", "::")
LOCAL = ("127.0.0.1", "::1")
OUTER = "203.0.113.5"

# GatewayPorts no, yes and clientspecified: what a bind address becomes (9.2, OpenSSH's own rules).
TABLE = [
    ("", (LOCAL, "as_asked"), (EVERY, "as_asked"), (LOCAL, "as_asked")),
    ("localhost:", (LOCAL, "as_asked"), (EVERY, "exposed"), (LOCAL, "as_asked")),
    (":", (LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY, "as_asked")),
    ("*:", (LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY, "as_asked")),
    ("127.0.0.1:", (LOCAL[:1], "as_asked"), (EVERY, "exposed"), (LOCAL[:1], "as_asked")),
    ("[::1]:", (LOCAL[1:], "as_asked"), (EVERY, "exposed"), (LOCAL[1:], "as_asked")),
    ("0.0.0.0:", (LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY[:1], "as_asked")),
    ("[::]:", (LOCAL, "loopback_only"), (EVERY, "as_asked"), (EVERY[1:], "as_asked")),
    (f"{OUTER}:", (LOCAL, "loopback_only"), (EVERY, "exposed"), ((OUTER,), "as_asked")),
    ("vps.example:", (LOCAL, "loopback_only"), (EVERY, "exposed"), ((OUTER,), "as_asked")),
]
CASES = [
    pytest.param(bind, bound, reach, id=f"{bind or 'none'} {gateway_ports}")
    for bind, *columns in TABLE
    for gateway_ports, (bound, reach) in zip(("no", "yes", "specified"), columns, strict=True)
]


def asked(spec: str, kind: Kind = Kind.REMOTE) -> Forward:
    return parse_forward(kind, spec, environ={}, service_port=lambda _: None)


def forward(bind: str) -> Forward:
    return asked(f"{bind}{PORT}:localhost:80")


def row(address: str, owner: Owner = Owner.OURS, *, port: int = PORT, uid: int = 7) -> Listener:
    return Listener(address, port, uid, owner)


def look(*listeners: Listener, sockets: tuple[SocketListener, ...] = (), six: bool = True) -> Look:
    return Look(listeners, sockets, None, None, 7, six)


@pytest.mark.parametrize(("bind", "bound", "reach"), CASES)
def test_every_bind_address_under_every_gateway_ports(
    bind: str, bound: tuple[str, ...], reach: str
) -> None:
    judged = judge_reach(forward(bind), None, look(*map(row, reversed(bound))))
    assert (judged.reach, judged.bound) == (reach, bound)
    remarked = bind in ("0.0.0.0:", "[::]:") and bound == EVERY
    assert (judged.reason is not None) is remarked


@pytest.mark.parametrize("owner", [Owner.OURS, Owner.ACCOUNT])
@pytest.mark.parametrize("bind", ["*:", "0.0.0.0:", "", "localhost:"])
def test_half_bound_is_where_another_socket_holds_what_is_missing(bind: str, owner: Owner) -> None:
    ours = "::" if bind in ("*:", "0.0.0.0:") else "::1"
    judged = judge_reach(
        forward(bind), None, look(row(ours, owner), row("127.0.0.1", Owner.OTHER, uid=33))
    )
    assert judged == ("half_bound", (ours,), "uid 33 listens on 127.0.0.1")


def test_a_probe_knows_what_the_look_could_not() -> None:
    found = look(row("0.0.0.0", Owner.ACCOUNT), row("::", Owner.ACCOUNT))
    there, other = Probed(Found.OURS), Probed(Found.OTHER)

    def judge(four: Probed, six: Probed) -> tuple[str, tuple[str, ...] | None]:
        judged = judge_reach(forward("*:"), None, found, {"127.0.0.1": four, "::1": six})
        return judged.reach, judged.bound

    assert judge(there, there) == ("as_asked", EVERY)
    assert judge(other, there) == ("half_bound", ("::",))
    assert judge(there, other) == ("half_bound", ("0.0.0.0",))
    assert judge(other, other) == ("unknown", ())
    assert judge(Probed(Found.SILENT), there) == ("as_asked", EVERY)
    # What was seen needs no probe.
    sure = look(*map(row, EVERY))
    assert judge_reach(forward("*:"), None, sure, {"127.0.0.1": other}).reach == "as_asked"


def test_both_other_families() -> None:
    other = row("::", Owner.OTHER)
    assert judge_reach(forward("*:"), None, look(row("0.0.0.0"), other)).reach == "half_bound"
    # Nobody asked for IPv6 there.
    assert judge_reach(forward("0.0.0.0:"), None, look(row("0.0.0.0"), other)).reach == "as_asked"


def test_a_family_that_nobody_has_is_not_missing() -> None:
    four = look(row("0.0.0.0"), six=False)
    judged = judge_reach(forward("*:"), None, four)
    assert judged == ("as_asked", ("0.0.0.0",), "IPv4 only: the server has no IPv6")
    judged = judge_reach(forward("*:"), None, replace(four, has_ipv6=True))
    assert judged.reach == "as_asked"
    assert judged.reason == "IPv4 only: the server's sshd forwards no IPv6"


def test_another_program_beside_a_whole_forward_is_no_fault() -> None:
    found = look(*map(row, LOCAL), row("192.0.2.1", Owner.OTHER))
    assert judge_reach(forward(""), None, found).reach == "as_asked"


@pytest.mark.parametrize(
    ("bind", "ours", "reach"),
    [("*:", "::1", "loopback_only"), ("localhost:", "::", "exposed")],
)
def test_the_fault_that_explains_the_other_is_told(bind: str, ours: str, reach: str) -> None:
    found = look(row(ours), row("0.0.0.0", Owner.OTHER))
    assert judge_reach(forward(bind), None, found).reach == reach


def test_an_address_of_127_that_was_not_given() -> None:
    found = look(*map(row, LOCAL))
    assert judge_reach(forward("127.0.0.2:"), None, found).reach == "loopback_only"
    assert judge_reach(forward("127.0.0.2:"), None, look(row("127.0.0.2"))).reach == "as_asked"


@pytest.mark.parametrize("bind", ["[0:0:0::1]:", "[::1%lo]:"])
def test_one_address_has_many_spellings(bind: str) -> None:
    assert judge_reach(forward(bind), None, look(row("::1"))).reach == "as_asked"


def test_another_address_than_the_one_asked_for_is_not_as_asked() -> None:
    judged = judge_reach(forward(f"{OUTER}:"), None, look(row("198.51.100.9")))
    assert judged.reach == "unknown"
    assert OUTER in (judged.reason or "")


def test_only_its_own_port_counts() -> None:
    found = look(row("0.0.0.0", port=1), row("::", port=1), *map(row, LOCAL))
    assert judge_reach(forward("*:"), None, found).bound == LOCAL
    zero = asked("*:0:localhost:80")
    assert judge_reach(zero, 1, found).reach == "as_asked"
    assert judge_reach(zero, None, found).reach == "unknown"


def test_what_nobody_has_seen_is_unknown() -> None:
    reason = "the account runs no commands on the server"
    assert judge_reach(forward("*:"), None, None).reach == "unknown"
    assert judge_reach(forward("*:"), None, Unknown(Why.REFUSED, reason)).reason == reason
    judged = judge_reach(forward("*:"), None, look())
    assert judged == ("unknown", (), f"nobody listens on port {PORT} on the server")
    judged = judge_reach(forward(""), None, look(row("0.0.0.0", Owner.OTHER, uid=33)))
    assert judged.reach == "unknown"
    assert "uid 33 listens on 0.0.0.0" in (judged.reason or "")


def test_socks_is_judged_as_any_port() -> None:
    assert judge_reach(asked(f"*:{PORT}"), None, look(*map(row, LOCAL))).reach == "loopback_only"


@pytest.mark.parametrize("kind", [Kind.LOCAL, Kind.DYNAMIC])
def test_local_listeners_are_judged_by_a_look_at_this_machine(kind: Kind) -> None:
    spec = f"localhost:{PORT}" + (":localhost:80" if kind is Kind.LOCAL else "")
    local = asked(spec, kind)
    other = row("127.0.0.1", Owner.OTHER)
    assert judge_listeners(local, None, map(row, LOCAL)).reach == "as_asked"
    assert judge_listeners(local, None, [row("::1"), other]).reach == "half_bound"


class TestPaths:
    FORWARD = asked("/run/a.sock:localhost:80")

    def judge(self, *sockets: SocketListener, spec: str = "/run/a.sock") -> tuple[str, str | None]:
        judged = judge_reach(asked(f"{spec}:localhost:80"), None, look(sockets=sockets))
        return judged.reach, judged.reason

    def test_listens(self) -> None:
        found = SocketListener("/run/a.sock", Owner.OURS, has_file=True)
        judged = judge_reach(self.FORWARD, None, look(sockets=(found,)))
        assert judged == ("as_asked", ("/run/a.sock",), None)

    def test_removed_on_the_server(self) -> None:
        reach, reason = self.judge(SocketListener("/run/a.sock", Owner.OURS, has_file=False))
        assert reach == "unknown"
        assert "removed" in (reason or "")

    @pytest.mark.parametrize(
        "other",
        [
            SocketListener("/run/a.sock2", Owner.OURS, has_file=True),
            SocketListener("/run/a.sock", Owner.OTHER, has_file=True),
        ],
    )
    def test_not_ours(self, other: SocketListener) -> None:
        assert self.judge(other)[0] == "unknown"

    def test_percent_signs(self) -> None:
        found = SocketListener("/run/a%b", Owner.OURS, has_file=True)
        assert self.judge(found, spec="/run/a%%b")[0] == "as_asked"
        reach, reason = self.judge(found, spec="/run/%h")
        assert reach == "unknown"
        assert "/run/%h" in (reason or "")


class TestProbes:
    """Without a session on the server, by what answers there."""

    Y, N, X = Found.OURS, Found.NOBODY, Found.OTHER
    F, U, S = Found.FORBIDDEN, Found.UNREACHABLE, Found.SILENT

    @staticmethod
    def judge(
        bind: str, *found: Found, outer: Found | None = None
    ) -> tuple[str, tuple[str, ...] | None]:
        """What was found at 127.0.0.1, ::1, 127.0.0.2, and with `outer` at the server's own."""
        addresses = ("127.0.0.1", "::1", "127.0.0.2")
        probes = {one: Probed(what) for one, what in zip(addresses, found, strict=True)}
        if outer is not None:
            probes[OUTER] = Probed(outer)
        judged = judge_probes(forward(bind), None, probes)
        assert (judged.reach == "unknown") <= (judged.reason is not None)
        return judged.reach, judged.bound

    def test_where_to_ask(self) -> None:
        loopbacks = ("127.0.0.1", "::1", "127.0.0.2")
        assert addresses_to_probe(forward("*:")) == loopbacks
        assert addresses_to_probe(forward(f"{OUTER}:")) == (*loopbacks, OUTER)
        assert addresses_to_probe(forward("*:"), OUTER) == (*loopbacks, OUTER)
        assert addresses_to_probe(forward("*:"), "vps.example") == loopbacks
        assert addresses_to_probe(forward("127.0.0.1:"), "127.0.0.1") == loopbacks
        assert addresses_to_probe(asked("/run/a.sock:localhost:80")) == ()
        assert addresses_to_probe(asked("8080:localhost:80", Kind.LOCAL)) == ()

    @pytest.mark.parametrize(("bind", "bound", "reach"), CASES)
    def test_the_whole_table(self, bind: str, bound: tuple[str, ...], reach: str) -> None:
        if bound == (OUTER,) and not bind.startswith(OUTER):
            # Which address a name is, only the server knows; nothing answers where we ask.
            bound, reach = (), "unknown"

        def answers(address: str) -> Found:
            every = "::" if ":" in address else "0.0.0.0"
            return self.Y if address in bound or every in bound else self.N

        asked_for = forward(bind)
        probes = {one: Probed(answers(one)) for one in addresses_to_probe(asked_for)}
        judged = judge_probes(asked_for, None, probes)
        assert (judged.reach, judged.bound or ()) == (reach, bound)

    def test_another_program_holds_one_family(self) -> None:
        assert self.judge("*:", self.X, self.Y, self.X) == ("half_bound", None)
        assert self.judge("*:", self.Y, self.X, self.Y) == ("half_bound", ("0.0.0.0",))
        assert self.judge("", self.X, self.Y, self.X) == ("half_bound", None)

    def test_no_ipv6(self) -> None:
        assert self.judge("*:", self.Y, self.U, self.Y) == ("as_asked", ("0.0.0.0",))

    def test_a_server_that_is_not_linux(self) -> None:
        assert self.judge("*:", self.Y, self.Y, self.U) == ("unknown", None)
        assert self.judge("*:", self.Y, self.Y, self.U, outer=self.Y)[0] == "as_asked"
        # A router may have refused that.
        assert self.judge("*:", self.Y, self.Y, self.U, outer=self.N) == ("unknown", None)
        assert self.judge("localhost:", self.Y, self.Y, self.U)[0] == "unknown"
        assert self.judge("", self.Y, self.Y, self.U) == ("as_asked", None)

    def test_a_key_that_may_connect_to_one_address(self) -> None:
        assert self.judge("*:", self.Y, self.F, self.F) == ("unknown", None)
        # Half of what was asked for was not seen.
        assert self.judge("*:", self.Y, self.F, self.Y) == ("unknown", None)
        assert self.judge("*:", self.Y, self.F, self.N)[0] == "loopback_only"
        assert self.judge("127.0.0.1:", self.Y, self.F, self.N)[0] == "as_asked"

    @pytest.mark.parametrize("found", [F, S, N, X, Found.UNKNOWN])
    def test_nothing_seen(self, found: Found) -> None:
        assert self.judge("*:", found, found, found) == ("unknown", None)
        assert self.judge("", found, found, found) == ("unknown", None)

    def test_nothing_asked(self) -> None:
        assert judge_probes(forward("*:"), None, {}).reach == "unknown"


class TestMissingHalf:
    """What to ask for where another program has one family of the port."""

    @pytest.mark.parametrize(
        ("bind", "have", "host"),
        [
            ("*:", ("::",), "0.0.0.0"),
            ("*:", ("0.0.0.0",), "::"),
            ("*:", ("::1",), "0.0.0.0"),  # by connections alone: how widely is not known
            ("", ("::",), "0.0.0.0"),
            ("", ("::1",), "127.0.0.1"),
            ("", ("127.0.0.1",), "::1"),
            ("localhost:", ("::1",), "127.0.0.1"),
            ("0.0.0.0:", ("::",), "0.0.0.0"),  # GatewayPorts yes adds the other family
            ("[::]:", ("0.0.0.0",), "::"),
        ],
    )
    def test_one_address_of_the_other_family(
        self, bind: str, have: tuple[str, ...], host: str
    ) -> None:
        half = missing_half(forward(bind), None, have)
        assert half is not None
        assert (half.listen_host, half.listen_port) == (host, PORT)
        assert (half.kind, half.connect_host, half.connect_port) == (Kind.REMOTE, "localhost", 80)

    @pytest.mark.parametrize(
        ("bind", "have"),
        [
            ("*:", EVERY),
            ("", LOCAL),
            ("0.0.0.0:", ("0.0.0.0",)),
            ("127.0.0.1:", ("127.0.0.1",)),
            ("vps.example:", (OUTER,)),  # which families a name has, only the server knows
            ("*:", ()),  # then nothing is ours, and it is no half that is missing
        ],
    )
    def test_nothing_is_missing(self, bind: str, have: tuple[str, ...]) -> None:
        assert missing_half(forward(bind), None, have) is None

    def test_the_port_is_the_one_that_the_server_gave(self) -> None:
        half = missing_half(asked("*:0:localhost:80"), 40001, ("::",))
        assert half is not None
        assert half.listen_port == 40001
        assert missing_half(asked("*:0:localhost:80"), None, ("::",)) is None

    @pytest.mark.parametrize(
        ("bind", "have"),
        [
            *(("*:", (one,)) for one in EVERY),
            *(("", (one,)) for one in (*EVERY, *LOCAL)),
            *(("localhost:", (one,)) for one in LOCAL),
        ],
    )
    def test_with_it_the_forward_is_as_asked(self, bind: str, have: tuple[str, ...]) -> None:
        """And without it, while another program has it, half bound."""
        half = missing_half(forward(bind), None, have)
        assert half is not None
        assert half.listen_host is not None
        missing = half.listen_host
        other = look(*map(row, have), row(missing, Owner.OTHER))
        assert judge_reach(forward(bind), None, other).reach == "half_bound"
        both = judge_reach(forward(bind), None, look(*map(row, have), row(missing)))
        assert both.reach == "as_asked"
        assert set(both.bound or ()) in (set(EVERY), set(LOCAL))


class TestDoubtfulHalf:
    """One family alone listens, as asked, and nobody is seen to hold the other."""

    @pytest.mark.parametrize(
        ("bind", "bound", "six", "half"),
        [
            ("*:", ("::",), True, "0.0.0.0"),
            ("*:", ("::",), False, "0.0.0.0"),
            ("*:", ("0.0.0.0",), True, "::"),
            ("", ("127.0.0.1",), True, "::1"),
            ("localhost:", ("::1",), None, "127.0.0.1"),
            ("*:", ("0.0.0.0",), False, None),
            ("*:", ("0.0.0.0",), None, None),
            ("*:", ("0.0.0.0", "::"), True, None),
            ("0.0.0.0:", ("0.0.0.0",), True, None),
            ("*:", (), True, None),
        ],
    )
    def test_what_is_asked_for(
        self, bind: str, bound: tuple[str, ...], six: bool | None, half: str | None
    ) -> None:
        found = doubtful_half(forward(bind), None, Reach("as_asked", bound, None), has_ipv6=six)
        assert (None if found is None else found.listen_host) == half

    @pytest.mark.parametrize("reach", ["half_bound", "unknown", "loopback_only", "exposed"])
    def test_nothing_of_what_is_wrong_anyway(self, reach: str) -> None:
        judged = Reach(reach, ("::",), None)
        assert doubtful_half(forward("*:"), None, judged, has_ipv6=True) is None

    def test_nothing_of_a_socket(self) -> None:
        judged = Reach("as_asked", ("/r.sock",), None)
        assert doubtful_half(asked("/r.sock:localhost:80"), None, judged, has_ipv6=True) is None

    def test_nothing_of_what_listens_here(self) -> None:
        local = asked(f"{PORT}:localhost:80", Kind.LOCAL)
        judged = Reach("as_asked", ("127.0.0.1",), None)
        assert doubtful_half(local, None, judged, has_ipv6=True) is None
