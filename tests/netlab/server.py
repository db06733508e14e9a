"""The server: a Debian system with its own /etc/ssh, accounts and sshd, and a way to reboot it.

Laws. The system is a copy-on-write one: neither the machine's files nor those of the copied system
change. sshd has Debian's defaults but for what it is told. A function that changes something
returns when it is a fact.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.netlab.hosts import HERE, PYTHON, Account, Host, Program
from tests.support.processes import process
from tests.support.sshd import SIGNED_IN
from tests.support.waiting import wait_for

Value = str | int | Sequence[str]
SSHD = "/usr/sbin/sshd"
PORT_HOLDER = str(HERE / "port_holder.py")
TUNNEL = Account("tunnel", 5002, "/home/tunnel")
# As Debian ships it (openssh-server.postinst, sshd_config of 8.4 to 10.0), but that root may sign
# in with the lab's key only, which is Debian's default as well.
DEBIAN: Mapping[str, Value] = {
    "KbdInteractiveAuthentication": "no",
    "UsePAM": "yes",
    "X11Forwarding": "yes",
    "PrintMotd": "no",
    "AcceptEnv": "LANG LC_*",
    "Subsystem": "sftp /usr/lib/openssh/sftp-server",
}


def systems() -> Path:
    """Where scripts/systems keeps the systems that it builds."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SSHWRAP_SYSTEMS") or Path(cache, "sshwrap", "systems"))


def system(name: str | None) -> str:
    """The root of a built system ("trixie"), or the machine's own for None; FileNotFoundError."""
    if name is None:
        return "/"
    root = systems() / name
    if not root.is_dir():
        raise FileNotFoundError(f"no system {name!r} (scripts/systems {name} builds it)")
    return str(root)


