"""Knocks and looks over loopback: what is told, when, and what the other side sees of it."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from sshwrap.supervisor.knock import Answer, Knock, outcome
from sshwrap.supervisor.looker import Lookers
from sshwrap.supervisor.network import WakeWatch, clocks, has_route
from sshwrap.supervisor.tcp import TcpConnect
from tests.support.loops import clean_loop, descriptors, run_until
from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with clean_loop() as loop:
        yield loop


class Silent:
    """A port that answers nobody: its queue of connections is full."""

    def __enter__(self) -> int:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self._filling = []
        port = int(self._listener.getsockname()[1])
        for _ in range(8):
            one = socket.socket()
            self._filling.append(one)
            one.settimeout(0.2)
            try:
                one.connect(("127.0.0.1", port))
            except TimeoutError:
                return port
        pytest.skip("here a full queue does not make a port silent")

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._filling):
            one.close()


def knock(
    loop: asyncio.AbstractEventLoop, addresses: list[str], port: int
) -> tuple[Answer, list[tuple[str, int]]]:
    answers: list[Answer] = []
    ours: list[tuple[str, int]] = []
    Knock(
        loop,
        addresses,
        port,
        on_local=lambda address, local_port: ours.append((address, local_port)),
        on_answer=answers.append,
    )
    run_until(loop, lambda: answers)
    (answer,) = answers
    return answer, ours


# --- knocking -------------------------------------------------------------------------------


def test_an_open_port_is_open_and_our_end_of_it_is_known(loop: asyncio.AbstractEventLoop) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        answer, ours = knock(loop, ["127.0.0.1"], server.getsockname()[1])
        visitor, their_view = server.accept()
        visitor.close()
    assert (answer.outcome, answer.reason, answer.address) == ("open", None, "127.0.0.1")
    assert 0 <= answer.milliseconds < 5000
    assert ours == [their_view]


def test_our_end_is_told_before_the_loop_can_hear_of_a_visitor(
    loop: asyncio.AbstractEventLoop,
) -> None:
    told: list[str] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def visited() -> None:
            server.accept()[0].close()
            told.append("visitor")

        loop.add_reader(server, visited)
        Knock(
            loop,
            ["127.0.0.1"],
            server.getsockname()[1],
            on_local=lambda *_: told.append("ours"),
            on_answer=lambda _: told.append("answer"),
        )
        run_until(loop, lambda: len(told) == 3)
        loop.remove_reader(server)
    assert told[0] == "ours"


def test_ipv6(loop: asyncio.AbstractEventLoop) -> None:
    if not has_route("::1"):
        pytest.skip("no IPv6 here")
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as server:
        answer, ours = knock(loop, ["::1"], server.getsockname()[1])
    assert answer.outcome == "open"
    assert ours[0][0] == "::1"


def test_a_port_without_a_listener_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    answer, _ = knock(loop, ["127.0.0.1"], free_port())
    assert (answer.outcome, answer.reason) == ("refused", None)


def test_a_silent_port_times_out_within_its_time(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sshwrap.supervisor.knock.KNOCK_PATIENCE", 0.4)
    with Silent() as port:
        answer, _ = knock(loop, ["127.0.0.1"], port)
    assert answer.outcome == "timeout"
    assert 350 <= answer.milliseconds < 15_000


def test_of_several_addresses_the_open_one_counts(loop: asyncio.AbstractEventLoop) -> None:
    with closing(socket.create_server(("127.0.0.3", 0))) as server:
        port = server.getsockname()[1]
        answer, ours = knock(loop, ["127.0.0.2", "127.0.0.3", "127.0.0.4"], port)
    assert (answer.outcome, answer.address) == ("open", "127.0.0.3")
    assert len(ours) == 2  # nobody needed the third


def test_a_refusal_says_more_than_silence(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []

    def connect(*where: Any, within: float, on_done: Callable[[int], None]) -> TcpConnect:
        patience.append(within)
        return TcpConnect(*where, within=within, on_done=on_done)

    monkeypatch.setattr("sshwrap.supervisor.knock.KNOCK_PATIENCE", 4.0)
    monkeypatch.setattr("sshwrap.supervisor.knock.TcpConnect", connect)
    with Silent() as port:
        answer, _ = knock(loop, ["127.0.0.1", "127.0.0.2"], port)
    assert (answer.outcome, answer.address) == ("refused", "127.0.0.2")
    assert patience[0] == pytest.approx(2.0, abs=0.01)  # the silent one left the other its part


def test_names_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    for addresses in ([], ["localhost"], ["127.0.0.1", "localhost"]):
        with pytest.raises(ValueError, match="address"):
            Knock(loop, addresses, 80, on_local=lambda *_: None, on_answer=lambda _: None)


def test_a_knock_given_up_tells_nothing(loop: asyncio.AbstractEventLoop) -> None:
    told: list[object] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        given_up = Knock(loop, ["127.0.0.1"], port, on_local=lambda *_: None, on_answer=told.append)
        given_up.close()
        given_up.close()
        knock(loop, ["127.0.0.1"], port)
    assert told == []


def test_what_the_system_says_is_kept_where_it_shows_nothing() -> None:
    assert outcome(errno.EHOSTUNREACH) == ("unknown", "No route to host")
    assert outcome(errno.EMFILE) == ("unknown", "Too many open files")


# --- one connection -------------------------------------------------------------------------


def test_the_other_side_sees_a_visitor_leave_and_no_reset(loop: asyncio.AbstractEventLoop) -> None:
    """Even one that greets, as sshd does: unread data would make our close a reset."""
    before = descriptors()
    done: list[int] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        TcpConnect(loop, "127.0.0.1", port, within=5, on_done=done.append)
        visitor, _ = server.accept()
        visitor.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        run_until(loop, lambda: done)
        visitor.settimeout(5)
        assert visitor.recv(100) == b""
        visitor.sendall(b"and some last words\r\n")
        visitor.shutdown(socket.SHUT_WR)
        run_until(loop, lambda: len(descriptors() - before) == 2)  # ours is closed
        assert visitor.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        visitor.close()
    assert done == [0]


def test_a_server_that_holds_on_is_left_all_the_same(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sshwrap.supervisor.tcp.LEAVE_PATIENCE", 0.05)
    before = descriptors()
    done: list[int] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        TcpConnect(loop, "127.0.0.1", server.getsockname()[1], within=5, on_done=done.append)
        visitor, _ = server.accept()
        run_until(loop, lambda: done)
        run_until(loop, lambda: len(descriptors() - before) == 2)  # ours is closed
        visitor.close()


def test_a_server_that_never_stops_talking_is_left(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sshwrap.supervisor.tcp.LEAVE_PATIENCE", 60.0)
    done: list[int] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        TcpConnect(loop, "127.0.0.1", server.getsockname()[1], within=5, on_done=done.append)
        visitor, _ = server.accept()
        with closing(visitor):
            visitor.setblocking(False)
            ended: list[bool] = []

            def talk() -> None:
                try:
                    visitor.send(b"x" * 4096)
                except OSError:  # reset, since nobody listens any more
                    loop.remove_writer(visitor)
                    ended.append(True)

            loop.add_writer(visitor, talk)
            run_until(loop, lambda: ended)
    assert done == [0]


def test_no_free_descriptor_is_an_answer(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    done: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("sshwrap.supervisor.tcp.socket.socket", none_left)
        connect = TcpConnect(loop, "127.0.0.1", 9, within=5, on_done=done.append)
    assert (connect.local, done) == (None, [])  # never from within
    run_until(loop, lambda: done)
    assert done == [errno.EMFILE]


def test_nothing_here_needs_a_thread(loop: asyncio.AbstractEventLoop) -> None:
    knock(loop, ["127.0.0.1"], free_port())
    assert threading.active_count() == 1


# --- the look -------------------------------------------------------------------------------


def test_a_server_that_comes_back_is_seen_within_two_seconds_by_all(
    loop: asyncio.AbstractEventLoop,
) -> None:
    port = free_port()
    told: list[str] = []
    lookers = Lookers(loop, jitter=lambda: 0.0)
    for number in range(20):
        assert lookers.wait(f"t{number}", "127.0.0.1", port, lambda: told.append("up"))
    began = loop.time()
    run_until(loop, lambda: loop.time() - began > 1.5)
    assert told == []
    with closing(socket.create_server(("127.0.0.1", port))) as server:
        began, turns = loop.time(), 0

        def turn() -> bool:
            nonlocal turns
            turns += 1
            return bool(told)

        run_until(loop, turn)
        # Two seconds of turns that the loop had, 5 ms each: others may have had the processor.
        assert turns < 2.0 / 0.005, (turns, loop.time() - began)
        assert len(told) == 20
        server.accept()[0].close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # one look for all of them
            server.accept()
    lookers.close()


@needs_sshd
def test_sshd_sees_a_look_as_a_connection_that_was_closed(
    loop: asyncio.AbstractEventLoop, sshd: Sshd
) -> None:
    told: list[bool] = []
    lookers = Lookers(loop, jitter=lambda: 0.0)
    lookers.wait("web", sshd.host, sshd.port, lambda: told.append(True))
    run_until(loop, lambda: told)
    run_until(loop, lambda: "losed by" in sshd.log())
    assert "reset" not in sshd.log()
    lookers.close()


# --- the way there --------------------------------------------------------------------------


def test_there_is_a_way_to_ourselves() -> None:
    assert has_route("127.0.0.1")


def test_a_name_has_no_way() -> None:
    with pytest.raises(ValueError, match="not numeric"):
        has_route("localhost")


def test_this_machine_has_not_slept_between_two_readings() -> None:
    watch = WakeWatch(*clocks())
    boottime, monotonic = clocks()
    assert watch.slept(boottime, monotonic) == 0.0
    assert watch.slept(boottime + 3600.0, monotonic) == pytest.approx(3600.0, abs=1.0)
