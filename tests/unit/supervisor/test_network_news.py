"""What of the kernel's messages is news, and when it is told; messages and time by hand."""

from __future__ import annotations

import errno
import heapq
import itertools
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from sshwrap.supervisor import netlink_wire as wire
from sshwrap.supervisor.netlink import (
    LOST_LEAST,
    NEWS_LEAST,
    NEWS_PAUSE,
    NetworkNews,
    Way,
    Ways,
    change,
    judge,
)

ETH, WLAN, VETH = 2, 3, 40
HOME = Way(ETH, True, b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02")


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + bytes(-len(body) % 4)


def link(kind: int, number: int, flags: int) -> bytes:
    return message(kind, struct.pack("=BxHiII", 0, 1, number, flags, 0))


def address(kind: int, number: int, scope: int = 0) -> bytes:
    return message(kind, struct.pack("=BBBBi", socket.AF_INET, 24, 0, scope, number))


def route(kind: int, number: int, of_type: int = 1) -> bytes:
    body = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, 254, 3, 0, of_type, 0)
    return message(kind, body + struct.pack("=HHi", 8, wire.RTA_OIF, number))


def judged(data: bytes) -> tuple[bool, str | None]:
    (only,) = wire.unpack(data)
    return judge(only, {ETH})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (link(wire.RTM_NEWLINK, ETH, wire.IFF_RUNNING), (True, None)),
        (link(wire.RTM_NEWLINK, ETH, 0x1), (True, "link")),
        (link(wire.RTM_DELLINK, ETH, wire.IFF_RUNNING), (True, "link")),
        (link(wire.RTM_NEWLINK, VETH, 0), (False, None)),
        (link(wire.RTM_DELLINK, VETH, 0), (False, None)),
        (address(wire.RTM_NEWADDR, ETH), (True, None)),
        (address(wire.RTM_NEWADDR, WLAN), (True, None)),
        (address(wire.RTM_DELADDR, ETH), (True, "address")),
        (address(wire.RTM_DELADDR, VETH), (True, None)),
        (address(wire.RTM_DELADDR, ETH, scope=253), (False, None)),
        (address(wire.RTM_NEWADDR, ETH, scope=254), (False, None)),
        (route(wire.RTM_NEWROUTE, ETH), (True, None)),
        (route(wire.RTM_DELROUTE, WLAN), (True, None)),
        (route(wire.RTM_NEWROUTE, ETH, of_type=5), (False, None)),  # multicast
        (message(wire.RTM_NEWRULE, bytes(12)), (True, None)),
        (message(28, bytes(12)), (False, None)),  # RTM_NEWNEIGH, which nobody asked for
        (message(wire.RTM_NEWLINK, b"\0"), (False, None)),
        (message(wire.RTM_NEWADDR, b"\0"), (False, None)),
        (message(wire.RTM_NEWROUTE, b"\0"), (False, None)),
    ],
)
def test_which_message_is_worth_a_look_and_what_it_cut(
    data: bytes, expected: tuple[bool, str | None]
) -> None:
    assert judged(data) == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (HOME, None),
        (None, "route"),
        (HOME._replace(source=b"\xc0\x00\x02\x03"), "address"),
        (HOME._replace(link=WLAN, source=b"\x0a\x00\x00\x05"), "address"),
        (HOME._replace(link=WLAN), "route"),
        (HOME._replace(gateway=b"\xc0\x00\x02\xfe"), "route"),
        (HOME._replace(is_running=False), "link"),
    ],
)
def test_a_change_of_a_way_is_named(after: Way | None, expected: str | None) -> None:
    assert change({"a": HOME}, {"a": after}) == expected
    assert change({"a": after}, {"a": HOME}) == expected


def test_the_gravest_change_is_told() -> None:
    before: Ways = {"a": HOME, "b": HOME, "c": None}
    after: Ways = {"a": HOME._replace(source=b""), "b": HOME._replace(is_running=False), "c": HOME}
    assert change(before, after) == "address"
    assert change(before, before, {"link", "address"}) == "address"
    assert change(before, before, {"link"}) == "link"


def test_a_server_that_is_used_no_more_or_from_now_on_is_no_change() -> None:
    assert change({"a": HOME, "old": HOME}, {"a": HOME, "new": None}) is None


