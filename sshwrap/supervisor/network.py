"""What this machine knows of its way to an address, without a packet; and whether it has slept.

Laws. Addresses are numeric and no name is ever looked up here: that would block, or need a thread.
Nothing is sent. Clocks are read in one place, and what judges them is given their readings.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

# connect(2) on UDP only asks the routing table; these are its ways to say "no".
_NO_ROUTE = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,  # there is a route, but no address of ours to send from
        errno.EAFNOSUPPORT,  # a kernel without this family
        errno.EACCES,  # ip route add prohibit
        errno.EINVAL,  # ip route add blackhole
    }
)

SLEPT_LEAST = 1.0  # less is two readings that something came between


def numeric(address: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and socket address of "192.0.2.1", "2001:db8::1" or "fe80::1%eth0".

    Raises ValueError for a name, and for a port outside of 1-65535.
    """
    if not 0 < port < 65536:
        raise ValueError(f'port "{port}" is not 1-65535')
    try:
        # As bytes: for a text Python would load its tables of international names (1 MB).
        host = address.encode("ascii")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, ValueError):
        raise ValueError(f'address "{address}" is not numeric') from None
    family, _, _, _, where = found[0]
    return family, where


def has_route(address: str) -> bool:
    """Whether the kernel knows a way to this numeric address; raises ValueError for a name.

    True is no promise: behind the first hop nobody has looked. True also where it cannot be told.
    """
    family, where = numeric(address, 9)  # any port will do: nothing is sent
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
    except OSError as error:
        return error.errno not in _NO_ROUTE
    return True


def clocks() -> tuple[float, float]:
    """Seconds by a clock that goes on while the machine is suspended, and by one that stands still.

    In this order: if something comes between the readings, no sleep is seen where there was none.
    Where a system has no such pair both are the same clock, and no sleep is ever seen.
    """
    return time.clock_gettime(_GOES_ON), time.clock_gettime(_STANDS_STILL)


# Linux; macOS, where CLOCK_MONOTONIC goes on (clock_gettime(3)); anything else.
_STANDS_STILL: int = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
_GOES_ON: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class WakeWatch:
    """Notices that the machine was suspended; asked every few seconds, with a pair of `clocks`."""

    __slots__ = ("_ahead",)

    def __init__(self, boottime: float, monotonic: float) -> None:
        self._ahead = boottime - monotonic

    def slept(self, boottime: float, monotonic: float) -> float:
        """Seconds that the machine was suspended since it was asked last; 0.0 if it was not."""
        ahead = boottime - monotonic
        slept = ahead - self._ahead
        # Never back: a reading disturbed by 2 s would make the next one look like a sleep.
        self._ahead = max(ahead, self._ahead)
        return slept if slept >= SLEPT_LEAST else 0.0
