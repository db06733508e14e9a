"""Lines to stdout where no live view is: a pipe, a file, the journal; never waited for.

Law. A reader that has stopped reading must not stop a supervisor: what it does not take is kept,
bounded, and what is dropped is said.
"""

from __future__ import annotations

import os
import socket
import stat
from collections import deque
from typing import TextIO

from sshwrap.render.terminal import Terminal

HELD_LINES = 1000


class LineWriter:
    """Writes lines to `stream` as it takes them; `tick` tries again what it did not take."""

    def __init__(self, stream: TextIO) -> None:
        self._fd = stream.fileno()
        self._encoding = stream.encoding or "ascii"
        mode = os.fstat(self._fd).st_mode
        self._terminal: Terminal | None = None
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(mode):  # systemd's journal
            self._socket = socket.socket(fileno=os.dup(self._fd))
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            self._terminal = Terminal(self._fd)
        self._held: deque[bytes] = deque()
        self._lost = 0
        self._rest = b""

    def write(self, line: str) -> None:
        if len(self._held) == HELD_LINES:
            self._held.popleft()
            self._lost += 1
        self._held.append(line.encode(self._encoding, "backslashreplace") + b"\n")
        self.tick()

    def tick(self) -> bool:
        """Write what can be written; True where nothing is left."""
        while True:
            if self._rest:
                self._rest = self._put(self._rest)
                if self._rest:
                    return False
            if self._lost:
                self._rest = f"… {self._lost} lines more, in: sshwrap logs\n".encode(
                    self._encoding, "backslashreplace"
                )
                self._lost = 0
            elif self._held:
                self._rest = self._held.popleft()
            else:
                return True

    def close(self) -> None:
        self.tick()
        if self._terminal is not None:
            self._terminal.close()
        if self._socket is not None:
            self._socket.close()

    def _put(self, data: bytes) -> bytes:
        if self._terminal is not None:
            return self._terminal.write(data)
        try:
            if self._socket is not None:
                return data[self._socket.send(data, socket.MSG_DONTWAIT) :]
            return data[os.write(self._fd, data) :]  # a file takes it or is full
        except BlockingIOError:
            return data
        except OSError:
            return b""  # nobody is left to read it
