"""`make demo`: the whole story once, and what is left of it when somebody interrupts it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshwrap.paths import Places
from tests.support.needs import needs_sshd
from tests.support.processes import Process, processes
from tests.support.sources import ROOT
from tests.support.waiting import wait_for

pytestmark = [needs_sshd, pytest.mark.timeout(300)]


class Demo:
    """The demo as `make` runs it: in a process group of its own, in a TMPDIR of its own."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.child = subprocess.Popen(
                [sys.executable, str(ROOT / "scripts" / "demo.py")],
                env={**os.environ, "TMPDIR": str(self.temporary), **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_words(self, text: str) -> None:
        wait_for(lambda: text in self.output, within=80, what=lambda: f"{text!r}\n{self.output}")

    def left(self) -> list[str]:
        """Processes, files and sockets that it should have taken away."""
        found = [one.title for one in processes(self._is_ours)]
        found += [str(path) for path in self.temporary.rglob("*")]
        place = re.search(r"sshd -f (\S+)/server/sshd_config", self.output)
        if place is not None:
            sockets = Places("", f"{place[1]}/state").socket_dir
            found += [sockets] if Path(sockets).exists() else []
        return found

    def _is_ours(self, one: Process) -> bool:
        """Started by it, with its environment, or an sshd that has written over its own."""
        if str(self.temporary) in one.title:
            return True
        try:
            environ = Path("/proc", str(one.pid), "environ").read_bytes()
        except OSError:  # gone, or not ours
            return False
        return f"TMPDIR={self.temporary}".encode() in environ.split(b"\0")

    def close(self) -> None:
        for one in processes(self._is_ours):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        self.child.wait(timeout=20)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.close()


def test_the_demo_tells_the_whole_story_and_leaves_nothing(demo: Demo) -> None:
    status = demo.child.wait(timeout=200)
    assert status == 0, demo.output
    loopback, _, hosts = demo.output.partition("\n9. ")
    pages = re.findall(r"^    visit (\d+)$", loopback, re.M)
    assert pages == ["1", "2", "3"], demo.output
    if "(left out: " not in hosts:  # on the server, outside once it is put right, and no more then
        visits = r"^    (visit \d+|nothing: .*)$"
        met = [said.split(":")[0] for said in re.findall(visits, hosts, re.M)]
        assert met == ["visit 1", "nothing", "visit 2", "nothing"], demo.output
        assert "+    GatewayPorts clientspecified" in hosts, demo.output
    assert len(re.findall(r"served again \d", demo.output)) == 2
    assert "refuses the connection" in demo.output  # what status says while the server is away
    assert "2 drops" in demo.output  # what logs says at the end
    wait_for(lambda: not demo.left(), what=lambda: f"nothing is left: {demo.left()}")


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("$ sshwrap up -d web", signal.SIGINT),  # the supervisor is just being started
        ("visit 1", signal.SIGINT),
        ("$ stop sshd", signal.SIGINT),
        ("visit 1", signal.SIGTERM),
    ],
)
def test_the_demo_interrupted_leaves_nothing(demo: Demo, words: str, number: int) -> None:
    demo.wait_for_words(words)
    os.killpg(demo.child.pid, number)  # as a terminal does it
    assert demo.child.wait(timeout=80) == 128 + number, demo.output
    # Python's own start, interrupted before a line of ours has run, says so in its own way.
    said = re.sub(r"Fatal Python error: init_.*?KeyboardInterrupt\n", "", demo.output, flags=re.S)
    assert "Traceback" not in said
    wait_for(lambda: not demo.left(), what=lambda: f"{demo.left()}\n{demo.output}")


def test_a_demo_that_fails_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ssh-keygen", "cat"):  # all that the server needs, and no ssh
        found = shutil.which(name)
        assert found is not None
        programs.joinpath(name).symlink_to(found)
    demo = Demo(tmp_path, PATH=str(programs))
    try:
        assert demo.child.wait(timeout=200) == 1, demo.output
        assert "the demo has failed: sshwrap up ended with 69, not 0" in demo.output
        assert "Server listening on" in demo.output  # the server's log
        wait_for(lambda: not demo.left(), what=lambda: f"nothing is left: {demo.left()}")
    finally:
        demo.close()
