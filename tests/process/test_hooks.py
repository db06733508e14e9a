"""Hooks under their supervisor: what they are told, and that nothing they do reaches a tunnel."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import scenarios
from tests.support.command import DENIED, HOST, WEB, FakeCli
from tests.support.processes import process
from tests.support.waiting import wait_for

TELLS = """#!/bin/sh
# What it was told and started with, whole or not at all.
new=$(mktemp "$1/new.XXXXXX") && {
    env -0
    printf 'pwd=%s\\0' "$(pwd)"
    printf 'stdin=%s\\0' "$(readlink /proc/$$/fd/0)"
    printf 'argv=%s\\0' "$*"
    printf 'open=%s\\0' "$(ls -l /proc/$$/fd)"
    printf 'ignored=%s\\0' "$(grep SigIgn /proc/$$/status)"
} > "$new" && mv "$new" "$1/$(date +%s%N)"
"""
# Which then waits for ever, deaf to a gentle word.
DEAF = "trap '' TERM; echo $$ > $0.new; mv $0.new $0.pid; while :; do sleep 600; done"


class Told:
    """What the program `argv` was told, each time that it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "told"
        self.folder.mkdir()
        self.program = folder / "tell"
        self.program.write_text(TELLS)
        self.program.chmod(0o755)
        self.argv = [str(self.program), str(self.folder)]

    def all(self) -> list[dict[str, str]]:
        files = sorted(one for one in self.folder.iterdir() if one.name.isdecimal())
        return [
            dict(each.split("=", 1) for each in file.read_text().split("\0") if each)
            for file in files
        ]

    def states(self) -> list[str]:
        return [one["SSHWRAP_STATE"] for one in self.all()]

    def wait(self, *states: str) -> dict[str, str]:
        """Exactly these, in this order; the last one."""
        wait_for(lambda: len(self.all()) >= len(states), within=40, what=lambda: f"{self.states()}")
        assert self.states() == list(states)
        return self.all()[-1]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def deaf(folder: Path, name: str = "deaf") -> list[str]:
    return ["sh", "-c", DEAF, str(folder / name)]


def pid_of(folder: Path, name: str = "deaf") -> int:
    path = folder / f"{name}.pid"
    wait_for(path.exists, within=40)
    return int(path.read_text())


def is_gone(pid: int) -> bool:
    one = process(pid)
    return one is None or one.state == "Z"


def hooks(cli: FakeCli, name: str, count: int = 1) -> list[dict[str, Any]]:
    """The journal's entries, once there are so many."""
    wait_for(
        lambda: len(cli.journal(name, "hook")) >= count,
        within=40,
        what=lambda: f"{cli.journals()}",
    )
    return cli.journal(name, "hook")


def lines(cli: FakeCli, name: str) -> str:
    done = cli("logs", name)
    assert done.status == 0, done
    return done.out


