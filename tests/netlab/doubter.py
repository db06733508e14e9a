"""`python doubter.py SOCKET INTERVAL [SSH-OPTION…] DESTINATION`: a doubt and nothing around it.

Starts `ssh -N` with a control socket and says what its Doubt says, one JSON line each with the
moment: "up", "doubt", "fine", "dead", "ended" (ssh by itself), and "looks", how many there were, at
the end, on TERM. USR1 is the news that the machine woke.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sshwrap.supervisor.control import Control
from sshwrap.supervisor.doubt import Answer, Doubt, SignIn
from sshwrap.supervisor.errand import Done, Errand
from sshwrap.supervisor.unacked import SshSocket
from sshwrap.tunnel.doubt import Seen, Why

SERVER, CLIENT = "203.0.113.7", "echo $SSH_CONNECTION"
OURS = ("ssh", "-oBatchMode=yes", "-oConnectTimeout=10")


@dataclass
class Signed:
    got_through: bool
    client: str | None


def say(what: str, words: object = None) -> None:
    print(json.dumps([time.monotonic(), what, words]), flush=True)


def main() -> None:
    path, interval, *options, destination = sys.argv[1:]
    loop = asyncio.new_event_loop()
    environ = dict(os.environ)

    def sign_in(on_answer: Callable[[Answer], None]) -> SignIn:
        def done(done: Done) -> None:
            words = done.out.decode().split()
            on_answer(Signed(bool(words), words[0] if words else None))

        return Trial((*OURS, destination, CLIENT), environ, loop, done)

    client = subprocess.run([*OURS, destination, CLIENT], capture_output=True, text=True)
    # The first value wins.
    keepalive = (*options, f"-oServerAliveInterval={interval}", "-oServerAliveCountMax=3")
    ssh = subprocess.Popen(
        [*OURS, "-N", "-M", "-S", path, *keepalive, destination],
        stdin=subprocess.DEVNULL,
    )
    doubt: list[Doubt] = []
    socket = Counted(ssh.pid, SERVER, 22)

    def look_for_master() -> None:
        if not os.path.exists(path):  # noqa: PTH110
            loop.call_later(0.02, look_for_master)
            return
        control = Control(path, "ssh", environ, loop=loop)
        doubt.append(
            Doubt(
                loop,
                socket,
                interval=float(interval),
                alive=control.alive,
                sign_in=sign_in,
                on_dead=partial(say, "dead"),
                on_doubt=lambda words: say("doubt" if words else "fine", words),
                client=client.stdout.split()[0],
            )
        )
        say("up", ssh.pid)

    def ended() -> None:
        if ssh.poll() is None:
            loop.call_later(0.05, ended)
        else:
            for one in doubt:
                one.close()
            say("ended", ssh.returncode)

    loop.call_soon(look_for_master)
    loop.call_soon(ended)
    loop.add_signal_handler(signal.SIGUSR1, lambda: doubt[0].suspect(Why.WOKE))
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.run_forever()
    for one in doubt:
        one.close()
    ssh.send_signal(signal.SIGKILL)
    ssh.wait()
    say("looks", socket.looks)
    loop.close()


class Counted(SshSocket):
    looks = 0

    def look(self) -> Seen | None:
        self.looks += 1
        return super().look()


class Trial:
    def __init__(
        self,
        argv: tuple[str, ...],
        environ: dict[str, str],
        loop: asyncio.AbstractEventLoop,
        on_done: Callable[[Done], None],
    ) -> None:
        self._errand = Errand(argv, environ, loop=loop, deadline=15, on_done=on_done)

    @property
    def pid(self) -> int | None:
        return self._errand.pid

    def close(self) -> None:
        self._errand.cancel()


if __name__ == "__main__":
    main()
