"""Run client and server of one OpenSSH system through the scenarios and write down what ssh says.

Started by record-openssh, as root in namespaces of its own. A recording holds raw lines with their
stream: ssh's log (`-E`, a pipe) and the terminal (a pty: stdin, stderr, controlling terminal).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from record_peers import RELAY, Peers
from record_scenario import Scenario
from record_scenarios import SCENARIOS

CLIENT_UID, ACCOUNT_UID = 1000, 1001
HOME = "/home/you"
DEADLINE = 20.0  # seconds for a whole scenario; none takes more than five
HOSTS = """127.0.0.1 localhost
::1 localhost
127.0.0.1 vps.example.com
127.0.0.1 jump.example.com
203.0.113.9 silent.example.com
198.51.100.7 noroute.example.com
192.0.2.7 unreachable.example.com
100.64.0.7 forbidden.example.com
"""


class Recorder:
    """One system: its root, the server's keys, the client's home."""

    def __init__(self, root: Path, out: Path) -> None:
        self.root = root
        self.version = self._version()
        self.out = out / self.version
        self.out.mkdir(parents=True, exist_ok=True)
        self.peers = Peers()

    def _version(self) -> str:
        text = subprocess.run(
            ["chroot", str(self.root), "ssh", "-V"], check=True, capture_output=True, text=True
        ).stderr
        return re.match(r"OpenSSH_(\d+\.\d+)", text)[1]

    def prepare(self) -> None:
        """tmpfs over everything that is written; a network of loopback and dead ends."""
        run("mount", "--make-rprivate", "/")
        for name in ("tmp", "run", "home", "rec"):
            (self.root / name).mkdir(exist_ok=True)
            run("mount", "-t", "tmpfs", "tmpfs", str(self.root / name))
        run("mount", "--rbind", "/dev", str(self.root / "dev"))
        run("mount", "-t", "proc", "proc", str(self.root / "proc"))
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(self.root / "mnt"))
        # /etc is the system's: only these files are laid over, so that a rerun finds it as it was.
        accounts = (
            ("passwd", f"you:x:{CLIENT_UID}:{CLIENT_UID}::{HOME}:/bin/bash\n"),
            ("passwd", f"tunnel:x:{ACCOUNT_UID}:{ACCOUNT_UID}::/home/tunnel:/bin/bash\n"),
            ("group", f"you:x:{CLIENT_UID}:\ntunnel:x:{ACCOUNT_UID}:\n"),
            ("shadow", "you:*:19000::::::\ntunnel:*:19000::::::\n"),
        )
        for name in ("passwd", "group", "shadow", "hosts", "resolv.conf"):
            copy = self.root / "mnt" / name
            source = self.root / "etc" / name
            copy.write_text(source.read_text() if source.exists() else "")
            source.touch()
            run("mount", "--bind", str(copy), str(source))
        for name, text in accounts:
            with (self.root / "etc" / name).open("a") as file:
                file.write(text)
        (self.root / "etc/hosts").write_text(HOSTS)
        (self.root / "etc/resolv.conf").write_text("")  # no name server: names fail at once
        run("hostname", "client")
        self.peers.prepare_network()
        (self.root / "run/sshd").mkdir(mode=0o755)
        for kind in ("ed25519", "rsa"):
            self._keygen("/rec/host_" + kind, kind)
        self._keygen("/rec/other_host", "ed25519")
        self._keygen("/rec/key", "ed25519")
        self._keygen("/rec/key_rsa", "rsa")
        self._keygen("/rec/stranger", "ed25519")
        self._keygen("/rec/locked", "ed25519", passphrase="a passphrase")  # noqa: S106 (made here, thrown away)
        (self.root / "rec").chmod(0o755)

    def _keygen(self, path: str, kind: str, passphrase: str = "") -> None:
        run(
            *("chroot", str(self.root), "ssh-keygen", "-q", "-t", kind, "-N", passphrase),
            *("-C", "you@client", "-f", path),
        )

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    # The server

    @contextlib.contextmanager
    def sshd(self, scenario: Scenario, port: int = 2222) -> Iterator[int]:
        """An sshd of this system; yields its pid."""
        keys = scenario.authorized_keys.format(
            key=self.read("/rec/key.pub").strip(),
            key_rsa=self.read("/rec/key_rsa.pub").strip(),
            locked=self.read("/rec/locked.pub").strip(),
        )
        (self.root / "rec/authorized_keys").write_text(keys)
        options = {
            "Port": str(port),
            "ListenAddress": "127.0.0.1",
            "HostKey": "/rec/host_ed25519",
            "AuthorizedKeysFile": "/rec/authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "LogLevel": "VERBOSE",
        }
        if self.version_at_least(9, 8):
            options["PerSourcePenalties"] = "no"
        server = scenario.jump_server if port == 2230 else scenario.server
        text = "".join(f"{key} {value}\n" for key, value in (options | server).items())
        config = self.root / f"rec/sshd_config_{port}"
        config.write_text(text)
        (self.root / "rec/banner").write_bytes(scenario.banner)
        nologin = self.root / "run/nologin"
        nologin.unlink(missing_ok=True)
        if scenario.nologin:
            nologin.write_text(scenario.nologin)
        process = subprocess.Popen(
            ["chroot", self.root, "/usr/sbin/sshd", "-D", "-e", "-f", f"/rec/sshd_config_{port}"],
            stdin=subprocess.DEVNULL,
            stderr=(self.root / f"rec/sshd_{port}.log").open("w"),
        )
        try:
            wait_for(lambda: port in listening(), f"sshd on port {port}")
            yield process.pid
        finally:
            process.terminate()
            process.wait()

    def version_at_least(self, *version: int) -> bool:
        return tuple(map(int, self.version.split("."))) >= version

    # The client

    def fresh_home(self, scenario: Scenario) -> None:
        home = self.root / HOME.lstrip("/")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(self.root / "home/tunnel", ignore_errors=True)
        (self.root / "home/tunnel").mkdir(mode=0o755)
        os.chown(self.root / "home/tunnel", ACCOUNT_UID, ACCOUNT_UID)
        ssh = home / ".ssh"
        ssh.mkdir(parents=True)
        (home / "state").mkdir()
        for name in ("key", "key_rsa", "stranger", "locked"):
            shutil.copy(self.root / "rec" / name, ssh / name)
            shutil.copy(self.root / "rec" / f"{name}.pub", ssh / f"{name}.pub")
            (ssh / name).chmod(0o600)
        host = self.read(
            "/rec/other_host.pub" if scenario.host_key_changed else "/rec/host_ed25519.pub"
        )
        hosts = ("[vps.example.com]:2222", f"[vps.example.com]:{RELAY}", "[jump.example.com]:2230")
        names = ",".join(hosts)
        marker = "@revoked " if scenario.host_key_revoked else ""
        known = "" if scenario.host_key_unknown else f"{marker}{names} {host}"
        (ssh / "known_hosts").write_text(known)
        for name, text in scenario.files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for directory, names, files in os.walk(home):
            for name in (".", *names, *files):
                os.chown(Path(directory) / name, CLIENT_UID, CLIENT_UID)
        home.chmod(0o700)
        ssh.chmod(0o700)
        for name, mode in scenario.modes.items():
            (home / name).chmod(mode)
        if scenario.foreign_file:
            os.chown(home / scenario.foreign_file, 0, 0)

    def record(self, scenario: Scenario) -> None:
        if not scenario.since <= tuple(map(int, self.version.split("."))) <= scenario.until:
            return
        self.fresh_home(scenario)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(self.sshd(scenario))
            if scenario.jump_server:
                stack.enter_context(self.sshd(scenario, 2230))
            stack.enter_context(self.peers.running(server))
            environment = {"HOME": HOME, "USER": "you", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
            # BatchMode does not reach the ssh that ProxyJump starts: without this it would ask.
            environment |= {"SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"}
            if scenario.agent:
                environment["SSH_AUTH_SOCK"] = stack.enter_context(self.agent(scenario.agent))
            for _ in range(scenario.failed_before):
                self.run_client(scenario, environment, quietly=True)
            if scenario.before is not None:
                scenario.before(self)
            recording = self.run_client(scenario, environment)
        write(self.out / f"{scenario.name}.json", recording)
        print(f"{self.version}  {scenario.name}: {recording['exit']}", flush=True)

    @contextlib.contextmanager
    def agent(self, how: str) -> Iterator[str]:
        """An agent that holds the key and confirms each use with nobody there to confirm."""
        path = f"{HOME}/state/agent"
        as_client = ["chroot", f"--userspec={CLIENT_UID}:{CLIENT_UID}", str(self.root), "env"]
        process = subprocess.Popen(
            [*as_client, f"HOME={HOME}", "SSH_ASKPASS=/bin/false", "ssh-agent", "-D", "-a", path],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: (self.root / path.lstrip("/")).exists(), "ssh-agent")
            add = ["ssh-add", "-q", *(["-c"] if how == "confirm" else []), f"{HOME}/.ssh/key"]
            run(*as_client, f"SSH_AUTH_SOCK={path}", *add)
            # the agent alone holds it: the file is gone, its public half stays
            (self.root / HOME.lstrip("/") / ".ssh/key").unlink()
            yield path
        finally:
            process.terminate()
            process.wait()

    def run_client(
        self, scenario: Scenario, environment: dict[str, str], *, quietly: bool = False
    ) -> dict[str, object]:
        argv = scenario.argv(environment)
        client = Client(self.root, argv, environment, scenario.uid)
        try:
            events = client.follow(None if quietly else scenario.then, scenario.then_when, self)
            ended = client.wait()
        finally:
            client.close()
        return {
            "openssh": self.version,
            "scenario": scenario.name,
            "expected": scenario.expected,
            "argv": argv,
            "exit": ended,
            "events": events,
        }


class Client:
    """ssh with its log on a pipe and everything else on a pty, in the system's root."""

    def __init__(self, root: Path, argv: list[str], environment: dict[str, str], uid: int) -> None:
        self.terminal, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.log, log_end = os.pipe()
        os.fchown(log_end, uid, uid)  # else ssh may not open /dev/stdout
        os.fchown(slave, uid, uid)
        self.pid = os.fork()
        if self.pid == 0:
            self._exec(root, argv, environment, uid, slave, log_end)
        os.close(slave)
        os.close(log_end)

    @staticmethod
    def _exec(
        root: Path, argv: list[str], environment: dict[str, str], uid: int, slave: int, log: int
    ) -> NoReturn:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        os.dup2(slave, 0)
        os.dup2(log, 1)
        os.dup2(slave, 2)
        os.closerange(3, 256)
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.execve("/usr/bin/ssh", argv, environment)  # noqa: S606 (no shell is what is wanted)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def follow(self, then, when: str, recorder: Recorder) -> list[list[str]]:
        """Raw lines of both streams as [stream, text], the log's first where both have some."""
        events: list[list[str]] = []
        begun = {self.log: b"", self.terminal: b""}
        names = {self.log: "log", self.terminal: "terminal"}
        poll = select.poll()
        for descriptor in begun:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + DEADLINE
        acted = then is None
        while begun:
            ready = {fd for fd, _ in poll.poll(100)}
            for descriptor in [
                fd for fd in (self.log, self.terminal) if fd in ready and fd in begun
            ]:
                try:
                    data = os.read(descriptor, 65536)
                except OSError:  # the pty's other end is closed
                    data = b""
                if not data:
                    poll.unregister(descriptor)
                    rest = begun.pop(descriptor)
                    if rest:
                        events.append([names[descriptor], text_of(rest)])
                    continue
                *lines, begun[descriptor] = (begun[descriptor] + data).split(b"\n")
                events += [[names[descriptor], text_of(line + b"\n")] for line in lines]
            if not acted and any(stream == "log" and when in text for stream, text in events):
                acted = True
                then(recorder, self)
            if time.monotonic() > deadline:
                raise SystemExit(f"ssh still runs; its words: {json.dumps(events, indent=1)}")
        return events

    def wait(self) -> dict[str, int]:
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return {"signal": os.WTERMSIG(status)}
        return {"status": os.WEXITSTATUS(status)}

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.log)
        os.close(self.terminal)


def text_of(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def write(path: Path, recording: dict[str, object]) -> None:
    """One event a line, so that a new recording can be compared with the old one."""
    head = {key: value for key, value in recording.items() if key != "events"}
    lines = [json.dumps(event, ensure_ascii=False) for event in recording["events"]]
    fields = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    fields.append('  "events": [\n    ' + ",\n    ".join(lines) + "\n  ]")
    path.write_text("{\n" + ",\n".join(fields) + "\n}\n")


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def listening() -> set[int]:
    ports = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def wait_for(condition, what: str, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"record-openssh: {what}: not there within {within:.0f} s")
        time.sleep(0.02)


def main() -> None:
    root, out, *names = sys.argv[1:]
    recorder = Recorder(Path(root), Path(out))
    recorder.prepare()
    for scenario in SCENARIOS:
        if not names or scenario.name in names:
            recorder.record(scenario)


if __name__ == "__main__":
    main()
