"""A real throwaway sshd on loopback, for tests, the demo and the benchmark.

Laws. Everything it needs lies in one folder: host key, the client's key, known_hosts, both
configurations, the log, and an empty home for the account that runs this. Nothing of the machine's
own ssh set-up is read or changed, but for /run/sshd, which sshd run by root wants and which is made
where it is missing. Only processes below its own pid are ever signalled. start, reload and stop
return when it is a fact. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.processes import Process, descendants, process
from tests.support.waiting import wait_for

SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # not on a user's PATH
Value = str | int | Sequence[str]

# "sshd: root", "sshd: ann@notty", "sshd-session: ann@pts/0": session.c:session_proctitle. Until
# the sign-in is done every title has a bracket ("sshd: unknown [net]"), or none has been set yet.
SIGNED_IN = re.compile(r"^sshd(-session)?: [^\s\[]+$")


def find_sshd() -> str | None:
    """The absolute path of the system's sshd: it refuses to start by any other."""
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))


class Sshd:
    """`with Sshd(folder) as server: ssh(server.config, server.alias)`.

    `options` are keywords of sshd_config, over ours: a value, or several for a keyword that may
    stand more than once. Change the dictionary and `reload()` or `restart()`. LogLevel has to stay
    at INFO or above, since the log is where it is learnt that sshd listens.
    `match` is text for the end of the file (Match blocks). `user` is who signs in: the user who
    runs this, or, where that is root, anybody.
    """

    def __init__(
        self,
        folder: Path,
        *,
        options: Mapping[str, Value] | None = None,
        match: str = "",
        port: int | None = None,
        addresses: Sequence[str] = ("127.0.0.1",),
        user: str | None = None,
        alias: str = "server",
        program: str | None = None,
    ) -> None:
        found = program or find_sshd()
        if found is None:
            raise FileNotFoundError("no sshd on this machine (Debian's package openssh-server)")
        self.program = found
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.options: dict[str, Value] = dict(options or {})
        self.match = match
        self.addresses = tuple(addresses)
        self.host = self.addresses[0]
        self.user = user or pwd.getpwuid(os.geteuid()).pw_name
        self.alias = alias
        self.port = port or free_port()
        self.config = self.folder / "ssh_config"  # for `ssh -F`; the server is `Host {alias}`
        self.known_hosts = self.folder / "known_hosts"
        self.client_key = self.folder / "client_key"
        self.host_key = self.folder / "host_key"
        self.authorized_keys = self.folder / "authorized_keys"
        self.sshd_config = self.folder / "sshd_config"
        self.log_file = self.folder / "sshd.log"
        self.home = self.folder / "home"  # of its sessions, where they are our own account's
        self.notes: list[str] = []  # what was done to the machine outside the folder
        self._child: subprocess.Popen[bytes] | None = None
        self._left: dict[int, int] = {}  # pid -> started: connections that outlived their listener
        self._make_keys()

    # --- life ----------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the listener."""
        if self._child is None:
            raise RuntimeError("this sshd is not running")
        return self._child.pid

    def start(self) -> Self:
        if self._child is not None:
            raise RuntimeError("this sshd is running already")
        self._write_configurations()
        self._check()
        before = self._count("Server listening on")
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                [self.program, "-D", "-f", str(self.sshd_config), "-E", str(self.log_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C of whoever started us is not the server's
            )
        self._wait_until_listening(before)
        return self

    def reload(self) -> None:
        """HUP, as a service manager does it: sessions live on with the options they had."""
        self._write_configurations()
        self._check()  # an sshd that is sent HUP with a bad file dies
        before = self._count("Server listening on")
        os.kill(self.pid, signal.SIGHUP)
        self._wait_until_listening(before)

    def stop(self, *, sessions: bool = True) -> None:
        """End the listener, and the sessions too unless told not to; no error where it is gone."""
        if self._child is not None:
            self._stop_listener(self._child)
            self._child = None
        if sessions:
            self.kill_sessions()

    def _stop_listener(self, child: subprocess.Popen[bytes]) -> None:
        """Before any session: a client that is cut off first would come back to a listener that
        is about to end. Frozen, it takes nobody in while those whom it has taken are written down.
        """
        os.kill(child.pid, signal.SIGSTOP)
        wait_for(
            lambda: (found := process(child.pid)) is None or found.state in "Tt",
            what="the listener stops",
        )
        self._left |= {found.pid: found.started for found in self._connections()}
        child.terminate()
        os.kill(child.pid, signal.SIGCONT)
        child.wait(timeout=20)

    def restart(self) -> None:
        """Stop, with every session, and start again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self if self._child is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- sessions ------------------------------------------------------------------------------

    def sessions(self) -> list[int]:
        """One pid for each connection that has signed in: the process next to the listener.

        Those of a listener that was stopped without them count as well.
        """
        return [found.pid for found in self._connections() if _is_signed_in(found)]

    def kill_sessions(self, number: int = signal.SIGKILL) -> None:
        """Signal all that stands below the listener; with KILL, return when it is gone."""
        below = [found for top in self._connections() for found in (top, *descendants(top.pid))]
        for found in below:
            with contextlib.suppress(ProcessLookupError):
                if _is_same(found.pid, found.started):
                    os.kill(found.pid, number)
        if number == signal.SIGKILL:
            wait_for(
                lambda: not any(_is_same(found.pid, found.started) for found in below),
                what=f"killed sessions are gone: {[found.title for found in below]}",
            )

    def _connections(self) -> list[Process]:
        found = [process(pid) for pid, started in self._left.items() if _is_same(pid, started)]
        if self._child is not None:
            pid = self._child.pid
            found += [below for below in descendants(pid) if below.parent == pid]
        return [one for one in found if one is not None]

    # --- what it says --------------------------------------------------------------------------

    def log(self) -> str:
        """All that sshd has written since the folder was made."""
        try:
            return self.log_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def _count(self, text: str) -> int:
        return self.log().count(text)

    def _wait_until_listening(self, before: int) -> None:
        child = self._child
        assert child is not None

        def listens() -> bool:
            if child.poll() is not None:
                self._child = None
                raise RuntimeError(f"sshd ended with {child.returncode}:\n{self.log()[-2000:]}")
            return self._count("Server listening on") - before >= len(self.addresses)

        wait_for(listens, what=lambda: f"sshd listens:\n{self.log()[-2000:]}")

    # --- its folder ----------------------------------------------------------------------------

    def _make_keys(self) -> None:
        for key in (self.host_key, self.client_key):
            if not key.exists():
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key.name, "-f", str(key)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                )
        if not self.authorized_keys.exists():
            shutil.copyfile(self.client_key.with_suffix(".pub"), self.authorized_keys)

    def _write_configurations(self) -> None:
        public = self.host_key.with_suffix(".pub").read_text()
        names = [f"[{address}]:{self.port}" for address in self.addresses]
        self.known_hosts.write_text("".join(f"{name} {public}" for name in names))
        self.config.write_text(
            f"Host {self.alias}\n"
            f"    HostName {self.host}\n"
            f"    Port {self.port}\n"
            f"    User {self.user}\n"
            f"    IdentityFile {_quoted(self.client_key)}\n"
            "    IdentitiesOnly yes\n"
            "    IdentityAgent none\n"
            f"    UserKnownHostsFile {_quoted(self.known_hosts)}\n"
            "    GlobalKnownHostsFile /dev/null\n"
            "    StrictHostKeyChecking yes\n"
        )
        # sshd takes the first value of a keyword, so ours come last.
        ours = {name: value for name, value in self._defaults().items() if not self._is_set(name)}
        self.sshd_config.write_text(_text({**self.options, **ours}) + self.match)

    def _is_set(self, name: str) -> bool:
        return name.lower() in {given.lower() for given in self.options}

    def _defaults(self) -> dict[str, Value]:
        defaults: dict[str, Value] = {
            "Port": self.port,
            "ListenAddress": self.addresses,
            "HostKey": f'"{self.host_key}"',
            "AuthorizedKeysFile": _quoted(self.authorized_keys),
            "PidFile": "none",
            "UsePAM": "yes" if self._is_locked() else "no",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PrintMotd": "no",
            "PrintLastLog": "no",
            "LogLevel": "VERBOSE",
            "PermitUserRC": "no",
        }
        if self._is_ours():
            # What the account's own shell does at its start (bash reads .bashrc under sshd) can
            # take a minute, or leave a lock behind when a session is killed in the middle of it.
            self.home.mkdir(exist_ok=True, mode=0o700)
            defaults["SetEnv"] = f'"HOME={self.home}"'
        else:
            # sshd reads AuthorizedKeysFile as the one who signs in, whom our folder is closed to.
            cat = os.path.realpath(shutil.which("cat") or "/bin/cat")
            defaults["AuthorizedKeysFile"] = "none"
            defaults["AuthorizedKeysCommand"] = f'{cat} "{self.authorized_keys}"'
            defaults["AuthorizedKeysCommandUser"] = "root"
        if self.version() >= (9, 8):  # all that comes here is one address, 127.0.0.1
            defaults["PerSourcePenalties"] = "no"
        return defaults

    def _is_ours(self) -> bool:
        return self.user == pwd.getpwuid(os.geteuid()).pw_name

    def _is_locked(self) -> bool:
        """Without PAM sshd refuses an account whose password field begins with "!" (auth.c)."""
        try:
            lines = Path("/etc/shadow").read_text().splitlines()
        except OSError:  # not root: then sshd cannot read it either, and does not ask
            return False
        return any(line.startswith(f"{self.user}:!") for line in lines)

    def version(self) -> tuple[int, int]:
        """(9, 2) of "OpenSSH_9.2p1"; every version prints it before its usage."""
        said = subprocess.run([self.program, "-?"], capture_output=True, text=True, check=False)
        found = re.search(r"OpenSSH_(\d+)\.(\d+)", said.stderr)
        if found is None:
            raise RuntimeError(f"{self.program} does not tell its version: {said.stderr!r}")
        return int(found[1]), int(found[2])

    def _check(self) -> None:
        """`sshd -t`, and the folder that it wants when run by root."""
        for _ in range(2):
            done = subprocess.run(
                [self.program, "-t", "-f", str(self.sshd_config)],
                capture_output=True,
                text=True,
                check=False,
            )
            missing = re.search(r"Missing privilege separation directory: (\S+)", done.stderr)
            if done.returncode == 0 or missing is None:
                break
            Path(missing[1]).mkdir(mode=0o755, parents=True, exist_ok=True)
            self.notes.append(f"made {missing[1]}, which sshd wants when root runs it")
        if done.returncode != 0:
            raise ValueError(f"sshd refuses its configuration: {done.stderr.strip()}")


def _is_same(pid: int, started: int) -> bool:
    found = process(pid)
    return found is not None and found.started == started


def _is_signed_in(top: Process) -> bool:
    return any(SIGNED_IN.search(one.title) for one in (top, *descendants(top.pid)))


def _quoted(path: Path) -> str:
    """A path as ssh_config and sshd_config take it where they expand % as well."""
    return '"' + str(path).replace("%", "%%") + '"'


def _text(options: Mapping[str, Value]) -> str:
    lines = []
    for name, value in options.items():
        values = [str(value)] if isinstance(value, str | int) else value
        lines += [f"{name} {one}\n" for one in values]
    return "".join(lines)
