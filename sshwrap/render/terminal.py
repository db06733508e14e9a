"""A terminal that is written to and never waited for.

Laws. No call here blocks, also where the terminal is stopped (Ctrl-S) or nobody reads it: what it
does not take is handed back. A terminal that is gone takes everything and shows nothing.
"""

from __future__ import annotations

import contextlib
import os
import select

# A poll says that there is room, not how much: a terminal that polls writable takes this many.
SURE_ROOM_BYTES = 256


class Terminal:
    """The terminal behind `fd`, opened anew so that O_NONBLOCK is ours alone.

    O_NONBLOCK on the descriptor that we were given would also hold for the shell and for every ssh
    that shares it. Where the terminal cannot be opened again (another user's, after su), the given
    descriptor is polled before each short write.
    """

    def __init__(self, fd: int) -> None:
        self._given = fd
        self._own = _open_again(fd)
        self.gone = False

    def write(self, data: bytes) -> bytes:
        """Writes what the terminal takes now; returns the rest."""
        while data and not self.gone:
            try:
                if self._own is not None:
                    data = data[os.write(self._own, data) :]
                elif self.is_writable(0):
                    data = data[os.write(self._given, data[:SURE_ROOM_BYTES]) :]
                else:
                    return data
            except BlockingIOError:
                return data
            except OSError:  # hung up
                self.gone = True
        return b"" if self.gone else data

    def is_writable(self, milliseconds: int) -> bool:
        """Whether it takes more, waiting at most that long for it."""
        poll = select.poll()
        poll.register(self._own if self._own is not None else self._given, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(milliseconds))

    def close(self) -> None:
        if self._own is not None:
            os.close(self._own)
            self._own = None
        self.gone = True


def _open_again(fd: int) -> int | None:
    """A descriptor of its own for the same terminal, or None."""
    paths = [f"/proc/self/fd/{fd}"]
    with contextlib.suppress(OSError):  # a terminal of another namespace has no name here
        paths.insert(0, os.ttyname(fd))
    for path in paths:
        try:
            own = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(own).st_rdev == os.fstat(fd).st_rdev:
            return own
        os.close(own)
    return None
