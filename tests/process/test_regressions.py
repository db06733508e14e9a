"""Defects that were found in use, and what stands around them; none may come back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sshwrap.supervisor import ipc
from sshwrap.supervisor.turns import SIGNING_IN_PER_SERVER
from tests.support import scenarios
from tests.support.command import DENIED, HOST, SPEC, WEB, FakeCli, says_one_thing
from tests.support.processes import process
from tests.support.sshwrap_cli import Done
from tests.support.waiting import wait_for

MOVING, OLD, NEW = "moving.example.com", "old.example.com", "new.example.com"
RUN = ["ssh", "-R", SPEC, f"root@{HOST}"]
OTHER_RUN = ["ssh", "-R", "*:12345:localhost:9090", f"root@{HOST}"]


def resolves_to(host: str, port: int = 22) -> list[str]:
    """What `ssh -G` says."""
    return [f"hostname {host}", f"port {port}"]


@pytest.fixture
def stopped() -> Iterator[Callable[[int], None]]:
    """`stopped(pid)`: SIGSTOP until the end of the test."""
    pids: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)

    yield stop
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


class TestTheServerOfSshConfigChanges:
    def test_places_at_the_old_one_are_not_lost(self, cli: FakeCli, tmp_path: Path) -> None:
        silent = [*scenarios.sign_in()[:2], ["wait_for", str(tmp_path / "never")]]
        names = [f"moving-{number}" for number in range(SIGNING_IN_PER_SERVER)]
        moving = {"destination": f"root@{MOVING}"}
        cli.profiles(**dict.fromkeys(names, moving), late={"destination": f"root@{OLD}"})
        cli.server_says(silent, host=MOVING, effective=resolves_to(OLD))
        cli.server_says(scenarios.up([WEB]), host=OLD)
        cli("up", "-d", *names, "--timeout", "0")
        cli.wait_for_starts(SIGNING_IN_PER_SERVER, MOVING)
        cli("up", "-d", "late", "--timeout", "0")
        assert (cli.asked("late")["state"], cli.starts(OLD)) == ("waiting", 0)
        cli.server_says(host=MOVING, effective=resolves_to(NEW))
        for _ in range(2):
            cli("up", "-d", *names, "--timeout", "0")
        cli.wait_for_entry("late", "up")

    def test_one_that_is_due_there_is_due_at_the_new_one(
        self, cli: FakeCli, tmp_path: Path
    ) -> None:
        silent = [*scenarios.sign_in()[:2], ["wait_for", str(tmp_path / "never")]]
        names = [f"stuck-{number}" for number in range(SIGNING_IN_PER_SERVER)]
        stuck = {"destination": f"root@{OLD}"}
        cli.profiles(**dict.fromkeys(names, stuck), mover={"destination": f"root@{MOVING}"})
        cli.server_says(silent, host=OLD)
        cli.server_says(scenarios.up([WEB]), host=MOVING, effective=resolves_to(OLD))
        cli("up", "-d", *names, "--timeout", "0")
        cli.wait_for_starts(SIGNING_IN_PER_SERVER, OLD)
        cli("up", "-d", "mover", "--timeout", "0")
        assert (cli.asked("mover")["state"], cli.starts(MOVING)) == ("waiting", 0)
        cli.server_says(host=MOVING, effective=resolves_to(NEW))
        assert cli.up("mover")["state"] == "up"
        assert cli.starts(MOVING) == 1

    @pytest.mark.parametrize("words", [("up", "-d", "web"), ("reload",)], ids=["up", "reload"])
    @pytest.mark.parametrize(("host", "port"), [(NEW, 22), (HOST, 2222)], ids=["host", "port"])
    def test_the_tunnel_goes_there(
        self, cli: FakeCli, words: tuple[str, ...], host: str, port: int
    ) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        assert first["forwards"][0]["address"] == f"{HOST}:12345"
        assert cli(*words).status == 0
        assert cli.asked("web")["ssh_pid"] == first["ssh_pid"]
        cli.server_says(effective=resolves_to(host, port))
        assert cli(*words).status == 0
        cli.wait_for_entry("web", "up", count=2)
        tunnel = cli.tunnel("web")
        assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
        assert tunnel["forwards"][0]["address"] == f"{host}:12345"
        assert process(first["ssh_pid"]) is None
        assert cli.starts() == 2


class TestWhoeverHungUp:
    def test_asking_for_what_a_front_keeps_leaves_no_supervisor(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        done = cli("up", "-d", "web")
        assert done.status == 0
        assert f"web: already kept up by pid {front.pid}" in done.err
        assert cli("down").status == 0
        assert front.wait() == 0
        cli.wait_until_gone()

    def test_watchers_that_have_gone_are_forgotten(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.up("web")
        request = {"v": ipc.VERSION, "op": "watch", "names": None}
        for _ in range(3):
            with ipc.stream(cli.places().background_socket, request) as stream:
                assert stream.receive()[0]["tunnels"][0]["profile"] == "web"
        assert cli("down").status == 0
        cli.wait_until_gone()


class TestUpAndDownAtOnce:
    def test_up_while_it_stops_ends_the_wait_of_down(self, cli: FakeCli, tmp_path: Path) -> None:
        ready, gate = tmp_path / "ready", tmp_path / "gate"
        deaf = [["on", "TERM", []], ["touch", str(ready)], ["wait_for", str(gate)], ["exit", 0]]
        cli.profiles(web={})
        cli.server_says([*scenarios.up([WEB])[:-1], *deaf], scenarios.up([WEB]))
        ssh = cli.up("web")["ssh_pid"]
        order = json.loads(Path(cli.places().wanted_file("web")).read_text())["order"]
        wait_for(ready.exists)
        down = cli.front("down", "web")
        cli.wait_until("web", "stopping")
        # As `up -d` does it, and without the time that a command needs: ssh has five seconds.
        assert cli.ask(op="up", by="up", orders=[order])["ok"]
        assert down.wait() == 0
        assert process(ssh) is not None  # nothing but the second wish has ended the wait
        gate.touch()
        cli.wait_for_entry("web", "up", count=2)
        assert cli.asked("web")["ssh_pid"] != ssh
        assert cli.places().wanted_names() == ["web"]

    def test_taken_down_meanwhile_is_not_still_trying(self, cli: FakeCli, tmp_path: Path) -> None:
        cli.profiles(web={})
        cli.server_says([*scenarios.sign_in()[:2], ["wait_for", str(tmp_path / "never")]])
        up = cli.front("up", "-d", "web", "--timeout", "60")
        cli.wait_for_starts(1)
        assert cli("down", "web").status == 0
        assert up.wait() == 1
        assert "web: taken down meanwhile" in up.err
        assert "still trying" not in up.err


def test_more_orders_than_a_request_may_hold(cli: FakeCli) -> None:
    names = [f"many-{number:02}" for number in range(12)]
    specs = [f"*:{port}:service.example.com:{port}" for port in range(20_000, 20_500)]
    cli.profiles(**{name: {"remote_forward": specs} for name in names})
    cli.server_says(DENIED)
    done = cli("up", "-d")
    assert done.status == 77, done.err
    wanted = [json.loads(Path(cli.places().wanted_file(n)).read_text()) for n in names]
    assert sum(len(ipc.encode(each["order"])) for each in wanted) > ipc.REQUEST_BYTES
    for name in names:
        assert cli.events(name) == ["wanted", "needs_person"]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh -G is asked")
def test_what_match_exec_leaves_behind_is_not_waited_for(cli: FakeCli) -> None:
    left, config = cli.folder / "left", cli.folder / "ssh_config"
    config.write_text(f'Match exec "sleep 100 & echo $! >{shlex.quote(str(left))}"\n  Port 2222\n')
    cli.profiles(web={"ssh_config": config})
    cli.server_says(effective=None)  # the system's ssh is asked
    try:
        done = cli("check")
        assert (done.status, done.err) == (0, "")
        assert process(int(left.read_text())) is not None
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


class TestSomebodyCleanedUp:
    def test_its_socket(self, cli: FakeCli, stopped: Callable[[int], None]) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        pid = first["supervisor_pid"]
        stopped(pid)  # or it would have a new one before we have looked
        Path(cli.places().background_socket).unlink()
        done = cli("status", "--json")
        tunnel = json.loads(done.out)["tunnels"][0]
        assert (done.status, tunnel["supervisor_pid"]) == (1, pid)
        summary = tunnel["failure"]["summary"]
        assert f"(pid {pid}) lives and cannot be asked" in summary
        assert "nobody keeps" not in summary
        os.kill(pid, signal.SIGCONT)
        again = cli.up("web")
        assert (again["supervisor_pid"], again["ssh_pid"]) == (pid, first["ssh_pid"])
        assert cli.tunnel("web")["state"] == "up"
        assert len(cli.supervisors()) == 1

    def test_the_whole_state_directory(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={})
        cli.up("web")
        front = cli.front("up", "ha")
        cli.wait_for_entry("ha", "up")
        shutil.rmtree(cli.places().state_dir)
        front.wait()
        cli.wait_until_gone()
        assert cli.up("web")["state"] == "up"

    def test_the_folder_of_control_sockets(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        shutil.rmtree(cli.places().control_dir)
        os.kill(first["ssh_pid"], signal.SIGKILL)
        cli.wait_for_entry("web", "up", count=2)
        assert cli.asked("web")["drops"] == 1


def closed(cli: FakeCli, descriptors: str, *words: str) -> Done:
    """Run a command with some of 0, 1 and 2 closed, by a shell's own words for that."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {descriptors}', "sh", *cli._argv(words)],
        env=cli.env,
        cwd=cli.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class TestClosedStdio:
    def test_up_and_restart(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        assert closed(cli, "<&- >&-", "up", "-d", "web") == Done(0, "", "")
        first = cli.asked("web")
        assert first["state"] == "up"
        assert closed(cli, "2>&-", "restart", "web").status == 0
        assert cli.asked("web")["ssh_pid"] != first["ssh_pid"]
        assert closed(cli, "<&- >&- 2>&-", "down", "web") == Done(0, "", "")
        assert cli.own_ssh() == []

    @pytest.mark.parametrize("descriptors", [">&-", "<&- >&-", "<&- >&- 2>&-"])
    @pytest.mark.parametrize("words", [("--json",), ("-q",), ()], ids=["json", "quiet", "plain"])
    def test_status(self, cli: FakeCli, descriptors: str, words: tuple[str, ...]) -> None:
        cli.profiles(web={})
        cli.server_says(DENIED)
        assert closed(cli, descriptors, "status", *words) == Done(0, "", "")
        assert cli("up", "-d", "web").status == 77
        assert closed(cli, descriptors, "status", *words) == Done(1, "", "")


@pytest.mark.parametrize("words", [("reload",), ("restart",), ("restart", "web")])
def test_a_stopped_supervisor_is_said(
    cli: FakeCli, stopped: Callable[[int], None], words: tuple[str, ...]
) -> None:
    cli.profiles(web={})
    pid = cli.up("web")["supervisor_pid"]
    stopped(pid)
    done = cli(*words)
    assert done.status == 1
    assert says_one_thing(done) == f"a supervisor (pid {pid}) has not answered for 1 s"
    assert f"  try: kill {pid}\n" in done.err


class TestDamagedFiles:
    @pytest.mark.parametrize(
        "text",
        ['{"v":1}', '{"v":1,"down":{},"pid":1}', '{"v":1,"down":{},"pid":1,"order":{}}', "[]", ""],
    )
    def test_of_what_is_wanted(self, cli: FakeCli, text: str) -> None:
        cli.profiles(web={})
        cli.places().prepare_state_dir()
        Path(cli.places().wanted_file("zz")).write_text(text)
        assert cli("status").status == 0
        assert list(cli.tunnels()) == ["web"]
        cli.up("web")
        assert list(cli.tunnels()) == ["web"]

    @pytest.mark.parametrize("profiles", [None, [], {"web": None}, {"web": {"digest": "x"}}])
    def test_of_what_is_known(self, cli: FakeCli, profiles: object) -> None:
        cli.profiles(web={})
        cli.places().prepare_state_dir()
        assert list(cli.tunnels()) == ["web"]
        cache = Path(cli.places().known_cache)
        cache.write_text(json.dumps(json.loads(cache.read_text()) | {"profiles": profiles}))
        done = cli("status")
        assert (done.status, done.err) == (0, "")
        assert cli.tunnel("web")["state"] == "down"


def test_thirty_hang_ups_are_two_reloads(cli: FakeCli) -> None:
    """One for the first, which is held here, and one for all that came meanwhile."""
    calls, gate = cli.folder / "calls", cli.folder / "gate"
    program = cli.folder / "ssh-that-waits"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" -G "*) echo >>{shlex.quote(str(calls))}\n'
        f"n=0; while [ ! -e {shlex.quote(str(gate))} ] && [ $n -lt 1000 ]; do\n"
        "n=$((n + 1)); sleep 0.01; done;; esac\n"  # a test that fails leaves none behind
        f'exec {shlex.quote(cli.env["SSHWRAP_SSH"])} "$@"\n'
    )
    program.chmod(0o755)
    cli.env["SSHWRAP_SSH"] = str(program)
    gate.touch()
    cli.profiles(web={})
    first = cli.up("web")
    pid, ssh = first["supervisor_pid"], first["ssh_pid"]

    def children() -> list[int]:
        """Those that nobody has waited for yet as well."""
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def asked() -> int:
        return len(calls.read_text().splitlines())

    before = asked()
    gate.unlink()
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: asked() == before + 1)
    for _ in range(30):
        os.kill(pid, signal.SIGHUP)
        assert cli.asked("web")["ssh_pid"] == ssh  # it has taken notice of this one
    assert len(children()) == 2
    assert asked() == before + 1
    gate.touch()
    wait_for(lambda: asked() == before + 2 and children() == [ssh])
    assert cli.asked("web")["ssh_pid"] == ssh
    assert (children(), asked()) == ([ssh], before + 2)


