"""A lock that dies with its holder: flock on a file kept open, never a bare pid.

Laws. Who holds the flock holds the lock; what stands in the file only tells people who that is, so
stale content harms nothing. Looking whether a lock is held never keeps anybody from taking it.
"""
# ruff: noqa: PTH108, PTH116
# Reason: imported by `status --json`, where pathlib would cost more than all the rest.

from __future__ import annotations

import fcntl
import json
import os
import select

from sshwrap.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTENT_BYTES = 4096
# A look holds the lock, shared, for some microseconds. Only one that was stopped in just that
# moment lasts longer; after this many milliseconds the lock counts as held.
LOOK_PATIENCE = 200


class Lock:
    """A lock that we hold until `release`, or until this process ends however it ends."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def describe(self, what: str) -> None:
        """Write down who holds it: this process, and `what` it is ("sshwrap up web").

        Again after a fork: the child holds the same lock under another pid. For messages only,
        so a full disk does not matter.
        """
        content = json.dumps({"pid": os.getpid(), "what": what[:1024]}).encode() + b"\n"
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, content, 0)
        except OSError:
            pass  # the lock is held all the same

    def is_in_place(self) -> bool:
        """Whether others still find it: False once its file was removed or replaced."""
        return self._fd >= 0 and _is_at(self.path, self._fd)

    def release(self, *, remove: bool = False) -> None:
        """Give it up; `remove` takes the file away first. Does nothing the second time."""
        if self._fd < 0:
            return
        try:
            if remove and _is_at(self.path, self._fd):
                os.unlink(self.path)
        except OSError:
            pass  # a file left behind is harmless
        os.close(self._fd)
        self._fd = -1


def try_lock(path: str, what: str = "") -> Lock | None:
    """The lock of this file, or None where somebody holds it; never waits for a holder.

    Raises UserError where the file cannot be had at all.
    """
    waited = 0
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(f'lock "{path}" cannot be opened', said=error.strerror) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = not _shared(fd)  # a look shares the lock with us, a holder does not
            os.close(fd)
            if held or waited >= LOOK_PATIENCE:
                return None
            waited += 1
            select.select((), (), (), 0.001)
            continue
        except OSError as error:  # a file system without locks
            os.close(fd)
            raise UserError(f'lock "{path}" cannot be taken', said=error.strerror) from None
        if _is_at(path, fd):
            lock = Lock(path, fd)
            lock.describe(what)
            return lock
        os.close(fd)  # its last holder removed the file between our two steps: that was no lock


def is_locked(path: str) -> bool:
    """Whether somebody holds it; raises UserError where that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f'lock "{path}" cannot be read', said=error.strerror) from None
    try:
        return not _shared(fd)
    except OSError as error:  # a file system without locks
        raise UserError(f'lock "{path}" cannot be tried', said=error.strerror) from None
    finally:
        os.close(fd)


def holder(path: str) -> dict[str, Any] | None:
    """Who holds it: {"pid", "what"} as `describe` wrote it, {} where it is unreadable, else None.

    For messages: the content is the holder's word, and only the flock is proof.
    """
    if not is_locked(path):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        content = json.loads(os.pread(fd, CONTENT_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.close(fd)
    return content if isinstance(content, dict) else {}


def _shared(fd: int) -> bool:
    """Take it shared, until the descriptor is closed: True unless somebody holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: str, fd: int) -> bool:
    ours = os.fstat(fd)
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