class Server(Host):
    """`server.start_sshd(GatewayPorts="clientspecified")`; accounts "root" and "tunnel"."""

    def __init__(self, name: str, folder: Path, *, lower: str) -> None:
        super().__init__(name, folder, lower=lower)
        self.options: dict[str, Value] = {}
        self.match = ""
        self.client_key = ""  # the public line that may sign in; the lab's
        self._sshd: Program | None = None
        self._logs: list[Path] = []

    def start(self) -> Self:
        super().start()
        self._make_run()
        self._make_host_key()
        self.add_account(TUNNEL)
        return self

    def _make_host_key(self) -> None:
        for left in (self.root / "etc/ssh").iterdir():
            if left.name.startswith(("ssh_host_", "sshd_config")):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.put("/etc/ssh/sshd_config.d", None, mode=0o755)
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.host_key)

    @property
    def host_key(self) -> str:
        return "/etc/ssh/ssh_host_ed25519_key"

    def authorize(self, account: str, *, options: str = "") -> None:
        """The lab's key alone may sign in there, with those options of authorized_keys(5)."""
        folder = f"{self.accounts[account].home}/.ssh"
        self.put(folder, None, account, 0o700)
        self.put(f"{folder}/authorized_keys", f"{options} {self.client_key}\n".lstrip(), account)

    def add_account(self, account: Account) -> Account:
        """With the lab's key authorized; `shell` may be /usr/sbin/nologin."""
        super().add_account(account)
        self.authorize(account.name)
        return account

    def allow_sudo(self, account: str, *, password: str | None = None) -> None:
        """By group sudo, as Debian has it; without a password nothing is asked."""
        if self.run("sh", "-c", "command -v sudo", check=False).returncode:
            raise RuntimeError(f"{self.name}: this system has no sudo")
        self.run("usermod", "--append", "--groups", "sudo", account)
        if password is None:
            rule = f"{account} ALL=(ALL:ALL) NOPASSWD: ALL\n"
            self.put(f"/etc/sudoers.d/{account}", rule, mode=0o440)
        else:
            self.run("chpasswd", text=f"{account}:{password}\n")

    # --- sshd ----------------------------------------------------------------------------------

    def start_sshd(self, *, match: str | None = None, **options: Value) -> None:
        """With `options` of sshd_config, which stay for later starts, as `match` does."""
        if self._sshd is not None:
            raise RuntimeError("sshd is running already")
        self._set_options(match, options)
        self.run(SSHD, "-t")
        program = self.popen(SSHD, "-D", "-e")
        self._sshd = program
        self._logs.append(program.log)
        try:
            program.wait_for_words("Server listening on")
        except RuntimeError:
            self._sshd = None
            raise
        wait_for(lambda: self.listeners(22), what="sshd listens")

    def stop_sshd(self, *, sessions: bool = True) -> None:
        """The listener, and every session unless told not to; their clients learn of it."""
        program, self._sshd = self._sshd, None
        if program is not None:
            program.signal(signal.SIGTERM)
            program.wait()
        if sessions:
            left = [one.pid for one in self.processes() if one.title.startswith("sshd")]
            for pid in left:
                with contextlib.suppress(ProcessLookupError):  # it may end by itself
                    os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not any(process(pid) for pid in left), what="sessions end")

    def restart_sshd(
        self, *, sessions: bool = True, match: str | None = None, **options: Value
    ) -> None:
        self.stop_sshd(sessions=sessions)
        self.start_sshd(match=match, **options)

    def reload_sshd(self, *, match: str | None = None, **options: Value) -> None:
        """HUP: sessions live on with the options they had."""
        if self._sshd is None:
            raise RuntimeError("sshd is not running")
        self._set_options(match, options)
        self.run(SSHD, "-t")
        before = self._sshd.output().count("Server listening on")
        self._sshd.signal(signal.SIGHUP)
        program = self._sshd
        wait_for(
            lambda: program.output().count("Server listening on") > before, what="sshd reloads"
        )

    def _set_options(self, match: str | None, options: Mapping[str, Value]) -> None:
        self.options |= options
        self.match = self.match if match is None else match
        self._write_config()

    def _write_config(self) -> None:
        given = {name.lower() for name in self.options}
        values = dict(self.options)
        values |= {name: value for name, value in DEBIAN.items() if name.lower() not in given}
        text = "Include /etc/ssh/sshd_config.d/*.conf\n"
        for name, value in values.items():
            for one in [value] if isinstance(value, str | int) else value:
                text += f"{name} {one}\n"
        self.put("/etc/ssh/sshd_config", text + self.match, mode=0o644)

    @property
    def sshd_pid(self) -> int:
        """Of the listener, as seen from outside."""
        if self._sshd is None:
            raise RuntimeError("sshd is not running")
        return self._sshd.pid

    def log(self) -> str:
        """What every sshd of this server has said."""
        return "".join(path.read_text(errors="replace") for path in self._logs)

    def sessions(self, account: str = "tunnel") -> list[int]:
        """The pids (as seen from outside) of the processes that serve who has signed in there.

        Each is the one that owns its tunnel's listeners and its end of the TCP connection.
        """
        name = re.escape(account)
        titled = re.compile(rf"^sshd(-session)?: {name}(@\S+)?$")
        return [
            one.pid
            for one in self.processes()
            if SIGNED_IN.search(one.title) and titled.search(one.title)
        ]

    def unacknowledged(self) -> int:
        """Bytes that the server has sent to who is signed in, and nobody has acknowledged."""
        argv = ("ss", "-H", "-t", "-n", "state", "established", "sport = :22")
        rows = self.run(*argv, tools=True).stdout.splitlines()
        return sum(int(row.split()[1]) for row in rows)

    def version(self) -> tuple[int, int]:
        """(9, 2) of "OpenSSH_9.2p1"."""
        said = self.run(SSHD, "-?", check=False).stderr
        found = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
        if found is None:
            raise RuntimeError(f"sshd does not tell its version: {said!r}")
        return int(found[1]), int(found[2])

    # --- ports and power -----------------------------------------------------------------------

    def hold_port(self, port: int, families: str = "both", *, account: str = "root") -> Program:
        """Another program of that account listens there on "v4", "v6" or "both", until stopped."""
        program = self._hold_port(port, families, account)
        program.wait_for_words("held")
        return program

    def take_port(self, port: int, families: str = "both", *, account: str = "root") -> Program:
        """The same where a tunnel of "tunnel" has the port: its session is ended, and too late."""
        program = self._hold_port(port, families, account, "wait")
        program.wait_for_words("waits")
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        program.wait_for_words("held")
        return program

    def _hold_port(self, port: int, families: str, account: str, *words: str) -> Program:
        # By root, who may read our interpreter wherever that lies; it becomes the other itself.
        uid = str(self.accounts[account].uid)
        return self.popen(*PYTHON, PORT_HOLDER, str(port), families, uid, *words, tools=True)

    def power_off(self) -> None:
        self._sshd = None
        super().power_off()

    def power_on(self) -> None:
        """A new boot: another boot id, an empty /run, sshd where it ran before."""
        self.boot()
        for name in ("run", "tmp"):
            for left in (self.root / name).iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        self._make_run()
        self.start_sshd()

    def _make_run(self) -> None:
        self.put("/run/sshd", None, mode=0o755)
