"""An account that exists in the eyes of one sshd alone, and programs that hold ports.

The account is in /etc/passwd of the server's own mount namespace: nothing of the machine changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.sshd import Sshd, find_sshd

UID = 64321
HERE = "127.0.0.1"


class Account:
    """An sshd in whose eyes there is an account `tunnel` with this shell."""

    def __init__(
        self, make_sshd: Callable[..., Sshd], home: Path, shell: str, before: str = "true"
    ) -> None:
        passwd = Path("/etc/passwd").read_text()
        if shell == "busybox":
            shell = str(home / "ash")
            Path(shell).write_text(f'#!/bin/sh\nexec {shutil.which("busybox")} sh "$@"\n')
            Path(shell).chmod(0o755)
        (home / "passwd").write_text(f"{passwd}tunnel:*:{UID}:{UID}::{home}:{shell}\n")
        program, path = home / "sshd", find_sshd()
        program.write_text(
            "#!/bin/sh\nexec unshare --mount sh -c '"
            f'mount --bind {home}/passwd /etc/passwd && {before} && exec {path} "$@"'
            f'\' {path} "$@"\n'
        )
        program.chmod(0o755)
        self.sshd = make_sshd(program=str(program), user="tunnel")


@contextlib.contextmanager
def holding(port: int, *, uid: int, address: str = HERE) -> Iterator[None]:
    """A program of that account that listens on `address` (IPv4) at `port`."""
    where = (address, port)
    code = f"import socket; s = socket.create_server({where!r}); print(flush=True); input()"
    # Whoever is not root may not even ask to become itself.
    changed: dict[str, Any] = (
        {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}
    )
    child = subprocess.Popen(
        ["/usr/bin/python3", "-IS", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **changed,
        cwd="/",
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        yield
        child.kill()
