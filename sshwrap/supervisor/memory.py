"""What is kept on disk of a tunnel for its next supervisor: that it is wanted, that it was up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sshwrap import __version__
from sshwrap.supervisor.order import order_to_json
from sshwrap.supervisor.wanted import read_wanted, write_wanted, write_whole
from sshwrap.tunnel.model import new_tunnel
from sshwrap.tunnel.present import snapshot
from sshwrap.tunnel.traffic import Traffic

if TYPE_CHECKING:
    from sshwrap.paths import Places
    from sshwrap.supervisor.order import Order
    from sshwrap.tunnel.events import Moment


def keep_wanted(places: Places, order: Order, now: Moment, *, ended: bool = False) -> None:
    """With its whole order, and what status shows while nobody keeps it; raises OSError.

    `ended`: this supervisor ends in order, and leaves it wanted.
    """
    name = order.profile.name
    down = snapshot(
        new_tunnel(order.profile, order.added, order.hostname, now),
        Traffic(len(order.profile.forwards) + len(order.added)),
        now,
        supervisor_pid=os.getpid(),
        supervisor_version=__version__,
    )
    content: dict[str, Any] = {"order": order_to_json(order), "digest": order.digest, "down": down}
    if ended:
        content["ended"] = now.wall
    write_wanted(places, name, {"pid": os.getpid(), **content})


def before_us(places: Places, name: str) -> dict[str, Any] | None:
    """A journal entry of how the supervisor that had it before us has gone; None: nobody wanted it,
    or that was us. It was wanted ever since."""
    before = read_wanted(places, name)
    if before is None or before.get("pid") == os.getpid():
        return None
    who = f"its supervisor (pid {before.get('pid')})"
    if before.get("ended") is None:
        return {"event": "changed", "text": f"{who} is gone without a word", "before": "gone"}
    text = f"{who} was ended, and left it wanted"
    return {"event": "changed", "text": text, "before": "ended"}


def was_up(places: Places, order: Order) -> bool:
    """Whether this name has been up with this destination; another one is a new beginning."""
    try:
        with open(_was_up_file(places, order.profile.name)) as file:  # noqa: PTH123
            return file.read().strip() == order.profile.destination
    except OSError:
        return False


def remember_up(places: Places, order: Order) -> None:
    try:
        write_whole(_was_up_file(places, order.profile.name), order.profile.destination + "\n")
    except OSError:
        pass  # it only shortens the wait after a refused key


def _was_up_file(places: Places, name: str) -> str:
    return places.wanted_file(name).removesuffix(".json") + ".up"
