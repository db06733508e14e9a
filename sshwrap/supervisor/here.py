"""Which sockets of this machine an ssh of ours has: where -L and -D listen, whose way in it is.

Law. It only reads, and only what the kernel shows anybody of his own processes (Linux): None where
it shows nothing.
"""
# ruff: noqa: PTH115, PTH123, PTH208
# Reason: a background supervisor imports no pathlib that nothing else of it needs.

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from sshwrap.ssh.look import Listener, read_ends, read_listeners

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def listeners_here(pid: int, ports: Collection[int]) -> tuple[Listener, ...] | None:
    """Who listens at these ports; "ours" is what the process with this pid has open."""
    try:
        held = _inodes(f"/proc/{pid}/fd")
        rows = [row for table in TABLES for row in _rows(table)]
        return read_listeners(rows, ports, held, is_big=sys.byteorder == "big")
    except (OSError, ValueError, IndexError):
        return None


def has_end(pid: int, address: str, port: int) -> bool | None:
    """Whether the process with this pid has a TCP connection whose near end is that."""
    try:
        held = _inodes(f"/proc/{pid}/fd")
        rows = [row for table in TABLES for row in _rows(table)]
        ends = read_ends(rows, held, is_big=sys.byteorder == "big")
    except (OSError, ValueError, IndexError):
        return None
    return (address, port) in ends


def has_ipv6_here() -> bool:
    """Whether this machine has an address of that family, its loopback at least."""
    try:
        return bool(_read("/proc/net/if_inet6").strip())
    except OSError:
        return False


def _rows(table: str) -> list[str]:
    try:
        return _read(table).splitlines()[1:]
    except FileNotFoundError:
        if table != TABLES[0]:
            return []  # a kernel without IPv6
        raise


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _inodes(folder: str) -> set[int]:
    found: set[int] = set()
    for name in os.listdir(folder):
        try:
            link = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:  # closed meanwhile
            continue
        if link.startswith("socket:["):
            found.add(int(link[len("socket:[") : -1]))
    return found
