"""A short program beside the loop: started, fed, read, and killed at its deadline.

Laws. Nothing here waits, and no thread is made. `on_done` is called once, from the loop, never from
the constructor and never after `cancel`. The deadline is kept even by a program that nothing ends
(a client of a dead line): it is killed, told of at once, and reaped whenever it goes. Where it may
tidy up first (`grace`), it is told to end, and its whole group is killed behind it. An output is
read to the end of the program, not of the pipe: a grandchild may hold that open for ever. A
program that writes more than it may is ended as at its deadline.

Pipes and a session of its own: it asks nobody anything, and Ctrl-C at our terminal is not its own.
One that could outlive us (a sign-in that hangs on its server) has a pty of ours for its stderr and
controlling terminal: that ends with this process, whatever it ends by, and hangs up on it.
0, 1 and 2 are taken in this process (child.py sees to it).
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

KEPT_BYTES = 65536  # of each output, unless told; what comes after is read and dropped
# Of a session on a server: a greeting of the login shell is a few lines, an answer a few KiB.
SESSION_BYTES = 1 << 20
_CHUNK_BYTES = 65536
_LAST_CHUNKS = 4  # what is read at the end: a grandchild can go on writing for ever
# Where the kernel does not tell of a death (no pidfd: macOS, an old kernel).
_FIRST_LOOK, _LATEST_LOOK = 0.005, 0.5
_RESETTABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended and what it said.

    `status` or `signal` is set; neither where it was killed, at its deadline (`timed_out`) or since
    it wrote too much (`flooded`), or where somebody else has reaped it.
    """

    status: int | None
    signal: int | None
    out: bytes
    err: bytes
    timed_out: bool = False
    flooded: bool = False


