"""A way to a server that can be cut: what a router, a firewall or a lost link does to a tunnel."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from types import TracebackType
from typing import Self

RESET = struct.pack("ii", 1, 0)  # linger, 0 seconds: close() sends RST instead of FIN


class Line:
    """Listens on `port` of 127.0.0.1 and passes every connection on to `to`, byte for byte.

    One thread, which alone touches the connections; a byte over `_asked` tells it what to do.
    """

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._asked, self._asking = socket.socketpair()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def reset(self) -> None:
        """Every connection of now ends with an RST to the client; later ones are carried."""
        self._asking.sendall(b"r")
        self._asking.recv(1)

    def close(self) -> None:
        self._asking.sendall(b"q")
        self._thread.join(timeout=10)
        self._reset()
        for one in (self._listener, self._asked, self._asking):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _carry(self) -> None:
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._asked, selectors.EVENT_READ)
                for client, server in self._pairs:
                    selector.register(client, selectors.EVENT_READ, server)
                    selector.register(server, selectors.EVENT_READ, client)
                ready = {key.fileobj: key.data for key, _ in selector.select()}
            if self._asked in ready:
                del ready[self._asked]
                if self._asked.recv(1) == b"q":
                    return
                self._reset()
                self._asked.sendall(b"d")
            for source, drain in ready.items():
                if source is self._listener:
                    self._accept()
                elif isinstance(source, socket.socket) and source.fileno() >= 0:
                    self._pass(source, drain)

    def _reset(self) -> None:
        for client, server in self._pairs:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
            server.close()
        self._pairs.clear()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            self._pairs.append((client, socket.create_connection(self._to, 5)))
        except OSError:
            client.close()

    def _pass(self, source: socket.socket, drain: socket.socket) -> None:
        try:
            data = source.recv(65536)
            drain.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._pairs = [pair for pair in self._pairs if source not in pair]
            source.close()
            drain.close()
