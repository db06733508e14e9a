"""The supervisor's socket with stuck, hostile, foreign and too many clients; and its file."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sshwrap.supervisor import ipc, ipc_server
from sshwrap.supervisor.ipc_server import Server
from tests.support.needs import needs_root
from tests.support.serving import STATUS, Serving, error_of, raw, said
from tests.support.waiting import wait_for

NOBODY = 65534


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path / "a b%.sock") as serving:
        yield serving
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
    monkeypatch.setattr(ipc_server, "REQUEST_SECONDS", 1.0)
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
    monkeypatch.setattr(ipc_server, "ACCEPT_PAUSE_SECONDS", 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = ipc.connect(serving.path, 5)
    wait_for(lambda: serving.call(lambda: len(serving.server.clients)) == 1)
    used = socket.socket(socket.AF_UNIX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used.fileno() + 1, hard))
    try:
        used.connect(serving.path)
        used.sendall(ipc.encode(STATUS))
        wait_for(lambda: serving.server._pause is not None)
        paused = serving.server._pause
        for _ in range(10):  # turns of a loop that would try, and fail, in each of them
            assert serving.call(lambda: len(serving.server.clients)) == 1
        assert serving.server._pause is paused
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    serving.call(serving.server._accept_again)  # the 1000 s are over
    assert said(used)[0]["ok"]
    client.close()


# --- strangers ---------------------------------------------------------------
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
    def connect() -> None:
        with as_nobody():
            stranger.connect(serving.path)
            stranger.sendall(ipc.encode(STATUS))

    with Serving(open_dir / "s") as serving, socket.socket(socket.AF_UNIX) as stranger:
        (open_dir / "s").chmod(0o666)  # the mode alone keeps strangers out: this is a second wall
        stranger.settimeout(5)
        serving.call(connect)  # on the loop: while we are nobody it must not accept
        assert said(stranger) == []
        assert ipc.request(serving.path, STATUS)["ok"]
        assert len(serving.requests) == 1


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
    with Serving(path) as serving:
        assert ipc.request(serving.path, STATUS)["ok"]
    assert list(tmp_path.iterdir()) == []


def test_a_successors_socket_is_left_alone(tmp_path: Path) -> None:
    with Serving(tmp_path / "s") as first, Serving(tmp_path / "s") as second:
        first.call(first.server.close)
        assert ipc.request(second.path, STATUS)["ok"]
        second.call(second.server.close)
        first.call(first.server.close)  # and once more at the end of each
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