class TestRun:
    @pytest.mark.parametrize("words", [("box",), ()], ids=["by name", "all"])
    @pytest.mark.parametrize("with_file", [True, False], ids=["file", "no file"])
    def test_up_brings_it_back(self, cli: FakeCli, words: tuple[str, ...], with_file: bool) -> None:
        if with_file:
            cli.profiles(web={"autostart": False})
        assert cli("run", "-d", "--name", "box", *RUN).status == 0
        first = cli.asked("box")
        os.kill(first["supervisor_pid"], signal.SIGKILL)
        cli.wait_until_gone()
        done = cli("up", "-d", *words)
        assert done.status == 0, done
        tunnel = cli.asked("box")
        assert tunnel["ssh_pid"] != first["ssh_pid"]
        assert (tunnel["state"], tunnel["profiles_file"]) == ("up", None)
        assert tunnel["forwards"][0]["address"] == f"{HOST}:12345"
        assert list(cli.tunnels()) == (["web", "box"] if with_file else ["box"])

    def test_show_knows_it(self, cli: FakeCli) -> None:
        assert cli("run", "-d", "--name", "box", *RUN).status == 0
        shown = json.loads(cli("show", "box", "--json").out)
        assert shown["values"]["destination"] == {
            "value": f"root@{HOST}",
            "source": "command line",
        }
        assert [each["spec"] for each in shown["forwards"]] == [SPEC]
        done = cli("show", "box")
        assert (done.status, done.err) == (0, "")
        assert f"-R {SPEC}" in done.out.replace("'", "")
        assert cli("down", "box").status == 0
        assert cli("show", "box").status == 2

    def test_another_command_under_its_name_is_refused(self, cli: FakeCli) -> None:
        assert cli("run", "-d", "--name", "box", *RUN).status == 0
        first = cli.asked("box")
        for words in (["run", "-d"], ["run"]):
            done = cli(*words, "--name", "box", *OTHER_RUN)
            assert done.status == 1
            assert "box: a tunnel of that name is already kept up" in says_one_thing(done)
        assert cli("run", "-d", "--name", "box", *RUN).status == 0
        assert cli.asked("box")["ssh_pid"] == first["ssh_pid"]
        assert cli.asked("box")["forwards"][0]["spec"] == SPEC


