#!/usr/bin/env python3
"""Make docs/pictures/doctor*.svg from a real run of `sshwrap doctor` in the lab.

Laws. What is seen is what a server of the lab's own was asked and answered; nothing outside of the
lab is touched (tests/netlab/lab.py), and where there can be none the pictures stay as they are.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.picture_docs import Terminal  # noqa: E402 (a script runs from anywhere)
from tests.netlab import runtime  # noqa: E402
from tests.netlab.lab import Lab, missing  # noqa: E402

PROFILES = """\
[profile.web]
destination    = "root@vps.example.com"
remote_forward = ["*:12345:localhost:8080"]
"""
COST = "port was open for a second", "ports were open for a second"  # the last line of a report


def main() -> int:
    if (reason := missing()) is not None:
        print(f"pictures of doctor: left as they are ({reason})", file=sys.stderr)
        return 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sshwrap-pictures-")))
        lab = stack.enter_context(Lab(folder / "hosts"))
        lab.server.start_sshd()
        lab.serve_page(8080, "hello from home")
        config = f"{lab.home.accounts['root'].home}/.config"
        for place in (config, f"{config}/sshwrap"):
            lab.home.put(place, None, "root", 0o700)
        lab.home.put(f"{config}/sshwrap/profiles.toml", PROFILES, "root")
        House(lab, stack).take_pictures()
    return 0


class House:
    """The home's terminals, one after the other."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._lab = lab
        self._stack = stack

    def take_pictures(self) -> None:
        up = self._sshwrap("up -d web")
        up.wait_for(lambda text: "GatewayPorts" in text)
        looked = self._sshwrap("doctor web")
        looked.wait_for(_is_told)
        looked.save(
            "doctor", "sshwrap doctor: GatewayPorts keeps the port on the server's loopback"
        )

        fixed = self._sshwrap("doctor web --fix")
        fixed.wait_for(lambda text: "Apply? [y/N]" in text)
        fixed.child.sendline("y")
        fixed.wait_for(lambda text: "Undo at any time" in text)
        fixed.save("doctor-fix", "sshwrap doctor --fix: the change, the question, and the proof")

        self._lab.faults.upstream_firewall(12345)
        walled = self._sshwrap("doctor web")
        walled.wait_for(_is_told)
        walled.save("doctor-firewall", "sshwrap doctor: a firewall keeps visitors out")
        down = self._sshwrap("down")
        down.wait_for(lambda text: "web: down" in text)

    def _sshwrap(self, words: str) -> Terminal:
        home = self._lab.home
        argv = home.enter(runtime.PYTHON, "-m", "sshwrap", *words.split())
        env = home.environ("root", **runtime.environment())
        env |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        terminal = Terminal(f"sshwrap {words}", argv, env, echo=True)
        self._stack.callback(terminal.close)
        return terminal


def _is_told(text: str) -> bool:
    return any(end in " ".join(text.split()) for end in COST)


if __name__ == "__main__":
    raise SystemExit(main())
