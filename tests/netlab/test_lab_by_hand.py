"""`scripts/lab` as a person uses it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netlab.lab import missing
from tests.support.processes import descendants, process
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]


class Hand:
    """`hand("fault", "rst")`: a command of a lab of its own; its answer, or its complaint."""

    def __init__(self, folder: Path) -> None:
        self.env = os.environ | {
            "SSHWRAP_LAB_FOLDER": str(folder),
            "PYTHONPATH": str(REPOSITORY),
        }

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.lab", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, (words, done)
        return done.stdout if status == 0 else done.stderr

    @property
    def keeper(self) -> int:
        found = re.search(r"kept by process (\d+)", self("status"))
        assert found is not None
        return int(found[1])


@pytest.fixture
def hand() -> Iterator[Hand]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    parent = Path(tempfile.mkdtemp(prefix="lab-"))  # short: it holds a Unix socket
    hand = Hand(parent / "lab")
    yield hand
    hand("down")
    shutil.rmtree(parent)


def test_a_lab_is_played_with(hand: Hand) -> None:
    assert "there is no lab: scripts/lab up" in hand("status", status=1)
    assert "scripts/lab enter home sshwrap up web" in hand("up")
    assert "it is up already" in hand("up")
    assert hand("visit") == "not served: ECONNREFUSED\n"
    assert hand("enter", "--as", "you", "home", "id", "-un") == "you\n"
    assert "no account 'you'" in hand("enter", "--as", "you", "server", "id", status=1)
    assert "1 profile, no faults" in hand("enter", "--as", "you", "home", "sshwrap", "check")
    tunnel = ("ssh", "-f", "-N", "-R", "*:12345:localhost:8080", "tunnel@vps.example.com")
    hand("enter", "home", *tunnel, "-E", "/dev/null")
    served = "served: hello from home\n"
    wait_for(lambda: hand("visit") == served, within=20, what="served by IPv4")
    wait_for(lambda: hand("visit", "-6") == served, within=20, what="served by IPv6")
    assert "0.0.0.0:12345" in hand("status")
    assert hand("fault", "silence") == "faults: silence\n"
    assert hand("visit") == "not served: timeout\n"
    assert hand("fault", "heal") == "faults: none\n"
    assert "faults: suspend\n" in hand("fault", "suspend")
    assert hand("fault", "wake", "0") == "faults: none\n"
    assert hand("fault", "kill", "ssh") == "faults: none\n"
    wait_for(lambda: "REFUSED" in hand("visit"), within=20, what="the port is free")
    hand("enter", "home", *tunnel, "-E", "/dev/null")
    wait_for(lambda: hand("visit") == served, within=20, what="served again")
    assert hand("fault", "hold_port", "12345") == "faults: hold_port 12345\n"
    assert hand("visit") == "not served: timeout\n"
    assert hand("fault", "release_port", "12345") == "faults: none\n"
    hand("fault", "address_change")
    assert "behind 198.51.100.11" in hand("status")
    assert hand("sshd", "GatewayPorts=no") == "sshd runs with GatewayPorts=no\n"


def test_what_is_asked_wrongly_is_said_and_changes_nothing(hand: Hand) -> None:
    hand("up")
    for words, said in (
        (("fault", "quake"), "no fault 'quake': kill, freeze"),
        (("fault", "loss"), "scripts/lab fault loss SHARE"),
        (("fault", "wake", "soon"), "'soon' is no number of seconds"),
        (("fault", "address_change", "mine"), "'mine' is not home"),
        (("fault", "loss", "30"), "'30' is not 0 to 1"),
        (("fault", "kill", "me"), "'me' is none of ssh, session and a pid"),
        (("fault", "kill", "1"), "process 1 is not of this lab"),
        (("fault", "kill"), "not one ssh but none"),
        (("fault", "hold_port", "22"), "port 22: Address already in use"),
        (("sshd", "Gateway=yes"), "Bad configuration option: Gateway"),
        (("sshd", "yes"), "'yes' is not KEYWORD=VALUE"),
    ):
        assert said in hand(*words, status=1)
    assert "faults: none" in hand("status")
    assert "0.0.0.0:22" in hand("status")


def test_a_killed_keeper_leaves_nothing_in_the_way(hand: Hand) -> None:
    hand("up")
    keeper = hand.keeper
    below = [one.pid for one in descendants(keeper)]
    assert len(below) >= 10, "five hosts, each behind its unshare"
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: not any(process(pid) for pid in [keeper, *below]), what="all is gone")
    assert "there is no lab" in hand("visit", status=1)
    hand("up")
    assert hand.keeper != keeper


def test_a_folder_that_is_no_labs_is_left_alone(hand: Hand) -> None:
    folder = Path(hand.env["SSHWRAP_LAB_FOLDER"])
    folder.mkdir()
    (folder / "thesis.txt").write_text("…")
    assert "holds what is no lab's: thesis.txt" in hand("up", status=1)
    (folder / "thesis.txt").unlink()
