"""A tunnel with what belongs to it in the world: process, lock, journal, timer, control socket.

Law. The control socket has a fresh name every time: an old ssh unlinks its path when it ends, also
where a new one has taken that name by then.
"""
# ruff: noqa: PTH110, PTH118, PTH208
# Reason: a background supervisor imports no pathlib that nothing else of it needs.

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from sshwrap.supervisor.wanted import remove_file
from sshwrap.tunnel.traffic import Traffic

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places
    from sshwrap.supervisor.journal import Journal
    from sshwrap.supervisor.lock import Lock
    from sshwrap.supervisor.order import Order
    from sshwrap.supervisor.run import Run
    from sshwrap.tunnel.model import Tunnel


class Unit:
    __slots__ = (
        *("control_path", "journal", "key_options", "lock", "order", "run", "timer", "traffic"),
        "tunnel",
    )

    def __init__(self, tunnel: Tunnel, order: Order, lock: Lock, journal: Journal) -> None:
        self.tunnel = tunnel
        self.traffic = Traffic(len(tunnel.forwards))
        self.order = order
        self.lock = lock
        self.journal = journal
        self.run: Run | None = None
        self.key_options = ""  # what the server has said that this key may do, last
        self.control_path: str | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return self.tunnel.profile.name

    def new_control(self, places: Places) -> str:
        """A path for the next ssh's control socket, where nothing stands yet."""
        name = f"{control_stem(self.name)}.{os.urandom(4).hex()}"
        self.control_path = os.path.join(places.control_dir, name)
        return self.control_path

    def has_control(self) -> bool:
        """ssh makes its control socket after the sign-in and before it asks for a forward.

        Its log is not enough: ssh prints line breaks of a server's disconnect text as they are,
        also before it has checked the host key, so that whoever sits in between could write any
        line.
        """
        return self.control_path is not None and os.path.exists(self.control_path)

    def unlink_control(self) -> None:
        """A killed ssh leaves its socket behind."""
        if self.control_path is not None:
            remove_file(self.control_path)
            self.control_path = None


def remove_leftovers(places: Places, name: str) -> None:
    """Control sockets of a supervisor that was killed; the caller holds the profile's lock."""
    stem = control_stem(name) + "."
    for entry in os.listdir(places.control_dir):
        if entry.startswith(stem):
            remove_file(os.path.join(places.control_dir, entry))


def control_stem(name: str) -> str:
    """A short, lasting name for a profile's control sockets: the profile's own may be 64 long."""
    return hashlib.sha256(name.encode()).hexdigest()[:10]
