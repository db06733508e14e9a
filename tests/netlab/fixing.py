"""Doctor's change of sshd_config in a lab: a line from the home to the server, and what to ask."""

from __future__ import annotations

import contextlib
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sshwrap.doctor.apply import Outcome, apply_order
from sshwrap.doctor.apply_root import Direct
from sshwrap.doctor.facts import Listening, Reloader
from sshwrap.doctor.fix_script import Order
from sshwrap.doctor.line import Ran
from sshwrap.doctor.sshd_config import Criteria
from sshwrap.doctor.sshd_config_edit import Edit
from sshwrap.ssh.mux import session_argv
from tests.netlab.lab import Lab
from tests.netlab.server import SSHD, Value
from tests.support.waiting import wait_for

MAIN = "/etc/ssh/sshd_config"
DROPIN = "/etc/ssh/sshd_config.d/00-sshwrap.conf"
BLOCK = "# sshwrap\nMatch User tunnel\n    GatewayPorts clientspecified\n"
HOME = "/var/lib/sshwrap-doctor"
DESTINATION = "vps4.example.com"
SSH = ("-o", "ConnectTimeout=10", "-o", "BatchMode=yes")


class LabLine:
    """Commands over one signed-in connection of the home's root; `edit` may change each script."""

    def __init__(self, lab: Lab, account: str) -> None:
        self.lab = lab
        self.path = f"/srv/root/{secrets.token_hex(4)}"
        self.edit: Callable[[bytes], bytes] = lambda script: script
        self.master = lab.home.popen(
            *("ssh", *SSH, "-N", "-M", "-S", self.path, f"{account}@{DESTINATION}")
        )
        wait_for(lambda: (lab.home.root / self.path[1:]).exists(), what=self.master.output)

    def run(self, command: str, stdin: bytes, deadline: float) -> Ran:
        child = self.start(command)
        try:
            out, err = child.communicate(self.edit(stdin), timeout=deadline)
        except subprocess.TimeoutExpired:
            self.master.stop()  # a client on a dead line lives as long as its master
            out, err = child.communicate(timeout=20)
            return Ran(None, out, err, timed_out=True)
        return Ran(child.returncode, out, err)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.lab.home.enter(*session_argv(self.path, command)),
            env=self.lab.home.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@contextlib.contextmanager
def line(lab: Lab, account: str = "root") -> Iterator[LabLine]:
    found = LabLine(lab, account)
    try:
        yield found
    finally:
        found.master.stop()


@dataclass
class Fix:
    """One change of the lab's server; what a test wants otherwise it says by name."""

    lab: Lab
    account: str = "tunnel"
    wanted: Mapping[str, str] = field(default_factory=lambda: {"gatewayports": "clientspecified"})
    path: str = DROPIN
    after: str | None = BLOCK
    reloader: Reloader = Reloader.PIDFILE
    unit: str = ""
    arguments: tuple[str, ...] = ()
    config: str = MAIN
    everybody: bool = False
    undoes: str = ""
    seconds: int = 30
    sign_ins: int = 0

    def order(self) -> Order:
        server = self.lab.server
        here = server.root / self.path[1:]
        before = read(here) if here.exists() else None
        sshd = Listening(1, SSHD, self.arguments, self.reloader, self.unit, self.config)
        return Order(
            sshd,
            Edit(self.path, before, self.after),
            Criteria(self.account, "198.51.100.10", "198.51.100.10", "203.0.113.7", 22),
            self.wanted,
            tuple(self.wanted) or ("gatewayports",),
            self.everybody,
            ("root", "nobody"),
            self.undoes,
            self.seconds,
        )

    def prove(self) -> str | None:
        """By a new sign-in, and by what a forward of the account comes to."""
        self.sign_ins += 1
        done = self.lab.home.run(
            *("ssh", *SSH, "-S", "none", f"{self.account}@{DESTINATION}", "true"), check=False
        )
        return None if done.returncode == 0 else done.stderr.strip() or "no sign-in"

    def apply(
        self, root: LabLine | Direct, prove: Callable[[], str | None] | None = None
    ) -> Outcome:
        """As root signed in; by another root where that is given."""
        by = Direct(root, "sh -s") if isinstance(root, LabLine) else root
        return apply_order(self.order(), by, prove or self.prove, secrets.token_hex(8))


def listens_at(lab: Lab, account: str = "tunnel", bind: str = "*:2201") -> set[str]:
    """Where a new forward of the account listens: what GatewayPorts really is for it."""
    forward = f"{bind}:127.0.0.1:9"
    argv = ("ssh", *SSH, "-S", "none", "-N", "-v", "-o", "ExitOnForwardFailure=yes")
    with lab.home.popen(*argv, "-R", forward, f"{account}@{DESTINATION}") as program:
        program.wait_for_words("remote forward success")
        return lab.server.listeners(int(bind.rpartition(":")[2]))


def effective(lab: Lab, keyword: str, account: str = "tunnel") -> str:
    """What the files say, whether or not sshd has read them."""
    who = f"user={account},host=h,addr=198.51.100.10,laddr=203.0.113.7,lport=22"
    said = lab.server.run(SSHD, "-T", "-C", who).stdout
    found = re.search(rf"(?mi)^{keyword} (.*)$", said)
    return found[1].lower() if found else ""


def read(path: Path) -> str:
    """Every byte of it, as an Order has it."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def sshd_files(lab: Lab) -> dict[str, str]:
    """Every file below /etc/ssh that sshd may read, and what doctor might have left beside it."""
    folder = lab.server.root / "etc/ssh"
    return {
        str(path.relative_to(folder)): read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("ssh_host")
    }


def main_text(lab: Lab) -> str:
    return read(lab.server.root / MAIN[1:])


def start_with(lab: Lab, files: Mapping[str, str], **options: Value) -> None:
    """sshd, with those files below /etc/ssh beside its main one."""
    for name, text in files.items():
        lab.server.put(f"/etc/ssh/{name}", text, mode=0o644)
    lab.server.start_sshd(**options)


def is_over(lab: Lab) -> bool:
    """Nothing is pending, and nobody is at work."""
    return not {"pending", "undoing", "lock"} & set(states(lab))


def states(lab: Lab) -> list[str]:
    """Of every change that the server knows of: "pending", "confirmed" …; and "lock"."""
    home = lab.server.root / HOME[1:]
    names = ("pending", "confirmed", "undoing", "undone", "left")
    found = [path.name for path in sorted(home.glob("*/*")) if path.name in names]
    return found + (["lock"] if (home / "lock").exists() else [])
