from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from sshwrap.render.forward import advice, connect_text, facts, listen_text, troubles
from sshwrap.render.words import state_word
from sshwrap.tunnel.snapshot import is_ok
from tests.support.screens import forward, tunnel

EVERY = ["0.0.0.0", "::"]
OWN = ["127.0.0.1", "::1"]
DASH_G = "(-g does not change that: it is for -L and -D)"
OWN_LOOPBACK = f'on the server\'s own loopback: its GatewayPorts is "no" {DASH_G}'
REACHES = ["checking", "as_asked", "loopback_only", "half_bound", "exposed", "unknown"]
ANSWERS = ["open", "refused", "timeout", "unknown"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"reach": "loopback_only", "bound": OWN},
            f"only programs on the server itself can connect: sshd put port 12345 {OWN_LOOPBACK}",
        ),
        (
            {"reach": "loopback_only", "from_here": "refused", "allocated_port": 40123},
            f"refused from here: sshd put port 40123 {OWN_LOOPBACK}",
        ),
        (
            {"reach": "loopback_only", "from_here": "timeout", "_from_here_ms": 5000.0},
            f"no answer from here: sshd put port 12345 {OWN_LOOPBACK}",
        ),
        (
            {"reach": "half_bound", "bound": ["::"], "reach_reason": "uid 33 listens on 0.0.0.0"},
            "port 12345 is only half ours: visitors by IPv6 alone get through; uid 33 listens on "
            "0.0.0.0; asked for again until it is free",
        ),
        (
            {"reach": "half_bound", "bound": ["0.0.0.0"], "from_here": "open"},
            "port 12345 is only half ours: visitors by IPv4 alone get through; another program has "
            "the other half; asked for again until it is free",
        ),
        (
            {
                "reach": "half_bound",
                "bound": None,
                "reach_reason": "another program listens on ::1",
            },
            "port 12345 is only half ours: not all visitors get through; another program listens "
            "on ::1; asked for again until it is free",
        ),
        (
            {"reach": "exposed", "listen_host": "localhost", "bound": EVERY},
            "port 12345 is wider than asked: sshd listens on every address, its GatewayPorts is "
            '"yes" and overrides the address asked for',
        ),
        (
            {"reach": "exposed", "listen_host": "localhost", "bound": ["192.0.2.7"]},
            "port 12345 is wider than asked: sshd listens on 192.0.2.7",
        ),
        (
            {"reach": "as_asked", "from_here": "refused", "bound": EVERY},
            "refused from here, though sshd listens on every address: a firewall refuses, or the "
            "name leads to another machine",
        ),
        (
            {
                "reach": "as_asked",
                "from_here": "timeout",
                "bound": ["0.0.0.0"],
                "listen_host": "::",
            },
            "no answer from here, though sshd listens on every IPv4 address: a firewall drops it, "
            "the server's own or its provider's",
        ),
        (
            {"reach": "unknown", "from_here": "refused"},
            f"refused from here: most likely sshd put it {OWN_LOOPBACK}",
        ),
        (
            {"reach": "unknown", "from_here": "timeout", "_from_here_ms": 5000.4},
            "no answer from here in 5 s: most likely a firewall drops it, the server's own or its "
            "provider's",
        ),
        (
            {"target": "refused"},
            "nothing answers on localhost:8080 on this machine: the tunnel is fine and serves "
            "again as soon as the program does",
        ),
        (
            {"target": "refused", "connect_host": "192.0.2.30", "connect_port": 22},
            "nothing answers on 192.0.2.30:22: the tunnel is fine and serves "
            "again as soon as the program does",
        ),
        (
            {"target": "refused", "kind": "local"},
            "nothing answers on localhost:8080: the tunnel is fine and serves "
            "again as soon as the program does",
        ),
    ],
)
def test_what_is_not_as_asked_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    assert troubles(forward(**values)) == [sentence]


def test_a_dead_target_is_told_beside_the_rest() -> None:
    both = troubles(forward(reach="loopback_only", from_here="refused", target="refused"))
    assert [sentence.split()[0] for sentence in both] == ["refused", "nothing"]


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "::", None, "localhost", "192.0.2.7"])
@pytest.mark.parametrize("kind", ["remote", "local", "dynamic"])
def test_up_but_is_what_ok_counts_and_a_target_that_does_not_answer(
    kind: str, host: str | None
) -> None:
    for reach, answer, target in product(REACHES, ANSWERS, ["ok", "refused", "unknown"]):
        one = forward(kind=kind, listen_host=host, reach=reach, from_here=answer, target=target)
        shown = tunnel("web", forwards=[forward(), one])
        is_well = is_ok(shown) and target != "refused"
        assert state_word(shown) == ("up" if is_well else "up, but"), one
        # What is counted as wrong, and not the target, comes with something to do.
        assert bool(advice(one, "web")) is not is_ok(shown), one


