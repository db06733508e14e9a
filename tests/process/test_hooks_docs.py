"""docs/hooks.md: its table is what a hook is told, and its programs do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sshwrap.profile.file import parse_profiles
from sshwrap.supervisor import hooks
from sshwrap.tunnel.events import Deadline, WantUp
from sshwrap.tunnel.notify import FRESH, watch
from tests.unit.tunnel.things import Life, at, fresh

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
TEXT = PAGE.read_text(encoding="utf-8")
TOLD = {
    "SSHWRAP_PROFILE": "web",
    "SSHWRAP_STATE": "down",
    "SSHWRAP_REASON": 'it "stopped" answering; $(reboot)',
    "SSHWRAP_ADDRESS": "vps.example.com:12345",
    "SSHWRAP_ADDRESSES": "vps.example.com:12345\nvps.example.com:12346",
    "SSHWRAP_SINCE": "2026-11-22T10:00:00Z",
    "SSHWRAP_DOWN_SECONDS": "72",
}
# Stands for any program: what it was given, as JSON.
STUB = """#!{python} -IS
import json, sys
json.dump([sys.argv[1:], "" if sys.stdin.isatty() else sys.stdin.read()], open({said!r}, "w"))
"""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = folder / "said.json"

    def stub(self, name: str) -> None:
        path = self.folder / name
        python = shutil.which("python3") or "/usr/bin/python3"
        path.write_text(STUB.format(python=python, said=str(self.said)))
        path.chmod(0o755)

    def run(self, name: str, *arguments: str) -> tuple[list[str], str]:
        """What the program `name` of the page has handed to the stub."""
        block = TEXT.partition(f"`~/bin/{name}")[2].partition("```sh\n")[2].partition("```")[0]
        program = self.folder / name
        # The one absolute path on the page.
        program.write_text(block.replace("/usr/sbin/sendmail", str(self.folder / "sendmail")))
        program.chmod(0o755)
        env = {**TOLD, "PATH": f"{self.folder}:{os.environ['PATH']}", "HOME": str(self.folder)}
        done = subprocess.run(
            [str(program), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        argv, given = json.loads(self.said.read_text())
        return argv, given


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_its_table_is_what_a_hook_is_told() -> None:
    life = Life(fresh())
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    life.come_up(1)
    (due,) = watch(FRESH, life.tunnel, at(1))[1]
    assert re.findall(r"^\| `(SSHWRAP_\w+)` \|", TEXT, re.M) == list(due.environ)


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"{hooks.SECONDS:.0f} seconds. Then it gets TERM" in TEXT
    assert (hooks.GRACE, hooks.MOST, hooks.WRITES_BYTES) == (2.0, 4, 1 << 20)
    assert f"{hooks.KEPT_LINES} lines at most" in TEXT


def test_its_profile_is_legal() -> None:
    text = TEXT.partition("```toml\n")[2].partition("```")[0]
    profile = parse_profiles(text, PAGE, environ={"HOME": "/home/u"})["web"]
    assert profile.on_failed == ("/home/u/bin/tell-mail", "you@example.com")


def test_the_desktop(bench: Bench) -> None:
    bench.stub("notify-send")
    argv, _ = bench.run("tell-desktop")
    assert argv == ["--app-name=sshwrap", "web: down", TOLD["SSHWRAP_REASON"]]


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq here")
def test_the_chat(bench: Bench) -> None:
    bench.stub("curl")
    argv, given = bench.run("tell-chat")
    assert argv[:2] == ["--config", f"{bench.folder}/.config/sshwrap/chat.curl"]
    text = json.loads(given)["text"]
    assert text.startswith("web: down vps.example.com:12345, since 2026-11-22T10:00:00Z: ")
    assert text.endswith(TOLD["SSHWRAP_REASON"])


def test_the_mail(bench: Bench) -> None:
    bench.stub("sendmail")
    argv, given = bench.run("tell-mail", "you@example.com")
    assert argv == ["-t"]
    assert given.startswith("To: you@example.com\nSubject: web is down\n\n")
    assert given.endswith("since 2026-11-22T10:00:00Z, down for 72 s\n")
    assert TOLD["SSHWRAP_REASON"] in given
