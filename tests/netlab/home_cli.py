"""The `sshwrap` command in the lab's home, as somebody without rights there uses it.

Laws. As of tests/support/sshwrap_cli.py. Waiting is done on the journal and on the supervisor's own
answers, which cost no process each. Whoever is "you" there cannot read root's files: the
interpreter, its packages and the checkout are bound to places that everybody can.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from sshwrap.paths import Places
from tests.netlab import runtime
from tests.netlab.hosts import Host
from tests.netlab.lab import SERVER4, SERVER6, Lab
from tests.netlab.plain import PORT
from tests.support.command import Terminal
from tests.support.processes import Process
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap, Tunnel
from tests.support.waiting import wait_for

WITHIN = 60.0  # for whatever is only late on a slow machine; never is only shown by waiting
SPEC = f"*:{PORT}:localhost:8080"
# Notices a dead line in 1 x (3 + 1) seconds; a sign-in may be silent for 1 x 3.
QUICK = {"server_alive_interval": 1, "server_alive_count_max": 3, "restart_max_delay": 2}
# With it a line that is dead is not noticed by the keepalive as long as a test waits.
PATIENT = {"server_alive_interval": 60, "server_alive_count_max": 3}


class HomeCli(Sshwrap):
    """`cli = HomeCli(lab); cli.profiles(web={}); cli.up("web")`; paths in it are the home's."""

    def __init__(self, lab: Lab, account: str = "you") -> None:
        self.lab = lab
        self.account = account
        super().__init__(lab.home_folder / "cli", cast(Sshd, None))  # its server is the lab's
        for path in (self.folder, self.home):
            os.chown(path, lab.home.accounts[account].uid, -1)
            path.chmod(0o700)
        self.env = lab.home.environ(
            account,
            **runtime.environment(),
            HOME="/srv/cli/home",  # a mark of all that is ours; ssh takes the home of passwd(5)
            SSHWRAP_PROFILES="/srv/cli/profiles.toml",
            SSHWRAP_STATE_DIR="/srv/cli/state",
        )

    def _argv(self, words: Any) -> list[str]:
        return self.lab.home.enter(runtime.PYTHON, "-m", "sshwrap", *words, account=self.account)

    def profiles(self, **profiles: Any) -> None:
        """Every profile is the lab's server, port 12345 and quick, unless it says otherwise."""
        text = ""
        for name, given in profiles.items():
            keys = {"destination": "tunnel@vps4.example.com", "remote_forward": SPEC} | QUICK
            text += f'[profile."{name}"]\n'
            for key, value in (keys | dict(given)).items():
                text += f"{key} = {json.dumps(value)}\n"
        self.lab.home.put("/srv/cli/profiles.toml", text, self.account)

    def terminal(self, *words: str, rows: int = 60, columns: int = 100) -> Terminal:
        """A command at a terminal of its own; whoever asked for it closes it."""
        return Terminal(self._argv(words), self.env, self.folder, rows, columns)

    def command_of(self, *words: str) -> int:
        """The pid, as seen from outside, of the command that runs with these words. The pid that a
        terminal knows is that of the nsenter(1) which stands before it."""
        wanted = ("sshwrap", *words)
        found = [one.pid for one in self.own_processes() if tuple(one.argv[2:]) == wanted]
        assert len(found) == 1, [one.title for one in self.own_processes()]
        return found[0]

    # --- what it tells -------------------------------------------------------------------------

    def places(self) -> Places:
        """As seen from outside; by a way that is short enough for a socket."""
        inside = self.lab.home.root / "srv/cli"
        return Places(str(inside / "profiles.toml"), str(inside / "state"))

    def ask(self, **message: object) -> dict[str, Any]:
        """One request to the background supervisor; OSError where none answers."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(self.places().background_socket)
            client.sendall(json.dumps({"v": 1, **message}).encode() + b"\n")
            with client.makefile("rb") as stream:
                return cast(dict[str, Any], json.loads(stream.readline() or b"{}"))

    def asked(self, name: str) -> Tunnel:
        tunnels = self.ask(op="status")["tunnels"]
        return next(tunnel for tunnel in tunnels if tunnel["profile"] == name)

    def wait_until(
        self, name: str, fact: str | Callable[[Tunnel], object], *, within: float = WITHIN
    ) -> Tunnel:
        """What its supervisor says of it, once that is in the state, or the fact holds."""
        last: list[object] = []

        def holds() -> Tunnel | None:
            try:
                tunnel = self.asked(name)
            except (OSError, StopIteration) as error:
                last[:] = [error]
                return None
            last[:] = [tunnel]
            found = tunnel["state"] == fact if isinstance(fact, str) else fact(tunnel)
            return tunnel if found else None

        found = wait_for(holds, within=within, what=lambda: self.story(name, last), every=0.05)
        assert found is not None
        return found

    def wait_for_words(self, name: str, words: str, *, within: float = WITHIN) -> str:
        """The first line of its journal that holds them."""
        file = Path(self.places().journal_file(name))

        def written() -> list[str]:
            lines = file.read_text().splitlines() if file.exists() else []
            return [line for line in lines if words in line]

        return wait_for(written, within=within, what=lambda: self.story(name, words))[0]

    def story(self, name: str, *more: object) -> str:
        entries = "\n".join(map(str, self.journal(name)[-40:]))
        return f"{name}: {more}\njournal:\n{entries}"

    # --- what there is of it -------------------------------------------------------------------

    def own_processes(self) -> list[Process]:
        mark = b"HOME=/srv/cli/home"
        return [one for one in self.lab.home.processes() if mark in _environ(one.pid)]

    def supervisor(self) -> int:
        """As seen from outside."""
        found = [one.pid for one in self.own_processes() if "sshwrap.supervisor" in one.argv]
        assert len(found) == 1, [one.title for one in self.own_processes()]
        return found[0]

    def ssh_of(self, name: str) -> int:
        """The pid, as seen from outside, of the ssh that keeps this tunnel."""
        inside = self.asked(name)["ssh_pid"]
        return next(one.pid for one in self.own_ssh() if _inside(one.pid) == inside)


def can_run(host: Host, cli: HomeCli) -> str | None:
    """Why that account cannot run us; None where it can."""
    asked = (runtime.PYTHON, "-c", "import sshwrap, pexpect, rich")
    done = host.run(*asked, account=cli.account, env=cli.env, check=False)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


def served(lab: Lab, *, six: bool = False, within: float = WITHIN, port: int = PORT) -> None:
    """Return when a visitor is served."""
    where = (SERVER6 if six else SERVER4, port)

    def met() -> bool:
        try:
            return lab.visitor.fetch(where, within=2).startswith(b"hello")
        except OSError:
            return False

    wait_for(met, within=within, what=f"a visitor is served at {where}", every=0.1)


def _inside(pid: int) -> int:
    """What a process is called among those of its host."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def _environ(pid: int) -> list[bytes]:
    try:
        return Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:  # it has gone
        return []
