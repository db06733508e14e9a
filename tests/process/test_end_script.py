"""The script that ends a stale session, in real shells, against processes that play the session.

Each is a program of ours under another name; nothing else is ever signalled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sshwrap.ssh.end import Ended, Outcome, Taken, end_script, read_end
from sshwrap.ssh.session_record import Machine, SessionRecord
from sshwrap.supervisor.wanted import boot_id
from tests.support.needs import needs_namespaces, needs_root
from tests.support.ports import free_port
from tests.support.processes import descendants, process

pytestmark = pytest.mark.skipif(boot_id() is None, reason="only a server with /proc is asked")

SHELLS = [name for name in ("dash", "bash", "busybox", "ksh", "mksh") if shutil.which(name)]
# An account that is not ours may run it as well.
PYTHON = os.path.realpath(shutil.which("python3", path="/usr/bin") or sys.executable)
# Ready when it has said so; then it does what stands in its first argument.
PLAY = "import os, signal, socket, subprocess, sys; {}; print(flush=True); signal.pause()"
MACHINE = Machine("m", "h", (), "/state")


class Session:
    """A process named `name` that does `code`; with `listens` on a port of ours."""

    def __init__(self, folder: Path, code: str = "0", *, name: str = "sshd", **more: object):
        program = folder / name
        if not program.exists():
            program.symlink_to(PYTHON)
        self.child = subprocess.Popen(
            [PYTHON, "-ISc", PLAY.format(code)],  # by which it finds its library
            executable=program,
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            start_new_session=True,
            **more,  # type: ignore[call-overload]
        )
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == b"\n"
        found = process(self.child.pid)
        assert found is not None
        self.record = SessionRecord(
            profile="web",
            destination="vps",
            server="vps:22",
            session_pid=found.pid,
            session_started=found.started,
            session_boot_id=boot_id() or "",
            session_uid=os.getuid(),
            machine=MACHINE,
            ssh_pid=2,
            ssh_started=1,
            boot_id=boot_id(),
        )

    @property
    def is_alive(self) -> bool:
        return self.child.poll() is None

    def close(self) -> None:
        for below in descendants(self.child.pid):
            os.kill(below.pid, signal.SIGKILL)
        self.child.kill()
        self.child.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to other accounts, as pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for session in _PLAYED:
        session.close()
    _PLAYED.clear()
    shutil.rmtree(folder)


_PLAYED: list[Session] = []


def play(folder: Path, code: str = "0", **more: object) -> Session:
    _PLAYED.append(Session(folder, code, **more))  # type: ignore[arg-type]
    return _PLAYED[-1]


def command(shell: str) -> list[str]:
    return ["busybox", "sh", "-s"] if shell == "busybox" else [shell, "-s"]


def run(
    record: SessionRecord,
    *ports: int,
    shell: str = "sh",
    argv: Sequence[str] = (),
    **more: object,
) -> Ended:
    script = end_script("N", record, ports)
    done = subprocess.run(
        argv or command(shell),
        input=script,
        capture_output=True,
        check=False,
        timeout=60,
        **more,  # type: ignore[call-overload]
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return read_end("N", done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("shell", SHELLS)
class TestEveryShell:
    def test_ends_it_and_sees_the_port_free(self, folder: Path, shell: str) -> None:
        port = free_port()
        session = play(folder, f"s = socket.create_server(('127.0.0.1', {port}))")
        ended = run(session.record, port, shell=shell)
        assert ended == Ended(Outcome.ENDED, "ended our old session on the server")
        assert session.child.wait(10) == -signal.SIGTERM

    def test_a_deaf_one_takes_a_kill(self, folder: Path, shell: str) -> None:
        session = play(folder, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
        ended = run(session.record, shell=shell)
        assert ended.outcome is Outcome.ENDED
        assert ended.reason.endswith(", which took a KILL")
        assert session.child.wait(10) == -signal.SIGKILL

    def test_refuses_every_other(self, folder: Path, shell: str) -> None:
        record = play(folder).record
        assert run(replace(record, session_started=record.session_started + 1), shell=shell) == (
            Ended(Outcome.GONE, "our old session has ended, and its pid is another process now")
        )
        other = "3d91a283-0000-4009-a329-6773d7f2e03a"
        assert run(replace(record, session_boot_id=other), shell=shell).outcome is Outcome.GONE
        ours = replace(record, session_uid=record.session_uid + 1)
        assert run(ours, shell=shell).outcome is Outcome.NOT_OURS
        assert run(play(folder, name="nginx").record, shell=shell).outcome is Outcome.NOT_OURS
        assert run(busy(folder, "cat").record, shell=shell).outcome is Outcome.NOT_OURS
        assert all(session.is_alive for session in _PLAYED)

    def test_it_was_gone(self, folder: Path, shell: str) -> None:
        session = play(folder)
        session.child.kill()
        session.child.wait()
        ended = run(session.record, shell=shell)
        assert ended == Ended(Outcome.GONE, "our old session has ended by itself")

    def test_half_of_it_does_nothing(self, folder: Path, shell: str) -> None:
        """Wherever the line breaks, before the one that runs it all."""
        session = play(folder)
        script = end_script("N", session.record, ())
        argv = command(shell)
        last = script.rindex(b"\nend_session")
        for length in {last, *range(0, last, 97)}:
            done = subprocess.run(argv, input=script[:length], capture_output=True, check=False)
            assert b"begin" not in done.stdout
        assert session.is_alive


def busy(folder: Path, what: str) -> Session:
    """With a child."""
    return play(folder, f"subprocess.Popen({what.split()!r}, stdin=subprocess.PIPE)")


def test_a_zombie_has_ended(folder: Path) -> None:
    session = play(folder)
    session.child.kill()
    os.waitid(os.P_PID, session.child.pid, os.WEXITED | os.WNOWAIT)
    assert run(session.record).outcome is Outcome.GONE


def test_a_stopped_one_is_ended_too(folder: Path) -> None:
    session = play(folder)
    os.kill(session.child.pid, signal.SIGSTOP)
    assert run(session.record).outcome is Outcome.ENDED
    assert session.child.wait(10) == -signal.SIGKILL


def test_what_a_dead_line_left_of_our_own_look_is_nobody(folder: Path) -> None:
    """Its login shell may stand in between, or have made way for it."""
    code = (
        "a = subprocess.Popen(['sh', '-s'], stdin=subprocess.PIPE);"
        "b = subprocess.Popen(['bash', '-c', 'sh -s'], stdin=subprocess.PIPE);"
        f"c = subprocess.Popen([{PYTHON!r}, '-ISc', 'input()', '-c', 'sh -s'],"
        " stdin=subprocess.PIPE)"
    )
    session = play(folder, code)
    assert run(session.record).outcome is Outcome.ENDED


@pytest.mark.parametrize("what", ["sh", "sh -s x", "cat"])
def test_anything_else_below_it_is_somebody(folder: Path, what: str) -> None:
    session = busy(folder, what)
    ended = run(session.record)
    assert ended == Ended(Outcome.NOT_OURS, "something runs in the recorded session")
    assert session.is_alive


def test_a_title_with_a_terminal(folder: Path) -> None:
    session = play(folder, "'sshd: ann@pts/0 '")
    ended = run(session.record)
    assert (ended.outcome, session.is_alive) == (Outcome.NOT_OURS, True)
    assert "terminal" in ended.reason


def test_a_terminal_of_its_own(folder: Path) -> None:
    ours, theirs = os.openpty()
    code = f"import fcntl, termios; fcntl.ioctl({theirs}, termios.TIOCSCTTY, 0)"
    session = play(folder, code, pass_fds=[theirs])
    os.close(theirs)
    ended = run(session.record)
    assert (ended.outcome, session.is_alive) == (Outcome.NOT_OURS, True)
    os.close(ours)


def test_never_one_that_it_comes_from(folder: Path) -> None:
    session = play(folder, "subprocess.Popen(['bash', '-c', 'sh -s'])")
    assert session.child.stdin is not None
    assert session.child.stdout is not None
    session.child.stdin.write(end_script("N", session.record, ()))
    session.child.stdin.flush()
    lines: list[bytes] = []
    for line in session.child.stdout:
        lines.append(line)
        if line == b"end N\n":
            break
    ended = read_end("N", 0, b"".join(lines), b"")
    assert ended == Ended(Outcome.NOT_OURS, "the recorded process is the one that asks")
    assert session.is_alive


def test_a_port_that_somebody_else_has(folder: Path) -> None:
    """It is waited for, a little, and then told: whose of the account's it is cannot be seen."""
    port = free_port()
    holder = play(folder, f"s = socket.create_server(('127.0.0.1', {port}))", name="nginx")
    ended = run(play(folder).record, port)
    assert (ended.outcome, ended.taken) == (Outcome.ENDED, (Taken(port, os.getuid()),))
    assert holder.is_alive


@needs_namespaces
def test_one_that_is_hidden(folder: Path) -> None:
    """Its part of /proc shows nothing: no proof, and no word that it is gone."""
    session = play(folder)
    hide = f"mount -t tmpfs tmpfs /proc/{session.child.pid} && exec sh -s"
    ended = run(session.record, argv=["unshare", "--mount", "sh", "-c", hide])
    assert ended == Ended(
        Outcome.NOT_OURS, "the server's /proc does not show whose the old session is"
    )
    assert session.is_alive


@needs_root
def test_another_account(folder: Path) -> None:
    """Root may end it, and does not; and an account does not end what root has."""
    other = play(folder, user=64321, group=64321, extra_groups=[])
    record = replace(other.record, session_uid=64321)
    assert run(record).reason == "the sign-in is another account's than the old session was"
    assert run(other.record).reason == "the recorded process is another account's"
    roots = play(folder).record
    more = {"user": 64321, "group": 64321, "extra_groups": []}
    assert run(roots, **more).outcome is Outcome.NOT_OURS
    assert run(replace(roots, session_uid=64321), **more).outcome is Outcome.NOT_OURS
    assert all(session.is_alive for session in _PLAYED)
    assert run(record, **more).outcome is Outcome.ENDED
