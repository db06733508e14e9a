"""A profiles file written whole or not at all.

Laws. A new file is 0600, its new directories 0700; of an existing one mode, owner and symbolic link
stay. Whoever reads meanwhile has the old or the new one. Two writers come one after the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sshwrap.errors import UserError


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Nobody else who asks for it writes that file meanwhile; makes its directory."""
    folder = Path(os.path.realpath(path)).parent
    try:
        _make(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def save(path: str, text: str) -> None:
    """Raises UserError; then the file is as it was."""
    real = Path(os.path.realpath(path))
    part = real.with_name(f".{real.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        before = real.stat() if real.exists() else None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                if before is not None:
                    now = os.fstat(file.fileno())
                    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                os.fsync(file.fileno())
            part.replace(real)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _not_written(path, error) from None


def _make(folder: Path) -> None:
    if not folder.exists():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _not_written(path: str, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written; nothing was changed",
        said=error.strerror,
        advice="the same with --dry-run    (prints what belongs there)",
    )
