"""Another version at the other end, a terminal that is stopped, an ssh that floods at its start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import SPEC, FakeCli, says_one_thing

# A supervisor of another version: what it answers, by op, as bytes.
SUPERVISOR = """
import contextlib, json, socket, sys
path, answers = sys.argv[1], json.loads(sys.argv[2])
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(8)
print("listens", flush=True)
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
        line = file.readline()
        op = json.loads(line)["op"] if line.strip() else ""
        connection.sendall(answers.get(op, answers.get("else", "")).encode())
"""


@pytest.fixture
def supervisor(cli: FakeCli) -> Iterator[Callable[[dict[str, Any]], None]]:
    """`supervisor({"status": answer})`: one that is there and answers just that."""
    started: list[subprocess.Popen[str]] = []

    def start(answers: dict[str, Any]) -> None:
        lines = {
            op: answer if isinstance(answer, str) else json.dumps(answer) + "\n"
            for op, answer in answers.items()
        }
        cli.places().prepare_state_dir()
        argv = [sys.executable, "-ISc", SUPERVISOR, cli.places().background_socket]
        child = subprocess.Popen([*argv, json.dumps(lines)], stdout=subprocess.PIPE, text=True)
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "listens\n"

    yield start
    for child in started:
        child.kill()
        child.communicate()
        Path(cli.places().background_socket).unlink()


NEWER = {
    "v": 2,
    "ok": False,
    "error": {
        "message": "the supervisor is sshwrap 2.0 and speaks version 2; this one speaks 1",
        "advice": "sshwrap restart",
        "said": None,
        "status": 1,
    },
}


class TestAnotherVersion:
    def test_a_newer_command_asks_this_supervisor(self, cli: FakeCli) -> None:
        """status and down are answered, whoever asks; anything else is refused in one line."""
        cli.profiles(web={})
        cli.up("web")
        answer = cli.ask(op="status", v=2)
        assert (answer["ok"], answer["tunnels"][0]["state"]) == (True, "up")
        for op in ("up", "restart", "reload", "stop", "poke", "watch", "dance"):
            answer = cli.ask(op=op, v=2)
            assert answer["ok"] is False
            assert "speaks version 1" in answer["error"]["message"]
            assert answer["error"]["advice"]
        assert cli.asked("web")["state"] == "up"
        assert cli.ask(op="down", v=2, names=["web"])["ok"]
        assert cli.own_ssh() == []

    def test_faulty_requests_change_nothing(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        for message in (
            {"op": "dance"},
            {"op": "up"},
            {"op": "up", "orders": [{}]},
            {"op": "up", "orders": [{"profile": {"name": "x"}}]},
            {"op": "up", "orders": 7},
            {"op": "restart", "orders": ["web"]},
            {"op": "down", "names": 7},
            {"op": "status", "names": 7},
            {"op": ["status"]},
            {},
        ):
            answer = cli.ask(**message)
            assert answer["ok"] is False, message
            assert answer["error"]["message"], message
        assert cli.asked("web")["ssh_pid"] == first["ssh_pid"]
        assert cli.places().wanted_names() == ["web"]

    @pytest.mark.parametrize(
        "answer",
        [
            NEWER,
            "hello\n",
            "[]\n",
            '{"v": 2, "ok": true}\n',
            '{"v": 2, "ok": true, "pid": "x", "tunnels": [{"name": "web", "is": "fine"}]}\n',
            '{"v": 1, "ok": true, "pid": 1, "tunnels": 7}\n',
            "",
        ],
        ids=["refuses", "words", "list", "empty", "another shape", "number", "hangs up"],
    )
    def test_this_command_asks_another_supervisor(
        self, cli: FakeCli, supervisor: Callable[[dict[str, Any]], None], answer: Any
    ) -> None:
        cli.profiles(web={})
        supervisor({"else": answer})
        done = cli("status", "--json")
        assert "Traceback" not in done.err
        assert [t["profile"] for t in json.loads(done.out)["tunnels"]] == ["web"]
        if answer == "":
            return  # nobody there, as far as anybody can tell
        done = cli("up", "-d", "web")
        assert done.status == 1
        says_one_thing(done)
        assert cli.starts() == 0


class TestAStoppedTerminal:
    def test_nothing_waits_for_it_and_the_view_recovers(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        screen = cli.terminal("up", "web")
        cli.wait_for_entry("web", "up")
        screen.wait_for_words("1 up")
        path = cli.front_socket(screen.pid)
        screen.type(b"\x13")  # Ctrl-S
        for number in range(2, 5):
            os.kill(cli.asked("web", path)["ssh_pid"], signal.SIGKILL)
            cli.wait_for_entry("web", "up", count=number)
            assert cli.asked("web", path)["drops"] == number - 1
            if number == 2:  # the terminal has taken it by now
                shown = screen.raw
        assert cli.tunnel("web")["state"] == "up"
        assert cli("down", "no-such").status == 2
        assert screen.raw == shown
        screen.type(b"\x11")  # Ctrl-Q
        screen.wait_for_words("3 drops")
        screen.wait_for_words("1 up")
        assert screen.screen.count("web  down: ssh was ended by signal 9") == 3
        screen.type(b"\x03")
        assert screen.wait() == 130
        assert "web: down after" in screen.screen

    def test_term_ends_it_all_the_same(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        screen = cli.terminal("up", "web")
        cli.wait_for_entry("web", "up")
        screen.type(b"\x13")
        os.kill(screen.pid, signal.SIGTERM)
        assert screen.wait() == 0
        assert cli.own_ssh() == []


class TestTwoOfOneName:
    def test_a_front_does_not_take_what_a_silent_one_has(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        pid = cli.up("web")["supervisor_pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            done = cli("up", "web")
            assert done.status == 1
            assert f"another supervisor keeps it (pid {pid}" in says_one_thing(done)
            assert cli("up", "ha", "web").status == 1  # both or none
            assert cli.places().wanted_names() == ["web"]
            done = cli("up", "-d", "web")
            assert done.status == 1
            says_one_thing(done)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert cli.wait_until("web", "up")["supervisor_pid"] == pid
        assert len(cli.own_ssh()) == 1

    def test_ssh_config_gives_two_profiles_one_forward(self, cli: FakeCli) -> None:
        cli.profiles(web={"remote_forward": "1:h:1"}, ha={"remote_forward": "2:h:2"})
        cli.server_says(effective=["hostname vps.example.com", "remoteforward 12345 [h]:90"])
        done = cli("up", "-d")
        assert done.status == 78
        assert says_one_thing(done).startswith("ha and web: ssh_config gives both the same forward")
        assert cli.starts() == 0
        assert SPEC not in done.err
