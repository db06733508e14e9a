"""A supervisor's socket without a supervisor: a server on a loop, and clients byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sshwrap.errors import ExitStatus, UserError
from sshwrap.supervisor import ipc
from sshwrap.supervisor.ipc_server import Reply, Server

STATUS = {"v": 1, "op": "status"}


class Serving:
    """A server on a loop in a thread of its own, so that a client here may block."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.watchers: list[Reply] = []
        self.gone: list[Reply] = []
        self.loop.set_exception_handler(lambda loop, context: self.faults.append(context))
        self.server = Server(self.loop, self.path, self.handle)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def handle(self, request: dict[str, Any], reply: Reply) -> None:
        self.requests.append(request)
        match request["op"]:
            case "status":
                reply.send({"v": 1, "ok": True, "tunnels": request.get("echo", [])})
                reply.end()
            case "big":
                reply.send({"v": 1, "ok": True, "tunnels": ["x" * 1000] * request["count"]})
                reply.end()
            case "watch":
                reply.on_close = lambda: self.gone.append(reply)
                self.watchers.append(reply)
                reply.send({"v": 1, "tunnels": [], "events": []})
            case "refuse":
                raise UserError("web: no such profile", advice="sshwrap", status=ExitStatus.USAGE)
            case "bug":
                raise RuntimeError("a bug")
            case "after its end":
                reply.end()
                reply.send({"v": 1, "ok": True})

    def call(self, function: Callable[[], Any]) -> Any:
        """Run it on the loop; its result. Proves at the same time that the loop still turns."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def tell(self, message: dict[str, Any]) -> None:
        self.call(lambda: [reply.send(message) for reply in self.watchers])

    def stop(self) -> None:
        self.call(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def raw(serving: Serving, data: bytes = b"") -> socket.socket:
    client = ipc.connect(serving.path, 5)
    if data:
        client.sendall(data)
    return client


def said(client: socket.socket) -> list[dict[str, Any]]:
    """Everything that comes until the server hangs up."""
    pieces = []
    try:
        while piece := client.recv(1 << 20):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    client.close()
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


def error_of(client: socket.socket) -> str:
    (answer,) = said(client)
    assert answer["ok"] is False
    assert set(answer["error"]) == {"message", "advice", "said", "status"}
    return str(answer["error"]["message"])
