"""supervisor/doubt.py between a kernel, an old line and sign-ins that do what they are told.

Time is set by hand; only the last test asks a real kernel, about a real connection.
"""

from __future__ import annotations

import heapq
import itertools
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from sshwrap.ssh.mux import Unknown
from sshwrap.ssh.mux import Why as WhyNot
from sshwrap.supervisor.doubt import BLIND_LOOKS, BLIND_ROUNDS, Answer, Doubt, SignIn
from sshwrap.supervisor.unacked import SshSocket
from sshwrap.tunnel.doubt import REASON_LASTS, Seen, Why

SILENT = Unknown(WhyNot.SILENT, "no answer")
GONE = Unknown(WhyNot.GONE, "no master")
HERE, THERE = b"\x0a\0\0\x02", b"\x0a\0\0\x03"


class Handle:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """A time, and calls that are due at one."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...], Handle]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> Handle:
        handle = Handle()
        entry = (self.now + delay, next(self._count), call, args, handle)
        heapq.heappush(self._calls, entry)
        return handle

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, call, args, handle = heapq.heappop(self._calls)
            if not handle.is_cancelled:
                call(*args)
        self.now = until

    def waiting(self) -> int:
        return sum(not handle.is_cancelled for *_, handle in self._calls)


class Old:
    """The kernel's view of a line that was sent something at `lost_from`, and nothing came."""

    remote = ("192.0.2.7", 22)

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.local: bytes | None = HERE
        self.lost_from: float | None = None
        self.is_seen = True
        self.looks = 0

    def look(self) -> Seen | None:
        self.looks += 1
        if not self.is_seen:
            return None
        if self.lost_from is None:
            return Seen(0, 0, 0.0, 0.2, 0.5, 0.5, 1, 0, 0.0)
        ago = self.loop.now - self.lost_from
        count = 0
        while 0.2 * (2.0 ** (count + 1) - 1) <= ago:
            count += 1
        due = 0.2 * (2.0 ** (count + 1) - 1) - ago
        return Seen(52, count, due, 0.2 * 2.0**count, ago + 9, ago + 9, 2, count, 0.0)


class New:
    """The kernel's view of a sign-in."""

    remote = Old.remote

    def __init__(self) -> None:
        self.local: bytes | None = HERE
        self.resent = 0

    def look(self) -> Seen | None:
        return Seen(0, 0, 0.0, 0.2, 0.0, 0.0, 9, self.resent, 0.001)


@dataclass
class Signed:
    got_through: bool
    client: str | None = None


class World:
    def __init__(self, *, is_seen: bool = True, interval: float = 15.0) -> None:
        self.loop = Loop()
        self.old = Old(self.loop)
        self.new = New()
        self.answer: Answer | None = Signed(True)  # None: never
        self.takes = 0.35
        self.alive: Unknown | None = SILENT
        self.asked: list[float] = []  # over the old line, with what deadline
        self.began: list[float] = []
        self.open = 0
        self.told: list[str | None] = []
        self.dead: list[tuple[float, str]] = []
        self.doubt = Doubt(
            cast(Any, self.loop),
            self.old if is_seen else None,
            interval=interval,
            alive=self.ask,
            sign_in=self.sign_in,
            on_dead=lambda reason: self.dead.append((self.loop.now, reason)),
            on_doubt=self.told.append,
            client="198.51.100.10",
            watch=lambda pid, address, port: self.new,
        )

    def ask(self, on_answer: Callable[[Unknown | None], None], *, deadline: float) -> None:
        self.asked.append(deadline)
        self.loop.call_later(deadline if self.alive is SILENT else 0.1, on_answer, self.alive)

    def sign_in(self, on_answer: Callable[[Answer], None]) -> SignIn:
        self.began.append(self.loop.now)
        self.open += 1
        if self.answer is not None:
            self.loop.call_later(self.takes, on_answer, self.answer)
        return OpenSignIn(self)

    def lose(self) -> float:
        self.old.lost_from = self.loop.now
        return self.loop.now


class OpenSignIn:
    pid: int | None = 4711

    def __init__(self, world: World) -> None:
        self._world: World | None = world

    def close(self) -> None:
        if self._world is not None:
            self._world.open -= 1
            self._world = None


# --- where the kernel tells ----------------------------------------------------------------------


def test_a_line_that_answers_costs_a_look_a_keepalive_and_no_word() -> None:
    world = World()
    world.loop.run(600)
    assert 600 / 16 - 2 <= world.old.looks <= 600 / 15 + 2
    assert (world.told, world.began, world.dead) == ([], [], [])


@pytest.mark.parametrize("how", ["seen by the server", "seen here"])
def test_another_address_is_enough(how: str) -> None:
    world = World()
    world.loop.run(30)
    if how == "seen here":
        world.new.local = THERE
    else:
        world.answer = Signed(True, "198.51.100.11")
    lost = world.lose()
    world.loop.run(40)
    ((moment, reason),) = world.dead
    assert moment - lost < 16 + 4
    assert "from another address" in reason
    assert world.told == ["signing in beside it because what was sent is not acknowledged"]
    assert (world.open, world.loop.waiting()) == (0, 0)


def test_the_same_address_is_not() -> None:
    world = World()
    world.answer = Signed(True, "198.51.100.10")
    world.loop.run(0.5)
    lost = world.lose()
    world.doubt.suspect(Why.PROBE)
    world.loop.run(40)
    ((moment, reason),) = world.dead
    assert moment - lost > 6
    assert len(world.began) >= 2
    assert "another address" not in reason


