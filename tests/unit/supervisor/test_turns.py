"""Whose turn it is: a loop whose time is set by hand, and starts that end when the test says so."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.supervisor.turns import (
    CAREFUL_SECONDS,
    SIGNING_IN_PER_SERVER,
    SPAWN_PAUSE,
    Turns,
)

VPS, NAS = "vps.example.com:22", "nas.example.com:22"


class Loop:
    """What Turns needs of an asyncio loop: a time, and calls that are due at one."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> object:
        heapq.heappush(self._calls, (self.now + delay, next(self._count), call, args))
        return object()

    def run(self, seconds: float = 1.0) -> None:
        """Do what is due within that time."""
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._calls)
            call(*args)
        self.now = until


class World:
    def __init__(self) -> None:
        self.loop = Loop()
        self.started: list[tuple[str, float]] = []
        self.waited: list[str] = []
        self.servers: dict[str, str] = {}
        self.turns = Turns(cast(Any, self.loop), start=self._start, wait=self.waited.append)

    def _start(self, name: str) -> None:
        self.started.append((name, self.loop.now))
        self.turns.signing_in(self.servers[name], name)

    def due(self, server: str, *names: str) -> None:
        for name in names:
            self.servers[name] = server
            self.turns.due(server, name)

    def names(self) -> list[str]:
        return [name for name, _ in self.started]


@pytest.fixture
def world() -> World:
    return World()


def many(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_few_at_a_time_in_their_order(world: World) -> None:
    names = many("t", 10)
    world.due(VPS, *names)
    world.loop.run()
    assert world.names() == names[:SIGNING_IN_PER_SERVER]
    for signed_in in range(len(names)):
        world.turns.signed_in(VPS, names[signed_in])
        world.loop.run()
        assert world.names() == names[: signed_in + 1 + SIGNING_IN_PER_SERVER]


def test_servers_take_turns_and_one_that_is_full_holds_up_nobody(world: World) -> None:
    world.due(VPS, *many("a", 8))
    world.due(NAS, *many("b", 3))
    world.loop.run()
    assert world.names() == ["a0", "b0", "a1", "b1", "a2", "b2", "a3"]


def test_between_two_starts_the_loop_breathes(world: World) -> None:
    for number in range(20):
        world.due(f"host{number}:22", f"t{number}")
    world.loop.run()
    times = [at for _, at in world.started]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == 20
    assert min(gaps) >= SPAWN_PAUSE * 0.999


def test_one_that_is_cancelled_is_not_started(world: World) -> None:
    world.due(VPS, "one", "two", "three")
    world.turns.cancel(VPS, "two")
    world.turns.cancel(VPS, "never heard of")
    world.turns.cancel(NAS, "one")
    world.loop.run()
    assert world.names() == ["one", "three"]


def test_a_server_that_holds_sends_everybody_back_to_wait(world: World) -> None:
    world.due(VPS, "one", "two")
    world.due(NAS, "other")
    world.turns.hold(VPS, 20.0)
    world.loop.run()
    assert (world.names(), world.waited) == (["other"], ["one", "two"])
    assert world.turns.held_until(VPS) == 1020.0
    assert world.turns.held_until(NAS) == 0.0
    world.loop.run(30)
    world.due(VPS, "one", "two")
    world.loop.run()
    world.turns.signed_in(VPS, "one")
    world.loop.run()
    assert world.names() == ["other", "one", "two"]


def test_at_a_server_that_has_held_one_comes_after_the_other(world: World) -> None:
    """Two at once may be what is too much there."""
    names = many("t", 3)
    world.turns.hold(VPS, 20.0)
    world.loop.run(21)
    world.due(VPS, *names)
    world.due(NAS, *many("n", SIGNING_IN_PER_SERVER))
    world.loop.run()
    assert [name for name in world.names() if name in names] == names[:1]
    assert len(world.names()) == 1 + SIGNING_IN_PER_SERVER
    world.turns.signed_in(VPS, names[0])
    world.loop.run()
    assert [name for name in world.names() if name in names] == names[:2]
    world.loop.run(CAREFUL_SECONDS)
    world.due(VPS, "later")
    world.loop.run()
    assert set(world.names()) >= {*names, "later"}, "and after a while as many as ever"


def test_a_hold_is_only_ever_made_longer(world: World) -> None:
    world.turns.hold(VPS, 20.0)
    world.turns.hold(VPS, 5.0)
    assert world.turns.held_until(VPS) == 1020.0
    world.turns.hold(VPS, 60.0)
    assert world.turns.held_until(VPS) == 1060.0


def test_signed_in_twice_or_never_makes_no_room(world: World) -> None:
    names = many("t", 9)
    world.due(VPS, *names)
    world.loop.run()
    for _ in range(3):
        world.turns.signed_in(VPS, names[0])
        world.turns.signed_in(VPS, "nobody")
        world.turns.signed_in(NAS, names[1])
    world.loop.run()
    assert world.names() == names[: SIGNING_IN_PER_SERVER + 1]


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["due", "in", "cancel", "hold", "run"]), st.integers(0, 11)),
        max_size=60,
    )
)
def test_whatever_happens_never_more_than_few_and_nobody_is_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    world = World()
    servers = [VPS, NAS]
    signing_in: dict[str, set[str]] = {VPS: set(), NAS: set()}
    queued: dict[str, int] = {}

    def start(name: str) -> None:
        server = servers[int(name) % 2]
        assert world.turns.held_until(server) <= world.loop.now
        signing_in[server].add(name)
        assert len(signing_in[server]) <= SIGNING_IN_PER_SERVER
        queued[name] -= 1
        world.turns.signing_in(server, name)

    def wait(name: str) -> None:
        queued[name] -= 1

    world.turns = Turns(cast(Any, world.loop), start=start, wait=wait)
    for what, number in steps:
        name, server = str(number), servers[number % 2]
        if what == "due" and not queued.get(name) and name not in signing_in[server]:
            queued[name] = 1
            world.turns.due(server, name)
        elif what == "in":
            signing_in[server].discard(name)
            world.turns.signed_in(server, name)
        elif what == "cancel":
            queued[name] = 0
            world.turns.cancel(server, name)
        elif what == "hold":
            world.turns.hold(server, number)
        else:
            world.loop.run(number)
    world.loop.run(100)
    for server in servers:
        for name in list(signing_in[server]):
            signing_in[server].discard(name)
            world.turns.signed_in(server, name)
            world.loop.run()
    world.loop.run(100)
    assert not any(queued.values())
