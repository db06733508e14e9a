"""The supervisor's own socket: one JSON object a line, and the client's side of it.

A connection is one request line and its answer: one line, or for `watch` a line a change.

Laws. Every wait has an end and every buffer a bound. Nobody is spoken to before the system has
said that it is ourselves or root. Imported by `status --json`: nothing here that costs.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self

VERSION = 1
REQUEST_BYTES = 1 << 20
ANSWER_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 18
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_SO_PEERCRED = getattr(socket, "SO_PEERCRED", None)
_LOCAL_PEERCRED, _XUCRED_BYTES = 1, 76  # macOS, sys/un.h and sys/ucred.h: version, uid, …


class IpcError(Exception):
    """There is no answer; `str` says why in one line."""


class Gone(IpcError):
    """Nobody is there: no socket, nobody listening, or hung up without a word."""


class Silent(IpcError):
    """Somebody is there and says nothing in time."""


class Broken(IpcError):
    """What came is no answer, or the system would not let us ask."""


class WrongOwner(IpcError):
    """The socket is another user's."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One line, ASCII: JSON's own escapes keep whatever a server has said."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The object of one line; raises Broken."""
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Broken(f"not JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise Broken("not a JSON object")
    return message


class Lines:
    """Bytes as they come -> complete lines without their newline, each at most `bound` bytes."""

    __slots__ = ("_bound", "_parts", "_size")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._parts: list[bytes] = []  # joined once a line ends: 64 MiB come in linear time
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, empty ones left out; raises Broken past the bound."""
        first, *more = data.split(b"\n")
        self._parts.append(first)
        self._size += len(first)
        lines = []
        for part in more:
            self._check()
            lines.append(b"".join(self._parts))
            self._parts, self._size = [part], len(part)
        self._check()
        return [line for line in lines if line.strip()]

    def _check(self) -> None:
        if self._size > self._bound:
            raise Broken(f"a line of more than {self._bound} bytes")


def peer_uid(connection: socket.socket) -> int:
    """Who is at the other end, by the system's word; raises OSError where it does not tell."""
    if _SO_PEERCRED is not None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 12)  # pid, uid, gid
    else:
        credentials = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def connect(path: str, timeout: float) -> socket.socket:
    """A connection to the supervisor at `path`, its owner checked; raises IpcError."""
    deadline = time.monotonic() + timeout
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(connection, path, deadline)
        uid = peer_uid(connection)
        if uid not in (os.geteuid(), 0):
            raise WrongOwner(f'"{path}" is served by user {uid}')
    except (FileNotFoundError, NotADirectoryError, ConnectionError):
        connection.close()
        raise Gone(f'nobody answers at "{path}"') from None
    except PermissionError:
        connection.close()
        raise WrongOwner(f'"{path}" is not ours to open') from None
    except OSError as error:
        connection.close()
        raise Broken(f'"{path}" cannot be used: {error.strerror or error}') from None
    except IpcError:
        connection.close()
        raise
    connection.settimeout(timeout)
    return connection


def _connect(connection: socket.socket, path: str, deadline: float) -> None:
    connection.settimeout(0)
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:  # its queue is full, and a Unix socket does not wait for that
            if time.monotonic() >= deadline:
                raise Silent(f'"{path}" takes no more connections') from None
            time.sleep(0.005)
        else:
            return


def request(path: str, message: Mapping[str, Any], timeout: float = 1.0) -> dict[str, Any]:
    """Ask once; raises IpcError. `timeout` bounds each silence, ten times that the whole."""
    deadline = time.monotonic() + 10 * timeout
    with Stream(path, message, timeout) as answers:
        while not answers.ended:
            for answer in answers.receive():
                return answer
            if time.monotonic() > deadline:
                raise Silent(f'"{path}" did not finish its answer in {10 * timeout:g} s')
    raise Gone(f'"{path}" hung up without an answer')


def stream(path: str, message: Mapping[str, Any], timeout: float = 1.0) -> Stream:
    """Ask for a line a change; raises IpcError. `timeout` bounds the asking, not the answers."""
    answers = Stream(path, message, timeout)
    answers.wait_without_end()
    return answers


class Stream:
    """The answers to one request: iterate and wait, or select on it and take what is `ready`.

    It ends where the supervisor ends it, or dies: `ended`; half a line at the end is dropped.
    """

    __slots__ = ("_connection", "_lines", "_path", "ended")

    def __init__(self, path: str, message: Mapping[str, Any], timeout: float) -> None:
        self._path = path
        self._lines = Lines(ANSWER_BYTES)
        self.ended = False
        self._connection = connect(path, timeout)
        try:
            self._connection.sendall(encode(message), _NO_SIGNAL)
        except TimeoutError:
            self.close()
            raise Silent(f'"{path}" does not read') from None
        except OSError:
            pass  # it hung up on us; what it said before that can still be read

    def fileno(self) -> int:
        return self._connection.fileno()

    def wait_without_end(self) -> None:
        """From now on `receive` and iteration wait however long it takes."""
        self._connection.settimeout(None)

    def receive(self) -> list[dict[str, Any]]:
        """Wait for the next piece: the answers that it completes; raises Silent, Broken."""
        return self._receive(0)

    def ready(self) -> list[dict[str, Any]]:
        """The answers that have come by now, [] where none has; raises Broken. Never waits."""
        return self._receive(socket.MSG_DONTWAIT)

    def _receive(self, flags: int) -> list[dict[str, Any]]:
        try:
            data = self._connection.recv(_CHUNK_BYTES, flags)
        except BlockingIOError:
            return []
        except TimeoutError:
            raise Silent(f'"{self._path}" says nothing') from None
        except OSError:  # reset: it died with something of ours unread
            data = b""
        self.ended = not data
        return [decode(line) for line in self._lines.feed(data)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while not self.ended:
            yield from self.receive()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
