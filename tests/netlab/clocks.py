"""A process for which the machine has been suspended: its boot clock has gone on without it.

Laws. Nothing in the process is replaced: it reads its kernel's clocks, and is moved into a time
namespace in which CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC by as long as it "slept". A process
can only move itself, so three system calls are put into its mouth by ptrace(2) while it stands
still; its registers and its memory are as they were afterwards. Root's processes with one thread,
on Linux of x86-64 alone: see `missing_for_suspend`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.sshd import SBIN
from tests.support.waiting import wait_for

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])
# linux/ptrace.h, linux/sched.h and the table of system calls of x86-64
_PTRACE_SINGLESTEP, _PTRACE_GETREGS, _PTRACE_SETREGS = 9, 12, 13
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_CLONE_NEWTIME = 0x80
_CLOSE, _SETNS, _PIDFD_OPEN = 3, 308, 434
_SYSCALL = b"\x0f\x05"
_MOST_STEPS = 100


class _Registers(ctypes.Structure):
    """user_regs_struct of sys/user.h."""

    _fields_ = tuple(
        (name, ctypes.c_ulong)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx"),
            *("rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss"),
            *("fs_base", "gs_base", "ds", "es", "fs", "gs"),
        )
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def _ptrace(request: int, pid: int, data: object = None) -> None:
    if _libc.ptrace(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace({request}): {os.strerror(number)}")


def let_boot_clock_run_ahead(pid: int, seconds: int) -> None:
    """CLOCK_BOOTTIME of that process (a pid as seen from here) is ahead by that much, in all.

    It may stand still. OSError where it may not or can not be moved.
    """
    holder = subprocess.Popen(
        [*_enter_pids_of(pid), "unshare", "--time", "--boottime", str(seconds), "sleep", "1000"],
        env=os.environ | {"PATH": PATH},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _move(pid, _number_inside(_wait_until_ahead(holder)))
    finally:
        for one in _family(holder.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        holder.wait()


def _wait_until_ahead(holder: subprocess.Popen[bytes]) -> int:
    """The process below `holder` that is in another time namespace than we."""
    ours = _time_namespace(os.getpid())

    def found() -> int:
        if holder.poll() is not None:
            raise OSError(f"unshare --time ended with {holder.returncode}")
        return next((one for one in _family(holder.pid) if _time_namespace(one) != ours), 0)

    return wait_for(found, within=20, what="a time namespace is made")


def _enter_pids_of(pid: int) -> tuple[str, ...]:
    """A pid means something to a process only among those that it can see."""
    ours, its = (Path("/proc", str(one), "ns", "pid").readlink() for one in (os.getpid(), pid))
    return () if ours == its else ("nsenter", f"--target={pid}", "--pid")


def _number_inside(pid: int) -> int:
    status = Path("/proc", str(pid), "status").read_text()
    found = re.search(r"^NSpid:.*?(\d+)$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def _time_namespace(pid: int) -> str:
    try:
        return str(Path("/proc", str(pid), "ns", "time").readlink())
    except OSError:  # it has gone, or the kernel is older than 5.6
        return ""


def _family(pid: int) -> list[int]:
    """A process, its children and theirs: which of them is moved differs between kernels."""
    found: list[int] = []
    queue = [pid]
    while queue:
        one = queue.pop()
        children = Path("/proc", str(one), "task", str(one), "children")
        try:
            queue += [int(word) for word in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(one)
    return found


def _move(pid: int, holder: int) -> None:
    _ptrace(_PTRACE_ATTACH, pid)
    _wait_for_stop(pid)
    try:
        before = _Registers()
        _ptrace(_PTRACE_GETREGS, pid, ctypes.byref(before))
        place = _find_syscall(pid)
        try:
            descriptor = _call(pid, before, place, _PIDFD_OPEN, holder, 0)
            try:
                _call(pid, before, place, _SETNS, descriptor, _CLONE_NEWTIME)
            finally:
                _call(pid, before, place, _CLOSE, descriptor, 0)
        finally:
            # With the number of the system call in which it was: the kernel begins that anew.
            _ptrace(_PTRACE_SETREGS, pid, ctypes.byref(before))
    finally:
        _ptrace(_PTRACE_DETACH, pid)


def _call(pid: int, before: _Registers, place: int, number: int, first: int, second: int) -> int:
    registers = _Registers.from_buffer_copy(before)
    registers.rip, registers.rax = place, number
    registers.rdi, registers.rsi = first, second
    registers.orig_rax = ctypes.c_ulong(-1).value  # in no system call: nothing is begun anew
    _ptrace(_PTRACE_SETREGS, pid, ctypes.byref(registers))
    for _ in range(_MOST_STEPS):  # a STOP that is due comes before the step
        _ptrace(_PTRACE_SINGLESTEP, pid)
        _wait_for_stop(pid)
        _ptrace(_PTRACE_GETREGS, pid, ctypes.byref(registers))
        if registers.rip != place:
            break
    result = ctypes.c_long(registers.rax).value
    if result < 0:
        raise OSError(-result, f"system call {number}: {os.strerror(-result)}")
    return result


def _find_syscall(pid: int) -> int:
    """Where its own code has that instruction."""
    with Path("/proc", str(pid), "mem").open("rb", buffering=0) as memory:
        for line in Path("/proc", str(pid), "maps").read_text().splitlines():
            area, modes, *_ = line.split()
            if "x" not in modes or line.endswith(("[vsyscall]", "[vdso]")):
                continue
            begin, end = (int(word, 16) for word in area.split("-"))
            memory.seek(begin)
            at = memory.read(end - begin).find(_SYSCALL)
            if at >= 0:
                return begin + at
    raise OSError(f"process {pid} has no code of its own for a system call")


def _wait_for_stop(pid: int) -> None:
    _, status = os.waitpid(pid, 0x40000000)  # __WALL: it is no child of ours
    if not os.WIFSTOPPED(status):
        raise ProcessLookupError(f"process {pid} has ended")


# Prints how far its boot clock is ahead of the other one, each time that it is asked.
_CLOCK = """
import sys, time
for _ in sys.stdin:
    print(time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic(), flush=True)
"""


@cache
def missing_for_suspend() -> str | None:
    """Why no process can be made to have slept here; None where it can: it is tried."""
    if platform.machine() != "x86_64":
        return "a process is moved in time by system calls of x86-64"
    if shutil.which("unshare", path=PATH) is None:
        return "no unshare on this machine"
    with subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _CLOCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as clock:
        try:
            before = _ask(clock)
            let_boot_clock_run_ahead(clock.pid, 1000)
            ahead = _ask(clock) - before
        except (OSError, AssertionError) as error:
            return f"this machine lets no process be moved in time: {error}"
        finally:
            clock.kill()
    return None if ahead > 500 else "a process that was moved in time has not noticed"


def _ask(clock: subprocess.Popen[str]) -> float:
    assert clock.stdin is not None
    assert clock.stdout is not None
    clock.stdin.write("\n")
    clock.stdin.flush()
    return float(clock.stdout.readline())
