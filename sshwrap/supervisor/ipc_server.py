"""The supervisor's side of its socket: requests in, answers out, on the loop that it is given.

Laws. Whatever a client does, or does not do, the loop goes on: no call here waits, what a client
does not read is bounded, and one that breaks the rules gets an error or is hung up on. Only the
same user and root are listened to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sshwrap import __version__
from sshwrap.errors import ExitStatus, UserError
from sshwrap.supervisor import ipc

if TYPE_CHECKING:
    import asyncio

CLIENTS = 512
BACKLOG_BYTES = 4 << 20  # unread by the client when one answer more is due: it is stuck
REQUEST_SECONDS = 5.0  # to get one line across
ACCEPT_PAUSE_SECONDS = 1.0  # where there is no descriptor left: accept would fail at every turn
OLD_OPS = ("status", "down")  # what another version may still ask
_CHUNK_BYTES = 1 << 16
_ACCEPTS_A_TURN = 64


class Reply:
    """The answer to one request: `send` any number of times, then `end`.

    Sending to a client that is gone does nothing. `on_close`, where set, is called once by the
    loop, after the client went or the answer ended; set it before the handler returns.
    """

    def __init__(self, client: _Client) -> None:
        self._client = client
        self.on_close: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        return self._client.closed

    def send(self, message: Mapping[str, Any]) -> None:
        self._client.send(message)

    def end(self) -> None:
        """Hang up once everything is sent."""
        self._client.end()

    def tell_closed(self) -> None:
        if self.on_close is not None:
            self.on_close()

    def fail(self, error: UserError) -> None:
        """Answer with an error and end."""
        self.send(error_answer(error))
        self.end()


Handler = Callable[[dict[str, Any], Reply], None]


class Server:
    """Listens at `path` (0600) from now on; whatever stood there is removed first.

    The caller holds the lock of this supervisor, so nobody else can be serving there. `handler` is
    called with each request that has a known version (or is one of OLD_OPS); what it raises is
    answered: a UserError in its own words, anything else as a bug that the loop's exception
    handler gets as well. Raises OSError where the socket cannot be made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, handler: Handler) -> None:
        self.loop = loop
        self.handler = handler
        self.clients: set[_Client] = set()
        self._path = Path(path)
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        umask = os.umask(0o177)  # bind takes the mode from it; we are the only thread
        try:
            self._listener.bind(path)
            self._listener.listen(CLIENTS)
            self._inode = self._inode_there()
        except BaseException:
            self._listener.close()
            raise
        finally:
            os.umask(umask)
        self._pause: asyncio.TimerHandle | None = None
        loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Hang up on everybody and take the socket away, if it is still ours; idempotent."""
        if self._listener.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self.loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for client in tuple(self.clients):
            client.close()
        if self._inode is not None and self._inode == self._inode_there():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _inode_there(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat(follow_symlinks=False)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.loop.remove_reader(self._listener.fileno())
                    self._pause = self.loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_again)
                    return
                continue  # that client has hung up already
            self._welcome(connection)

    def _accept_again(self) -> None:
        self._pause = None
        self.loop.add_reader(self._listener.fileno(), self._accept)

    def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            trusted = ipc.peer_uid(connection) in (os.geteuid(), 0)
        except OSError:
            trusted = False
        if trusted and len(self.clients) < CLIENTS:
            self.clients.add(_Client(self, connection))
            return
        if trusted:
            full = UserError(f"the supervisor is talking to {CLIENTS} others already")
            with contextlib.suppress(OSError):
                connection.send(ipc.encode(error_answer(full)))
        connection.close()


class _Client:
    """One connection: a line in, then lines out until somebody hangs up."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        self._server = server
        self._loop = server.loop
        self._connection = connection
        self._lines = ipc.Lines(ipc.REQUEST_BYTES)
        self._unsent = bytearray()
        self._ending = False
        self._asked = False
        self._reply = Reply(self)
        self._patience = self._loop.call_later(REQUEST_SECONDS, self.close)
        self._loop.add_reader(connection.fileno(), self._read)

    @property
    def closed(self) -> bool:
        return self._connection.fileno() < 0

    def send(self, message: Mapping[str, Any]) -> None:
        if self.closed or self._ending:
            return
        line = ipc.encode(message)
        if len(line) > ipc.ANSWER_BYTES:
            line = ipc.encode(error_answer(UserError("the answer is too long to be sent")))
        if len(self._unsent) > BACKLOG_BYTES:
            self.close()
            return
        waiting = bool(self._unsent)
        self._unsent += line
        if not waiting:
            self._loop.add_writer(self._connection.fileno(), self._write)
            self._write()

    def end(self) -> None:
        self._ending = True
        if not self._unsent:
            self.close()

    def close(self) -> None:
        if self.closed:
            return
        self._patience.cancel()
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        self._unsent.clear()
        self._server.clients.discard(self)
        # Not from within a send: whoever sends to all its watchers is going through them.
        self._loop.call_soon(self._reply.tell_closed)

    def _write(self) -> None:
        try:
            with memoryview(self._unsent) as unsent:
                sent = self._connection.send(unsent)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._connection.fileno())
            if self._ending:
                self.close()

    def _read(self) -> None:
        try:
            data = self._connection.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data and self._ending:  # asked by `… | nc -NU`: it sends no more, and still reads
            self._loop.remove_reader(self._connection.fileno())
        elif not data:
            self.close()
        elif not self._asked:
            try:
                for line in self._lines.feed(data)[:1]:
                    self._asked = True
                    self._patience.cancel()
                    self._answer(ipc.decode(line))
            except ipc.Broken as error:
                self._asked = True
                self._reply.fail(UserError(f"bad request: {error}", status=ExitStatus.USAGE))

    def _answer(self, request: dict[str, Any]) -> None:
        version, op = request.get("v"), request.get("op")
        if not isinstance(op, str):
            self._reply.fail(UserError('bad request: no "op"', status=ExitStatus.USAGE))
        elif version != ipc.VERSION and op not in OLD_OPS:
            self._reply.fail(
                UserError(
                    f"the supervisor is sshwrap {__version__} and speaks version {ipc.VERSION}; "
                    f"this command speaks version {str(version)[:20]}",
                    advice="sshwrap restart",
                )
            )
        else:
            self._handle(request, op)

    def _handle(self, request: dict[str, Any], op: str) -> None:
        try:
            self._server.handler(request, self._reply)
        except UserError as error:
            self._reply.fail(error)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f'ipc request "{op[:40]}" failed', "exception": error}
            )
            self._reply.fail(UserError(f'the supervisor failed at "{op[:40]}": {error!r}'))


def error_answer(error: UserError) -> dict[str, Any]:
    """How a UserError travels; `advice` and `said` are null where there is none."""
    told = {"message": error.message, "advice": error.advice, "said": error.said}
    return {"v": ipc.VERSION, "ok": False, "error": told | {"status": int(error.status)}}
