"""The only spawner of tunnels: start one ssh, read it, signal it, reap it.

Laws. Nothing here waits: no call stops the loop for longer than a fork and an exec take. Nothing is
left behind: an error in the constructor leaves no descriptor, no process and no zombie. A child
cannot outlive us: its controlling terminal is the pty that ends with this process, and it starts
with every signal at its default. A turn of the loop reads at most 64 KiB of each stream. Death is
learned from the kernel, never from an end of file: a child may close its terminal and live, or die
while a grandchild holds its terminal open.

ssh's stdin, stderr and controlling terminal are the pty ("terminal": banner, prompts, usage errors,
what a ProxyJump's ssh says); its stdout is a pipe of ours, which ssh is told to log to ("log").
The working directory is inherited: relative names in ssh_config mean what they mean to a plain ssh.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import signal
import termios
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Never

import pexpect
import ptyprocess  # type: ignore[import-untyped]  # pexpect's own foundation; has no types

from sshwrap.ssh.lines import LineSplitter

if TYPE_CHECKING:
    _PexpectSpawn = pexpect.spawn[bytes]
else:
    _PexpectSpawn = pexpect.spawn

# What a pipe holds on Linux, so one read takes all that was written before it.
_CHUNK_BYTES = 65536
# How long a busy log is left alone. ssh writes line by line, eight to a visitor; waking up for each
# made a visitor cost half as much again (150 us against 100). The pipe holds what ten thousand
# visitors a second write in that time. The first words after a silence are read at once.
_BUSY_PAUSE = 0.01
# What may still lie in the buffers of a child that has ended. Bounded, because a grandchild that
# shares them can go on writing for ever.
_LAST_BYTES = 4 * _CHUNK_BYTES
# Where the kernel does not tell of a death (no pidfd: macOS, an old kernel): looks at the child,
# soon after an end of file, which nearly always is its death, then ever less often.
_FIRST_LOOK, _LATEST_LOOK = 0.005, 0.5
_RESETTABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_ROWS_AND_COLUMNS = (24, 80)


class Source(Enum):
    LOG = "log"
    TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: one of the two is set; neither where somebody else has reaped it."""

    status: int | None
    signal: int | None


class _Stream:
    """One of the two things a child writes to; `descriptor` is -1 once nobody reads it."""

    __slots__ = ("descriptor", "source", "splitter")

    def __init__(self, source: Source, descriptor: int) -> None:
        self.source = source
        self.descriptor = descriptor
        self.splitter = LineSplitter()


