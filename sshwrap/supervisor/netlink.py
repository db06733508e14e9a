"""News of the network, as the Linux kernel tells it: what has changed of the ways that we use.

Laws. What counts is the way that a packet would take, asked of the kernel: to the servers in use
and to the internet; so containers that come and go, addresses that are renewed and routes that
lead elsewhere are no news. A way that was cut and mended between two looks is: the connections
over it may be gone. Nothing is sent, nothing waits. Where there is no netlink there is no news,
and `missing` says so.
"""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from sshwrap.supervisor import netlink_wire as wire
from sshwrap.supervisor.network import numeric

if TYPE_CHECKING:
    import asyncio

NEWS_PAUSE = 0.5  # one `ip link set up` is seven messages
NEWS_LEAST = 1.0  # between two news, while it goes on
LOST_LEAST = 60.0  # between two news for no other reason than that messages were lost
READS_AT_ONCE = 64  # datagrams; then the loop has its turn
SERVERS_MOST = 64

# The internet, for who has no server's address yet: two root name servers, whose addresses have
# stood for decades and which nobody's routes leave out. Only the routing table is asked for them.
SOMEWHERE = ("198.41.0.4", "2001:503:ba3e::2:30")

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE
# and RTNLGRP_IPV6_RULE, the 19th
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18


class Way(NamedTuple):
    """How packets to an address leave this machine; raw addresses, empty where there is none."""

    link: int
    is_running: bool  # the interface is up and has a carrier
    gateway: bytes
    source: bytes


Ways = Mapping[str, Way | None]  # by numeric address; None: no way


class NetworkNews:
    """Calls `on_news("address" | "route" | "link")` half a second after something has changed.

    `servers` gives the numeric addresses whose ways matter, asked at each look. `missing` is None,
    or the system's words why there will be no news. `subscribe` and `look` are the kernel, unless
    told otherwise. Raises nothing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_news: Callable[[str], None],
        *,
        servers: Callable[[], Iterable[str]] = tuple,
        subscribe: Callable[[], socket.socket] | None = None,
        look: Callable[[Iterable[str]], Ways] | None = None,
    ) -> None:
        self.missing: str | None = None
        self._loop = loop
        self._on_news = on_news
        self._servers = servers
        self._look_at = look or ways_to
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = loop.time() - NEWS_LEAST
        self._lost_at = loop.time() - LOST_LEAST
        self._cuts: set[str] = set()
        self._is_lost = False
        self._socket: socket.socket | None = None
        self._ways: Ways = {}
        try:
            self._socket = (subscribe or _subscribe)()
            self._ways = self._look_at(self._addresses())
            loop.add_reader(self._socket, self._read)
        except (OSError, AttributeError) as error:  # AttributeError: not Linux
            self._give_up(error)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _give_up(self, error: Exception) -> None:
        self.close()
        self.missing = (isinstance(error, OSError) and error.strerror) or "no netlink here"

    def _addresses(self) -> list[str]:
        return list(itertools.islice(self._servers(), SERVERS_MOST))

    def _read(self) -> None:
        for _ in range(READS_AT_ONCE):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self._give_up(error)
                    return
                self._is_lost = True  # more was said than we could hear
                self._look_soon()
                continue
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        links = {way.link for way in self._ways.values() if way is not None}
        for message in wire.unpack(data):
            matters, cut = judge(message, links)
            if cut is not None:
                self._cuts.add(cut)
            if matters:
                self._look_soon()

    def _look_soon(self) -> None:
        if self._timer is None:
            due = max(self._loop.time() + NEWS_PAUSE, self._told_at + NEWS_LEAST)
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            ways = self._look_at(self._addresses())
        except OSError:  # no descriptor is free: that passes
            self._told_at = self._loop.time()
            self._look_soon()
            return
        now = self._loop.time()
        news = change(self._ways, ways, self._cuts)
        if news is None and self._is_lost and now - self._lost_at >= LOST_LEAST:
            self._lost_at = now
            news = "route"
        self._ways, self._cuts, self._is_lost = ways, set(), False
        if news is not None:
            self._told_at = now
            self._on_news(news)


def judge(message: wire.Message, links: Iterable[int]) -> tuple[bool, str | None]:
    """Whether a look is due after this message, and what of the ways over `links` it has cut."""
    body = message.body
    match message.kind:
        case wire.RTM_NEWLINK | wire.RTM_DELLINK:
            link = wire.link(body)
            if link is None or link.number not in links:  # of a new one an address will be heard
                return False, None
            is_cut = message.kind == wire.RTM_DELLINK or not link.is_running
            return True, "link" if is_cut else None
        case wire.RTM_NEWADDR | wire.RTM_DELADDR:
            address = wire.address(body)
            if address is None or not address.is_global:
                return False, None
            is_cut = message.kind == wire.RTM_DELADDR and address.link in links
            return True, "address" if is_cut else None
        case wire.RTM_NEWROUTE | wire.RTM_DELROUTE:
            route = wire.route(body)
            return route is not None and route.is_usable, None
        case wire.RTM_NEWRULE | wire.RTM_DELRULE:
            return True, None
    return False, None


def change(before: Ways, after: Ways, cuts: Iterable[str] = ()) -> str | None:
    """What is to be told: the gravest difference of addresses that both know, or what was cut."""
    found = set(cuts)
    for address in before.keys() & after.keys():
        old, new = before[address], after[address]
        if old == new:
            continue
        if old is None or new is None:
            found.add("route")
        elif old.source != new.source:
            found.add("address")
        elif (old.link, old.gateway) != (new.link, new.gateway):
            found.add("route")
        else:
            found.add("link")
    return next((what for what in ("address", "route", "link") if what in found), None)


def ways_to(servers: Iterable[str]) -> Ways:
    """The ways to these numeric addresses, and to the internet; raises OSError as `Kernel` does."""
    ways: dict[str, Way | None] = {}
    running: dict[int, bool] = {}
    with wire.Kernel(socket.NETLINK_ROUTE) as kernel:
        for address in (*SOMEWHERE, *servers):
            ways[address] = _way(kernel, address, running)
    return ways


def _way(kernel: wire.Kernel, address: str, running: dict[int, bool]) -> Way | None:
    try:
        family, where = numeric(address, 1)
    except ValueError:
        return None
    raw = socket.inet_pton(family, str(where[0]).partition("%")[0])
    scope = int(where[3]) if family == socket.AF_INET6 else 0
    answer = kernel.ask(wire.RTM_GETROUTE, wire.ask_route(family, raw, scope))
    route = wire.route(answer.body) if answer is not None else None
    if route is None or not route.is_usable:
        return None
    if route.link not in running:
        there = kernel.ask(wire.RTM_GETLINK, wire.ask_link(route.link))
        link = wire.link(there.body) if there is not None else None
        running[route.link] = link is not None and link.is_running
    return Way(route.link, running[route.link], route.gateway, route.source)


def _subscribe() -> socket.socket:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        news.setblocking(False)
        news.bind((0, _GROUPS))
    except OSError:
        news.close()
        raise
    return news
