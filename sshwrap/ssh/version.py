"""`ssh -V`: which OpenSSH this is, and what each version can do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """OpenSSH's release; `text` is what it calls itself ("OpenSSH_9.2p1 Debian-2+deb12u10")."""

    major: int
    minor: int
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


# ServerAliveInterval is starved by busy local traffic before 8.4 (clientloop.c), and
# SSH_ASKPASS_REQUIRE is not there.
MINIMUM = Version(8, 4)


def parse_version(text: str) -> Version | None:
    """The version in the output of `ssh -V`; None where this is no OpenSSH."""
    match = re.search(r"^(OpenSSH_(?:for_Windows_)?(\d{1,4})\.(\d{1,4})[^,\r\n]*)", text, re.M)
    if match is None:
        return None
    return Version(int(match[2]), int(match[3]), match[1])


def has_log_verbose(version: Version) -> bool:
    """LogVerbose."""
    return version >= Version(8, 5)


def has_fork_after_authentication(version: Version) -> bool:
    """ForkAfterAuthentication, SessionType and StdinNull as keywords."""
    return version >= Version(8, 7)


def has_warn_weak_crypto(version: Version) -> bool:
    """WarnWeakCrypto; these versions warn of a key exchange that is not post-quantum."""
    return version >= Version(10, 1)
