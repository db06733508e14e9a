"""The servers that a lab can have beside the machine's own sshd: other Debians, dropbear, systemd.

Laws. All that is true of a `Server` is true of them, but for what a docstring says. A system that
is not there, or cannot run on this machine, is a FileNotFoundError that says why.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.netlab.hosts import PATH, Program
from tests.netlab.server import Server, Value, system
from tests.support.processes import descendants, process
from tests.support.waiting import wait_for

DROPBEAR = "/usr/sbin/dropbear"
# dropbear(8) has options, where sshd_config has keywords; anything else it does not know.
DROPBEAR_OPTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("GatewayPorts", "no"): (),
    ("GatewayPorts", "yes"): ("-a",),  # "clientspecified" in truth: a port is asked for by address
    ("GatewayPorts", "clientspecified"): ("-a",),
    ("AllowTcpForwarding", "yes"): (),
    ("AllowTcpForwarding", "no"): ("-j", "-k"),
    ("AllowTcpForwarding", "local"): ("-k",),
    ("AllowTcpForwarding", "remote"): ("-j",),
}
# $0 is the system, the others its cgroups. What the host's first process has laid over the system
# (/proc, a /run of its own …) would be taken by nspawn for the system's, and its own left out. It
# keeps locks in /run, which is the machine's here.
BOOT = """
root=$0
for cgroup; do echo 0 >"$cgroup/cgroup.procs"; done
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
for folder in proc dev run tmp; do umount --recursive --lazy "$root/$folder"; done
exec systemd-nspawn --quiet --directory="$root" --boot --keep-unit --register=no \
    --machine=server --resolv-conf=off --timezone=off --link-journal=no \
    --network-namespace-path=/proc/self/ns/net