def test_it_is_told_of_the_first_coming_up(cli: FakeCli, told: Told) -> None:
    cli.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/run/user/0/bus"
    cli.env["SSHWRAP_REASON"] = "of somebody else"
    cli.env["LISTEN_FDS"] = "1"
    cli.profiles(web={"on_up": [*told.argv, "a b", "$HOME;", ""]})
    cli.up("web")
    one = told.wait("up")
    assert (one["SSHWRAP_PROFILE"], one["SSHWRAP_ADDRESS"]) == ("web", f"{HOST}:12345")
    assert (one["SSHWRAP_REASON"], one["SSHWRAP_FAILURE"]) == ("", "")
    assert one["SSHWRAP_DESTINATION"] == f"root@{HOST}"
    assert (one["pwd"], one["stdin"]) == ("/", "/dev/null")
    assert one["argv"] == f"{told.folder} a b $HOME; "
    # Of its supervisor it has inherited nothing: no socket, no epoll, no lock.
    assert [each for each in ("socket:", "anon_inode:", ".lock") if each in one["open"]] == []
    of_the_c_library = 3 << 31  # signals 32 and 33: nobody can set these
    assert int(one["ignored"].split()[1], 16) & ~of_the_c_library == 0, "no signal is ignored"
    # What the caller's environment says stays, and "sshwrap status" there asks this supervisor.
    assert one["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/run/user/0/bus"
    assert one["SSHWRAP_STATE_DIR"] == cli.env["SSHWRAP_STATE_DIR"]
    assert "LISTEN_FDS" not in one
    (entry,) = hooks(cli, "web")
    assert (entry["hook"], entry["outcome"], entry["status"]) == ("on_up", "done", 0)
    assert entry["output"] == []
    assert "on_up ran" in lines(cli, "web")


def test_an_outage_and_its_end(cli: FakeCli, told: Told, tmp_path: Path) -> None:
    drop, back = tmp_path / "drop", tmp_path / "back"
    refused = [["wait_for", str(back)], *scenarios.up([WEB])]
    cli.profiles(web={"on_up": told.argv, "on_down": told.argv, "notify_after": 1})
    cli.server_says(scenarios.up_until(drop, [WEB]), refused)
    cli.up("web")
    told.wait("up")
    drop.touch()
    down = told.wait("up", "down")
    assert (down["SSHWRAP_FAILURE"], down["SSHWRAP_DOWN_SECONDS"]) == ("dropped", "1")
    assert down["SSHWRAP_REASON"] == f"{HOST} closed the connection"
    back.touch()
    up = told.wait("up", "down", "up")
    assert up["SSHWRAP_REASON"] == down["SSHWRAP_REASON"]
    assert int(up["SSHWRAP_DOWN_SECONDS"]) >= 1


def test_a_line_that_flaps_is_silent(cli: FakeCli, told: Told, tmp_path: Path) -> None:
    drops = [tmp_path / f"drop-{number}" for number in range(4)]
    cli.profiles(web={"on_up": told.argv, "on_down": told.argv, "restart_max_delay": 1})
    cli.server_says(*(scenarios.up_until(drop, [WEB]) for drop in drops), scenarios.up([WEB]))
    cli.up("web")
    for number, drop in enumerate(drops, 2):
        drop.touch()
        cli.wait_for_entry("web", "up", count=number)
    assert cli.asked("web")["drops"] == 4
    assert told.states() == ["up"]
    assert len(hooks(cli, "web")) == 1


def test_a_person_is_needed(cli: FakeCli, told: Told) -> None:
    cli.profiles(web={"on_failed": told.argv, "on_up": told.argv})
    cli.server_says(DENIED, scenarios.up([WEB]))
    cli("up", "-d", "web")
    failed = told.wait("failed")
    assert failed["SSHWRAP_FAILURE"] == "permission_denied"
    assert failed["SSHWRAP_REASON"] == f"{HOST} does not let root sign in"
    assert "Permission" not in failed["SSHWRAP_REASON"]
    cli("up", "-d", "web")
    told.wait("failed", "up")


def test_one_that_fails_says_so(cli: FakeCli) -> None:
    script = "echo out; printf '\\033[31mno\\033[m bus\\n' >&2; exit 1"
    cli.profiles(web={"on_up": ["sh", "-c", script]})
    cli.up("web")
    (entry,) = hooks(cli, "web")
    assert (entry["outcome"], entry["status"]) == ("failed", 1)
    assert entry["output"] == ["\\033[31mno\\033[m bus", "out"]
    assert "on_up failed with exit status 1: " in lines(cli, "web")
    assert cli.asked("web")["ok"] is True


def test_one_that_ends_by_a_signal(cli: FakeCli) -> None:
    cli.profiles(web={"on_up": ["sh", "-c", "kill -9 $$"]})
    cli.up("web")
    (entry,) = hooks(cli, "web")
    assert (entry["outcome"], entry["status"], entry["signal"]) == ("failed", None, 9)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("no-such-program", "no such file or directory"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
    ],
)
def test_one_that_is_not_there_is_said_once(
    cli: FakeCli, tmp_path: Path, program: str, said: str
) -> None:
    gate = tmp_path / "gate"
    down = {"on_down": [program], "on_failed": [program], "on_up": [program], "notify_after": 0}
    cli.profiles(web=down)
    cli.server_says(scenarios.up_until(gate, [WEB]), scenarios.up([WEB]))
    cli.up("web")
    (entry,) = hooks(cli, "web")
    assert (entry["hook"], entry["outcome"]) == ("on_up", "not_started")
    assert entry["output"] == [f'"{program}": {said}']
    gate.touch()
    cli.wait_for_entry("web", "up", count=2)
    assert len(hooks(cli, "web")) == 1
    assert f'on_up cannot be started: "{program}": {said}' in lines(cli, "web")


