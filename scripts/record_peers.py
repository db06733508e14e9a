"""The other ends that a recording needs: silent, rude and broken servers, and a relay."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

TARGET, DEAD_TARGET = 9000, 9001  # what the forwards lead to: one answers, one refuses
SILENT, WEB, GARBAGE, CLOSING, RESETTING, RELAY, HELD, OLD = range(2301, 2309)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Relay:
    """Passes bytes between ssh and sshd until told to do otherwise."""

    def __init__(self) -> None:
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.is_stalled = threading.Event()
        self.damages = threading.Event()
        self.stall_after: int | None = None  # bytes from the server

    def serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", 2222))
        self.pairs.append((client, server))
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        self._pump(server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, from_server: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_server and self.stall_after is not None:
                    data = data[: max(0, self.stall_after - passed)]
                passed += len(data)
                if self.is_stalled.is_set():
                    continue
                if from_server and self.damages.is_set():
                    data = bytes(byte ^ 0x55 for byte in data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        for client, _ in self.pairs:
            reset(client)


class Peers:
    def __init__(self) -> None:
        self.relay = Relay()
        self.server_pid = 0
        self.kept: list[socket.socket] = []

    def prepare_network(self) -> None:
        """Loopback; 203.0.113.0/24 swallows everything; 198.51.100.0/24 is said to be unreachable,
        100.64.0.0/24 forbidden; nothing leads anywhere else."""
        for command in (
            "ip link set lo up",
            "ip link add dead0 type veth peer name dead1",
            "ip link set dead0 up",
            "ip link set dead1 up",
            "ip addr add 203.0.113.1/24 dev dead0",
            "ip neigh add 203.0.113.9 lladdr 02:00:00:00:00:09 dev dead0",
            "ip route add unreachable 198.51.100.0/24",
            "ip route add prohibit 100.64.0.0/24",
        ):
            subprocess.run(command.split(), check=True)

    @contextlib.contextmanager
    def running(self, server_pid: int) -> Iterator[None]:
        self.server_pid = server_pid
        self.relay = Relay()
        self.kept = []
        behaviours: dict[int, Callable[[socket.socket], None]] = {
            TARGET: lambda connection: connection.sendall(b"hello\n"),
            SILENT: self._keep,
            WEB: self._web,
            GARBAGE: lambda connection: connection.sendall(b"\x00\x01\x02\r\n"),
            CLOSING: lambda connection: None,
            RESETTING: reset,
            RELAY: self.relay.serve,
            OLD: lambda connection: connection.sendall(b"SSH-1.5-old\r\n"),
        }
        listeners = [self._listen(port, behave) for port, behave in behaviours.items()]
        held = socket.create_server(("127.0.0.1", HELD))
        try:
            yield
        finally:
            for listener in listeners:
                listener.shutdown(socket.SHUT_RDWR)  # else the thread in accept() keeps the port
            for closing in (*listeners, held, *self.kept):
                closing.close()

    def _listen(self, port: int, behave: Callable[[socket.socket], None]) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                behave(connection)
                if connection not in self.kept:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return listener

    def _keep(self, connection: socket.socket) -> None:
        self.kept.append(connection)

    @staticmethod
    def _web(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    def visit(self, port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            visitor.settimeout(5)
            with contextlib.suppress(OSError):
                return visitor.recv(100)
        return b""

    def visit_path(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(path))
            visitor.recv(100)

    def hold_sign_in(self, count: int) -> None:
        """Connections to sshd that never say a word."""
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", 2222))
            connection.recv(1)
            self.kept.append(connection)

    def kill_sessions(self, number: int = signal.SIGKILL) -> None:
        """The server's processes behind the listener, children first."""
        for pid in reversed(descendants(self.server_pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def descendants(parent: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [parent]
    while queue:
        queue = [child for pid in queue for child in children.get(pid, [])]
        found += queue
    return found
