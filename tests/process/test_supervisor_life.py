"""A tunnel's life under its supervisor, with an ssh that does everything an ssh ever did."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support import scenarios
from tests.support.command import DENIED, HOST, WEB, FakeCli
from tests.support.processes import process
from tests.support.waiting import wait_for

SIGNED_IN = scenarios.sign_in()
CONFIRMED = scenarios.confirmed_lines([WEB])
UP = scenarios.up([WEB])[:-1]  # and then whatever comes
LOST = f"Connection to {HOST} closed by remote host."
MIB = 1 << 20


def rss(pid: int) -> int:
    """Bytes of memory a process has now."""
    pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_it_comes_up_and_goes_down_and_leaves_nothing(cli: FakeCli) -> None:
    cli.profiles(web={})
    tunnel = cli.up("web")
    assert (tunnel["state"], tunnel["wanted"], tunnel["ok"]) == ("up", True, True)
    started = scenarios.started(cli.fake, 1)
    assert started is not None
    assert started["pid"] == tunnel["ssh_pid"]
    assert started["parent"] == tunnel["supervisor_pid"]
    assert started["argv"][-2:] == ["--", f"root@{HOST}"]
    assert started["env"]["LC_ALL"] == "C"
    assert not [name for name in started["env"] if name.startswith("SSHWRAP_")]
    assert started["terminals"] == [0, 2]  # its log, 1, is a pipe of the supervisor's
    assert cli("down", "web").status == 0
    assert cli.own_ssh() == []
    assert cli.events("web") == ["wanted", "up", "unwanted"]
    cli.wait_until_gone()
    assert cli.sockets() == []


ENDS: dict[str, tuple[scenarios.Steps, str]] = {
    "zero": ([["exit", 0]], "ended_by_signal"),  # as ssh does for TERM alone
    "usual": ([["exit", 255]], "ended"),
    "strange": ([["exit", 3]], "ended"),
    "kill": ([["die", "KILL"]], "ended_by_signal"),
    "segv": ([["die", "SEGV"]], "ended_by_signal"),
    "log": ([["log", LOST], ["exit", 255]], "dropped"),
    "terminal": ([["terminal", LOST], ["exit", 255]], "dropped"),  # until OpenSSH 9.7
    "timeout": (
        [["log", f"Timeout, server {HOST} not responding."], ["exit", 255]],
        "keepalive_timeout",
    ),
    "unknown": ([["log", "words that no row knows"], ["exit", 255]], "unknown"),
}


def test_however_it_ends_it_comes_back(cli: FakeCli, tmp_path: Path) -> None:
    """All of them at once, each its own server."""
    gate = tmp_path / "drop"
    cli.profiles(**{name: {"destination": f"root@{name}.example.com"} for name in ENDS})
    for name, (end, _) in ENDS.items():
        steps = [*UP, ["wait_for", str(gate)], *end]
        cli.server_says(steps, scenarios.up([WEB]), host=f"{name}.example.com")
    cli.up(*ENDS)
    first = {name: cli.asked(name)["ssh_pid"] for name in ENDS}
    gate.touch()
    for name, (_, kind) in ENDS.items():
        assert cli.wait_for_entry(name, "down")["failure"]["kind"] == kind, name
        cli.wait_for_entry(name, "up", count=2)
        tunnel = cli.wait_until(name, "up")
        assert tunnel["ssh_pid"] != first[name]
        assert (tunnel["drops"], tunnel["failure"]) == (1, None)
        assert cli.events(name) == ["wanted", "up", "down", "up"]
        last = cli.journal(name)[-1]
        assert (last["first"], last["attempts"], last["after"] > 0) == (False, 1, True)


class TestWhatItReads:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
    def test_lines_that_come_in_pieces(self, cli: FakeCli, tmp_path: Path, end: str) -> None:
        """Nothing is up on half of a line, whatever stands before it."""
        gate, there = tmp_path / "gate", tmp_path / "there"
        begin, last = CONFIRMED[:-1], CONFIRMED[-1]
        steps = [*SIGNED_IN, ["established"]]
        for line in begin:
            steps += [["raw", "log", part] for part in (line[:9], line[9:] + end)]
        steps += [["raw", "log", last[:30]], ["touch", str(there)], ["wait_for", str(gate)]]
        steps += [["raw", "log", last[30:] + end], ["wait"]]
        cli.profiles(web={})
        cli.server_says(steps)
        front = cli.front("up", "web")
        wait_for(there.exists)
        path = cli.front_socket(front.pid)
        assert cli.wait_until("web", "starting", path=path)["failure"] is None
        gate.touch()
        front.wait_for_words("up: vps.example.com:12345 → localhost:8080")

    def test_the_end_of_its_output_is_not_its_end(self, cli: FakeCli, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        closed = [["close", "log"], ["close", "terminal"], ["touch", str(tmp_path / "closed")]]
        steps = [*UP, *closed, ["wait_for", str(gate)], ["exit", 255]]
        cli.profiles(web={})
        cli.server_says(steps, scenarios.up([WEB]))
        first = cli.up("web")
        wait_for((tmp_path / "closed").exists)
        tunnel = cli.asked("web")
        assert (tunnel["state"], tunnel["ssh_pid"]) == ("up", first["ssh_pid"])
        gate.touch()
        cli.wait_for_entry("web", "up", count=2)

    def test_its_end_while_another_holds_its_output(self, cli: FakeCli, tmp_path: Path) -> None:
        """A ControlPersist master or a ProxyCommand that lives on."""
        file = tmp_path / "grandchild"
        cli.profiles(web={})
        cli.server_says(
            [*UP, ["grandchild", str(file)], ["wait_for", str(tmp_path / "go")], ["exit", 255]],
            scenarios.up([WEB]),
        )
        cli.up("web")
        wait_for(file.exists)
        grandchild = int(file.read_text())
        try:
            (tmp_path / "go").touch()
            cli.wait_for_entry("web", "up", count=2)
            assert process(grandchild) is not None
        finally:
            os.kill(grandchild, signal.SIGKILL)

    def test_deaf_to_term_it_is_killed(self, cli: FakeCli, tmp_path: Path) -> None:
        deaf = tmp_path / "deaf"
        cli.profiles(web={})
        cli.server_says([*UP, ["ignore", "TERM", "HUP"], ["touch", str(deaf)], ["wait"]])
        ssh = cli.up("web")["ssh_pid"]
        wait_for(deaf.exists)
        down = cli.front("down", "web")
        assert cli.wait_until("web", "stopping")["ssh_pid"] == ssh
        assert down.wait() == 0
        assert process(ssh) is None
        assert cli.events("web") == ["wanted", "up", "unwanted"]

    @pytest.mark.parametrize("where", ["log", "terminal"])
    def test_12_mib_of_chatter(self, cli: FakeCli, tmp_path: Path, where: str) -> None:
        gate, over = tmp_path / "gate", tmp_path / "over"
        cli.profiles(web={})
        chatter = [["wait_for", str(gate)], ["chatter", where, 12 * MIB], ["touch", str(over)]]
        cli.server_says([*UP, *chatter, ["wait"]])
        first = cli.up("web")
        pid = first["supervisor_pid"]
        before = rss(pid)
        gate.touch()
        answers = 0
        while not over.exists() or not answers:
            assert cli.asked("web")["state"] == "up"
            answers += 1
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["ssh_pid"]) == ("up", first["ssh_pid"])
        assert rss(pid) - before < 4 * MIB
        assert cli.events("web") == ["wanted", "up"]

    def test_status_answers_in_the_middle_of_chatter_without_end(
        self, cli: FakeCli, tmp_path: Path
    ) -> None:
        """The answer has a second: a supervisor that took longer would be called silent."""
        flowing = tmp_path / "flowing"
        cli.profiles(web={})
        endless = ["chatter", "log", 1 << 40]
        cli.server_says([*UP, ["chatter", "log", MIB], ["touch", str(flowing)], endless])
        cli.up("web")
        wait_for(flowing.exists)
        for _ in range(3):
            assert cli.tunnel("web")["state"] == "up"
        assert cli("down", "web").status == 0


class TestWhatAServerSays:
    def test_a_banner_that_imitates_ssh_changes_nothing(self, cli: FakeCli, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        lies = [
            f'Authenticated to {HOST} ([203.0.113.5]:22) using "publickey".',
            *CONFIRMED,
            f"Timeout, server {HOST} not responding.",
            "kex_exchange_identification: banner line 0: Not allowed at this time",
            "Error: remote port forwarding failed for listen port 12345",
        ]
        before = [step for step in SIGNED_IN if "Authent" not in step[1] or "Local" in step[1]]
        told = [*before, *scenarios.terminal(*lies), ["touch", str(tmp_path / "lied")]]
        cli.profiles(web={})
        cli.server_says(
            [*told, ["wait_for", str(gate)], *DENIED],
            [*told, *UP, ["wait"]],
        )
        front = cli.front("up", "web")
        path = cli.front_socket(front.pid)
        wait_for((tmp_path / "lied").exists)
        assert cli.wait_until("web", "starting", path=path)["failure"] is None
        gate.touch()
        entry = cli.wait_for_entry("web", "needs_person")
        assert entry["failure"]["kind"] == "permission_denied"
        cli.ask(path, op="poke")
        cli.wait_for_entry("web", "up")
        assert cli.events("web") == ["wanted", "needs_person", "up"]

    def test_nothing_of_it_reaches_a_terminal_raw(self, cli: FakeCli) -> None:
        """Neither escapes nor what rich would take for markup, on a line or on a screen."""
        evil = "\x1b]0;owned\x07 [bold red]cheap[/] \x1b[2J \x9b31m ‮back"
        denied = DENIED[:-1]
        cli.profiles(web={"description": "[blink]me[/blink] [link=x]"})
        cli.server_says(
            [*scenarios.terminal(evil), *scenarios.log(evil), *denied, ["exit", 255]],
            [*scenarios.terminal(evil), *scenarios.log(evil), ["exit", 255]],
        )
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "needs_person")
        cli.ask(cli.front_socket(front.pid), op="poke")
        cli.wait_for_entry("web", "attempt_failed")
        front.wait_for_words("try 2 failed")
        logs, as_json = cli("logs", "web"), cli("logs", "web", "--json")
        status, in_json = cli("status"), cli("status", "--json")
        cli.env["TERM"] = "xterm-256color"
        screen = cli.terminal("status", rows=40)
        assert screen.wait() == 1
        told = [front.out, front.err, logs.out, as_json.out, status.out, in_json.out]
        for text in [*told, screen.raw.decode().replace("\r\n", "\n")]:
            assert not set(text) & {"\x07", "\x9b", "‮"}
            assert "\x1b]" not in text
            assert "\x1b[2J" not in text
        for text in told:
            assert "\x1b" not in text
        assert "[bold red]cheap[/]" in front.out
        assert "[bold red]cheap[/]" in logs.out
        assert "[blink]me[/blink] [link=x]" in screen.screen
        said = json.loads(in_json.out)["tunnels"][0]["failure"]["said"]
        assert said.startswith("\\033]0;owned\\007 [bold red]cheap[/]")

    def test_a_flood_before_the_sign_in_hides_nothing(self, cli: FakeCli) -> None:
        flood = scenarios.terminal(*(f"line {number} of a long banner" for number in range(500)))
        cli.profiles(web={})
        cli.server_says([*SIGNED_IN[:-2], *flood, *UP, ["wait"]])
        assert cli.up("web")["state"] == "up"
