"""When a server is looked at, for whom, and how often; time and connections by hand."""

from __future__ import annotations

import errno
import heapq
import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.supervisor.looker import FORGET, SERVERS_MOST, Lookers, look_pause

VPS = ("192.0.2.7", 22)
NAS = ("2001:db8::7", 2222)


class Handle:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """What Lookers needs of an asyncio loop: a time, and calls that are due at one."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Callable[..., None], tuple[Any, ...], Handle]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., None], *args: Any) -> Handle:
        handle = Handle()
        heapq.heappush(self._calls, (when, next(self._count), call, args, handle))
        return handle

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, call, args, handle = heapq.heappop(self._calls)
            if not handle.is_cancelled:
                call(*args)
        self.now = until


class Connect:
    """A connection that is refused at once, silent until its time is over, or made, as told."""

    def __init__(self, world: World, where: tuple[str, int], within: float) -> None:
        self._world = world
        self.where = where
        self.within = within
        self.began = world.loop.now
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class World:
    def __init__(self, jitter: float = 0.5) -> None:
        self.loop = Loop()
        self.answer: int | None = errno.ECONNREFUSED  # None: silence
        self.takes = 0.01
        self.made: list[Connect] = []
        self.routes = True
        self.told: list[str] = []
        self.jitter = jitter
        self.lookers = Lookers(
            cast(Any, self.loop),
            jitter=lambda: self.jitter,
            route=lambda _: self.routes,
            connect=self.connect,
        )

    def connect(
        self, loop: Any, address: str, port: int, *, within: float, on_done: Callable[[int], None]
    ) -> Connect:
        where = (address, port)
        assert [one for one in self.made if one.is_open and one.where == where] == []
        made = Connect(self, where, within)
        self.made.append(made)
        error, after = errno.ETIMEDOUT, within
        if self.answer is not None:
            error, after = self.answer, self.takes

        def done() -> None:
            if made.is_open:
                made.is_open = False
                on_done(error)

        self.loop.call_at(self.loop.now + after, done)
        return made

    def wait(self, name: str, where: tuple[str, int] = VPS) -> bool:
        return self.lookers.wait(name, *where, lambda: self.told.append(name))

    def looks(self, where: tuple[str, int] = VPS) -> list[float]:
        return [one.began - 1000.0 for one in self.made if one.where == where]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("outage", "pause"), [(0, 1), (59.9, 1), (60, 5), (599, 5), (600, 15), (1e9, 15)]
)
def test_the_longer_the_outage_the_rarer_the_looks(outage: float, pause: float) -> None:
    assert look_pause(outage) == pause


@pytest.mark.parametrize("answer", [errno.ECONNREFUSED, None])
def test_every_second_for_a_minute_then_5_then_15(world: World, answer: int | None) -> None:
    world.answer = answer
    assert world.wait("web")
    world.loop.run(1200)
    looks = world.looks()
    first = [at for at in looks if at < 60]
    later = [at for at in looks if 66 <= at < 600]
    last = [at for at in looks if at >= 616]
    assert looks[0] == pytest.approx(1.1)
    assert {round(b - a, 3) for a, b in itertools.pairwise(first)} == {1.1}
    assert {round(b - a, 3) for a, b in itertools.pairwise(later)} == {5.5}
    assert {round(b - a, 3) for a, b in itertools.pairwise(last)} == {16.5}
    assert {one.within for one in world.made} == {1.0, 4.0}


def test_a_hundred_tunnels_share_one_looker_and_its_answer(world: World) -> None:
    names = [f"t{number}" for number in range(100)]
    for name in names:
        assert world.wait(name)
        world.loop.run(0.1)
    assert len(world.looks()) <= 10
    world.answer = 0
    world.loop.run(2)
    assert world.told == names
    looks = len(world.looks())
    world.loop.run(60)
    assert len(world.looks()) == looks


def test_servers_are_looked_at_apart(world: World) -> None:
    world.wait("web")
    world.wait("nas", NAS)
    world.loop.run(10)
    assert len(world.looks(VPS)) == len(world.looks(NAS)) == 9
    world.answer = 0
    world.loop.run(2)
    assert sorted(world.told) == ["nas", "web"]


def test_nobody_waits_nobody_looks(world: World) -> None:
    world.wait("one")
    world.wait("two")
    world.loop.run(5)
    world.lookers.leave("one")
    world.lookers.leave("never heard of")
    world.loop.run(5)
    world.lookers.leave("two")
    looks = len(world.looks())
    assert looks >= 8
    world.loop.run(100)
    assert len(world.looks()) == looks
    assert world.told == []


def test_who_leaves_during_a_look_hears_nothing_of_it(world: World) -> None:
    world.answer, world.takes = 0, 0.5
    world.wait("web")
    world.loop.run(1.3)
    assert world.made[-1].is_open
    world.lookers.leave("web")
    assert not world.made[-1].is_open
    world.loop.run(10)
    assert (world.told, len(world.made)) == ([], 1)


def test_the_first_answer_ends_the_looking_for_this_outage(world: World) -> None:
    world.answer = 0
    world.wait("web")
    world.loop.run(2)
    assert world.told == ["web"]
    for _ in range(3):  # ssh fails again and again, and the server answers whoever looks
        assert not world.wait("web")
        world.loop.run(30)
    assert len(world.looks()) == 1
    world.lookers.reached(*VPS)  # at last it got through; this is the next outage
    assert world.wait("web")
    world.loop.run(2)
    assert world.told == ["web", "web"]


def test_an_outage_that_nobody_waits_for_is_forgotten(world: World) -> None:
    world.answer = 0
    world.wait("web")
    world.loop.run(2)
    world.loop.run(FORGET)
    assert world.wait("web")


def test_attempts_of_ssh_between_do_not_make_an_old_outage_new(world: World) -> None:
    for _ in range(30):  # 10 s of an attempt, 30 s of waiting
        assert world.wait("web")
        world.loop.run(30)
        world.lookers.leave("web")
        world.loop.run(10)
    gaps = [b - a for a, b in itertools.pairwise(world.looks()) if a > 620]
    assert min(gaps) >= 15


def test_who_got_through_tells_the_others(world: World) -> None:
    world.wait("one")
    world.wait("two")
    world.lookers.leave("one")
    world.lookers.reached(*VPS)
    world.lookers.reached(*NAS)
    assert world.told == ["two"]
    world.loop.run(60)
    assert world.made == []


def test_without_a_route_nothing_is_sent_and_with_one_it_is_within_its_pause(world: World) -> None:
    world.routes = False
    world.wait("web")
    world.loop.run(30)
    assert world.made == []
    world.routes, world.answer = True, 0
    world.loop.run(1.2)
    assert world.told == ["web"]


def test_another_network_begins_anew(world: World) -> None:
    world.wait("web")
    world.loop.run(1000)
    before = len(world.looks())
    world.lookers.begin_anew()
    world.loop.run(20)
    assert len(world.looks()) - before >= 18
    world.answer = 0
    world.loop.run(2)
    assert not world.wait("web")
    world.lookers.begin_anew()
    assert world.wait("web")


def test_another_network_never_means_two_looks_within_a_second(world: World) -> None:
    world.wait("web")
    for _ in range(100):
        world.lookers.begin_anew()
        world.loop.run(0.1)
    gaps = [b - a for a, b in itertools.pairwise(world.looks())]
    assert len(gaps) >= 7
    assert min(gaps) >= 0.999


def test_names_and_too_many_servers_are_not_looked_at(world: World) -> None:
    assert not world.wait("web", ("vps.example.com", 22))
    assert not world.wait("web", ("192.0.2.7", 0))
    for number in range(SERVERS_MOST):
        assert world.wait(f"t{number}", (f"192.0.2.{number}", 22))
    assert not world.wait("one more", ("198.51.100.1", 22))
    assert world.wait("another tunnel", ("192.0.2.5", 22))
    world.lookers.leave("t9")
    world.loop.run(FORGET)
    assert world.wait("one more", ("198.51.100.1", 22))


def test_after_close_nothing_happens(world: World) -> None:
    world.answer, world.takes = 0, 0.5
    world.wait("web")
    world.wait("nas", NAS)
    world.loop.run(1.3)
    world.lookers.close()
    world.loop.run(100)
    assert world.told == []
    assert [one.is_open for one in world.made] == [False, False]


def test_who_is_told_may_wait_again_at_once(world: World) -> None:
    answers: list[bool] = []

    def again() -> None:
        answers.append(world.wait("web"))

    world.lookers.wait("web", *VPS, again)
    world.answer = 0
    world.loop.run(60)
    assert answers == [False]
    world.lookers.reached(*VPS)
    world.lookers.wait("web", *VPS, again)
    world.lookers.reached(*VPS)  # they got through, and this one fails in the same moment
    assert answers == [False, True]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wait", "leave", "reached", "anew", "answer", "route", "run"]),
            st.integers(0, 9),
        ),
        max_size=60,
    ),
    st.floats(0, 0.999),
)
def test_whatever_happens_a_server_is_looked_at_once_a_second_at_most(
    steps: list[tuple[str, int]], jitter: float
) -> None:
    world = World(jitter)
    answers: list[int | None] = [errno.ECONNREFUSED, None, 0, errno.EHOSTUNREACH]
    waiting: set[str] = set()

    for what, number in steps:
        name, where = str(number), (VPS, NAS)[number % 2]
        heard = len(world.told)
        if what == "wait":
            waiting.discard(name)
            if world.wait(name, where):
                waiting.add(name)
        elif what == "leave":
            world.lookers.leave(name)
            waiting.discard(name)
        elif what == "reached":
            world.lookers.reached(*where)
        elif what == "anew":
            world.lookers.begin_anew()
        elif what == "answer":
            world.answer = answers[number % 4]
        elif what == "route":
            world.routes = number > 3
        else:
            world.loop.run(number / 3)
        told = world.told[heard:]
        assert set(told) <= waiting
        waiting -= set(told)
    for where in (VPS, NAS):
        gaps = [b - a for a, b in itertools.pairwise(world.looks(where))]
        assert min(gaps, default=1.0) >= 0.999
    heard = len(world.told)
    world.routes, world.answer = True, 0
    world.loop.run(30)
    assert set(world.told[heard:]) == waiting  # nobody who waits is forgotten
