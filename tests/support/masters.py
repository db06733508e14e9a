"""A real ssh, master of a control socket of its own, and what is asked over it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sshwrap.profile.forward import Forward, Kind, parse_forward
from sshwrap.ssh.evidence import Progress, classify_line
from sshwrap.ssh.look import Look
from sshwrap.ssh.mux import Added, Refused, Unknown, Why
from sshwrap.ssh.probe import Probed
from sshwrap.supervisor.child import Source
from sshwrap.supervisor.control import Control
from tests.support.children import Watched, World, descriptors, is_reaped
from tests.support.sshd import Sshd

T = TypeVar("T")
NOWHERE = "127.0.0.1:9"  # a target that nobody needs
PATIENCE = 30.0  # with an answer that is on its way, unless a test is about having none
READY = (Progress.ALL_CONFIRMED, Progress.INTERACTIVE)


def remote(spec: str) -> Forward:
    return parse_forward(Kind.REMOTE, spec, environ={}, service_port=lambda _: None)


class Master:
    """`ssh -N -R …` as a tunnel has it; its log is heard by `control` as the supervisor does it."""

    def __init__(
        self,
        world: World,
        server: Sshd,
        specs: Sequence[str] = (),
        *,
        options: Mapping[str, str] | None = None,
        name: str = "c",
    ) -> None:
        self.world = world
        self.path = str(world.folder / name)
        self.others: list[str] = []  # lines that were not about a probe alone, by kind
        ssh = shutil.which("ssh") or "ssh"
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        self.control = Control(self.path, ssh, env, loop=world.loop)
        argv = [ssh, "-F", str(server.config), "-N", "-T", "-n", "-v", "-E", "/dev/stdout"]
        argv += ["-S", self.path.replace("%", "%%"), "-o", "ControlMaster=yes"]
        argv += ["-o", "ControlPersist=no", "-o", "ExitOnForwardFailure=yes"]
        argv += [f"-o{keyword}={value}" for keyword, value in (options or {}).items()]
        argv += [word for spec in specs for word in ("-R", spec)]
        self.watched: Watched = world.start([*argv, "--", server.alias], LC_ALL="C")
        self._heard = 0
        self.watched.react = self._hear
        ready = READY[0] if specs else READY[1]
        world.run_until(lambda: self._has(ready) and Path(self.path).exists())

    @property
    def log(self) -> list[str]:
        return self.watched.log

    @property
    def key_options(self) -> str:
        found = [classify_line(line) for line in self.log]
        return " ".join(
            one.get("options") or "" for one in found if one and one.kind == Progress.KEY_OPTIONS
        )

    def ask(self, question: Callable[..., None], *args: Any, **more: Any) -> Any:
        """What `on_…` of a method of the control is told; it is told once."""
        answers: list[Any] = []
        question(*args, answers.append, **more)
        self.world.run_until(lambda: answers)
        self.world.turn()
        assert len(answers) == 1
        return answers[0]

    def ports(self) -> list[int]:
        """Those that the server allocated, in order."""
        found = [classify_line(line) for line in self.log]
        return [
            int(one.get("port") or 0)
            for one in found
            if one and one.kind == Progress.PORT_ALLOCATED
        ]

    def count(self, kind: Progress) -> int:
        return self.others.count(kind)

    def close(self) -> None:
        self.control.close()
        self.watched.child.close()
        self.world.run_until(lambda: is_reaped(self.watched.child.pid))

    def _hear(self) -> None:
        lines = self.watched.lines(Source.LOG)
        new, self._heard = lines[self._heard :], len(lines)
        for line in new:
            evidence = classify_line(line)
            if evidence is not None and not self.control.hear(evidence):
                self.others.append(evidence.kind)

    def _has(self, kind: Progress) -> bool:
        return kind in self.others


@contextlib.contextmanager
def masters(name: str = "m") -> Iterator[World]:
    """A short folder for control sockets, and a loop; at the end no descriptor of ours is left."""
    before = descriptors()
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        inner = Path(folder, name)
        inner.mkdir()
        world = World(inner)
        try:
            yield world
        finally:
            world.end()
    after = {number: what for number, what in descriptors().items() if number not in before}
    assert after == {}


# --- one question and its answer -----------------------------------------------------------------


def look(master: Master, *ports: int, **more: Any) -> Any:
    given = {"deadline": PATIENCE, **more}
    return master.ask(lambda told: master.control.look(ports, told, **given))


def seen(master: Master, *ports: int, **more: Any) -> Look:
    found = look(master, *ports, **more)
    assert isinstance(found, Look), found
    return found


def unknown(answer: object) -> Why:
    assert isinstance(answer, Unknown), answer
    assert answer.reason
    return answer.why


def probe(master: Master, spec: str, port: int, address: str = "127.0.0.1", **more: Any) -> Probed:
    forward, given = remote(spec), {"deadline": PATIENCE, **more}
    answer = master.ask(lambda told: master.control.probe(forward, address, port, told, **given))
    assert isinstance(answer, Probed)
    return answer


def alive(master: Master, **more: Any) -> Unknown | None:
    answer: Unknown | None = master.ask(master.control.alive, **{"deadline": PATIENCE, **more})
    return answer


def add(master: Master, spec: str) -> Added | Refused | Unknown:
    answer: Added | Refused | Unknown = master.ask(
        lambda told: master.control.add(remote(spec), told, deadline=PATIENCE)
    )
    return answer


def cancel(master: Master, *specs: str) -> Unknown | None:
    answer: Unknown | None = master.ask(
        lambda told: master.control.cancel(
            [remote(spec) for spec in specs], told, deadline=PATIENCE
        )
    )
    return answer
