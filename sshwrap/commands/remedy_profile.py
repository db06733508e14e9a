"""The profile's part of `--fix --public`: its forwards with "*" beside them, in its own file.

Laws. Every other byte of the file stays, and its mode and owner, also where a link leads to it. It
is read anew when it is written: what somebody edited meanwhile stays. Forwards that stand elsewhere
(in ssh_config, on the command line of `run`) are told to the person and not touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sshwrap.errors import UserError
from sshwrap.profile.file import read_text
from sshwrap.profile.forward import Forward
from sshwrap.profile.model import Profile
from sshwrap.profile.rewrite import rewrite_forward

Change = tuple[Forward, Forward]  # as it is, and as it has to be


@dataclass(frozen=True, slots=True)
class Changes:
    """`mine` stand in the profile's file at `path`; of `elsewhere` only a person can change any."""

    profile: Profile
    path: str
    mine: tuple[Change, ...]
    elsewhere: tuple[Change, ...]

    def check(self) -> None:
        """Raises UserError where they could not be written, before anything else is changed."""
        if not self.mine:
            return
        _rewritten(self)
        folder = os.path.dirname(os.path.realpath(self.path))  # noqa: PTH120
        if not os.access(folder, os.W_OK):
            raise _unwritable(self, "its folder is not ours to write to")

    def write(self) -> None:
        """Raises UserError, and the file is as it was."""
        real = os.path.realpath(self.path)
        try:
            _replace(real, _rewritten(self).encode())
        except OSError as error:
            raise _unwritable(self, error.strerror or str(error)) from None

    def by_hand(self) -> tuple[str, ...]:
        """What is left to a person, a line each."""
        if not self.elsewhere:
            return ()
        if not self.path:
            specs = " ".join(f"-R '{new.spec}'" for _, new in self.elsewhere)
            return (f"{self.profile.name} has no file: start it again with {specs}",)
        return tuple(
            f'"{old.spec}" comes from {old.source}: write "{new.spec}" there'
            for old, new in self.elsewhere
        )


def changes_of(profile: Profile, changes: Sequence[Change]) -> Changes:
    path = profile.profiles_file or ""
    own = profile.remote_forward if path else ()
    mine = tuple(one for one in changes if one[0] in own)
    return Changes(profile, path, mine, tuple(one for one in changes if one not in mine))


def _rewritten(changes: Changes) -> str:
    read_text(Path(changes.path))  # refuses whatever is no profiles file
    try:
        text = Path(changes.path).read_bytes().decode()  # with the line ends that it has
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{changes.path}: cannot be read", said=str(error)) from None
    name = changes.profile.name
    for old, new in changes.mine:
        index = changes.profile.remote_forward.index(old)
        found = rewrite_forward(text, name, index, old.spec, new.spec)
        if found is None:
            raise UserError(
                f'{changes.path}: "{old.spec}" of {name} does not stand there as it is known',
                advice=f'write "{new.spec}" there yourself, then the same command again',
            )
        text = found
    return text


def _replace(real: str, data: bytes) -> None:
    """In one step; raises OSError."""
    before = os.stat(real)  # noqa: PTH116
    part = f"{real}.{os.getpid()}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            os.fsync(descriptor)
        os.replace(part, real)  # noqa: PTH105
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(part)  # noqa: PTH108
        raise


def _unwritable(changes: Changes, why: str) -> UserError:
    specs = ", ".join(f'"{new.spec}"' for _, new in changes.mine)
    return UserError(
        f"{changes.path}: cannot be written: {why}",
        advice=f"write {specs} there yourself, then: sshwrap restart {changes.profile.name}",
    )
