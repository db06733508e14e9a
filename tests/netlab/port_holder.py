"""`python port_holder.py PORT v4|v6|both UID [wait]`: has the port on every address, serves nobody.

It is that account's socket, for that is what others see of it. Prints "held" once it does; until
then it waits for whoever has the port, or ends. The two families are two sockets, as sshd makes
them.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys


def hold(port: int, families: str) -> list[socket.socket]:
    held = []
    for family, name, address in (
        (socket.AF_INET, "v4", "0.0.0.0"),
        (socket.AF_INET6, "v6", "::"),
    ):
        if families in (name, "both"):
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen()
            held.append(listener)
    return held


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
    sockets: list[socket.socket] = []
    print("waits", flush=True)
    while not sockets:
        try:
            sockets = hold(int(sys.argv[1]), sys.argv[2])
        except OSError as error:
            if sys.argv[4:] != ["wait"] or error.errno != errno.EADDRINUSE:
                sys.exit(f"port {sys.argv[1]}: {error.strerror}")
            select.select([], [], [], 0.001)
    print("held", flush=True)
    while True:
        signal.pause()
