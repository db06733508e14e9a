"""The supervisor's socket with real clients: polite, stuck, hostile, many, foreign."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sshwrap.errors import ExitStatus, UserError
from sshwrap.supervisor import ipc, ipc_server
from sshwrap.supervisor.ipc_server import Reply, Server
from tests.support.needs import needs_root
from tests.support.waiting import wait_for

NOBODY = 65534
STATUS = {"v": 1, "op": "status"}


class Serving:
    """A server on a loop in a thread of its own, so that a client here may block."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.watchers: list[Reply] = []
        self.gone: list[Reply] = []
        self.loop.set_exception_handler(lambda loop, context: self.faults.append(context))
        self.server = Server(self.loop, self.path, self.handle)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def handle(self, request: dict[str, Any], reply: Reply) -> None:
        self.requests.append(request)
        match request["op"]:
            case "status":
                reply.send({"v": 1, "ok": True, "tunnels": request.get("echo", [])})
                reply.end()
            case "big":
                reply.send({"v": 1, "ok": True, "tunnels": ["x" * 1000] * request["count"]})
                reply.end()
            case "watch":
                reply.on_close = lambda: self.gone.append(reply)
                self.watchers.append(reply)
                reply.send({"v": 1, "tunnels": [], "events": []})
            case "refuse":
                raise UserError("web: no such profile", advice="sshwrap", status=ExitStatus.USAGE)
            case "bug":
                raise RuntimeError("a bug")
            case "after its end":
                reply.end()
                reply.send({"v": 1, "ok": True})

    def call(self, function: Callable[[], Any]) -> Any:
        """Run it on the loop; its result. Proves at the same time that the loop still turns."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def tell(self, message: dict[str, Any]) -> None:
        self.call(lambda: [reply.send(message) for reply in self.watchers])

    def stop(self) -> None:
        self.call(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path / "a b%.sock")
    yield serving
    serving.stop()
    assert serving.faults == []
    assert not Path(serving.path).exists()


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that other users can look into, as pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)  # all threads change with us
    try:
        yield
    finally:
        os.seteuid(0)


def raw(serving: Serving, data: bytes = b"") -> socket.socket:
    client = ipc.connect(serving.path, 5)
    if data:
        client.sendall(data)
    return client


def said(client: socket.socket) -> list[dict[str, Any]]:
    """Everything that comes until the server hangs up."""
    pieces = []
    try:
        while piece := client.recv(1 << 20):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    client.close()
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


def error_of(client: socket.socket) -> str:
    (answer,) = said(client)
    assert answer["ok"] is False
    assert set(answer["error"]) == {"message", "advice", "said", "status"}
    return str(answer["error"]["message"])


# --- a request and its answer ------------------------------------------------


def test_a_request_is_answered(serving: Serving) -> None:
    answer = ipc.request(serving.path, STATUS | {"echo": ["安全 \udcff \n"]})
    assert answer == {"v": 1, "ok": True, "tunnels": ["安全 \udcff \n"]}


def test_the_socket_is_for_us_alone_whatever_the_umask(tmp_path: Path) -> None:
    for mask in (0o000, 0o777):
        before = os.umask(mask)
        serving = Serving(tmp_path / "s")
        assert os.umask(before) == mask
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        assert ipc.request(serving.path, STATUS)["ok"]
        serving.stop()


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


# --- clients that misbehave --------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        *(b"GET / HTTP/1.1\r\n\r\n", b"{\n", b"[]\n", b"7\n", b"\x00\xff\xfe\x80\n", b'{"v":1}\n'),
        *(b'{"v":1,"op":null}\n', b'{"v":1,"op":["status"]}\n', b"[" * 100_000 + b"\n"),
        b"x" * (ipc.REQUEST_BYTES + 1) + b"\n",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_bad_request_gets_an_error_and_is_hung_up_on(serving: Serving, data: bytes) -> None:
    assert error_of(raw(serving, data)).startswith("bad request: ")
    assert serving.requests == []
    assert ipc.request(serving.path, STATUS)["ok"]


def test_a_request_without_end_is_cut_off(serving: Serving) -> None:
    client = raw(serving)
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        client.sendall(b"x" * (50 * ipc.REQUEST_BYTES))
    assert "more than 1048576 bytes" in error_of(client)


def test_our_own_client_hears_that_its_request_is_too_long(serving: Serving) -> None:
    answer = ipc.request(serving.path, STATUS | {"echo": ["x" * 1000] * 5000})
    assert answer["error"]["message"] == "bad request: a line of more than 1048576 bytes"


@pytest.mark.parametrize("data", [b"", b'{"v":1,"op":"sta', b"\n\n"])
def test_half_a_request_and_a_hang_up(serving: Serving, data: bytes) -> None:
    raw(serving, data).close()
    wait_for(lambda: not serving.call(lambda: serving.server.clients))
    assert serving.requests == []


def test_half_a_request_and_silence(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_server, "REQUEST_SECONDS", 0.05)
    assert said(raw(serving, b'{"v":1,"op":"sta')) == []


def test_a_watcher_is_not_hung_up_on_for_its_silence(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc_server, "REQUEST_SECONDS", 0.01)
    with ipc.stream(serving.path, {"v": 1, "op": "watch"}) as watched:
        assert next(iter(watched))["tunnels"] == []
        assert said(raw(serving)) == []  # the time is over for one that asked nothing
        serving.tell({"n": 1})
        assert watched.receive() == [{"n": 1}]


def test_a_request_in_small_pieces(serving: Serving) -> None:
    client = raw(serving)
    for byte in ipc.encode(STATUS):
        client.sendall(bytes([byte]))
    assert said(client)[0]["ok"]


def test_one_request_a_connection(serving: Serving) -> None:
    client = raw(serving, ipc.encode({"v": 1, "op": "watch"}) + ipc.encode(STATUS) * 3)
    assert json.loads(client.recv(1000))["events"] == []
    client.sendall(ipc.encode(STATUS))
    wait_for(lambda: serving.call(lambda: len(serving.watchers)))
    client.close()
    wait_for(lambda: serving.gone)
    assert [request["op"] for request in serving.requests] == ["watch"]


def test_two_hundred_clients_at_once(serving: Serving) -> None:
    silent = [raw(serving) for _ in range(100)]
    clients = [raw(serving, ipc.encode(STATUS)) for _ in range(200)]
    assert all(said(client)[0]["ok"] for client in clients)
    for client in silent:
        client.close()


def test_there_is_a_bound_on_clients(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_server, "CLIENTS", 3)
    silent = [raw(serving) for _ in range(3)]
    assert error_of(raw(serving)) == "the supervisor is talking to 3 others already"
    for client in silent:
        client.close()
    wait_for(lambda: not serving.call(lambda: serving.server.clients))
    assert ipc.request(serving.path, STATUS)["ok"]


def test_out_of_descriptors_it_pauses_and_goes_on(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc_server, "ACCEPT_PAUSE_SECONDS", 0.02)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = ipc.connect(serving.path, 5)
    wait_for(lambda: serving.call(lambda: len(serving.server.clients)) == 1)
    used = socket.socket(socket.AF_UNIX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used.fileno() + 1, hard))
    try:
        used.connect(serving.path)
        used.sendall(ipc.encode(STATUS))
        wait_for(lambda: serving.server._pause is not None)
        assert serving.call(lambda: len(serving.server.clients)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said(used)[0]["ok"]
    client.close()


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
        pytest.raises(ipc.Silent, match=r"did not finish its answer in 0\.5 s"),
    ):
        ipc.request(str(tmp_path / "s"), STATUS, 0.05)


def test_a_path_too_long(tmp_path: Path) -> None:
    with pytest.raises(ipc.Broken, match="path too long"):
        ipc.request(str(tmp_path / ("x" * 120)), STATUS)


@needs_root
def test_somebody_elses_supervisor_is_not_spoken_to(open_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(open_dir / "s"))
        with as_nobody():
            listener.listen()
        with pytest.raises(ipc.WrongOwner, match=f"is served by user {NOBODY}"):
            ipc.request(str(open_dir / "s"), STATUS)
        connection, _ = listener.accept()
        assert connection.recv(10) == b""
        connection.close()


@needs_root
def test_a_stranger_is_not_listened_to(open_dir: Path) -> None:
    serving = Serving(open_dir / "s")
    (open_dir / "s").chmod(0o666)  # the mode alone keeps strangers out; this is the second wall
    stranger = socket.socket(socket.AF_UNIX)
    stranger.settimeout(5)

    def connect() -> None:
        with as_nobody():
            stranger.connect(serving.path)
            stranger.sendall(ipc.encode(STATUS))

    serving.call(connect)  # on the loop: while we are nobody it must not accept
    assert said(stranger) == []
    assert ipc.request(serving.path, STATUS)["ok"]
    assert len(serving.requests) == 1
    serving.stop()


@needs_root
def test_a_socket_that_we_may_not_open(serving: Serving) -> None:
    with as_nobody(), pytest.raises(ipc.WrongOwner, match="is not ours to open"):
        ipc.request(serving.path, STATUS)


# --- the socket's file -------------------------------------------------------


@pytest.mark.parametrize("left", ["socket", "file", "link"])
def test_what_an_earlier_one_left_is_replaced(tmp_path: Path, left: str) -> None:
    path = tmp_path / "s"
    if left == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif left == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    serving = Serving(path)
    assert ipc.request(serving.path, STATUS)["ok"]
    serving.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_successors_socket_is_left_alone(tmp_path: Path) -> None:
    first = Serving(tmp_path / "s")
    second = Serving(tmp_path / "s")
    first.stop()
    assert ipc.request(second.path, STATUS)["ok"]
    second.call(second.server.close)
    second.stop()  # closed a second time
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    before = sorted(Path("/proc/self/fd").iterdir())
    for name in ("x" * 120, "none/s"):
        with pytest.raises(OSError, match=r"too long|No such file"):
            Server(loop, str(tmp_path / name), lambda request, reply: None)
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    loop.close()
    assert os.umask(0o022) == 0o022


def test_closing_hangs_up_on_everybody(serving: Serving) -> None:
    watched = ipc.stream(serving.path, {"v": 1, "op": "watch"})
    assert len(watched.receive()) == 1
    asking = raw(serving)
    wait_for(lambda: serving.call(lambda: len(serving.server.clients)) == 2)
    serving.call(serving.server.close)
    assert list(watched) == []
    assert said(asking) == []
    wait_for(lambda: len(serving.gone) == 1)
    with pytest.raises(ipc.Gone):
        ipc.request(serving.path, STATUS)
    watched.close()
