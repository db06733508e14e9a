"""Both ends of the traffic, each a small process of its own: `bench_peer.py target|visit …`.

The target takes one connection after the other: what it is asked for stands in the first nine
bytes, an order and a count. It imports nothing that is slow, and waits for nothing but its socket.
"""

from __future__ import annotations

import os
import socket
import sys
import time

ORDER_BYTES = 9
PING, SEND, TAKE = b"p", b"s", b"t"
PIECE = 1 << 18


def serve() -> None:
    """Print the port, then serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    piece = bytes(PIECE)
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                order = take(connection, ORDER_BYTES)
                count = int.from_bytes(order[1:], "big")
                if order[:1] == PING:
                    connection.sendall(b"ok")
                elif order[:1] == SEND:
                    for _ in range(count // PIECE):
                        connection.sendall(piece)
                elif order[:1] == TAKE:
                    swallow(connection, count)
                    connection.sendall(b"ok")
            except OSError:
                pass  # a visitor that went away; its own end tells


def take(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("ended early")
        data += more
    return data


def swallow(connection: socket.socket, count: int) -> None:
    room = bytearray(PIECE)
    while count > 0:
        got = connection.recv_into(room, min(PIECE, count))
        if not got:
            raise OSError("ended early")
        count -= got


def visit(port: int, order: bytes, count: int) -> None:
    """One visit; OSError where it went wrong."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(order + count.to_bytes(ORDER_BYTES - 1, "big"))
        if order == SEND:
            swallow(connection, count)
            return
        if order == TAKE:
            piece = bytes(PIECE)
            for _ in range(count // PIECE):
                connection.sendall(piece)
        if take(connection, 2) != b"ok":
            raise OSError("not the target")


def storm(port: int, visits: int, visitors: int) -> None:
    """`visits` new connections by `visitors` processes at the same time."""
    pids = []
    for _ in range(visitors):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(visits // visitors):
                    visit(port, PING, 0)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    failed = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
    if failed:
        raise OSError("a visitor failed")


def main() -> None:
    if sys.argv[1] == "target":
        serve()
    order, port, count = sys.argv[2].encode(), int(sys.argv[3]), int(sys.argv[4])
    begun = time.monotonic()
    if order == PING:
        storm(port, count, int(sys.argv[5]))
    else:
        visit(port, order, count)
    print(time.monotonic() - begun)


if __name__ == "__main__":
    main()
