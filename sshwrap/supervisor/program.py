"""The system's ssh: where it is, and which version."""
# ruff: noqa: PTH116
# Reason: a background supervisor imports no pathlib that nothing else of it needs.

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache

from sshwrap.errors import ExitStatus, UserError
from sshwrap.ssh.version import MINIMUM, Version, parse_version

VERSION_TIMEOUT = 20.0  # a busy machine
NOT_FOR_SSH = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")


class SshProgram:
    """The ssh to run; a process asks it for its version once, and again when its file changes."""

    def __init__(self, ssh: str, environ: Mapping[str, str]) -> None:
        self._ssh = ssh
        self._environ = environ
        self._path: str | None = None

    def version_and_path(self) -> tuple[Version, str]:
        """Raises UserError (no usable ssh)."""
        path = self._path
        stamp = None if path is None else _stamp(path)
        if path is None or stamp is None:
            path = self._path = find_ssh(self._ssh, self._environ)
            stamp = _stamp(path)
        return _version_of(path, stamp), path


@lru_cache(maxsize=4)  # an error is not kept: the next one asks anew
def _version_of(path: str, stamp: tuple[int, int, int] | None) -> Version:
    return ssh_version(path)


def find_ssh(ssh: str, environ: Mapping[str, str]) -> str:
    """The absolute path of the ssh to run; raises UserError where there is none."""
    path = shutil.which(ssh, path=environ.get("PATH", os.defpath))
    if path is None:
        where = "on PATH" if os.sep not in ssh else "there, or it may not be run"
        raise UserError(
            f'no "{ssh}" {where}',
            advice="install OpenSSH's client (Debian: apt install openssh-client), "
            "or set SSHWRAP_SSH to its path",
            status=ExitStatus.NO_SSH,
        )
    return os.path.abspath(path)  # noqa: PTH100


def ssh_version(path: str) -> Version:
    """What `ssh -V` says; raises UserError where it is no OpenSSH, or one that is too old."""
    try:
        done = subprocess.run(
            [path, "-V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f'"{path} -V" does not answer', said=str(error), status=ExitStatus.NO_SSH
        ) from None
    said = (done.stderr + done.stdout).decode(errors="replace").strip()
    version = parse_version(said)
    if version is None:
        raise UserError(
            f'"{path}" is not OpenSSH',
            said=said[:200],
            advice="set SSHWRAP_SSH to the path of OpenSSH's ssh",
            status=ExitStatus.NO_SSH,
        )
    if version < MINIMUM:
        raise UserError(
            f'"{path}" is too old: OpenSSH {MINIMUM} or newer is needed',
            said=said[:200],
            advice="upgrade openssh-client, or set SSHWRAP_SSH to a newer ssh",
            status=ExitStatus.NO_SSH,
        )
    return version


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def ssh_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What ssh gets of our environment: English words, and nobody to ask.

    BatchMode does not reach the ssh that ProxyJump starts, which would ask on our pty and wait for
    ever; an SSH_ASKPASS that fails at once makes it say the true reason instead.
    """
    kept = {
        key: value
        for key, value in environ.items()
        if key not in NOT_FOR_SSH and not key.startswith("SSHWRAP_")
    }
    kept.pop("LANGUAGE", None)
    return kept | {
        "LC_ALL": "C",
        "SSH_ASKPASS": "/bin/false",
        "SSH_ASKPASS_REQUIRE": "force",
    }
