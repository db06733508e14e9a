"""One TCP connection to a numeric address, made only to learn whether somebody answers.

Laws. Never blocks, never looks a name up, needs no thread. The outcome is told once, always from a
later turn of the loop, and never later than asked. Nothing is written. What was opened is closed by
FIN and read to its end, so that the other side sees a visitor leave and not a reset.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sshwrap.supervisor.network import numeric

if TYPE_CHECKING:
    import asyncio

LEAVE_PATIENCE = 1.0  # for the other side's own end, after ours
LEAVE_BYTES = 65536  # more than any greeting


class TcpConnect:
    """`on_done(error)`: 0 where the connection was made, else the errno; ETIMEDOUT after `within`.

    `local` is our end of it, (address, port), known from the start: before the other side can have
    said anything. None where nothing was sent. Raises ValueError for a name.
    """

    __slots__ = ("_deadline", "_left", "_loop", "_on_done", "_socket", "local")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        port: int,
        *,
        within: float,
        on_done: Callable[[int], None],
    ) -> None:
        family, where = numeric(address, port)
        self.local: tuple[str, int] | None = None
        self._loop = loop
        self._on_done: Callable[[int], None] | None = on_done
        self._left = LEAVE_BYTES
        self._socket: socket.socket | None = None
        self._deadline: asyncio.Handle
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            error = self._socket.connect_ex(where)
        except OSError as failed:  # no descriptor is free, or a kernel without this family
            error = failed.errno or errno.EIO
        if error not in (0, errno.EINPROGRESS) or self._socket is None:
            self._deadline = loop.call_soon(self._done, error)
            return
        ours = self._socket.getsockname()
        self.local = (ours[0], ours[1])
        self._deadline = loop.call_later(within, self._done, errno.ETIMEDOUT)
        loop.add_writer(self._socket, self._answered, self._socket)

    def close(self) -> None:
        """Give it up; nothing is told any more. Does nothing the second time."""
        self._on_done = None
        self._deadline.cancel()
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _answered(self, made: socket.socket) -> None:
        error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._done(errno.ECONNREFUSED if error == 0 and is_with_itself(made) else error)

    def _done(self, error: int) -> None:
        on_done, self._on_done = self._on_done, None
        if error == 0 and self._socket is not None:
            self._leave(self._socket)
        else:
            self.close()
        if on_done is not None:
            on_done(error)

    def _leave(self, made: socket.socket) -> None:
        self._deadline.cancel()
        self._loop.remove_writer(made)
        try:
            made.shutdown(socket.SHUT_WR)
        except OSError:  # the other side was quicker
            self.close()
            return
        self._deadline = self._loop.call_later(LEAVE_PATIENCE, self.close)
        self._loop.add_reader(made, self._drain, made)

    def _drain(self, made: socket.socket) -> None:
        try:
            data = made.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._left -= len(data)
        if not data or self._left <= 0:
            self.close()


def is_with_itself(made: socket.socket) -> bool:
    """A free port of this machine may have been given to us as our own end; then that answers."""
    try:
        return bool(made.getsockname() == made.getpeername())
    except OSError:  # it has ended already
        return False
