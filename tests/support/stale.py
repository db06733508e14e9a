"""A user of a real sshd whose sessions can be left behind, and an account that is not ours.

The line dies in silence: ssh reaches the server through a relay that is frozen, and is then killed,
so that the server keeps a session whose client is no more, as after a change of address.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sshwrap.paths import Places
from sshwrap.profile.model import Profile
from sshwrap.ssh.end import Ended
from sshwrap.ssh.look import COMMAND
from sshwrap.ssh.session_record import SessionRecord
from sshwrap.ssh.side import side_argv, side_seconds
from sshwrap.ssh.version import Version
from sshwrap.supervisor.order import Order
from sshwrap.supervisor.reclaim import Reclaim, make_record
from sshwrap.supervisor.sign_in import SignedIn, SignIn
from tests.support.children import World
from tests.support.masters import NOWHERE, Master, seen
from tests.support.ports import listeners
from tests.support.processes import Process, descendants, process
from tests.support.sshd import Sshd, find_sshd
from tests.support.waiting import wait_for

HERE = "127.0.0.1"
UID = 64321
ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
V9_2 = Version(9, 2)
RELAY = """
import os, select, socket, sys
line = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for one in select.select([0, line], [], [])[0]:
        data = os.read(0, 65536) if one == 0 else line.recv(65536)
        if not data:
            sys.exit()
        line.sendall(data) if one == 0 else os.write(1, data)
"""


class Place:
    """A server, and a user of it."""

    def __init__(self, world: World, server: Sshd) -> None:
        self.world = world
        self.server = server
        self.places = Places("/nowhere/profiles.toml", str(world.folder / "state"))
        self.places.prepare_state_dir()
        profile = Profile("web", server.alias, ssh_config=str(server.config))
        self.order = Order(profile, (), HERE, f"{HERE}:{server.port}")
        self.relays: list[Process] = []
        (world.folder / "relay.py").write_text(RELAY)

    def tunnel(self, port: int, **more: str) -> tuple[Master, SessionRecord]:
        """Through a relay of its own; and its record."""
        relay = shlex.join(["python3", "-IS", str(self.world.folder / "relay.py")])
        way = {"ProxyCommand": f"{relay} %h %p"}
        name = f"c{len(self.relays)}"
        master = Master(self.world, self.server, [f"{port}:{NOWHERE}"], options=way, name=name)
        pid = master.watched.child.pid
        self.relays += [one for one in descendants(pid) if "-IS" in one.argv]
        record = make_record(self.order, seen(master, port), pid, self.places)
        assert record is not None
        return master, record

    def lose(self, master: Master) -> None:
        """The line goes silent, then its ssh dies; what the server has of it stays."""
        pid = master.watched.child.pid
        (relay,) = [one for one in descendants(pid) if "-IS" in one.argv]
        os.kill(relay.pid, signal.SIGSTOP)
        wait_for(lambda: (found := process(relay.pid)) and found.state == "T", what="it stands")
        master.watched.child.signal(signal.SIGKILL)
        self.world.run_until(lambda: master.watched.ended)

    def stale(self, port: int) -> SessionRecord:
        master, record = self.tunnel(port)
        self.lose(master)
        assert listeners(port)
        return record

    def reclaim(self, record: SessionRecord, *ports: int, **more: object) -> Ended:
        answers: list[Ended] = []
        argv = side_argv(self.order.profile, V9_2, COMMAND)
        arguments: dict[str, object] = {"argv": argv, "environ": ENV, **more}
        Reclaim(
            **arguments,  # type: ignore[arg-type]
            record=record,
            ports=ports,
            loop=self.world.loop,
            on_done=answers.append,
        )
        assert answers == []  # never from within the question
        self.world.run_until(lambda: answers, within=60)
        self.world.turn()
        (ended,) = answers
        return ended

    def sign_in(
        self, profile: Profile | None = None, command: str | None = None, **more: float
    ) -> SignedIn:
        answers: list[SignedIn] = []
        profile = profile or self.order.profile
        deadline = more.get("deadline", side_seconds(profile))
        argv = side_argv(profile, V9_2, command)
        SignIn(argv, ENV, loop=self.world.loop, deadline=deadline, on_answer=answers.append)
        self.world.run_until(lambda: answers, within=60)
        (answer,) = answers
        return answer

    def close(self) -> None:
        for relay in self.relays:
            found = process(relay.pid)
            if found is not None and found.started == relay.started:
                os.kill(relay.pid, signal.SIGKILL)


MakePlace = Callable[[Sshd], Place]


@contextlib.contextmanager
def user_places(world: World) -> Iterator[MakePlace]:
    """`make(server)`: a user of that server; nothing of them is left."""
    made: list[Place] = []

    def make(server: Sshd) -> Place:
        made.append(Place(world, server))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()


@contextlib.contextmanager
def account_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sw-home-", dir="/tmp"))
    folder.chmod(0o755)
    os.chown(folder, UID, UID)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def with_account(
    make_sshd: Callable[..., Sshd], home: Path, shell: str = "/bin/sh", **more: object
) -> Sshd:
    """An sshd in whose eyes an account `tunnel` exists: in its mount namespace alone."""
    passwd = Path("/etc/passwd").read_text()
    (home / "passwd").write_text(f"{passwd}tunnel:*:{UID}:{UID}::{home}:{shell}\n")
    program, path = home / "sshd", find_sshd()
    program.write_text(
        "#!/bin/sh\nexec unshare --mount sh -c '"
        f'mount --bind {home}/passwd /etc/passwd && exec {path} "$@"'
        f'\' {path} "$@"\n'
    )
    program.chmod(0o755)
    return make_sshd(program=str(program), user="tunnel", **more)
