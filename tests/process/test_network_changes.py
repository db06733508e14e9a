"""News of a network that is changed under us: a namespace of its own, with `ip` and iptables.

That something is no news is shown by a cut link afterwards: its news ranks lowest, so whatever had
been taken for a change before would be told instead of it, or sooner.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.needs import PATH, needs_namespaces, needs_program
from tests.support.processes import process
from tests.support.waiting import wait_for

pytestmark = [needs_namespaces, needs_program("ip"), needs_program("nsenter")]

ENVIRON = {**os.environ, "PATH": PATH}

# What a supervisor does with it; each line on its stdin is a question.
WATCHER = """
import asyncio, json, os, socket, sys
from sshwrap.supervisor.netlink import NetworkNews
from sshwrap.supervisor.network import has_route
from sshwrap.supervisor.unacked import SshSocket

def say(what, value):
    print(json.dumps([what, value]), flush=True)

def connect(port):
    listener = socket.create_server(("127.0.0.1", int(port)))
    ssh = socket.create_connection(("127.0.0.1", int(port)))
    return listener, ssh, listener.accept()[0], SshSocket(os.getpid(), "127.0.0.1", int(port))

def answer():
    global tunnel
    question, _, about = sys.stdin.readline().strip().partition(" ")
    if question == "has_route":
        say(question, has_route(about))
    elif question == "deaf":
        news._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        say(question, None)
        sys.stdin.readline()
    elif question == "connect":
        tunnel = connect(about)
        say(question, tunnel[3].unacked())
    elif question == "send":
        tunnel[1].sendall(b"x" * int(about))
        say(question, None)
    elif question == "unacked":
        say(question, tunnel[3].unacked())
    else:
        loop.stop()

