"""`up` and `run` begin: a background supervisor is started while they are still being imported.

Laws. Nothing is imported here that costs: the supervisor needs as long to come as the command
itself, so the sooner it is begun the better. Where the command fails, the supervisor, with nothing
wanted of it, ends by itself.
"""

from __future__ import annotations

import os
import time

from sshwrap.errors import UserError
from sshwrap.supervisor import background, ipc
from sshwrap.supervisor.lock import is_locked
from sshwrap.supervisor.overview import Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from sshwrap.paths import Places

HAND_OVER_WITHIN = 10.0


def up(options: Namespace, places: Places) -> int:
    places.prepare_state_dir()
    starting = Starting(places)
    try:
        if options.detach:
            starting.begin()
        from sshwrap.commands.up import up

        return up(options, places, starting)
    except BaseException:
        starting.give_up()
        raise


def run(options: Namespace, places: Places) -> int:
    places.prepare_state_dir()
    starting = Starting(places)
    try:
        from sshwrap.commands.up import run

        return run(options, places, starting)
    except BaseException:
        starting.give_up()
        raise


class Starting:
    """A background supervisor that is being started, unless there is one."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._reading: int | None = None
        self._held: ipc.Stream | None = None

    def begin(self) -> None:
        if not _answers(self._places):
            self._reading = background.start(self._places, os.environ)

    def keeper(self) -> Keeper:
        """The background supervisor, once it answers; raises UserError."""
        deadline = time.monotonic() + HAND_OVER_WITHIN
        within = 1.0
        while True:
            if self._reading is not None:
                reading, self._reading = self._reading, None
                background.wait_ready(reading)
                within = HAND_OVER_WITHIN  # it asks ssh for its version before anything else
            try:
                path = self._places.background_socket
                self._held = _hold(path, within)
                return Keeper(path, ipc.request(path, {"v": ipc.VERSION, "op": "status"}, within))
            except ipc.Gone as error:
                self.handed_over()
                # An older one is just ending: its lock is free in a moment.
                if time.monotonic() > deadline:
                    raise UserError(
                        "the background supervisor does not start", said=str(error)
                    ) from None
                if is_locked(self._places.background_lock):
                    time.sleep(0.05)  # it is ending, or makes its lost socket anew
                else:
                    self._reading = background.start(self._places, os.environ)
            except ipc.IpcError as error:
                raise UserError(
                    "the background supervisor does not answer", said=str(error)
                ) from None

    def handed_over(self) -> None:
        """Our order is given, or none will be: it may end when it has nothing to do."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def give_up(self) -> None:
        """It ends by itself, with nothing wanted."""
        self.handed_over()
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None


def _hold(path: str, within: float) -> ipc.Stream:
    """Watch nothing. With nothing wanted a supervisor ends after a moment, but not while somebody
    watches: between its answer and our order a busy machine may let more than a moment pass."""
    held = ipc.Stream(path, {"v": ipc.VERSION, "op": "watch", "names": []}, within)
    try:
        held.receive()
        if held.ended:
            raise ipc.Gone(f'"{path}" hung up without an answer')
    except BaseException:
        held.close()
        raise
    return held


def _answers(places: Places) -> bool:
    try:
        ipc.connect(places.background_socket, 0.5).close()
    except ipc.Gone:
        return False
    except ipc.IpcError:
        return True
    return True
