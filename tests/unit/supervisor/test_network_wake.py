"""Whether the machine slept, by readings of two clocks; which addresses are numeric."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.supervisor.network import SLEPT_LEAST, WakeWatch, numeric


def test_a_sleep_is_seen_once_and_its_length_told() -> None:
    watch = WakeWatch(500.0, 300.0)
    assert watch.slept(505.0, 305.0) == 0.0
    assert watch.slept(3705.0, 310.0) == pytest.approx(3195.0)
    assert watch.slept(3710.0, 315.0) == 0.0
    assert watch.slept(3715.0 + 2.0, 320.0) == pytest.approx(2.0)


def test_less_than_a_second_is_no_sleep_and_does_not_add_up() -> None:
    watch = WakeWatch(0.0, 0.0)
    ahead = 0.0
    for tick in range(1, 50):
        ahead += SLEPT_LEAST * 0.9
        assert watch.slept(tick * 5.0 + ahead, tick * 5.0) == 0.0


def test_a_reading_that_was_disturbed_is_no_sleep_afterwards() -> None:
    watch = WakeWatch(100.0, 100.0)
    assert watch.slept(105.0, 112.0) == 0.0  # stopped for 7 s between the two readings
    assert watch.slept(117.0, 117.0) == 0.0


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1e6).filter(lambda x: x == 0 or x >= SLEPT_LEAST), max_size=20))
def test_every_sleep_is_told_and_nothing_else(sleeps: list[float]) -> None:
    watch, mono, boot = WakeWatch(7.0, 7.0), 7.0, 7.0
    for slept in sleeps:
        mono, boot = mono + 5.0, boot + 5.0 + slept * 1.01
        assert watch.slept(boot, mono) == pytest.approx(slept * 1.01, abs=1e-6)


@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("192.0.2.1", socket.AF_INET),
        ("2001:db8::1", socket.AF_INET6),
        ("::1", socket.AF_INET6),
    ],
)
def test_numeric_addresses(address: str, family: int) -> None:
    found, where = numeric(address, 22)
    assert (found, where[:2]) == (family, (address, 22))


@pytest.mark.parametrize(
    "address", ["localhost", "vps.example.com", "", "192.0.2.", "x\0y", "bücher.example", "[::1]"]
)
def test_names_are_refused_and_never_looked_up(address: str) -> None:
    with pytest.raises(ValueError, match="is not numeric"):
        numeric(address, 22)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports_that_are_none_are_refused(port: int) -> None:
    with pytest.raises(ValueError, match="is not 1-65535"):
        numeric("192.0.2.1", port)
