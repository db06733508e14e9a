"""`python visits.py once|always ADDRESS PORT PATIENCE [EVERY]`: visits a web page.

`once`: one visit. `always`: one begun every EVERY seconds, none waiting for another, until killed.
Each is given up after PATIENCE seconds. A line of JSON a visit: `at` (CLOCK_MONOTONIC, when it
began), `took`, `page` or null, `error` (a name of errno, "timeout" or "closed") or null.
"""

from __future__ import annotations

import errno
import json
import select
import signal
import socket
import sys
import time

MOST_BYTES = 65536


class Visit:
    """A GET under way: `step` when its socket is ready, until `answer` is there."""

    def __init__(self, address: str, port: int, patience: float) -> None:
        self.begun = time.monotonic()
        self.deadline = self.begun + patience
        self.answer: dict[str, object] | None = None
        self.events = select.POLLOUT
        self.data = b""
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.socket.setblocking(False)
        error = self.socket.connect_ex((address, port))
        if error not in (0, errno.EINPROGRESS):
            self.end(error=errno.errorcode[error])

    def step(self) -> None:
        try:
            if self.events == select.POLLOUT:
                error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    self.end(error=errno.errorcode[error])
                    return
                self.socket.send(b"GET / HTTP/1.0\r\n\r\n")
                self.events = select.POLLIN
                return
            data = self.socket.recv(MOST_BYTES)
        except OSError as problem:
            self.end(error=errno.errorcode[problem.errno or 0])
            return
        self.data += data
        if not data or len(self.data) > MOST_BYTES:
            head, gap, page = self.data.partition(b"\r\n\r\n")
            good = gap and b" 200 " in head.partition(b"\r\n")[0]
            self.end(**({"page": page.decode()} if good else {"error": "closed"}))

    def look_at_the_clock(self, now: float) -> None:
        if self.answer is None and now >= self.deadline:
            self.end(error="timeout")

    def end(self, *, page: str | None = None, error: str | None = None) -> None:
        took = time.monotonic() - self.begun
        self.answer = {"at": self.begun, "took": took, "page": page, "error": error}
        self.socket.close()


def serve(address: str, port: int, patience: float, every: float | None) -> None:
    visits = [Visit(address, port, patience)]
    due = visits[0].begun + every if every is not None else None
    while visits or due is not None:
        now = time.monotonic()
        if due is not None and every is not None and now >= due:
            visits.append(Visit(address, port, patience))
            due = max(due + every, now)  # a machine that stood still makes no crowd of visitors
        for visit in visits:
            visit.look_at_the_clock(now)
            if visit.answer is not None:
                print(json.dumps(visit.answer), flush=True)
        visits = [visit for visit in visits if visit.answer is None]
        times = [visit.deadline for visit in visits] + ([] if due is None else [due])
        if times:
            wait_and_step(visits, max(0.0, min(times) - now))


def wait_and_step(visits: list[Visit], seconds: float) -> None:
    poll = select.poll()
    for visit in visits:
        poll.register(visit.socket, visit.events)
    ready = {descriptor for descriptor, _ in poll.poll(int(seconds * 1000) + 1)}
    for visit in visits:
        if visit.socket.fileno() in ready:
            visit.step()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C of who watches is no fault of ours
    mode, address, port, patience = sys.argv[1:5]
    serve(address, int(port), float(patience), float(sys.argv[5]) if mode == "always" else None)
