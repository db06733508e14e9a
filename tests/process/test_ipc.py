"""The supervisor's socket with polite clients: one answer, a stream of them, or nobody there."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sshwrap.supervisor import ipc, ipc_server
from tests.support.serving import STATUS, Serving, raw, said
from tests.support.waiting import wait_for


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path / "a b%.sock") as serving:
        yield serving
    assert serving.faults == []
    assert not Path(serving.path).exists()


# --- a request and its answer ------------------------------------------------


def test_a_request_is_answered(serving: Serving) -> None:
    answer = ipc.request(serving.path, STATUS | {"echo": ["安全 \udcff \n"]})
    assert answer == {"v": 1, "ok": True, "tunnels": ["安全 \udcff \n"]}


def test_the_socket_is_for_us_alone_whatever_the_umask(tmp_path: Path) -> None:
    for mask in (0o000, 0o777):
        before = os.umask(mask)
        with Serving(tmp_path / "s") as serving:
            assert os.umask(before) == mask
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
            assert ipc.request(serving.path, STATUS)["ok"]


def test_a_thousand_tunnels_are_one_answer(serving: Serving) -> None:
    tunnels = [{"profile": f"p{n}", "forwards": [{"spec": "x" * 1500}]} for n in range(400)]
    assert ipc.request(serving.path, STATUS | {"echo": tunnels}, 10)["tunnels"] == tunnels
    answer = ipc.request(serving.path, {"v": 1, "op": "big", "count": 3000}, 10)
    assert len(answer["tunnels"]) == 3000


def test_an_answer_past_the_bound_is_an_error(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc, "ANSWER_BYTES", 10_000)
    answer = ipc.request(serving.path, {"v": 1, "op": "big", "count": 11})
    assert answer["error"]["message"] == "the answer is too long to be sent"


def test_a_client_that_is_done_sending_still_gets_a_long_answer(serving: Serving) -> None:
    client = raw(serving, ipc.encode({"v": 1, "op": "big", "count": 3000}))
    client.shutdown(socket.SHUT_WR)
    (answer,) = said(client)
    assert len(answer["tunnels"]) == 3000


def test_an_error_keeps_its_words(serving: Serving) -> None:
    assert ipc.request(serving.path, {"v": 1, "op": "refuse"})["error"] == {
        "message": "web: no such profile",
        "advice": "sshwrap",
        "said": None,
        "status": 2,
    }


def test_a_bug_is_answered_and_keeps_its_traceback(serving: Serving) -> None:
    answer = ipc.request(serving.path, {"v": 1, "op": "bug"})
    assert answer["error"]["message"] == "the supervisor failed at \"bug\": RuntimeError('a bug')"
    (fault,) = serving.faults
    assert fault["exception"].__traceback__ is not None
    serving.faults.clear()


def test_what_is_sent_after_the_end_goes_nowhere(serving: Serving) -> None:
    with pytest.raises(ipc.Gone, match="hung up without an answer"):
        ipc.request(serving.path, {"v": 1, "op": "after its end"})


@pytest.mark.parametrize("version", [0, 2, None, "1", [1] * 100])
def test_another_version_may_ask_for_status_and_down_only(serving: Serving, version: Any) -> None:
    assert ipc.request(serving.path, {"v": version, "op": "status"})["ok"]
    error = ipc.request(serving.path, {"v": version, "op": "up"})["error"]
    assert f"speaks version {ipc.VERSION}; " in error["message"]
    assert f"this command speaks version {version}"[:45] in error["message"]
    assert error["advice"] == "sshwrap restart"
    assert [request["op"] for request in serving.requests] == ["status"]


# --- watching ----------------------------------------------------------------


def test_a_stream_can_be_iterated(serving: Serving) -> None:
    with ipc.stream(serving.path, {"v": 1, "op": "watch"}) as watched:
        lines = iter(watched)
        assert next(lines) == {"v": 1, "tunnels": [], "events": []}
        for number in range(3):
            serving.tell({"n": number})
            assert next(lines) == {"n": number}
        serving.call(serving.watchers[0].end)
        assert list(lines) == []
        assert watched.ended
    wait_for(lambda: serving.gone)


def test_a_stream_can_be_selected_on(serving: Serving) -> None:
    with ipc.stream(serving.path, {"v": 1, "op": "watch"}) as watched:
        assert select.select([watched], [], [], 10)[0] == [watched]
        assert len(watched.ready()) == 1
        assert watched.ready() == []
        assert not watched.ended
        serving.tell({"n": 1})
        assert select.select([watched], [], [], 10)[0] == [watched]
        assert watched.ready() == [{"n": 1}]
        serving.call(serving.server.close)
        assert select.select([watched], [], [], 10)[0] == [watched]
        assert watched.ready() == []
        assert watched.ended


def test_a_watcher_that_goes_is_told_of_once(serving: Serving) -> None:
    watched = [ipc.stream(serving.path, {"v": 1, "op": "watch"}) for _ in range(3)]
    wait_for(lambda: len(serving.watchers) == 3)
    watched[1].close()
    wait_for(lambda: serving.gone)
    assert [reply.closed for reply in serving.watchers].count(True) == 1
    serving.tell({"n": 1})
    for stream in (watched[0], watched[2]):
        wait_for(lambda stream=stream: {"n": 1} in stream.ready())
        stream.close()
    wait_for(lambda: len(serving.gone) == 3)


def test_a_watcher_that_does_not_read_is_dropped(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc_server, "BACKLOG_BYTES", 100_000)
    stuck = ipc.stream(serving.path, {"v": 1, "op": "watch"})
    reading = ipc.stream(serving.path, {"v": 1, "op": "watch"})
    wait_for(lambda: len(serving.watchers) == 2)
    seen: list[dict[str, Any]] = []
    last = {"filler": "x" * 10_000}
    while not serving.gone:
        serving.tell(last := last | {"n": len(seen)})
        assert len(seen) < 1000
        wait_for(lambda: seen.extend(reading.ready()) or seen[-1:] == [last])
    (dropped,) = serving.gone
    assert dropped.closed
    assert [reply.closed for reply in serving.watchers].count(True) == 1
    stuck.close()
    reading.close()


def test_on_close_may_change_what_is_being_sent_to(serving: Serving) -> None:
    watched = ipc.stream(serving.path, {"v": 1, "op": "watch"})
    wait_for(lambda: serving.watchers)
    (reply,) = serving.watchers
    order: list[str] = []

    def end_then_say() -> None:
        reply.on_close = lambda: order.append("on_close")
        reply.end()
        order.append("end returned")

    serving.call(end_then_say)
    wait_for(lambda: len(order) == 2)
    assert order == ["end returned", "on_close"]
    watched.close()


# --- who is there ------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "a dead socket", "a file", "no directory"])
def test_nobody_is_there(tmp_path: Path, left: str) -> None:
    path = tmp_path / "s"
    if left == "a dead socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif left == "a file":
        path.touch()
    elif left == "no directory":
        tmp_path.joinpath("f").touch()
        path = tmp_path / "f" / "s"
    with pytest.raises(ipc.Gone, match="nobody answers at"):
        ipc.request(str(path), STATUS)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        yield listener


def test_a_supervisor_that_was_stopped_is_silent(listener: socket.socket, tmp_path: Path) -> None:
    with pytest.raises(ipc.Silent, match="says nothing"):
        ipc.request(str(tmp_path / "s"), STATUS, 0.05)
    with pytest.raises(ipc.Silent, match="does not read"):
        ipc.request(str(tmp_path / "s"), STATUS | {"echo": "x" * 900_000}, 0.05)
    with pytest.raises(ipc.Silent, match="takes no more connections"):
        ipc.request(str(tmp_path / "s"), STATUS, 0.05)


@contextmanager
def answering(listener: socket.socket, *pieces: bytes, endless: bool = False) -> Iterator[None]:
    """One client gets these pieces and a hang-up; with `endless` the last one again and again."""
    stop = threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(1000)
            for piece in pieces:
                connection.sendall(piece)
            while endless and not stop.wait(0.002):
                connection.sendall(pieces[-1])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([], ipc.Gone),
        ([b'{"ok":tr'], ipc.Gone),
        ([b"\n"], ipc.Gone),
        ([b"what?\n"], ipc.Broken),
        ([b"[]\n"], ipc.Broken),
        ([b"\xff", b"\xfe\n"], ipc.Broken),
    ],
)
def test_an_answer_that_is_none(
    listener: socket.socket, tmp_path: Path, pieces: list[bytes], error: type[ipc.IpcError]
) -> None:
    with answering(listener, *pieces), pytest.raises(error):
        ipc.request(str(tmp_path / "s"), STATUS, 5)


def test_an_answer_in_pieces(listener: socket.socket, tmp_path: Path) -> None:
    with answering(listener, b"\n{", b'"ok"', b":true}", b'\n{"second":1}\n'):
        assert ipc.request(str(tmp_path / "s"), STATUS, 5) == {"ok": True}


def test_an_answer_without_end(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc, "ANSWER_BYTES", 100_000)
    with (
        answering(listener, b"x" * 10_000, endless=True),
        pytest.raises(ipc.Broken, match="more than 100000 bytes"),
    ):
        ipc.request(str(tmp_path / "s"), STATUS, 5)


def test_an_answer_that_trickles_has_an_end_too(listener: socket.socket, tmp_path: Path) -> None:
    with (
        answering(listener, b" ", endless=True),
        pytest.raises(ipc.Silent, match=r"did not finish its answer in 5 s"),
    ):
        ipc.request(str(tmp_path / "s"), STATUS, 0.5)


def test_a_path_too_long(tmp_path: Path) -> None:
    with pytest.raises(ipc.Broken, match="path too long"):
        ipc.request(str(tmp_path / ("x" * 120)), STATUS)
