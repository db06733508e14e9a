from __future__ import annotations

from collections.abc import Callable

import pytest

from sshwrap.ssh.version import (
    MINIMUM,
    Version,
    has_fork_after_authentication,
    has_log_verbose,
    has_warn_weak_crypto,
    parse_version,
)


@pytest.mark.parametrize(
    ("text", "number", "name"),
    [
        (
            "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n",
            (9, 2),
            "OpenSSH_9.2p1 Debian-2+deb12u10",
        ),
        ("OpenSSH_8.4p1 Debian-5+deb11u3, OpenSSL 1.1.1w  11 Sep 2023", (8, 4), None),
        ("OpenSSH_10.0p2 Debian-7+deb13u4, OpenSSL 3.5.7 9 Jun 2026", (10, 0), None),
        ("OpenSSH_10.5p2, OpenSSL 3.5.7 9 Jun 2026\r\n", (10, 5), "OpenSSH_10.5p2"),
        ("OpenSSH_9.9p2, LibreSSL 3.3.6", (9, 9), "OpenSSH_9.9p2"),
        ("OpenSSH_for_Windows_8.1p1, LibreSSL 3.0.2", (8, 1), "OpenSSH_for_Windows_8.1p1"),
        ("OpenSSH_9.8", (9, 8), "OpenSSH_9.8"),
        ("command-line: warning\nOpenSSH_9.6p1 Ubuntu-3ubuntu13, OpenSSL", (9, 6), None),
    ],
)
def test_parse(text: str, number: tuple[int, int], name: str | None) -> None:
    version = parse_version(text)
    assert version is not None
    assert (version.major, version.minor) == number
    assert str(version) == f"{number[0]}.{number[1]}"
    if name is not None:
        assert version.text == name


@pytest.mark.parametrize("text", ["", "Dropbear v2022.83", "OpenSSH_", "my OpenSSH_9.2p1", "9.2"])
def test_not_openssh(text: str) -> None:
    assert parse_version(text) is None


def test_order_is_by_number() -> None:
    assert Version(8, 4, "b") < Version(8, 10, "a") < Version(9, 2) < Version(10, 0)
    assert Version(9, 2, "Debian's") == Version(9, 2, "Apple's")


@pytest.mark.parametrize(
    ("has", "first"),
    [
        (has_log_verbose, Version(8, 5)),
        (has_fork_after_authentication, Version(8, 7)),
        (has_warn_weak_crypto, Version(10, 1)),
    ],
)
def test_features_begin(has: Callable[[Version], bool], first: Version) -> None:
    assert has(first)
    assert has(Version(first.major + 1, 0))
    assert not has(Version(first.major, first.minor - 1))
    assert not has(MINIMUM)
