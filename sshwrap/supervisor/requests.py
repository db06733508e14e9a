"""What other commands may ask a supervisor over its socket, and what it tells those who watch.

Laws. A faulty request changes nothing. `status` and `down` answer an older or newer sshwrap too.
Whoever asked for something that takes time is answered when it is done, or hangs up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sshwrap import __version__
from sshwrap.errors import ExitStatus, UserError
from sshwrap.supervisor.ipc import VERSION
from sshwrap.supervisor.order import Order, order_from_json

if TYPE_CHECKING:
    from sshwrap.supervisor.ipc_server import Reply
    from sshwrap.supervisor.loop import Supervisor


class _Leaving:
    """Somebody waits until these are down; `again` are those that are wanted up meanwhile."""

    __slots__ = ("again", "names", "reply")

    def __init__(self, names: set[str], reply: Reply) -> None:
        self.names = names
        self.again: set[str] = set()
        self.reply = reply


class Requests:
    """The supervisor's side of every operation. `kind` is "background" or "front"."""

    def __init__(self, kind: str, *, stop: Callable[[], None]) -> None:
        self._kind = kind
        self._stop = stop
        self._watchers: list[tuple[frozenset[str] | None, Reply]] = []
        self._leaving: list[_Leaving] = []
        self.supervisor: Supervisor | None = None

    @property
    def busy(self) -> bool:
        """Somebody is being served; not the moment to end."""
        return bool(self._watchers or self._leaving)

    def handle(self, request: dict[str, Any], reply: Reply) -> None:
        supervisor = self.supervisor
        if supervisor is None:
            raise RuntimeError("asked before there is a supervisor")
        try:
            match request.get("op"):
                case "status":
                    self._answer(reply, tunnels=supervisor.snapshots(_names(request)))
                case "watch":
                    self._watch(supervisor, _names(request), reply)
                case "up":
                    self._up(supervisor, request, reply)
                case "restart" | "reload":
                    self._renew(supervisor, request, reply)
                case "down":
                    self._down(supervisor, request, reply)
                case "poke":
                    supervisor.poke(_names(request), restart=True)
                    self._answer(reply)
                case "stop":
                    self._answer(reply)
                    self._stop()
                case other:
                    raise UserError(f'"{other}" is no operation of sshwrap {__version__}')
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._refuse(reply, UserError("a request that cannot be read", said=repr(error)[:200]))
        except UserError as error:
            self._refuse(reply, error)

    def changed(self, changed: list[dict[str, Any]], gone: list[dict[str, Any]]) -> None:
        # Wanted up again while it was stopping: whoever asked for down need not wait for that.
        left = {tunnel["profile"] for tunnel in gone}
        again = {tunnel["profile"] for tunnel in changed if tunnel["wanted"]}
        for leaving in list(self._leaving) if left or again else ():
            leaving.again |= leaving.names & again
            leaving.names -= left | again
            if not leaving.names:
                self._leaving.remove(leaving)
                self._answer(leaving.reply, again=sorted(leaving.again))
        for wanted, reply in list(self._watchers):
            tunnels = [t for t in changed + gone if wanted is None or t["profile"] in wanted]
            if tunnels:
                self._tell(wanted, reply, {"tunnels": tunnels, "events": []})

    def entry(self, entry: dict[str, Any]) -> None:
        for wanted, reply in list(self._watchers):
            if wanted is None or entry["profile"] is None or entry["profile"] in wanted:
                self._tell(wanted, reply, {"tunnels": [], "events": [entry]})

    # --- one operation each --------------------------------------------------

    def _watch(self, supervisor: Supervisor, names: list[str] | None, reply: Reply) -> None:
        wanted = None if names is None else frozenset(names)
        self._watchers.append((wanted, reply))
        reply.on_close = lambda: self._forget(reply)
        self._tell(wanted, reply, {"tunnels": supervisor.snapshots(names), "events": []})

    def _up(self, supervisor: Supervisor, request: dict[str, Any], reply: Reply) -> None:
        orders = _orders(request)
        errors: dict[str, dict[str, Any]] = {}
        for order in orders:
            try:
                supervisor.up(order, str(request.get("by", "up")))
            except UserError as error:
                errors[order.profile.name] = _error(error)
        names = [order.profile.name for order in orders]
        self._answer(reply, tunnels=supervisor.snapshots(names), errors=errors)

    def _renew(self, supervisor: Supervisor, request: dict[str, Any], reply: Reply) -> None:
        restart = request["op"] == "restart"
        changed = []
        for order in _orders(request):
            name = order.profile.name
            if name in supervisor.units and supervisor.renew(order, restart=restart):
                changed.append(name)
        self._answer(reply, changed=changed)

    def _down(self, supervisor: Supervisor, request: dict[str, Any], reply: Reply) -> None:
        names = _names(request)
        leaving = {unit for unit in supervisor.units if names is None or unit in names}
        if not leaving:
            self._answer(reply)
            return
        self._leaving.append(_Leaving(set(leaving), reply))
        reply.on_close = lambda: self._forget(reply)
        for name in sorted(leaving):
            supervisor.down(name, str(request.get("by", "down")))

    # --- telling -------------------------------------------------------------

    def _answer(self, reply: Reply, **content: Any) -> None:
        head = {"v": VERSION, "ok": True, "kind": self._kind, "pid": os.getpid()}
        reply.send({**head, "version": __version__, **content})
        reply.end()

    def _refuse(self, reply: Reply, error: UserError) -> None:
        reply.send({"v": VERSION, "ok": False, "error": _error(error)})
        reply.end()

    def _tell(self, wanted: frozenset[str] | None, reply: Reply, content: dict[str, Any]) -> None:
        if not reply.closed:
            reply.send({"v": VERSION, "ok": True, **content})

    def _forget(self, reply: Reply) -> None:
        """Whoever asked has hung up."""
        self._leaving = [each for each in self._leaving if each.reply is not reply]
        self._watchers = [pair for pair in self._watchers if pair[1] is not reply]


def _names(request: dict[str, Any]) -> list[str] | None:
    names = request.get("names")
    if names is None:
        return None
    return [str(name) for name in names]


def _orders(request: dict[str, Any]) -> list[Order]:
    return [order_from_json(content) for content in request["orders"]]


def _error(error: UserError) -> dict[str, Any]:
    return {
        "message": error.message,
        "advice": error.advice,
        "said": error.said,
        "status": int(ExitStatus(error.status)),
    }