def test_messages_that_are_cut_off_are_dropped() -> None:
    whole = link(wire.RTM_NEWLINK, ETH, wire.IFF_RUNNING)
    assert len(list(wire.unpack(whole + whole))) == 2
    for end in range(len(whole)):
        assert len(list(wire.unpack(whole + whole[:end]))) == 1
    assert list(wire.unpack(struct.pack("=IHHII", 4, 16, 0, 0, 0))) == []  # shorter than itself
    assert list(wire.unpack(struct.pack("=IHHII", 4000, 16, 0, 0, 0))) == []


def test_attributes_that_are_cut_off_are_dropped() -> None:
    whole = struct.pack("=HHIHHH", 8, 4, 7, 6, 7, 99)
    assert wire.attributes(whole) == {4: struct.pack("=I", 7), 7: struct.pack("=H", 99)}
    assert wire.attributes(whole[:12]) == {4: struct.pack("=I", 7)}
    assert wire.attributes(struct.pack("=HH", 0, 4) * 3) == {}


def test_a_route_is_read_with_its_gateway_of_either_family() -> None:
    head = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
    via = struct.pack("=HHH4s", 10, wire.RTA_VIA, socket.AF_INET6, b"\xfe\x80\0\1") + b"\0\0"
    source = struct.pack("=HH4s", 8, wire.RTA_PREFSRC, b"\xc0\x00\x02\x02")
    found = wire.route(head + via + source)
    assert found is not None
    assert found.gateway == struct.pack("=H4s", socket.AF_INET6, b"\xfe\x80\0\1")
    assert found.source == b"\xc0\x00\x02\x02"


class Loop:
    """What NetworkNews needs of an asyncio loop, its time set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.read: Callable[[], None] | None = None
        self._calls: list[tuple[float, int, Callable[[], None], Handle]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def add_reader(self, _: object, call: Callable[[], None]) -> None:
        self.read = call

    def remove_reader(self, _: object) -> None:
        self.read = None

    def call_at(self, when: float, call: Callable[[], None]) -> Handle:
        handle = Handle()
        heapq.heappush(self._calls, (when, next(self._count), call, handle))
        return handle

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self.now, _, call, handle = heapq.heappop(self._calls)
            if not handle.is_cancelled:
                call()
        self.now = until


class Handle:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Kernel:
    """Says what it is told to, and knows one way."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.to_say: list[bytes | OSError] = []
        self.way: Way | None = HOME
        self.fails = 0
        self.looks: list[float] = []
        self.closed = False
        self.told: list[tuple[str, float]] = []
        self.news = NetworkNews(
            cast(Any, self.loop),
            lambda what: self.told.append((what, self.loop.now - 1000.0)),
            servers=lambda: ["192.0.2.9"],
            subscribe=lambda: cast(socket.socket, self),
            look=self.look,
        )

    def look(self, servers: Iterable[str]) -> Ways:
        self.looks.append(self.loop.now)
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return dict.fromkeys(servers, self.way)

    def recv(self, _: int) -> bytes:
        if not self.to_say:
            raise BlockingIOError
        said = self.to_say.pop(0)
        if isinstance(said, OSError):
            raise said
        return said

    def close(self) -> None:
        self.closed = True

    def say(self, *messages: bytes | OSError) -> None:
        self.to_say += messages
        if self.loop.read is not None:
            self.loop.read()


NEW_ROUTE = route(wire.RTM_NEWROUTE, ETH)


def test_news_is_told_once_half_a_second_after_the_first_message() -> None:
    kernel = Kernel()
    kernel.way = None
    kernel.say(*[NEW_ROUTE] * 7)
    kernel.loop.run(0.3)
    kernel.say(NEW_ROUTE)
    assert kernel.told == []
    kernel.loop.run(10)
    assert kernel.told == [("route", NEWS_PAUSE)]


def test_what_changes_no_way_is_no_news_and_costs_one_look() -> None:
    kernel = Kernel()
    for _ in range(100):
        kernel.say(NEW_ROUTE, address(wire.RTM_NEWADDR, VETH), link(wire.RTM_DELLINK, VETH, 0))
    kernel.loop.run(60)
    assert kernel.told == []
    assert len(kernel.looks) == 2  # the first one was at the start


