"""The connection under a running ssh: watched, doubted where there is a reason, and told dead.

Law. What proves a death is tunnel/doubt.py's to say; here is only who asks and who is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sshwrap.ssh.look import Look
from sshwrap.supervisor.doubt import Doubt
from sshwrap.supervisor.unacked import SshSocket
from sshwrap.tunnel.events import LineDead

if TYPE_CHECKING:
    from sshwrap.ssh.mux import Unknown
    from sshwrap.supervisor.beside import NoSignIn
    from sshwrap.supervisor.control import Control
    from sshwrap.supervisor.run import Keeper
    from sshwrap.supervisor.sign_in import SignedIn, SignIn
    from sshwrap.supervisor.unit import Unit
    from sshwrap.tunnel.doubt import Why


class Line:
    """The line of the ssh with this pid to `server` (a number and a port; None: by a jump or a
    command, where the kernel shows nothing of it)."""

    def __init__(
        self,
        unit: Unit,
        keeper: Keeper,
        control: Control,
        pid: int,
        *,
        server: tuple[str, int] | None,
        seen: Look | Unknown | None,
    ) -> None:
        self._unit = unit
        self._keeper = keeper
        self._socket = SshSocket(pid, *server) if server is not None else None
        look = seen if isinstance(seen, Look) else None
        may_ask = look is not None  # a session runs what it is told: no forced command, a shell

        def sign_in(on_answer: Callable[[SignedIn], None]) -> SignIn | NoSignIn:
            return keeper.sign_in(unit, on_answer, ask=may_ask)

        self._doubt = Doubt(
            keeper.loop,
            self._socket,
            interval=unit.order.profile.server_alive_interval,
            alive=control.alive,
            sign_in=sign_in,
            on_dead=self._dead,
            on_doubt=self._doubted,
            client=look.client[0] if look is not None and look.client is not None else None,
        )

    def suspect(self, why: Why) -> None:
        """Somebody has a reason to think that it is dead: see."""
        self._doubt.suspect(why)

    def close(self) -> None:
        self._doubt.close()

    def _dead(self, reason: str) -> None:
        seen = self._socket.look() if self._socket is not None else None
        self._keeper.apply(self._unit, LineDead(reason, 0.0 if seen is None else seen.heard))

    def _doubted(self, words: str | None) -> None:
        if words is not None:
            self._keeper.record(self._unit, {"event": "doubt", "text": words})
