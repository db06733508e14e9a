"""A host: a process in network, mount, pid, host name and IPC namespaces of its own.

Laws. A host ends with the process that made it, also when that is killed: see host_init.py. It has
no name on the machine, changes no file of it, and only processes in it are ever signalled. Root on
Linux alone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import Process, descendants, process, processes
from tests.support.sshd import SBIN
from tests.support.waiting import wait_for

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])
HERE = Path(__file__).parent
INIT = HERE / "host_init.py"
# Without site-packages and the caller's environment: our own little programs start in 15 ms.
PYTHON = (sys.executable, "-S", "-E")
NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid")


class Account:
    """Somebody who may run programs in a host: `home` is the path there."""

    def __init__(self, name: str, uid: int, home: str, shell: str = "/bin/bash") -> None:
        self.name, self.uid, self.home, self.shell = name, uid, home, shell


ROOT = Account("root", 0, "/root")


class Host:
    """`with Host("home", folder) as host: host.run("ip", "address")`.

    `folder` is the lab's. `lower` is as in host_init.py.
    """

    def __init__(self, name: str, folder: Path, *, lower: str | None = None) -> None:
        self.name = name
        self.folder = folder / name
        self.lower = lower
        self.binds: list[tuple[str, str]] = []
        self.cgroups: list[str] = []  # to be made for it, and removed at its end
        self.accounts: dict[str, Account] = {"root": ROOT}
        self._init: subprocess.Popen[str] | None = None
        self._programs: list[Program] = []
        self._numbers = itertools.count(1)

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        work = self.folder / "work"
        work.mkdir(parents=True)
        plan = {
            **{"name": self.name, "work": str(work), "lower": self.lower},
            **{"binds": self.binds, "cgroups": self.cgroups},
        }
        child = subprocess.Popen(
            [
                *(_found("unshare"), *NAMESPACES, "--fork", "--kill-child=KILL"),
                *(*PYTHON, str(INIT), json.dumps(plan)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environ(ROOT),
            start_new_session=True,
        )
        self._init = child
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            _, said = child.communicate(timeout=10)
            self._init = None
            raise RuntimeError(f"host {self.name}: {said.strip()}")
        return self

    def end(self) -> None:
        """Everything in it at once, without a word to anybody outside; no error if it is over."""
        child, self._init = self._init, None
        if child is None:
            return
        child.kill()
        child.communicate(timeout=10)
        for program in self._programs:
            program.stop()
        self._programs.clear()
        self.__dict__.pop("pid", None)

    def __enter__(self) -> Self:
        return self if self._init is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @cached_property
    def pid(self) -> int:
        """Of its first process, as seen from outside."""
        if self._init is None:
            raise RuntimeError(f"host {self.name} is not up")
        unshare = self._init.pid
        return next(below.pid for below in descendants(unshare) if below.parent == unshare)

    @property
    def root(self) -> Path:
        """Its files, from outside: `host.root / "etc/passwd"`."""
        return Path("/proc", str(self.pid), "root")

    # --- programs ------------------------------------------------------------------------------

    def enter(
        self, *argv: str, account: str = "root", cwd: str | None = None, tools: bool = False
    ) -> list[str]:
        """The command line that runs `argv` there, to be started with `environ(account)`.

        `tools`: with the machine's files in place of the host's, for programs that those lack.
        """
        who = self.accounts[account]
        words = [_found("nsenter"), f"--target={self.pid}"]
        words += ["--net", "--uts", "--ipc", "--pid"]
        if not tools:
            words += ["--mount", "--root", "--wd"]
        if who.uid:
            words += [f"--setuid={who.uid}", f"--setgid={who.uid}"]
        if not tools:
            words += ["--", "env", "-C", cwd or who.home]
        return [*words, *argv]

    def environ(self, account: str = "root", **more: str) -> dict[str, str]:
        return self._environ(self.accounts[account]) | more

    def _environ(self, who: Account) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": who.home,
            "USER": who.name,
            "LOGNAME": who.name,
            "SHELL": who.shell,
            "LC_ALL": "C.UTF-8",
            "TERM": os.environ.get("TERM", "xterm-256color"),
        }

    def run(
        self,
        *argv: str,
        account: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tools: bool = False,
        text: str = "",
        check: bool = True,
        within: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """One command to its end, `text` on its standard input; RuntimeError where it fails."""
        done = subprocess.run(
            self.enter(*argv, account=account, cwd=cwd, tools=tools),
            env=self.environ(account, **(env or {})),
            input=text,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if check and done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise RuntimeError(f"{self.name}: {shlex.join(argv)}: {done.returncode}: {said}")
        return done

    def popen(
        self,
        *argv: str,
        account: str = "root",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tools: bool = False,
    ) -> Program:
        """A command that goes on until it is stopped or the host ends."""
        name = f"{Path(argv[0]).name}-{next(self._numbers)}.log"
        command = self.enter(*argv, account=account, cwd=cwd, tools=tools)
        program = Program(command, self.environ(account, **(env or {})), self.folder / name)
        self._programs.append(program)
        return program

    def processes(self) -> list[Process]:
        """All that live in it but its first one, by pid (as seen from outside)."""
        ours = _pid_namespace(self.pid)
        return processes(lambda one: one.pid != self.pid and _pid_namespace(one.pid) == ours)

    def has(self, pid: int) -> bool:
        """Whether that process (as seen from outside) lives in this host."""
        return self._init is not None and _pid_namespace(pid) == _pid_namespace(self.pid)

    def kill_all(self) -> None:
        """KILL every process but its first; return when they are gone."""

        def gone() -> bool:
            for one in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            return not self.processes()

        wait_for(gone, what=lambda: f"{self.name}: {[one.title for one in self.processes()]} end")

    def power_off(self) -> None:
        """Everything that runs is gone, and what the kernel knew of connections with it.

        Whoever calls this has cut the line before: no FIN and no RST shall get out.
        """
        self.kill_all()
        # Without a process TCP would go on by itself: resend, say FIN, wait.
        self.run("ss", "-K", "state", "all", tools=True)
        wait_for(
            lambda: not self.run("ss", "-Htan", tools=True).stdout,
            what=lambda: f"no socket: {self.run('ss', '-tan', tools=True).stdout}",
        )

    def boot(self) -> None:
        """Another boot id; what runs after a boot is for the caller to start."""
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n")

    def boot_id(self) -> str:
        return (self.root / "proc/sys/kernel/random/boot_id").read_text().strip()

    # --- its network ---------------------------------------------------------------------------

    def ip(self, *commands: str) -> None:
        """Commands of ip(8), in one go: `host.ip("addr add 192.0.2.1/24 dev lan", "-6 route …")`.

        Those that begin with -6 come last. A pid in them ("netns PID") is one as seen from outside.
        """
        six = [command.removeprefix("-6 ") for command in commands if command.startswith("-6 ")]
        four = [command for command in commands if not command.startswith("-6 ")]
        for option, batch in (([], four), (["-6"], six)):
            if batch:
                self._ip([*option, "-batch", "-"], batch)

    def _ip(self, options: Sequence[str], batch: Sequence[str]) -> None:
        done = subprocess.run(
            [_found("nsenter"), f"--target={self.pid}", "--net", "ip", *options],
            env=self.environ(),
            input="\n".join(batch) + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {batch}: {done.stderr.strip()}")

    def sysctl(self, **values: int | str) -> None:
        """Of net/…, "/" in a name as "__": sysctl(net__ipv4__ip_forward=1)."""
        sets = [
            f"echo {shlex.quote(str(value))} >/proc/sys/{name.replace('__', '/')}"
            for name, value in values.items()
        ]
        # Through the host's own /proc: in a container the machine's may be read-only.
        self.run("sh", "-ec", "\n".join(sets), cwd="/")

    def listeners(self, port: int) -> set[str]:
        """The addresses at which somebody there listens at a TCP port: {"0.0.0.0", "::"}.

        "*" is one socket for both families.
        """
        done = self.run("ss", "-H", "-l", "-t", "-n", f"sport = :{port}", tools=True)
        rows = [line.split() for line in done.stdout.splitlines()]
        return {row[3].rpartition(":")[0].strip("[]") for row in rows}

    # --- its people ----------------------------------------------------------------------------

    def add_account(self, account: Account) -> Account:
        """In its /etc alone; the home is made. Names and numbers of the copied system give way."""
        for name, line in (
            ("passwd", f"{account.name}:x:{account.uid}:{account.uid}::"),
            ("group", f"{account.name}:x:{account.uid}:"),
            ("shadow", f"{account.name}:*:19000::::::"),
        ):
            if name == "passwd":
                line += f"{account.home}:{account.shell}"
            path = self.root / "etc" / name
            kept = [
                old
                for old in path.read_text().splitlines()
                if old.split(":")[0] != account.name
                and (name == "shadow" or old.split(":")[2] != str(account.uid))
            ]
            path.write_text("\n".join([*kept, line]) + "\n")
        self.accounts[account.name] = account
        self.put(account.home, None, account.name, 0o700 if account.uid else 0o755)
        return account

    def put(self, path: str, text: str | None, account: str = "root", mode: int = 0o600) -> None:
        """A file with that text, or a folder where it is None, for that account."""
        here = self.root / path.lstrip("/")
        uid = self.accounts[account].uid
        if text is None:
            here.mkdir(parents=True, exist_ok=True)
        else:
            here.write_text(text)
        os.chown(here, uid, uid)
        here.chmod(mode)


class Program:
    """A program in a host. `pid` is its own, not that of the nsenter(1) which stands before it."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self._child = subprocess.Popen(
                argv,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @cached_property
    def pid(self) -> int:
        """As seen from outside; RuntimeError where it ended at once."""

        def found() -> int:
            below = [one.pid for one in descendants(self._child.pid)]
            if not below and not self.is_alive:
                raise RuntimeError(f"it ended with {self._child.returncode}: {self.output()}")
            return below[0] if below else 0

        return wait_for(found, what=lambda: f"it starts: {self.output()}")

    @property
    def is_alive(self) -> bool:
        return self._child.poll() is None

    def output(self) -> str:
        """What it wrote so far, stdout and stderr together."""
        return self.log.read_text(errors="replace")

    def wait_for_words(self, text: str, *, within: float = 20) -> None:
        """Until they stand in its output."""

        def said() -> bool:
            if text in self.output():
                return True
            if not self.is_alive:
                raise RuntimeError(f"it ended with {self._child.returncode}: {self.output()}")
            return False

        wait_for(said, within=within, what=lambda: f"{text!r} in {self.output()[-2000:]!r}")

    def signal(self, number: int) -> None:
        """No error where it is gone."""
        below = descendants(self._child.pid) if self.is_alive else []
        if below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(below[0].pid, number)

    def wait(self, *, within: float = 20) -> int:
        """Its exit status, -N where signal N ended it."""
        return self._child.wait(timeout=within)

    def stop(self) -> None:
        """KILL; no error where it is gone."""
        self.signal(signal.SIGKILL)
        # Where that stood still, nsenter does, until somebody wakes it.
        self._child.send_signal(signal.SIGCONT)
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def nsenter_above(pid: int) -> int | None:
    """The nsenter(1) that waits for that process, which stops and goes on with it."""
    found = process(pid)
    above = process(found.parent) if found else None
    return above.pid if above and Path(above.argv[0]).name == "nsenter" else None


def _pid_namespace(pid: int) -> str:
    try:
        return str(Path("/proc", str(pid), "ns", "pid").readlink())
    except OSError:  # it has gone meanwhile
        return ""


def _found(program: str) -> str:
    path = shutil.which(program, path=PATH)
    if path is None:
        raise FileNotFoundError(f"no {program} on this machine")
    return path