def test_links_that_no_way_uses_are_not_looked_at() -> None:
    kernel = Kernel()
    kernel.say(link(wire.RTM_NEWLINK, VETH, wire.IFF_RUNNING), link(wire.RTM_DELLINK, VETH, 0))
    kernel.loop.run(60)
    assert len(kernel.looks) == 1


def test_a_way_that_was_cut_and_mended_between_two_looks_is_news() -> None:
    kernel = Kernel()
    kernel.say(address(wire.RTM_DELADDR, ETH), address(wire.RTM_NEWADDR, ETH))
    kernel.loop.run(10)
    kernel.say(link(wire.RTM_NEWLINK, ETH, 0), link(wire.RTM_NEWLINK, ETH, wire.IFF_RUNNING))
    kernel.loop.run(10)
    assert [what for what, _ in kernel.told] == ["address", "link"]


def test_while_it_goes_on_it_is_told_once_a_second_at_most() -> None:
    kernel = Kernel()
    for number in range(200):
        kernel.way = HOME._replace(source=bytes([number]))
        kernel.say(NEW_ROUTE)
        kernel.loop.run(0.05)
    kernel.loop.run(10)
    times = [at for _, at in kernel.told]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 8 <= len(times) <= 11
    assert min(gaps) >= NEWS_LEAST * 0.999
    assert kernel.told[-1][1] <= 10.0 + NEWS_LEAST  # the last change was not missed
    kernel.loop.run(10)
    assert len(kernel.told) == len(times)


def test_messages_lost_are_a_change_but_not_again_and_again() -> None:
    kernel = Kernel()
    lost = OSError(errno.ENOBUFS, "No buffer space available")
    for _ in range(round(LOST_LEAST)):
        kernel.say(lost, NEW_ROUTE)
        kernel.loop.run(1.0)
    assert [what for what, _ in kernel.told] == ["route"]
    kernel.loop.run(5.0)
    kernel.say(lost)
    kernel.loop.run(5.0)
    assert [what for what, _ in kernel.told] == ["route", "route"]
    kernel.way = None
    kernel.say(lost)  # soon after, but with a change that can be seen
    kernel.loop.run(5.0)
    assert len(kernel.told) == 3


def test_a_look_that_fails_is_tried_again() -> None:
    kernel = Kernel()
    kernel.fails, kernel.way = 3, None
    kernel.say(NEW_ROUTE)
    kernel.loop.run(2.0)
    assert kernel.told == []
    kernel.loop.run(5.0)
    assert [what for what, _ in kernel.told] == ["route"]
    assert len(kernel.looks) == 5


def test_where_the_kernel_says_nothing_that_is_said_once() -> None:
    def refuse() -> socket.socket:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def not_linux() -> socket.socket:
        raise AttributeError("module 'socket' has no attribute 'AF_NETLINK'")

    loop = Loop()
    for subscribe, words in ((refuse, "Operation not permitted"), (not_linux, "no netlink here")):
        news = NetworkNews(cast(Any, loop), lambda _: None, subscribe=subscribe)
        assert news.missing == words
        news.close()
    assert loop.read is None


def test_a_socket_that_fails_for_good_is_given_up() -> None:
    kernel = Kernel()
    assert kernel.news.missing is None
    kernel.say(NEW_ROUTE, OSError(errno.EBADFD, "File descriptor in bad state"))
    assert kernel.news.missing == "File descriptor in bad state"
    assert kernel.closed
    kernel.way = None
    kernel.loop.run(10)
    assert kernel.told == []


def test_after_close_nothing_is_told() -> None:
    kernel = Kernel()
    kernel.way = None
    kernel.say(NEW_ROUTE)
    kernel.news.close()
    kernel.news.close()
    kernel.loop.run(10)
    assert (kernel.told, kernel.closed, kernel.loop.read) == ([], True, None)
    assert kernel.news.missing is None


def test_who_listens_may_close_it_in_the_middle() -> None:
    kernel = Kernel()
    kernel.way = None
    kernel.news._on_news = lambda _: kernel.news.close()
    kernel.say(NEW_ROUTE)
    kernel.loop.run(1)
    assert kernel.closed


def test_a_flood_leaves_the_loop_its_turn() -> None:
    kernel = Kernel()
    kernel.say(*[link(wire.RTM_NEWLINK, VETH, 0)] * 1000)
    assert len(kernel.to_say) > 900
