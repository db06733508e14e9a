"""What a tunnel leads to beside a web page: a service that keeps its visitors, and a SOCKS client.

Everything is in this process: threads that end with it, and that `close` ends.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Echo:
    """Says "hello\\n" to whoever comes, then gives back what it gets, as long as they stay.

    `where` is (address, port) or the path of a Unix socket.
    """

    def __init__(self, where: tuple[str, int] | Path) -> None:
        self.where = where
        self._server: socketserver.BaseServer = (
            _Tcp(where, _Visit) if isinstance(where, tuple) else _Unix(str(where), _Visit)
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, for a service that was given port 0."""
        address = self._server.server_address
        if not isinstance(address, tuple):
            raise TypeError(f"{self.where} is no TCP service")
        return int(address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()
        if isinstance(self.where, Path):
            self.where.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Visit(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            self.wfile.write(b"hello\n")
            while line := self.rfile.readline(4096):
                self.wfile.write(line)
        except OSError:
            pass  # the visitor has gone


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128  # of five, the sixth who comes at once waits a second


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class Visitor:
    """A connection that has had its "hello"; OSError or EOFError where nobody says it."""

    def __init__(self, where: tuple[str, int] | Path, *, through: socket.socket | None = None):
        self.socket = through or connect(where)
        self._read = self.socket.makefile("rb")
        try:
            if self._read.readline() != b"hello\n":
                raise EOFError(f"no hello from {where}")
        except BaseException:
            self.close()
            raise

    def say(self, text: str) -> str:
        """What comes back for that line."""
        self.socket.sendall(text.encode() + b"\n")
        return self._read.readline().decode().rstrip("\n")

    def close(self) -> None:
        self._read.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(where: tuple[str, int] | Path, *, timeout: float = 20.0) -> socket.socket:
    """A connected stream socket."""
    if isinstance(where, tuple):
        return socket.create_connection(where, timeout=timeout)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    try:
        client.connect(str(where))
    except BaseException:
        client.close()
        raise
    return client


def socks_connect(proxy: tuple[str, int], host: str, port: int) -> socket.socket:
    """A connection to host:port through a SOCKS5 proxy (RFC 1928), the name resolved there."""
    client = connect(proxy)
    try:
        client.sendall(b"\x05\x01\x00")  # version 5, one method: no authentication
        _expect(client, b"\x05\x00")
        name = host.encode()
        client.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        _expect(client, b"\x05\x00\x00\x01")
        client.recv(6, socket.MSG_WAITALL)  # the address it bound
    except BaseException:
        client.close()
        raise
    return client


def _expect(client: socket.socket, answer: bytes) -> None:
    got = client.recv(len(answer), socket.MSG_WAITALL)
    if got != answer:
        raise ConnectionError(f"the SOCKS proxy answers {got!r}")