def test_one_that_floods_is_ended(cli: FakeCli) -> None:
    cli.profiles(web={"on_up": ["sh", "-c", "echo first; exec cat /dev/zero"]})
    cli.up("web")
    (entry,) = hooks(cli, "web")
    assert entry["outcome"] == "flooded"
    assert entry["output"][0] == "first"
    assert len(str(entry)) < 8_000
    assert cli.asked("web")["state"] == "up"


def test_one_that_hangs_stalls_nobody(cli: FakeCli, told: Told, tmp_path: Path) -> None:
    """Its tunnel drops and comes back, others are told, and down ends it."""
    gate = tmp_path / "gate"
    two = {"destination": "root@two.example.com", "on_up": told.argv}
    cli.profiles(web={"on_up": deaf(tmp_path)}, two=two)
    cli.server_says(scenarios.up_until(gate, [WEB]), scenarios.up([WEB]))
    cli.server_says(scenarios.up([WEB]), host="two.example.com")
    cli.up("web")
    pid = pid_of(tmp_path)
    gate.touch()
    cli.wait_for_entry("web", "up", count=2)
    cli.up("two")
    told.wait("up")
    assert not is_gone(pid)
    assert cli("down", "web").status == 0
    (entry,) = hooks(cli, "web")
    assert entry["outcome"] == "cut_short"
    wait_for(lambda: is_gone(pid), within=40)
    assert cli.asked("two")["state"] == "up"


def test_the_end_of_its_supervisor_is_its_own(cli: FakeCli, tmp_path: Path) -> None:
    cli.profiles(web={"on_up": deaf(tmp_path)})
    supervisor = cli.up("web")["supervisor_pid"]
    pid = pid_of(tmp_path)
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: is_gone(supervisor), within=40)
    wait_for(lambda: is_gone(pid), within=40)
    cli.wait_until_gone()


def test_a_supervisor_has_four_at_a_time(cli: FakeCli, tmp_path: Path) -> None:
    names = [f"cam{number}" for number in range(6)]
    cli.profiles(**{name: {"on_up": deaf(tmp_path, name)} for name in names})
    cli.up(*names)

    def running() -> set[str]:
        return {one.stem for one in tmp_path.glob("cam*.pid")}

    wait_for(lambda: len(running()) == 4, within=40)
    first = running()
    for name in names:
        cli.wait_until(name, "up")
    assert running() == first
    assert cli("down", sorted(first)[0]).status == 0
    wait_for(lambda: len(running()) == 5, within=40)
    assert running() > first


def test_an_edited_hook_needs_no_other_ssh(cli: FakeCli, told: Told, tmp_path: Path) -> None:
    gate, back = tmp_path / "gate", tmp_path / "back"
    cli.profiles(web={"on_down": ["false"], "notify_after": 3600})
    cli.server_says(
        scenarios.up_until(gate, [WEB]), [["wait_for", str(back)], *scenarios.up([WEB])]
    )
    ssh = cli.up("web")["ssh_pid"]
    cli.profiles(web={"on_down": told.argv, "on_up": told.argv, "notify_after": 0.5})
    done = cli("reload")
    assert done.status == 0
    assert cli.asked("web")["ssh_pid"] == ssh
    assert told.states() == [], "an on_up that comes later is told of nothing old"
    gate.touch()
    told.wait("down")
    back.touch()
    told.wait("down", "up")


def test_a_hook_that_ends_its_own_tunnel(cli: FakeCli) -> None:
    cli.profiles(web={"on_up": [sys.executable, "-m", "sshwrap", "down", "web", "--yes"]})
    cli("up", "-d", "web")
    cli.wait_for_entry("web", "unwanted")
    cli.wait_until_gone()


def test_in_front_it_is_told_too(cli: FakeCli, told: Told) -> None:
    cli.profiles(web={"on_up": told.argv})
    front = cli.front("up", "web")
    one = told.wait("up")
    assert one["pwd"] == "/"
    front.wait_for_words("hook: on_up ran")
