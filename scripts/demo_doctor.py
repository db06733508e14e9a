"""The demo's last part: nobody outside reaches the port, why, and how it is put right.

Law. It needs an outside, and a server whose sshd_config may be changed: hosts in network namespaces
(tests/netlab), of which nothing is left and nothing on this machine changes. Where there can be
none it says why, and is left out.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.netlab import runtime
from tests.netlab.lab import SERVER4, Lab, missing
from tests.support.waiting import wait_for

DESTINATION = "root@vps4.example.com"
PORT = 12345
WITHIN = 30.0
ON_THE_SERVER = (
    f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
)


class Outside:
    """A home behind a router, a server with an /etc/ssh of its own, and a visitor outside."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.env = lab.home.environ(
            "you",
            **runtime.environment(),
            HOME="/srv/you",
            SSHWRAP_PROFILES="/srv/you/profiles.toml",
            SSHWRAP_STATE_DIR="/srv/you/state",
        )
        self.profile = (
            "[profile.web]\n"
            f'destination    = "{DESTINATION}"\n'
            f'remote_forward = ["*:{PORT}:localhost:8080"]\n'
        )
        lab.home.put("/srv/you/profiles.toml", self.profile, "you")

    def sshwrap(self, *words: str) -> int:
        """Run the command in the home, as somebody without rights there; what it says is seen."""
        argv = self.lab.home.enter(runtime.PYTHON, "-m", "sshwrap", *words, account="you")
        return subprocess.run(
            argv, env=self.env, stdin=subprocess.DEVNULL, check=False, timeout=90
        ).returncode

    def from_outside(self) -> str:
        """What a visitor on the internet meets."""
        try:
            return self.lab.visitor.fetch((SERVER4, PORT), within=3).decode(errors="replace")
        except OSError as error:
            return f"nothing: {error}"

    def on_the_server(self) -> str:
        done = self.lab.server.run("bash", "-c", ON_THE_SERVER, check=False)
        page = done.stdout.replace("\r\n", "\n").partition("\n\n")[2]
        return page or "nothing: " + done.stderr.strip()

    def wait_until_served(self, served: bool) -> str:
        def found() -> str | None:
            page = self.from_outside()
            return page if page.startswith("nothing") is not served else None

        what = "a page outside" if served else "no page outside"
        return wait_for(found, within=WITHIN, what=what) or ""


@contextlib.contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    folder.mkdir()
    with Lab(folder) as lab:
        lab.server.start_sshd(GatewayPorts="no")
        lab.serve_page()
        yield Outside(lab)


def why_not() -> str | None:
    """Why this part is left out here; None where it is not."""
    return missing()