@pytest.mark.parametrize("what", ["it loses packets", "it is nobody", "it is not to be seen"])
def test_a_sign_in_that_proves_nothing_ends_nothing(what: str) -> None:
    world = World()
    world.answer = Signed(what != "it is nobody", "198.51.100.11")
    world.new.resent = int(what == "it loses packets")
    if what == "it is not to be seen":
        world.takes = 0.05  # before anybody looked
    world.loop.run(0.5)
    world.lose()
    world.doubt.suspect(Why.WOKE)
    world.loop.run(100)
    assert world.dead == []
    assert 2 <= len(world.began) <= 8
    assert all(later - one >= 5 for one, later in itertools.pairwise(world.began))
    assert world.open == 0


def test_a_machine_that_woke_signs_in_at_once_and_knows_within_three_seconds() -> None:
    world = World()
    world.loop.run(30)
    woke = world.lose()
    world.doubt.suspect(Why.WOKE)
    assert world.began == [woke]
    assert world.asked == [3.0]
    world.loop.run(10)
    ((moment, _),) = world.dead
    assert moment - woke < 3


def test_an_answer_over_the_old_line_is_the_end_of_it() -> None:
    world = World()
    world.answer = None
    world.alive = None
    world.loop.run(30)
    world.doubt.suspect(Why.WOKE)
    assert world.open == 1
    world.loop.run(1)
    assert world.open == 0
    assert world.told[-1] is None
    world.loop.run(100)
    assert (world.dead, len(world.began)) == ([], 1)


def test_what_is_acknowledged_ends_the_doubt_and_the_sign_in() -> None:
    world = World()
    world.answer = None
    world.loop.run(0.5)
    world.lose()
    world.doubt.suspect(Why.MOVED)
    world.loop.run(2)
    assert world.open == 1
    world.old.lost_from = None
    world.loop.run(1)
    assert world.open == 0
    assert world.told[-1] is None
    assert world.dead == []


def test_nothing_is_told_after_the_end() -> None:
    world = World()
    world.loop.run(0.5)
    world.lose()
    world.doubt.suspect(Why.WOKE)
    world.doubt.close()
    world.doubt.suspect(Why.WOKE)
    world.loop.run(100)
    assert (world.dead, len(world.began), world.open) == ([], 1, 0)


# --- where it does not ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_hidden", [True, False])
def test_without_the_kernel_it_is_silent_through_silent(is_hidden: bool) -> None:
    world = World(is_seen=is_hidden)
    world.old.is_seen = False
    world.loop.run(100)
    assert world.old.looks <= BLIND_LOOKS
    begun = world.loop.now
    world.doubt.suspect(Why.WOKE)
    world.doubt.suspect(Why.KNOCK)
    world.loop.run(20)
    ((moment, reason),) = world.dead
    assert world.asked == [3.0, 3.0]
    assert moment - begun == pytest.approx(3 + world.takes + 3)
    assert "has not answered over it for 3 s" in reason
    assert world.open == 0


def test_a_weak_reason_or_a_slow_sign_in_takes_longer() -> None:
    world = World(is_seen=False)
    world.doubt.suspect(Why.PROBE)
    world.loop.run(30)
    assert world.asked == [3.0, 15.0]
    slow = World(is_seen=False)
    slow.takes = 9.0
    slow.doubt.suspect(Why.WOKE)
    slow.loop.run(60)
    assert slow.asked == [3.0, pytest.approx(18.0)]
    assert slow.dead


@pytest.mark.parametrize("answer", [None, GONE])
def test_an_answer_or_none_that_can_be_had_is_no_death(answer: Unknown | None) -> None:
    world = World(is_seen=False)
    world.alive = answer
    world.doubt.suspect(Why.WOKE)
    world.loop.run(60)
    assert (world.dead, world.began, world.told) == ([], [], [])
    late = World(is_seen=False)
    late.doubt.suspect(Why.WOKE)
    late.loop.run(3.2)
    late.alive = answer
    late.loop.run(60)
    assert late.dead == []
    assert late.told[1:] == ([None] if answer is None else [])


def test_nobody_there_is_left_to_the_keepalive_after_some_tries() -> None:
    world = World(is_seen=False)
    world.answer = Signed(False)
    world.doubt.suspect(Why.WOKE)
    world.loop.run(600)
    assert world.dead == []
    assert len(world.began) == BLIND_ROUNDS
    assert all(later - one >= 5 for one, later in itertools.pairwise(world.began))
    world.doubt.suspect(Why.WOKE)
    world.loop.run(REASON_LASTS)
    assert len(world.began) > BLIND_ROUNDS, "a new reason is a new doubt"


# --- the kernel ----------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sock_diag is Linux's")
def test_the_kernel_tells_of_a_connection_of_ours() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        theirs, _ = listener.accept()
        with theirs:
            ours.sendall(b"question")
            theirs.recv(99)
            theirs.sendall(b"answer")
            assert ours.recv(99) == b"answer"
            watched = SshSocket(os.getpid(), "127.0.0.1", listener.getsockname()[1])
            seen = watched.look()
            if seen is None:
                pytest.skip("this kernel does not answer for one socket")
            assert seen._replace(heard=0, data=0, timeout=0, due=0, round_trip=0) == Seen(
                0, 0, 0, 0, 0, 0, 1, 0, 0
            )
            assert 0 <= seen.heard < 60
            assert 0 < seen.timeout < 10
            assert watched.local == socket.inet_aton("127.0.0.1")