class Errand:
    """One program. `deadline` is in seconds from now; `env` is the whole environment.

    `argv[0]` is looked up on PATH of `env` unless it holds a slash; raises OSError where it cannot
    be started. `stdin` None: /dev/null. `most_bytes`: of its outputs together; None: it may write
    for ever, until its deadline. `dies_with_us`: also where we are killed (on Linux; elsewhere it
    may live on). `directory`: where it starts; None: where we are. `grace`: seconds between TERM
    and KILL at its end by us.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        loop: asyncio.AbstractEventLoop,
        stdin: bytes | None = b"",
        deadline: float,
        on_done: Callable[[Done], None],
        kept_bytes: int = KEPT_BYTES,
        most_bytes: int | None = None,
        dies_with_us: bool = False,
        directory: str | None = None,
        grace: float = 0.0,
    ) -> None:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Inherited; the kernel would reap it and nobody would learn how it ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._loop = loop
        self._on_done: Callable[[Done], None] | None = on_done
        self._unsent = memoryview(stdin or b"")
        self._kept_bytes = kept_bytes
        self._kept: dict[int, bytearray] = {}  # by descriptor: stdout first, then stderr
        self._ended = False
        self._pidfd = -1
        self._look_delay = _FIRST_LOOK
        self._look: asyncio.TimerHandle | None = None
        self._most_bytes = most_bytes
        self._read_bytes = 0
        self._grace = grace
        self._told_to_end = False
        with _inside(directory):
            self.pid, self._stdin, self._outputs = _start(
                argv, env, on_terminal=dies_with_us, has_stdin=stdin is not None
            )
        self._deadline = loop.call_later(deadline, self._too_late)
        self._open = {each for each in (self._stdin, *self._outputs) if each >= 0}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
        for descriptor in self._outputs:
            self._kept[descriptor] = bytearray()
            loop.add_reader(descriptor, self._readable, descriptor)
        self._write()
        self._watch_death()

    def cancel(self) -> None:
        """Kill it; nothing is told. No error where it has ended or was cancelled."""
        self._on_done = None
        self._give_up()

    def end(self) -> None:
        """As at its deadline, now. No error where it has ended, or was told so before."""
        if self._on_done is not None and not self._told_to_end:
            self._deadline.cancel()
            self._too_late()

    def _give_up(self) -> None:
        self._deadline.cancel()
        for descriptor in list(self._open):
            self._close(descriptor)
        if not self._ended:
            self._signal_group(signal.SIGKILL)
            if self._told_to_end:
                self._told_to_end = False
                self._watch_death()

    def _signal_group(self, number: int) -> None:
        # It leads a group of its own, and is not reaped, so the number is its own.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _too_late(self) -> None:
        if self._grace and not self._told_to_end:
            # From here on it is not reaped before the grace is over: its number stays that of its
            # group, and what it has started is killed with it.
            self._told_to_end = True
            self._unwatch_death()
            self._signal_group(signal.SIGTERM)
            self._deadline = self._loop.call_later(self._grace, self._too_late)
            return
        for descriptor in self._outputs:
            self._read(descriptor)
        self._give_up()
        self._tell(None, None, timed_out=True)

    def _tell(
        self,
        status: int | None,
        number: int | None,
        *,
        timed_out: bool = False,
        flooded: bool = False,
    ) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            out, err = (bytes(self._kept[descriptor]) for descriptor in self._outputs)
            on_done(Done(status, number, out, err, timed_out, flooded))

    # --- its pipes -----------------------------------------------------------

    def _write(self) -> None:
        try:
            sent = os.write(self._stdin, self._unsent[:_CHUNK_BYTES]) if self._unsent else 0
            self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it does not want the rest
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._close(self._stdin)
        else:
            self._loop.add_writer(self._stdin, self._write)

    def _readable(self, descriptor: int) -> None:
        self._read_bytes += self._read(descriptor)
        if self._most_bytes is not None and self._read_bytes > self._most_bytes:
            self._give_up()
            self._tell(None, None, flooded=True)

    def _read(self, descriptor: int) -> int:
        """Read once; the bytes read, 0 where there are none."""
        if descriptor not in self._open:
            return 0
        try:
            data = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""  # Linux says EIO where nobody has the terminal open any more
        if data:
            kept = self._kept[descriptor]
            kept += data[: self._kept_bytes - len(kept)]
        else:
            self._close(descriptor)
            self._look_soon()  # the end of its output nearly always is its own
        return len(data)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            os.close(descriptor)

    # --- its death -----------------------------------------------------------

    def _watch_death(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            self._look_again()
        else:
            self._loop.add_reader(self._pidfd, self._check_death)

    def _unwatch_death(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_again(self) -> None:
        self._look = self._loop.call_later(self._look_delay, self._check_death)
        self._look_delay = min(2 * self._look_delay, _LATEST_LOOK)

    def _look_soon(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look_delay = _FIRST_LOOK
            self._look_again()

    def _check_death(self) -> None:
        status: int | None = None
        number: int | None = None
        try:
            pid, code = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # reaped behind our back
            pass
        else:
            if pid == 0:
                if self._look is not None:
                    self._look_again()
                return
            if os.WIFSIGNALED(code):
                number = os.WTERMSIG(code)
            else:
                status = os.WEXITSTATUS(code)
        self._ended = True
        self._unwatch_death()
        for descriptor in self._outputs:
            for _ in range(_LAST_CHUNKS):
                if not self._read(descriptor):
                    break
        self._give_up()
        self._tell(status, number)


@contextmanager
def _inside(directory: str | None) -> Iterator[None]:
    """posix_spawn knows no directory of its own: this thread, the only one, goes there and back."""
    if directory is None:
        yield
        return
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    try:
        os.chdir(directory)
        try:
            yield
        finally:
            os.fchdir(before)
    finally:
        os.close(before)


def _start(
    argv: Sequence[str], env: Mapping[str, str], *, on_terminal: bool, has_stdin: bool
) -> tuple[int, int, tuple[int, int]]:
    """Start it -> (pid, its stdin, (its stdout, its stderr)): our ends of three pipes, or of two
    and a pty; its stdin is -1 where it has /dev/null."""
    program = argv[0]
    if "/" not in program:
        program = shutil.which(program, path=env.get("PATH", os.defpath)) or program
    opened: list[int] = []
    try:
        for _ in range(2):
            opened += os.pipe()
        opened += _open_pty() if on_terminal else os.pipe()
        stdin, stdin_write, out, out_write, err, err_write = opened
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_DUP2, descriptor, number)
            for number, descriptor in enumerate((stdin, out_write, err_write))
        ]
        if on_terminal:
            # Not a copy of ours: the first terminal that the leader of a session opens, and setsid
            # comes before these, is its controlling one.
            actions[2] = (os.POSIX_SPAWN_OPEN, 2, os.ttyname(err_write), os.O_RDWR, 0)
        if not has_stdin:
            actions[0] = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        pid = os.posix_spawn(
            program,
            list(argv),
            env,
            file_actions=actions,
            setsid=True,
            # "Ignored" would survive the exec.
            setsigdef=_RESETTABLE,
            setsigmask=(),
        )
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise
    for descriptor in (stdin, out_write, err_write):
        os.close(descriptor)
    if not has_stdin:
        os.close(stdin_write)
        stdin_write = -1
    return pid, stdin_write, (out, err)


def _open_pty() -> tuple[int, int]:
    """(ours, its own): what is written comes out as it is, and nothing is ever typed."""
    ours, its_own = os.openpty()
    attributes = termios.tcgetattr(its_own)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(its_own, termios.TCSANOW, attributes)
    return ours, its_own