class Child:
    """One running ssh. Its callbacks are called from the loop, never from the constructor.

    `argv`: the program (looked up on PATH of `env` unless it holds a slash) and at least one
    argument. `env` is the whole environment. `on_lines` gets complete lines in batches, what the
    log holds before what the terminal holds; `on_exit` is called exactly once, after the last line,
    and never after `close`. Raises OSError where the program cannot be started.
    """

    pid: int

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        loop: asyncio.AbstractEventLoop,
        on_lines: Callable[[Source, list[str]], None],
        on_exit: Callable[[Exit], None],
    ) -> None:
        if threading.active_count() > 1:
            # An error in the tests. A person's tunnel is rather started: the copied locks of a
            # thread hurt a fork that only execs hardly ever.
            names = ", ".join(thread.name for thread in threading.enumerate())
            warnings.warn(f"ssh is started beside threads: {names}", RuntimeWarning, stacklevel=2)
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Inherited from whoever started us; the kernel would then reap our children itself
            # and nobody would learn how they ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._loop = loop
        self._on_lines = on_lines
        self._on_exit = on_exit
        self._closed = False
        self._ended = False
        self._pidfd = -1
        self._look: asyncio.TimerHandle | None = None
        self._look_delay = _FIRST_LOOK
        self._log_read_at = -1.0
        _occupy_stdio()
        log, log_write = os.pipe()
        try:
            self._spawn = _Spawn(argv, env, log_write)
        except BaseException:
            os.close(log)
            raise
        finally:
            os.close(log_write)  # else the log would never end
        self.pid = self._spawn.ptyproc.pid
        self._log = _Stream(Source.LOG, log)
        self._terminal = _Stream(Source.TERMINAL, self._spawn.child_fd)
        try:
            self._watch_death()
            for stream, read in (
                (self._log, self._log_readable),
                (self._terminal, self._terminal_readable),
            ):
                os.set_blocking(stream.descriptor, False)
                loop.add_reader(stream.descriptor, read)
        except BaseException:
            self.close()
            raise

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it is gone."""
        if self._ended:
            return
        with suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)  # not reaped yet, so the number is still its own

    def close(self) -> None:
        """Give up watching: nothing is called from here on. Kills it where it is alive.

        The loop reaps it when it has died, which takes a kill less than a millisecond.
        """
        if self._closed:
            return
        self._closed = True
        self._stop_reading(self._log)
        self._stop_reading(self._terminal)
        self.signal(signal.SIGKILL)

    def _log_readable(self) -> None:
        now = self._loop.time()
        is_busy = now - self._log_read_at < 2 * _BUSY_PAUSE
        self._log_read_at = now
        count = self._read(self._log)
        # A flood fills the pipe and is read as fast as it comes: ssh must not wait for us.
        if is_busy and count < _CHUNK_BYTES // 2 and self._log.descriptor >= 0:
            self._loop.remove_reader(self._log.descriptor)
            self._loop.call_later(_BUSY_PAUSE, self._resume_log)

    def _resume_log(self) -> None:
        if self._log.descriptor >= 0:
            self._loop.add_reader(self._log.descriptor, self._log_readable)

    def _terminal_readable(self) -> None:
        # One read empties the pipe, so nothing older is left in the log when the terminal is read.
        self._read(self._log)
        self._read(self._terminal)

    def _read(self, stream: _Stream) -> int:
        """Read once and hand over what is complete; the bytes read, 0 where there are none.

        Not pexpect's own read_nonblocking: on an end of file that waits, blocking, for the death.
        """
        if stream.descriptor < 0:
            return 0
        try:
            data = os.read(stream.descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""  # Linux says EIO where nobody has the terminal open any more
        if not data:
            self._stop_reading(stream)
            self._flush(stream)
            self._look_soon()
        elif lines := stream.splitter.feed(data):
            self._on_lines(stream.source, lines)
        return len(data)

    def _flush(self, stream: _Stream) -> None:
        if (lines := stream.splitter.flush()) and not self._closed:
            self._on_lines(stream.source, lines)

    def _stop_reading(self, stream: _Stream) -> None:
        if stream.descriptor < 0:
            return
        self._loop.remove_reader(stream.descriptor)
        if stream is self._log:
            os.close(stream.descriptor)
        # The terminal's stays open until the death: closing it is what hangs up on a living child.
        stream.descriptor = -1

    def _watch_death(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
            self._loop.add_reader(self._pidfd, self._check_death)
        except (AttributeError, OSError):
            self._close_pidfd()
            self._look_again()

    def _look_again(self) -> None:
        """The substitute for a pidfd: no SIGCHLD handler, as a process has but one of those."""
        self._look = self._loop.call_later(self._look_delay, self._check_death)
        self._look_delay = min(2 * self._look_delay, _LATEST_LOOK)

    def _look_soon(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look_delay = _FIRST_LOOK
            self._look_again()

    def _check_death(self) -> None:
        """Reap, drain, close, tell: what a dead child wrote stays readable after it is reaped."""
        if self._ended:
            return
        ended = self._reap()
        if ended is None:
            if self._look is not None:
                self._look_again()
            return
        self._ended = True
        self._look = None
        try:
            for stream in (self._log, self._terminal):
                left = _LAST_BYTES
                while left > 0 and (count := self._read(stream)):
                    left -= count
                self._flush(stream)
        finally:
            self._stop_reading(self._log)
            self._stop_reading(self._terminal)
            self._close_pidfd()
            self._spawn.close()
            if not self._closed:
                self._closed = True
                self._on_exit(ended)

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _reap(self) -> Exit | None:
        pty = self._spawn.ptyproc
        pty.flag_eof = False  # else isalive() waits, blocking, for the death
        try:
            if pty.isalive():
                return None
        except ptyprocess.PtyProcessError:  # no such child: reaped behind our back
            pty.terminated = True
        return Exit(pty.exitstatus, pty.signalstatus)


class _Spawn(_PexpectSpawn):
    """pexpect's spawn with its waits at zero and a fork that cleans up after a failure."""

    ptyproc: Any
    child_fd: int

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: int) -> None:
        if len(argv) < 2:
            raise ValueError(f"argv: {argv!r} has no argument; pexpect would split the program")
        self._log = log
        program = _find(argv[0], env)
        super().__init__(program, list(argv[1:]), env=env, echo=False, use_poll=True)
        self.delaybeforesend = None  # 50 ms a line
        self.delayafterclose = self.delayafterterminate = 0

    def _spawnpty(self, args: list[str], **_: object) -> Any:
        """In place of PtyProcess.spawn, which loses its descriptors where fork or a pty fails.

        There a failed exec also leaves a zombie and a sleep of 0.1 s to the garbage collector.
        """
        pid, terminal = _fork(args, self.env or {}, self._log)
        pty = ptyprocess.PtyProcess(pid, terminal)
        # It sleeps 0.1 s in close(); with 100 tunnels that stops the loop for 10 s.
        pty.delayafterclose = pty.delayafterterminate = 0
        return pty