"""


def make_server(kind: str | None, name: str, folder: Path) -> Server:
    """`kind`: None (the machine's own), a Debian's name, "dropbear" or "systemd"."""
    if kind == "dropbear":
        return DropbearServer(name, folder, lower=system("bookworm-dropbear"))
    if kind == "systemd":
        return SystemdServer(name, folder, lower=system("bookworm-systemd"))
    return Server(name, folder, lower=system(kind))


class DropbearServer(Server):
    """A system without OpenSSH. Options are those of `DROPBEAR_OPTIONS`; it cannot reload."""

    @property
    def host_key(self) -> str:
        return "/etc/dropbear/dropbear_ed25519_host_key"

    def _make_host_key(self) -> None:
        self.put("/etc/dropbear", None, mode=0o755)
        for left in (self.root / "etc/dropbear").glob("*_host_key"):
            left.unlink()
        said = self.run("dropbearkey", "-t", "ed25519", "-f", self.host_key).stdout
        public = next(line for line in said.splitlines() if line.startswith("ssh-ed25519 "))
        self.put(f"{self.host_key}.pub", public + "\n", mode=0o644)

    def start_sshd(self, *, match: str | None = None, **options: Value) -> None:
        if self._sshd is not None:
            raise RuntimeError("dropbear is running already")
        if match:
            raise RuntimeError("dropbear has no Match blocks")
        known = self.options | options
        words: list[str] = []
        for keyword, value in known.items():
            if (keyword, str(value)) not in DROPBEAR_OPTIONS:
                raise RuntimeError(f"dropbear has nothing like {keyword} {value}")
            words += DROPBEAR_OPTIONS[keyword, str(value)]
        self.options = known
        # In front, its words on stderr, and a file with its pid as Debian's has it.
        argv = (DROPBEAR, "-F", "-E", "-P", "/run/dropbear.pid", "-r", self.host_key, "-p", "22")
        program = self.popen(*argv, *words)
        self._sshd = program
        self._logs.append(program.log)
        wait_for(lambda: self.listeners(22) or not program.is_alive, what="dropbear listens")
        if not program.is_alive:
            self._sshd = None
            raise RuntimeError(f"dropbear has ended: {program.output()}")

    def stop_sshd(self, *, sessions: bool = True) -> None:
        children = self._children()
        super().stop_sshd(sessions=False)
        left = [one for one in self.processes() if one.argv[:1] == (DROPBEAR,)] if sessions else []
        for pid in [*(children if sessions else []), *(one.pid for one in left)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda: not sessions or not any(process(pid) for pid in children), what="sessions end"
        )

    def reload_sshd(self, *, match: str | None = None, **options: Value) -> None:
        raise RuntimeError("dropbear reads its options at its start alone: restart_sshd")

    def sessions(self, account: str = "tunnel") -> list[int]:
        signed_in = set(re.findall(rf"\[(\d+)\] .* auth succeeded for '{account}'", self.log()))
        return [pid for pid in self._children() if _pid_inside(pid) in signed_in]

    def version(self) -> tuple[int, int]:
        """(2022, 83) of "Dropbear v2022.83"."""
        done = self.run(DROPBEAR, "-V", check=False)
        found = re.search(r"v(\d+)\.(\d+)", done.stdout + done.stderr)
        if found is None:
            raise RuntimeError(f"dropbear does not tell its version: {done}")
        return int(found[1]), int(found[2])

    def _children(self) -> list[int]:
        """One for each connection."""
        return [one.pid for one in descendants(self.sshd_pid)] if self._sshd is not None else []


class SystemdServer(Server):
    """A Debian with systemd as its first process, and its ssh.service; booted by `start_sshd`.

    Before that `run` and `root` are of the same files, and nothing of the system runs.
    """

    def __init__(self, name: str, folder: Path, *, lower: str) -> None:
        super().__init__(name, folder, lower=lower)
        if shutil.which("systemd-nspawn", path=PATH) is None:
            raise FileNotFoundError("no systemd-nspawn on this machine (Debian: systemd-container)")
        # One for each server: nspawn makes folders of fixed names in it. Of one name where there
        # are two hierarchies: nspawn would make what the one has in the other as well.
        own = f"sshwrap-{uuid.uuid4().hex[:12]}"
        self.cgroups = [str(above / own) for above in _cgroups()]
        self._nspawn: Program | None = None
        self._systemd: int | None = None

    def start(self) -> SystemdServer:
        super().start()
        self.put("/etc/hostname", f"{self.name}\n", mode=0o644)
        return self

    def end(self) -> None:
        """What else would be left is the system's cgroups, which host_init.py removes."""
        self._nspawn = self._systemd = None
        if self._init is not None and self._init.stdin is not None:
            self._init.stdin.close()
            self._init.stdin = None  # Popen.communicate would flush it
            self._init.wait(timeout=20)
        super().end()

    @property
    def pid(self) -> int:  # type: ignore[override]
        """Of systemd, once it runs."""
        return self._systemd or super().pid

    # --- its ssh.service -----------------------------------------------------------------------

    def start_sshd(self, *, match: str | None = None, **options: Value) -> None:
        """Boots the system where it does not run, which takes some seconds."""
        if self._systemd is not None and self._listener() is not None:
            raise RuntimeError("sshd is running already")
        self._set_options(match, options)
        if self._systemd is None:
            self._boot_system()
        else:
            self._systemctl("start")
        wait_for(lambda: self.listeners(22), within=60, what=lambda: f"sshd listens: {self.log()}")

    def stop_sshd(self, *, sessions: bool = True) -> None:
        if self._systemd is not None:
            self._systemctl("stop")
            wait_for(lambda: self._listener() is None, what="sshd ends")
            super().stop_sshd(sessions=sessions)

    def reload_sshd(self, *, match: str | None = None, **options: Value) -> None:
        """`systemctl reload ssh`, which asks `sshd -t` first."""
        if self._systemd is None:
            raise RuntimeError("sshd is not running")
        self._set_options(match, options)
        before = self.log().count("Server listening on")
        self._systemctl("reload")
        wait_for(lambda: self.log().count("Server listening on") > before, what="sshd reloads")

    @property
    def sshd_pid(self) -> int:
        found = self._listener()
        if found is None:
            raise RuntimeError("sshd is not running")
        return found

    def log(self) -> str:
        """The journal of ssh.service; nothing before the first boot."""
        if self._systemd is None:
            return ""
        argv = ("journalctl", "--unit=ssh", "--output=short-iso", "--no-pager")
        return self.run(*argv, check=False).stdout

    def _systemctl(self, verb: str) -> None:
        try:
            self.run("systemctl", verb, "ssh")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log()[-2000:]}") from None

    def _listener(self) -> int | None:
        listeners = (one.pid for one in self.processes() if "[listener]" in one.title)
        return next(listeners, None)

    # --- power ---------------------------------------------------------------------------------

    def power_off(self) -> None:
        nspawn, self._nspawn, self._systemd = self._nspawn, None, None
        if nspawn is not None:
            nspawn.stop()
        super().power_off()

    def power_on(self) -> None:
        """Another boot id comes from nspawn."""
        self.start_sshd()

    def _boot_system(self) -> None:
        inside = super().pid
        argv = ["nsenter", f"--target={inside}", "--net", "--uts", "--ipc", "--pid", "--mount"]
        argv += ["unshare", "--mount", "sh", "-ec", BOOT]
        argv += [str(self.folder / "work/root"), *self.cgroups]
        log = self.folder / f"systemd-{next(self._numbers)}.log"
        nspawn = Program(argv, self.environ(), log)
        self._programs.append(nspawn)
        self._nspawn = nspawn
        self._systemd = wait_for(
            _alive(nspawn, lambda: _systemd_below(nspawn.pid)),
            within=60,
            what=lambda: f"systemd starts: {nspawn.output()[-2000:]}",
        )


def _alive(program: Program, found: Callable[[], int]) -> Callable[[], int]:
    def look() -> int:
        if not program.is_alive:
            raise RuntimeError(f"it ended: {program.output()[-2000:]}")
        return found()

    return look


def _systemd_below(nspawn: int) -> int:
    """0 where it does not run yet."""
    for one in descendants(nspawn):
        if one.parent == nspawn and Path(one.argv[0]).name in ("systemd", "init"):
            return one.pid
    return 0


def _pid_inside(pid: int) -> str:
    """Its number in the innermost of its namespaces."""
    with contextlib.suppress(OSError):
        status = Path("/proc", str(pid), "status").read_text()
        return status.partition("NSpid:")[2].partition("\n")[0].split()[-1]
    return ""


def _cgroups() -> list[Path]:
    """Our own folders in the hierarchies that systemd uses: of version 2, of its own, or both."""
    mounted = Path("/sys/fs/cgroup")
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kind, path = line.split(":", 2)
        place = {"": "unified", "name=systemd": "systemd"}.get(kind)
        if place is not None:
            top = mounted if (mounted / "cgroup.controllers").exists() else mounted / place
            found.append(top / path.lstrip("/"))
    if not found or not all(os.access(folder, os.W_OK) for folder in found):
        raise FileNotFoundError("no cgroups on this machine in which a systemd could run")
    return found
