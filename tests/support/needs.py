"""What a test needs of the machine it runs on; skipped with the reason where that is not there.

`@needs_sshd` above a test, or `pytestmark = needs_sshd` at the head of a file.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from functools import cache

import pytest

from tests.support.sshd import SBIN, find_sshd

PATH = os.pathsep.join([os.environ.get("PATH", ""), *SBIN])


@cache
def _can_make_namespaces() -> bool:
    """Tried, since containers differ in what root may do there."""
    if os.geteuid() != 0 or shutil.which("unshare", path=PATH) is None:
        return False
    command = ["unshare", "--net", "--mount", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@cache
def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def needs_program(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(name, path=PATH) is None, reason=f"no {name} on this machine"
    )


needs_ssh = needs_program("ssh")
needs_sshd = pytest.mark.skipif(
    find_sshd() is None or shutil.which("ssh-keygen") is None, reason="no sshd on this machine"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can set this up")
needs_user = pytest.mark.skipif(os.geteuid() == 0, reason="root is refused nothing")
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
needs_namespaces = pytest.mark.skipif(
    not _can_make_namespaces(), reason="this machine gives us no network namespaces"
)
