"""GatewayPorts by what the test ports do, and what of that proves nothing."""

from __future__ import annotations

import pytest

from sshwrap.doctor.facts import GatewayPorts, Known, Unknown, value_of
from sshwrap.doctor.spare import (
    FOR_ALL,
    FOR_ONE,
    is_wide_by_look,
    is_wide_by_probes,
    judge_gateway_ports,
    read_loop,
    to_nowhere,
)
from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.look import Listener, Look
from sshwrap.ssh.probe import Found, Probed


@pytest.mark.parametrize(
    ("for_all", "for_one", "argument"),
    [
        (False, False, "no"),
        (False, None, "no"),
        (True, True, "yes"),
        (True, False, "clientspecified"),
        (True, None, None),
        (None, False, None),
    ],
)
def test_the_table(for_all: bool | None, for_one: bool | None, argument: str | None) -> None:
    found = judge_gateway_ports(for_all, for_one)
    assert value_of(found) == (None if argument is None else GatewayPorts(argument))


def test_specs() -> None:
    assert (FOR_ALL.spec, FOR_ONE.spec) == ("*:0:127.0.0.1:9", "127.0.0.1:0:127.0.0.1:9")
    socks = Forward(Kind.REMOTE, "*:1080", "*", 1080)
    assert to_nowhere(socks).spec == "*:1080:127.0.0.1:9"


def test_by_a_look() -> None:
    rows = (Listener("0.0.0.0", 5, 0), Listener("127.0.0.1", 6, 0))
    look = Look(rows, (), None, None, 0, False)
    assert [is_wide_by_look(look, port) for port in (5, 6, 7)] == [True, False, None]


@pytest.mark.parametrize(
    ("first", "second", "is_wide"),
    [
        (Found.OURS, Found.OURS, True),
        (Found.OURS, Found.NOBODY, False),
        (Found.OURS, Found.UNREACHABLE, None),  # not Linux: there is no such address
        (Found.FORBIDDEN, Found.FORBIDDEN, None),
        (Found.SILENT, Found.NOBODY, None),
    ],
)
def test_by_probes(first: Found, second: Found, is_wide: bool | None) -> None:
    probes = {"127.0.0.1": Probed(first), "127.0.0.2": Probed(second)}
    assert is_wide_by_probes(probes) is is_wide
    assert is_wide_by_probes({}) is None


def test_the_loop() -> None:
    assert read_loop(Probed(Found.OURS, "refused")) == Known(True)
    assert read_loop(Probed(Found.NOBODY)) == Known(False)
    for found in (Found.FORBIDDEN, Found.SILENT, Found.UNKNOWN):
        assert isinstance(read_loop(Probed(found)), Unknown)
    assert isinstance(read_loop(None), Unknown)
