"""A tiny web service on loopback, and a visitor of it.

It has a process of its own (web_server.py): a thread beside a test would make every fork of that
test a warning from Python 3.12 on.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port

SERVER = Path(__file__).with_name("web_server.py")


class Web:
    """`with Web(text="hello") as web: fetch(web.port)`; after a stop it starts on the same port."""

    def __init__(self, *, text: str = "hello", port: int | None = None) -> None:
        self.text = text
        self.port = port or free_port()
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        if self._child is not None:
            raise RuntimeError("this web server is running already")
        child = subprocess.Popen(
            # -S -E: nothing of the caller's environment, and no site-packages to look through
            [sys.executable, "-S", "-E", str(SERVER), str(self.port), self.text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line.strip():
            child.stdout.close()
            raise RuntimeError(f"the web server ended with {child.wait()}")
        self._child = child
        return self

    def stop(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        self._child.wait(timeout=10)
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._child = None

    def __enter__(self) -> Self:
        return self if self._child is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def fetch(port: int, *, host: str = "127.0.0.1", timeout: float = 20.0) -> str:
    """The page at http://host:port/; OSError or HTTPException where there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