def test_only_what_everybody_was_promised_is_wrong_when_it_does_not_answer() -> None:
    named = forward(listen_host="192.0.2.7", from_here="refused", bound=["192.0.2.7"])
    chosen = forward(listen_host=None, from_here="timeout", _from_here_ms=5000.0, bound=EVERY)
    own = forward(listen_host=None, from_here="refused", bound=OWN, reach="as_asked")
    assert [troubles(each) for each in (named, chosen, own)] == [[], [], []]
    assert facts(named) == ["refused from here"]
    assert facts(chosen) == ["no answer from here in 5 s", "listens on every address"]
    assert not any("from here" in fact for fact in facts(own))


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        (
            {"reach": "half_bound", "allocated_port": 40123},
            ["see who holds it, on the server:", "  sudo ss -ltnp 'sport = :40123'"],
        ),
        (
            {"reach": "half_bound", "kind": "local"},
            ["see who holds it:", "  sudo ss -ltnp 'sport = :12345'"],
        ),
        (
            {"reach": "as_asked", "from_here": "timeout"},
            [
                "on the server, where ufw is its firewall:",
                "  sudo ufw allow 12345/tcp",
                'else its provider\'s firewall ("security group", 安全组)',
            ],
        ),
        ({"reach": "loopback_only"}, ["sshwrap doctor web --fix"]),
        ({"reach": "unknown", "from_here": "refused"}, ["sshwrap doctor web --fix"]),
        ({"reach": "exposed"}, ["sshwrap doctor web"]),
        ({"reach": "as_asked", "from_here": "open", "target": "refused"}, []),
    ],
)
def test_advice(values: dict[str, Any], steps: list[str]) -> None:
    assert advice(forward(**values), "web") == steps


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"from_here": "open", "reach": "as_asked", "bound": EVERY}, ["answers from here"]),
        ({"from_here": "open", "_from_here_ms": 31.4}, ["answers from here in 31 ms"]),
        ({"from_here": "open", "_from_here_ms": 0.3}, ["answers from here in less than 1 ms"]),
        ({"from_here": "open", "_from_here_ms": 1530.0}, ["answers from here in 1.5 s"]),
        ({"from_here": "open", "_from_here_ms": 2004.0}, ["answers from here in 2 s"]),
        ({"reach": "as_asked", "bound": EVERY}, ["listens on every address"]),
        (
            {"reach": "as_asked", "bound": ["::"], "listen_host": "::"},
            ["listens on every IPv6 address"],
        ),
        (
            {"reach": "as_asked", "bound": ["0.0.0.0"], "reach_reason": "IPv4 only: no IPv6 there"},
            ["IPv4 only: no IPv6 there"],
        ),
        ({"reach": "as_asked", "bound": OWN, "listen_host": "localhost"}, ["on the server only"]),
        ({"reach": "as_asked", "listen_path": "/r.sock", "bound": ["/r.sock"]}, []),
        ({"reach": "as_asked", "bound": OWN, "kind": "local"}, []),
        ({"reach": "checking"}, ["looking where it listens"]),
        (
            {"reach": "unknown", "reach_reason": "the key runs a command of its own"},
            ["not seen where it listens: the key runs a command of its own"],
        ),
        ({"reach": "unknown"}, []),
        ({"reach": "unknown", "reach_reason": "by ssh's word", "kind": "local"}, []),
        ({"reach": "loopback_only", "bound": OWN}, []),
        # Somebody answers, and it may be whoever has the rest of the port.
        ({"reach": "loopback_only", "bound": OWN, "from_here": "open"}, []),
        ({"reach": "half_bound", "bound": ["::"], "from_here": "open"}, []),
        ({"reach": "exposed", "bound": EVERY, "from_here": "open"}, ["answers from here"]),
    ],
)
def test_what_was_seen_and_is_no_trouble(values: dict[str, Any], said: list[str]) -> None:
    assert facts(forward(**values)) == said


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (OWN, ["on the server only; for everybody, write *:12345:localhost:8080"]),
        (EVERY, ["listens on every address"]),
        (["0.0.0.0"], ["listens on every IPv4 address"]),
        (["192.0.2.1", "2001:db8::1"], ["listens on 192.0.2.1 and 2001:db8::1"]),
        ([], []),
        (None, []),
    ],
)
def test_where_the_server_put_a_port_without_bind_address(
    bound: list[str] | None, said: list[str]
) -> None:
    """It chose, so whatever it chose is as asked; where that is, is always told."""
    for answer in ("unknown", "open"):
        chosen = forward(
            listen_host=None,
            spec="12345:localhost:8080",
            bound=bound,
            reach="as_asked",
            from_here=answer,
        )
        assert [fact for fact in facts(chosen) if fact != "answers from here"] == said
        assert troubles(chosen) == []


@pytest.mark.parametrize(
    ("values", "listen", "connect"),
    [
        ({}, "vps.example.com:12345", "localhost:8080"),
        ({"connect_path": "/run/web.sock", "connect_port": None}, None, "/run/web.sock"),
        ({"connect_port": None, "connect_host": None}, None, "SOCKS proxy"),
        ({"connect_host": "::1"}, None, "[::1]:8080"),
        ({"address": None}, "*:12345", None),
        ({"address": None, "listen_host": "::1"}, "[::1]:12345", None),
        ({"address": None, "listen_port": 0}, "a port that the server chooses", None),
        ({"address": None, "listen_port": None, "listen_path": "/r.sock"}, "/r.sock", None),
        ({"kind": "local", "address": "localhost:5432"}, "-L localhost:5432", None),
        (
            {"kind": "dynamic", "address": None, "listen_host": None, "connect_port": None},
            "-D localhost:12345",
            "SOCKS proxy",
        ),
    ],
)
def test_both_ends(values: dict[str, Any], listen: str | None, connect: str | None) -> None:
    if listen:
        assert listen_text(forward(**values)) == listen
    if connect:
        assert connect_text(forward(**values)) == connect