loop = asyncio.new_event_loop()
news = NetworkNews(loop, lambda what: say("news", what), servers=lambda: sys.argv[1:])
loop.add_reader(0, answer)
say("ready", news.missing)
loop.run_forever()
news.close()
loop.close()
"""


class Home:
    """A machine with nothing but a loopback, and somebody on it who watches the network."""

    def __init__(self, servers: list[str]) -> None:
        command = ["unshare", "--net", sys.executable, "-X", "dev", "-c", WATCHER, *servers]
        self._watcher = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=ENVIRON,
        )
        self._heard = b""
        assert self.hear() == ["ready", None]

    def run(self, *command: str, text: str = "") -> None:
        enter = ["nsenter", f"--net=/proc/{self._watcher.pid}/ns/net"]
        subprocess.run([*enter, *command], input=text, check=True, text=True, env=ENVIRON)

    def ip(self, *lines: str) -> None:
        """All of them while the watcher is frozen, so that no look comes between."""
        with self.frozen():
            self.batch(*lines)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        os.kill(self._watcher.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: (one := process(self._watcher.pid)) and one.state == "T")
            yield
        finally:
            os.kill(self._watcher.pid, signal.SIGCONT)

    def batch(self, *lines: str) -> None:
        self.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    def has_carrier(self) -> bool:
        """What the kernel has told of eth0: it may leave out a cut that is over at once."""
        enter = ["nsenter", f"--net=/proc/{self._watcher.pid}/ns/net"]
        show = [*enter, "ip", "-o", "link", "show", "dev", "eth0"]
        return " state UP " in subprocess.run(show, stdout=subprocess.PIPE, text=True).stdout

    def hear(self, within: float = 20.0) -> list[Any]:
        assert self._watcher.stdout is not None
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._watcher.stdout], [], [], within)
            assert ready, f"nothing was said within {within:g} s"
            said = os.read(self._watcher.stdout.fileno(), 4096)
            assert said, "the watcher has ended"
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        heard = json.loads(line)
        assert isinstance(heard, list)
        return heard

    def ask(self, question: str) -> Any:
        self.tell(question)
        what, value = self.hear()
        assert what == question.partition(" ")[0]
        return value

    def tell(self, line: str) -> None:
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(line.encode() + b"\n")

    def cut(self) -> None:
        """The link of eth0 loses its carrier."""
        self.ip("link set isp down")

    def close(self) -> None:
        self._watcher.communicate(timeout=20)
        assert self._watcher.returncode == 0


@pytest.fixture
def new_home() -> Iterator[Callable[..., Home]]:
    homes: list[Home] = []

    def make(*servers: str) -> Home:
        homes.append(Home(list(servers)))
        return homes[-1]

    yield make
    for home in homes:
        home.close()


LINK = (
    "link set lo up",
    "link add eth0 type veth peer name isp",
    "link set isp up",
    "link set eth0 up",
)
ADDRESS = "addr add 192.0.2.2/24 dev eth0"
DEFAULT = "route add default via 192.0.2.1"


@pytest.fixture
def home(new_home: Callable[..., Home]) -> Home:
    """On the internet by 192.0.2.2."""
    home = new_home()
    home.ip(*LINK, ADDRESS, DEFAULT)
    assert home.hear() == ["news", "route"]
    return home


def test_the_network_comes_goes_and_comes_again(home: Home) -> None:
    home.ip("route del default")
    assert home.hear() == ["news", "route"]
    began = time.monotonic()
    home.ip(DEFAULT)
    assert home.hear() == ["news", "route"]
    assert time.monotonic() - began < 15  # a second and a half where nobody else computes
    home.cut()
    assert home.hear() == ["news", "link"]
    home.ip("link set isp up")
    assert home.hear() == ["news", "link"]


def test_another_address_and_another_gateway(home: Home) -> None:
    home.ip("addr del 192.0.2.2/24 dev eth0", "addr add 192.0.2.3/24 dev eth0", DEFAULT)
    assert home.hear() == ["news", "address"]
    home.ip("route replace default via 192.0.2.254")
    assert home.hear() == ["news", "route"]


def test_an_address_taken_away_and_given_back_at_once(home: Home) -> None:
    home.ip("addr del 192.0.2.2/24 dev eth0", ADDRESS, "route replace default via 192.0.2.1")
    assert home.hear() == ["news", "address"]


def test_a_cable_pulled_and_put_back_at_once(home: Home) -> None:
    with home.frozen():
        home.batch("link set isp down")
        wait_for(lambda: not home.has_carrier())
        home.batch("link set isp up")
        wait_for(home.has_carrier)
    assert home.hear() == ["news", "link"]


def test_ipv6(home: Home) -> None:
    home.ip("addr add 2001:db8::2/64 dev eth0 nodad", "route add default via 2001:db8::1")
    assert home.hear() == ["news", "route"]
    home.ip(
        "addr del 2001:db8::2/64 dev eth0",
        "addr add 2001:db8::3/64 dev eth0 nodad",
        "route replace default via 2001:db8::1",
    )
    assert home.hear() == ["news", "address"]


def test_a_vpn_by_policy_rules_leaves_the_main_table_alone_and_is_news(home: Home) -> None:
    home.ip(
        "link add wg0 type veth peer name far",
        "link set far up",
        "link set wg0 up",
        "addr add 10.8.0.2/24 dev wg0",
        "route add default dev wg0 table 51820",
        "rule add not fwmark 51820 table 51820",
    )
    assert home.hear() == ["news", "address"]  # from 10.8.0.2 now
    home.ip("rule del not fwmark 51820 table 51820")
    assert home.hear() == ["news", "address"]


def test_containers_renewed_addresses_and_far_routes_are_no_news(home: Home) -> None:
    for number in range(3):
        home.ip(
            "link add br-0 type veth peer name docker",  # stands for a bridge
            "link set docker up",
            "link set br-0 up",
            f"addr add 172.17.{number}.1/24 dev br-0",
            f"route add 10.9.{number}.0/24 via 172.17.{number}.2",
            "link set docker down",
            "link del br-0",
        )
    home.ip(
        "addr change 192.0.2.2/24 dev eth0 valid_lft 3600 preferred_lft 3600",
        "addr add 192.0.2.77/24 dev eth0",  # a second one, which nobody is sent from
        "route replace default via 192.0.2.1",
        "route add 198.51.100.0/24 via 192.0.2.9",
        "addr add 127.0.0.9/8 dev lo",
    )
    home.cut()
    assert home.hear() == ["news", "link"]


def test_a_server_in_the_house_is_watched_without_any_default_route(
    new_home: Callable[..., Home],
) -> None:
    home = new_home("10.1.0.7")
    home.ip(*LINK, "addr add 10.1.0.2/24 dev eth0")
    assert home.hear() == ["news", "route"]
    home.ip("addr del 10.1.0.2/24 dev eth0", "addr add 10.1.0.3/24 dev eth0")
    assert home.hear() == ["news", "address"]
    home.cut()
    assert home.hear() == ["news", "link"]


def test_more_than_we_could_hear_is_a_change(home: Home) -> None:
    home.ask("deaf")
    home.ip(*(f"route add 10.{number}.0.0/16 via 192.0.2.9" for number in range(200)))
    home.tell("")
    assert home.hear() == ["news", "route"]


def test_whether_there_is_a_way(new_home: Callable[..., Home]) -> None:
    home = new_home()
    assert home.ask("has_route 203.0.113.7") is False
    assert home.ask("has_route 2001:db8::7") is False
    home.ip(*LINK, ADDRESS)
    assert home.ask("has_route 203.0.113.7") is False
    home.ip(
        "route add 203.0.113.0/28 via 192.0.2.1",
        "route add unreachable 203.0.113.16/28",
        "route add prohibit 203.0.113.32/28",
        "route add blackhole 203.0.113.48/28",
    )
    assert home.ask("has_route 203.0.113.7") is True
    for refused in ("203.0.113.17", "203.0.113.33", "203.0.113.49", "203.0.113.65"):
        assert home.ask(f"has_route {refused}") is False


@needs_program("iptables")
def test_what_is_sent_into_silence_stays_unacknowledged(new_home: Callable[..., Home]) -> None:
    home = new_home()
    home.ip("link set lo up")
    assert home.ask("connect 2222") == [0, 0, 0]
    home.ask("send 1000")
    wait_for(lambda: home.ask("unacked")[0] == 0, what="acknowledged")
    home.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "2222", "-j", "DROP")
    home.ask("send 1000")
    assert home.ask("unacked")[0] == 1000
    wait_for(lambda: home.ask("unacked")[1] >= 2, what="two retransmits")
    assert home.ask("unacked")[2] == 1
    home.ask("send 500")
    assert home.ask("unacked")[0] == 1500
    home.run("iptables", "-F", "INPUT")
    wait_for(lambda: home.ask("unacked") == [0, 0, 0], what="all of it acknowledged")
