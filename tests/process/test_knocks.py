"""Knocks over loopback, and ssh's lines about them: what is a visitor's and what is our own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from sshwrap.ssh.evidence import classify_line
from sshwrap.supervisor import knocks as module
from sshwrap.supervisor.knocks import Knocks
from tests.support.loops import clean_loop, run_until
from tests.support.ports import free_port

HERE = "127.0.0.1"
HOME = "198.51.100.9"  # how the server sees this machine, behind its router
STRANGER = "198.51.100.23"


class Door:
    """A port that visitors use, and what is told of the knocks at it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.loop = loop
        self.port = port
        self.answers: list[tuple[int, str, float | None]] = []
        self.targets: list[tuple[int, str, str]] = []
        self.knocks = Knocks(
            loop,
            on_answer=lambda *answer: self.answers.append(answer),
            on_target=lambda *answer: self.targets.append(answer),
        )

    def knock(self) -> None:
        self.knocks.knock(0, HERE, self.port)

    def answered(self, count: int = 1) -> str:
        """The last outcome, once there are so many."""
        run_until(self.loop, lambda: len(self.answers) >= count)
        assert len(self.answers) == count, self.answers
        return self.answers[-1][1]

    def hears(self, line: str) -> bool:
        """As the run asks: by our own end of the connection first. True: nobody's visit."""
        evidence = classify_line(line.format(port=self.port))
        assert evidence is not None, line
        return self.knocks.hear(evidence, exactly=True) or self.knocks.hear(evidence)

    def hears_visit(self, address: str, port: int | str, channel: int = 0) -> list[bool]:
        return [
            self.hears(line)
            for line in (
                "debug1: client_request_forwarded_tcpip: listen * port {port}, "
                f"originator {address} port {port}",
                f"debug1: channel {channel}: new forwarded-tcpip [{address}] (inactive timeout: 0)",
                f"debug1: channel {channel}: connected to localhost port 8080",
                f"debug1: channel {channel}: free: {address}, nchannels 1",
            )
        ]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with clean_loop() as loop:
        yield loop


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HERE, 0)) as listener:
        yield listener


@pytest.fixture
def door(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> Iterator[Door]:
    """Open; nothing translates addresses on the way."""
    door = Door(loop, listener.getsockname()[1])
    yield door
    door.knocks.close()


OURS, THEIRS = [True] * 4, [False] * 4


def own_end(listener: socket.socket) -> tuple[str, int]:
    """Of the connection that has come, as the server's sshd would see it."""
    listener.settimeout(20)
    connection, end = listener.accept()
    connection.close()
    return str(end[0]), int(end[1])


def test_our_own_end_is_ours_whenever_the_log_is_read(door: Door, listener: socket.socket) -> None:
    door.knock()
    assert (door.knocks.expects, door.knocks.is_knocking) == (True, True)
    assert door.answered() == "open"
    index, _, milliseconds = door.answers[0]
    assert index == 0
    assert milliseconds is not None
    assert 0 <= milliseconds < 5000
    assert door.knocks.expects  # the log is behind
    assert door.hears_visit(*own_end(listener)) == OURS
    assert not door.knocks.expects


def test_it_shows_that_the_target_answers(door: Door, listener: socket.socket) -> None:
    door.knock()
    door.answered()
    door.hears_visit(*own_end(listener))
    assert door.targets == [(0, "ok", "debug1: channel 0: connected to localhost port 8080")]


def test_before_the_answer_too(door: Door, listener: socket.socket) -> None:
    """The server may be quicker than our own loop."""
    door.knock()
    assert door.hears_visit(*own_end(listener)) == OURS
    assert door.answered() == "open"


def test_a_visitor_from_this_very_machine_is_one(door: Door, listener: socket.socket) -> None:
    door.knocks.public = HERE
    door.knock()
    door.answered()
    address, port = own_end(listener)
    assert address == HERE
    # Where the server sees our own end as it is, nobody else is taken for it.
    assert door.hears_visit(address, port + 1, channel=1) == THEIRS
    assert door.hears_visit(address, port, channel=2) == OURS
    assert door.hears_visit(address, port + 2, channel=3) == THEIRS


def test_visitors_while_nobody_knocks(door: Door) -> None:
    assert not door.knocks.expects
    assert door.hears_visit(STRANGER, 59888) == THEIRS


def test_behind_nat_we_are_who_comes_from_our_public_address(door: Door) -> None:
    door.knocks.public = HOME
    door.knock()
    assert door.hears_visit(STRANGER, 59888, channel=0) == THEIRS
    assert door.hears_visit(HOME, 40000, channel=1) == OURS
    assert door.hears_visit(HOME, 40001, channel=2) == THEIRS  # one knock is one visit
    assert door.answered() == "open"


def test_whose_address_nobody_knows_is_taken_by_its_time(door: Door) -> None:
    door.knock()
    assert door.hears_visit(HOME, 40000, channel=1) == OURS
    assert door.hears_visit(STRANGER, 59888, channel=2) == THEIRS
    assert door.answered() == "open"


def test_another_port_is_none_of_ours(door: Door) -> None:
    door.knock()
    line = f"debug1: client_request_forwarded_tcpip: listen * port 1, originator {HERE} port 40000"
    assert not door.hears(line)
    assert door.answered() == "open"


def test_a_knock_that_gets_no_channel_takes_no_visitor_with_it(
    door: Door, listener: socket.socket
) -> None:
    """ssh makes none where it cannot resolve the target's name."""
    door.knock()
    door.answered()
    address, port = own_end(listener)
    came = "debug1: client_request_forwarded_tcpip: listen * port {port}, originator "
    assert door.hears(f"{came}{address} port {port}")
    assert door.hears_visit(STRANGER, 59888, channel=3) == THEIRS


def test_nobody_is_waited_for_for_ever(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program answered at that port, so the log never tells of the knock."""
    monkeypatch.setattr(module, "LATE", 0.0)
    door.knock()
    door.answered()
    assert door.hears_visit(STRANGER, 59888) == THEIRS
    assert not door.knocks.expects


def test_one_at_a_time(door: Door) -> None:
    door.knock()
    door.knock()
    door.answered()
    door.knock()
    assert door.answered(2) == "open"


def test_a_refusal_leaves_nothing_to_wait_for(loop: asyncio.AbstractEventLoop) -> None:
    door = Door(loop, free_port())
    door.knock()
    assert door.answered() == "refused"
    assert (door.knocks.expects, door.knocks.is_knocking) == (False, False)
    assert door.hears_visit(STRANGER, 59888) == THEIRS


def test_closed_in_the_middle_it_tells_nothing(
    door: Door, loop: asyncio.AbstractEventLoop, listener: socket.socket
) -> None:
    door.knock()
    door.knocks.close()
    own_end(listener)
    run_until(loop, lambda: not door.knocks.expects)
    assert door.answers == []
    assert door.hears_visit(STRANGER, 59888) == THEIRS