class TestWhatIsTold:
    def test_one_line_has_the_headline_of_all(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        for count in (2, 3):
            os.kill(cli.asked("web")["ssh_pid"], signal.SIGKILL)
            cli.wait_for_entry("web", "up", count=count)
        assert cli.asked("web")["ssh_pid"] != first["ssh_pid"]
        cli("down", "web")
        until = ("--until", cli.journal("web")[-1]["at"])
        whole, last = cli("logs", "web", *until).out, cli("logs", "web", "-n", "1", *until).out
        assert last.splitlines()[0] == whole.splitlines()[0]
        assert "2 drops" in last.splitlines()[0]
        assert len(last.splitlines()) < len(whole.splitlines())

    def test_what_a_person_asked_for_is_in_the_journal(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        pid = cli.up("web")["supervisor_pid"]
        assert cli("restart", "web").status == 0
        assert cli.wait_for_entry("web", "changed")["text"] == "restarted as asked"
        cli.wait_for_entry("web", "up", count=2)
        os.kill(pid, signal.SIGUSR1)
        assert cli.wait_for_entry("web", "changed", count=2)["text"] == "reconnects as asked"
        cli.wait_for_entry("web", "up", count=3)
        assert cli.events("web") == ["wanted", "up", *["changed", "up"] * 2]
