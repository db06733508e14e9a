"""`doctor` with a real sshd: the report on terminals of every kind, as JSON, and what it costs."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pyte
import pytest

from tests.support.command import Terminal
from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import REPOSITORY, Done, Sshwrap
from tests.support.web import Web

pytestmark = needs_sshd

SCHEMA = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text())
SECTIONS = ["here", "path", "account", "server", "port", "live"]
AGAIN = re.compile(r"\x1b\[\d+A\x1b\[J")  # up to where it began, and everything below is gone
STYLE = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def port(cli: Sshwrap, web: Web) -> int:
    """Of a profile "web" for everybody, at a server that lets it."""
    port = free_port()
    cli.server.options["GatewayPorts"] = "clientspecified"
    cli.server.reload()
    cli.profiles(web={"remote_forward": f"*:{port}:127.0.0.1:{web.port}"})
    return port


@contextlib.contextmanager
def at_terminal(
    cli: Sshwrap, *words: str, rows: int = 100, columns: int = 80, **env: str
) -> Iterator[Terminal]:
    there = {"TERM": "xterm-256color"} | cli.env | env
    terminal = Terminal(cli._argv(words), there, cli.folder, rows, columns)
    try:
        yield terminal
    finally:
        terminal.close()


def story(terminal: Terminal, rows: int, columns: int) -> list[str]:
    """Everything that a person sees in the end, what has scrolled out of the screen before it."""
    screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=0.5)
    pyte.ByteStream(screen).feed(terminal.raw)
    past = ["".join(row[at].data for at in range(columns)).rstrip() for row in screen.history.top]
    return "\n".join([*past, *(row.rstrip() for row in screen.display)]).rstrip().split("\n")


def sections(rows: list[str]) -> list[str]:
    """Those that have their line, in their order."""
    found = (re.match(r"  (?:ok|warn|FAIL|\?) +([a-z]+)(?: |$)", row) for row in rows)
    return [match[1] for match in found if match]


def answer(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in found["findings"]}


def sign_ins(server: Sshd) -> int:
    return server.log().count("Accepted publickey")


class TestOnATerminal:
    @pytest.mark.parametrize(("rows", "columns"), [(100, 80), (100, 40), (9, 80)])
    @pytest.mark.usefixtures("port")
    def test_sections_appear_and_the_report_takes_their_place(
        self, cli: Sshwrap, rows: int, columns: int
    ) -> None:
        with at_terminal(cli, "doctor", "web", rows=rows, columns=columns) as terminal:
            assert terminal.wait() == 0, terminal.screen
            seen = story(terminal, rows, columns)
            raw = STYLE.sub("", terminal.raw.decode())
        frames = [frame.replace("\r\n", "\n").split("\n") for frame in AGAIN.split(raw)]
        assert len(frames) > 4
        for before, after in pairwise(frames):
            assert sections(after)[: len(sections(before))] == sections(before)
        assert sections(frames[0]) == ["here"]
        assert sections(frames[-1]) == SECTIONS
        if rows == 9:  # no frame is longer than what can be taken back
            assert max(map(len, frames[:-1])) <= rows
        else:
            assert sections(frames[-2]) == SECTIONS
        assert all(len(row) <= columns for frame in frames for row in frame)
        # Nothing of what stood there before is left: what is seen is the last frame.
        assert seen == "\n".join(frames[-1]).rstrip().split("\n")
        assert seen[0].startswith("web: server, *:")
        assert "\033" not in "".join(frames[-1])

    @pytest.mark.usefixtures("port")
    def test_without_colour_it_is_live_and_plain(self, cli: Sshwrap) -> None:
        with at_terminal(cli, "doctor", "web", NO_COLOR="1") as terminal:
            assert terminal.wait() == 0
            raw = terminal.raw.decode()
        assert AGAIN.search(raw)
        assert not re.search(r"\x1b\[(?:3\d|9\d|38)", raw)

    @pytest.mark.parametrize("words", [(), ("-q",), ("--json",), ("--report", "-")])
    @pytest.mark.usefixtures("port")
    def test_where_nothing_can_be_taken_back(self, cli: Sshwrap, words: tuple[str, ...]) -> None:
        """On a dumb terminal, and where the report is not what is asked for, it comes once."""
        env = {} if words else {"TERM": "dumb"}
        with at_terminal(cli, "doctor", "web", *words, **env) as terminal:
            assert terminal.wait() == 0
            raw = terminal.raw.decode()
        assert not AGAIN.search(raw)
        if not words:
            assert "\033" not in raw
            assert sections(raw.replace("\r\n", "\n").split("\n")) == SECTIONS

    def test_ctrl_c_leaves_nothing(self, cli: Sshwrap) -> None:
        with hanging() as number:
            config = to_port(cli, number)
            cli.profiles(web={"ssh_config": str(config), "remote_forward": "80:localhost:80"})
            with at_terminal(cli, "doctor", "web") as terminal:
                terminal.wait_for_words("FAIL  here")  # nobody serves there
                terminal.type(b"\x03")
                assert terminal.wait() == 130
                assert "Traceback" not in terminal.screen
                assert sections(terminal.screen.split("\n")) == []
            assert cli.own_processes() == []
            assert cli.sockets() == []


class TestNotOnATerminal:
    @pytest.mark.usefixtures("port")
    def test_it_is_plain(self, cli: Sshwrap) -> None:
        done = cli("doctor", "web")
        assert (done.status, done.err) == (0, "")
        assert "\033" not in done.out
        assert sections(done.out.split("\n")) == SECTIONS
        cli.env["FORCE_COLOR"] = "1"
        forced = cli("doctor", "web").out
        assert STYLE.search(forced)
        assert not AGAIN.search(forced)


class TestDownAndUp:
    def test_down_it_signs_in_once(self, cli: Sshwrap, port: int) -> None:
        before = sign_ins(cli.server)
        done = cli("doctor", "web")
        assert done.status == 0, done
        assert sign_ins(cli.server) - before == 1
        assert "one sign-in. Nothing was written" in " ".join(done.out.split())
        assert "sshwrap up web" in done.out
        found = answer(cli("doctor", "web", "--json"))
        assert (found["profile"], found["next"]) == ("web", "sshwrap up web")
        told = verdicts(found)
        assert {told[name] for name in ("tcp", "banner", "host-key", "latency", "sign-in")} == {
            "ok"
        }
        assert told["port-free"] == "ok"
        assert "fail" not in told.values()
        assert cli.sockets() == []

    def test_up_it_signs_in_not_at_all(self, cli: Sshwrap, port: int) -> None:
        cli.up("web")
        before = sign_ins(cli.server)
        done = cli("doctor", "web")
        assert done.status == 0, done
        assert "no sign-in. Nothing was written" in " ".join(done.out.split())
        found = answer(cli("doctor", "web", "--json"))
        assert sign_ins(cli.server) == before
        told = {one["id"]: one for one in found["findings"]}
        for name in ("tcp", "banner", "host-key"):
            assert told[name]["verdict"] == "ok"
            assert "the running tunnel came this way" in told[name]["seen"]
        assert told["key-options"]["verdict"] == "ok"
        assert told["key-options"]["seen"] == "the key may forward"
        assert told["port-free"]["seen"] == f"{port} is held by the running tunnel"
        assert told["forwards"]["verdict"] == "ok"
        assert not [one for one in told.values() if "running tunnel was used" in one["seen"]]
        assert cli.tunnel("web")["drops"] == 0

    def test_what_fails_is_1(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        cli.profiles(web={"remote_forward": f"*:{port}:127.0.0.1:{web.port}"})
        done = cli("doctor", "web", "--json")  # GatewayPorts is what every server has
        assert done.status == 1, done
        found = answer(done)
        assert verdicts(found)["gateway-ports"] == "fail"
        assert found["next"].startswith("sshwrap doctor web --fix")
        # Without a bind address it is as asked, unless it is judged as public.
        cli.profiles(web={"remote_forward": f"{port}:127.0.0.1:{web.port}"})
        assert cli("doctor", "web").status == 0
        done = cli("doctor", "web", "--public", "--json")
        assert done.status == 1, done
        assert verdicts(answer(done))["gateway-ports"] == "fail"
        assert answer(done)["next"].startswith("sshwrap doctor web --fix --public")

    @pytest.mark.usefixtures("port")
    def test_a_report_names_nobody(self, cli: Sshwrap, tmp_path: Path) -> None:
        cli.up("web")
        file = tmp_path / "report"
        assert cli("doctor", "web", "--report", str(file)).status == 0
        text = file.read_text()
        for part in ("## findings", "## ssh -G", "## journal"):
            assert part in text
        key = cli.server.client_key.with_suffix(".pub").read_text().split()[1]
        assert key not in text
        assert "SHA256:" not in text or "SHA256:…" in text


class TestADestination:
    def test_without_a_profile(self, cli: Sshwrap) -> None:
        program = cli.folder / "ssh"  # ssh takes no ssh_config from the environment
        program.write_text(f'#!/bin/sh\nexec ssh -F "{cli.server.config}" "$@"\n')
        program.chmod(0o755)
        cli.env["SSHWRAP_SSH"] = str(program)
        word = f"{cli.server.user}@{cli.server.alias}"
        done = cli("doctor", word, "--json")
        assert done.status == 0, done
        found = answer(done)
        assert (found["profile"], found["destination"]) == (None, word)
        assert verdicts(found)["sign-in"] == "ok"
        assert word in found["summary"]
        done = cli("doctor", word)
        assert done.out.startswith(f"{word}\n")


class TestAServerThatHangs:
    def test_it_ends(self, cli: Sshwrap) -> None:
        with hanging() as number:
            config = to_port(cli, number)
            cli.profiles(web={"ssh_config": str(config), "remote_forward": "80:localhost:80"})
            done = cli("doctor", "web")
        assert done.status == 1, done
        took = re.search(r"^(\d+) s, one sign-in", done.out, re.M)
        assert took is not None, done
        assert int(took[1]) <= 15
        assert "sign-in" in done.out
        assert cli.own_processes() == []


@contextlib.contextmanager
def hanging() -> Iterator[int]:
    """The port of a server that greets, and says no more."""
    over = threading.Event()
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                taken, _ = listener.accept()
                if over.is_set():
                    taken.close()
                    return
                taken.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
                held.append(taken)

        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()
            for one in held:
                one.close()


def to_port(cli: Sshwrap, number: int) -> Path:
    return cli.ssh_config(f"Port {number}")
