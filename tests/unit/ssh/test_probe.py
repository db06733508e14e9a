"""The probe as the master tells it: lines of OpenSSH 8.4 and 9.2, in every order that matters."""

from __future__ import annotations

import pytest

from sshwrap.profile.forward import Kind, parse_forward
from sshwrap.ssh.evidence import classify_line
from sshwrap.ssh.mux import Unknown, Why
from sshwrap.ssh.probe import Found, Probe, Probed

BEGIN = ["debug1: channel 2: new stdio-forward [stdio-forward] (inactive timeout: 0)"]
BEGIN_84 = ["debug1: channel 2: new [stdio-forward]"]
CAME = [
    "debug1: client_request_forwarded_tcpip: listen  port 8080, originator 127.0.0.1 port 38172",
    "debug1: channel 3: new forwarded-tcpip [127.0.0.1] (inactive timeout: 0)",
]
CAME_84 = [CAME[0], "debug1: channel 3: new [127.0.0.1]"]
CONNECTED = ["debug1: channel 3: connected to localhost port 80"]
FAILED = ["connect_to localhost port 80: failed."]
LEFT = ["debug1: channel 3: free: 127.0.0.1, nchannels 4"]
END = ["debug1: channel 2: free: direct-tcpip: listening port 0, nchannels 3"]


def hear(*parts: list[str], spec: str = "8080:localhost:80", address: str = "127.0.0.1") -> Probe:
    """A probe that has heard these, and in `.others` what it did not keep to itself."""
    forward = parse_forward(Kind.REMOTE, spec, environ={}, service_port=lambda _: None)
    probe = Probe(forward, address, 8080)
    others.clear()
    for line in [line for part in parts for line in part]:
        evidence = classify_line(line)
        assert evidence is not None, line
        if not probe.hear(evidence):
            others.append(line)
    return probe


others: list[str] = []


def found(probe: Probe) -> tuple[Found, str] | None:
    return None if probe.result is None else (probe.result.found, probe.result.target)


@pytest.mark.parametrize(("begin", "came"), [(BEGIN, CAME), (BEGIN_84, CAME_84)])
def test_through_to_the_target(begin: list[str], came: list[str]) -> None:
    probe = hear(begin, came)
    assert found(probe) is None  # the target may be silent, or down
    assert others == []
    probe = hear(begin, came, CONNECTED, LEFT)
    assert found(probe) == (Found.OURS, "ok")
    assert not probe.is_over
    probe = hear(begin, came, CONNECTED, LEFT, END)
    assert probe.is_over
    assert others == CONNECTED + LEFT


@pytest.mark.parametrize("came", [CAME, CAME[:1]])  # refused at once it gets no channel
def test_the_target_is_down(came: list[str]) -> None:
    probe = hear(BEGIN, came, FAILED)
    assert found(probe) == (Found.OURS, "refused")
    assert others == FAILED  # the target's refusal is everybody's business


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("connect failed: Connection refused", Found.NOBODY),
        ("administratively prohibited: open failed", Found.FORBIDDEN),
        ("connect failed: No route to host", Found.UNREACHABLE),
        ("connect failed: ", Found.UNREACHABLE),
        ("resource shortage: ", Found.UNREACHABLE),
    ],
)
def test_the_server_could_not_connect(reason: str, expected: Found) -> None:
    line = f"channel 2: open failed: {reason}"
    probe = hear(BEGIN, [line])
    assert probe.result == Probed(expected, said=line)
    assert others == []  # no target has refused anything


def test_something_else_answered() -> None:
    assert found(hear(BEGIN, END)) == (Found.OTHER, "unknown")
    assert found(hear(BEGIN, CAME, LEFT, END)) == (Found.OURS, "unknown")


def test_visitors_are_not_taken_for_it() -> None:
    visitor = [CAME[0].replace("127.0.0.1", "198.51.100.23"), CAME[1].replace("3", "4")]
    elsewhere = [CAME[0].replace("8080", "8081"), CAME[1]]
    assert found(hear(CAME, CONNECTED, FAILED)) is None  # before our own line
    assert len(others) == 4
    assert found(hear(BEGIN, visitor, elsewhere, CONNECTED, FAILED)) is None
    assert len(others) == 6
    # A second from the server itself is a visitor.
    probe = hear(BEGIN, CAME, CAME)
    assert others == CAME
    assert found(probe) is None


def test_another_forwards_refusal_is_not_its_own() -> None:
    other = ["connect_to localhost port 81: failed.", "channel 7: open failed: connect failed: x"]
    assert found(hear(BEGIN, CAME, other)) is None
    assert others == other
    assert found(hear(BEGIN, FAILED)) is None


def test_from_the_servers_own_address() -> None:
    came = [CAME[0].replace("127.0.0.1", "203.0.113.5"), CAME[1]]
    assert found(hear(BEGIN, came, CONNECTED)) is None
    assert found(hear(BEGIN, came, CONNECTED, address="203.0.113.5")) == (Found.OURS, "ok")
    named = [CAME[0].replace("127.0.0.1", "a-name"), CAME[1]]
    assert found(hear(BEGIN, named, CONNECTED)) is None


def test_a_target_on_a_path() -> None:
    failed = ["connect to /run/t.sock port -2 failed: No such file or directory"]
    probe = hear(BEGIN, CAME[:1], failed, spec="8080:/run/t.sock")
    assert found(probe) == (Found.OURS, "refused")
    assert found(hear(BEGIN, CAME[:1], failed, spec="8080:/run/other")) is None


def test_the_end_without_a_word() -> None:
    silent = Unknown(Why.SILENT, "no answer")
    gone = Unknown(Why.GONE, "gone")
    assert hear(BEGIN).end(silent) == Probed(Found.SILENT)
    assert hear(BEGIN).end(None) == Probed(Found.SILENT)
    assert hear(BEGIN).end(gone) == Probed(Found.UNKNOWN, said="gone")
    assert hear(BEGIN, CAME).end(silent) == Probed(Found.OURS)
    assert hear(BEGIN, CAME, CONNECTED).end(gone).target == "ok"


def test_liveness_takes_no_visitor() -> None:
    probe = Probe(None, "127.0.0.1", 8080)
    for line in (*BEGIN, *CAME, *FAILED):
        evidence = classify_line(line)
        assert evidence is not None
        assert probe.hear(evidence) is (line in BEGIN)
    assert probe.result is None