def _find(program: str, env: Mapping[str, str]) -> str:
    found = shutil.which(program, path=env.get("PATH", os.defpath))
    if found is not None:
        return found
    missing = "/" not in program or not os.path.lexists(program)
    number = errno.ENOENT if missing else errno.EACCES
    raise OSError(number, os.strerror(number), program)


def _fork(argv: list[str], env: Mapping[str, str], log: int) -> tuple[int, int]:
    """Start argv[0] (a path) on a new pty, `log` as its stdout -> (pid, our end of the pty)."""
    failure, failure_write = os.pipe()
    try:
        try:
            pid, terminal = _forkpty(lambda: _become(argv, env, log, failure_write))
        finally:
            os.close(failure_write)
        # The exec ends the child's copy, and with it this read, in a millisecond or two.
        said = os.read(failure, 4096)
    finally:
        os.close(failure)
    if said:
        os.close(terminal)
        os.waitpid(pid, 0)  # its next step after these words is _exit
        number, _, text = said.decode(errors="replace").partition(" ")
        raise OSError(int(number), text, argv[0])
    os.set_inheritable(terminal, False)  # who inherited it would keep this child alive after us
    return pid, terminal


def _forkpty(become: Callable[[], Never]) -> tuple[int, int]:
    # Blocked, so that no signal meets a child that still has our handlers: they would write to the
    # wake-up descriptor that it shares with our loop.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # Python's own word about threads comes after the fork, where an error would lose the
            # child; ours came before it.
            warnings.simplefilter("ignore")
            pid, terminal = os.forkpty()
        if pid == 0:
            become()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid, terminal


def _become(argv: list[str], env: Mapping[str, str], log: int, failure: int) -> Never:
    """In the child: exec, or say why not on `failure` and be gone."""
    try:
        # "Ignored" survives an exec: under nohup, or in a shell's background, ssh would outlive us
        # and hold the port.
        for each in _RESETTABLE:
            signal.signal(each, signal.SIG_DFL)
        attributes = termios.tcgetattr(0)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, attributes)
        termios.tcsetwinsize(0, _ROWS_AND_COLUMNS)
        os.dup2(log, 1)
        # Ours close by themselves; these are what whoever started us left open.
        limit = min(1 << 20, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.closerange(3, failure)
        os.closerange(failure + 1, limit)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(argv[0], argv, env)  # noqa: S606  (no shell is what is wanted)
    except BaseException as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        text = getattr(error, "strerror", None) or str(error)
        os.write(failure, f"{number} {text}".encode(errors="replace"))
    finally:
        os._exit(126)


def _occupy_stdio() -> None:
    """Open /dev/null as whichever of 0, 1, 2 we were started without.

    A new descriptor would take the number: the child's terminal would be put over its log, and the
    next program started would inherit this one's terminal as its stdin.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
