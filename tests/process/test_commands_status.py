"""`status`, and bare `sshwrap`: the contract of its JSON, its exit status, its two tables."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

from tests.support import scenarios
from tests.support.command import DENIED, HOST, SPEC, FakeCli, says_one_thing

# The published keys of `status --json`, version 1, each with what it may hold.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TUNNEL: dict[str, Any] = {
    "profile": str,
    "description": (str, None),
    "profiles_file": (str, None),
    "profile_changed": bool,
    "ok": bool,
    "state": {"down", "waiting", "starting", "up", "stopping", "failed"},
    "wanted": bool,
    "since": (TIME, None),
    "supervisor_pid": (int, None),
    "supervisor_version": (str, None),
    "ssh_pid": (int, None),
    "destination": str,
    "drops": int,
    "drops_since": (TIME, None),
    "attempt": int,
    "next_attempt_at": (TIME, None),
    "failure": ({"kind": str, "summary": str, "said": str, "advice": str, "at": TIME}, None),
    "forwards": list,
}
FORWARD: dict[str, Any] = {
    "kind": {"remote", "local", "dynamic"},
    "spec": str,
    "source": str,
    "listen_host": (str, None),
    "listen_port": (int, None),
    "listen_path": (str, None),
    "connect_host": (str, None),
    "connect_port": (int, None),
    "connect_path": (str, None),
    "allocated_port": (int, None),
    "bound": (list, None),
    "reach": {"checking", "as_asked", "loopback_only", "half_bound", "exposed", "unknown"},
    "reach_reason": (str, None),
    "address": (str, None),
    "from_here": {"open", "refused", "timeout", "unknown"},
    "target": {"ok", "refused", "unknown"},
    "connections": {"open": int, "total": int, "last": ({"address": str, "at": TIME}, None)},
}


def fits(value: object, shape: Any) -> bool:
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and value.keys() == shape.keys()
            and all(fits(value[key], shape[key]) for key in shape)
        )
    if isinstance(shape, set):
        return value in shape
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    return value is None if shape is None else type(value) is shape


def wrong_in(answer: dict[str, Any]) -> list[str]:
    """Where an answer departs from the contract."""
    wrong = [] if list(answer) == ["schema_version", "ok", "tunnels"] else [str(list(answer))]
    for tunnel in answer["tunnels"]:
        for one, shape in [(tunnel, TUNNEL), *((f, FORWARD) for f in tunnel.get("forwards", ()))]:
            wrong += [] if list(one) == list(shape) else [f"keys {list(one)}"]
            wrong += [f"{key}: {one[key]!r}" for key in one if not fits(one[key], shape.get(key))]
    return wrong


class TestJson:
    def test_every_state_fits_the_contract(self, cli: FakeCli) -> None:
        where = {name: {"destination": f"root@{name}.example.com"} for name in ("ha", "cam", "db")}
        cli.profiles(web={"description": "the shop"}, off={"local_forward": "9:h:1"}, **where)
        cli.server_says(DENIED, host="ha.example.com")
        cli.server_says(scenarios.refused("cam.example.com"), host="cam.example.com")
        cli.server_says([*scenarios.sign_in()[:2], ["wait"]], host="db.example.com")
        assert cli("up", "-d", "web", "ha", "cam").status == 1
        assert cli("up", "-d", "db", "--timeout", "0").status == 1
        cli.wait_until("db", "starting")
        tunnels = cli.tunnels()
        assert {name: tunnel["state"] for name, tunnel in tunnels.items()} | {"cam": ""} == {
            "web": "up",
            "off": "down",
            "ha": "failed",
            "cam": "",  # waiting, or trying again
            "db": "starting",
        }
        done = cli("status", "--json")
        answer = json.loads(done.out)
        assert done.out.count("\n") == 1
        assert wrong_in(answer) == []
        assert (done.status, answer["ok"], answer["schema_version"]) == (1, False, 1)
        web = tunnels["web"]
        assert web["profiles_file"] == str(cli.profiles_file)
        assert web["destination"] == f"root@{HOST}"
        assert web["supervisor_pid"] == cli.supervisors()[0].pid
        assert (web["ok"], tunnels["off"]["ok"], tunnels["ha"]["ok"]) == (True, True, False)
        assert web["forwards"][0] | {"reach_reason": ""} == {
            "kind": "remote",
            "spec": SPEC,
            "source": "profile",
            "listen_host": "*",
            "listen_port": 12345,
            "listen_path": None,
            "connect_host": "localhost",
            "connect_port": 8080,
            "connect_path": None,
            "allocated_port": None,
            "bound": None,
            "reach": "unknown",
            "reach_reason": "",
            "address": "vps.example.com:12345",
            "from_here": "unknown",
            "target": "unknown",
            "connections": {"open": 0, "total": 0, "last": None},
        }

    def test_a_departure_from_the_contract_is_seen(self) -> None:
        """The shapes above can fail."""
        wrong = wrong_in({"schema_version": 1, "ok": True, "tunnels": [{"profile": 1, "x": ""}]})
        assert wrong == ["keys ['profile', 'x']", "profile: 1", "x: ''"]
        assert not fits(True, int)
        assert not fits(None, (str, int))
        assert not fits("2026-11-22 10:00", TIME)

    def test_watched_it_is_a_line_a_change(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        watch = cli.front("status", "--watch", "--json")
        watch.wait_for_words('"state": "down"')
        cli.up("web")
        watch.wait_for_words('"state": "up"')
        watch.signal(signal.SIGINT)
        assert watch.wait() == 0
        answers = [json.loads(line) for line in watch.out.splitlines()]
        assert [fault for answer in answers for fault in wrong_in(answer)] == []


class TestExitStatus:
    def test_of_all_and_of_named_ones(self, cli: FakeCli) -> None:
        cli.profiles(web={}, off={})
        assert cli("status").status == 0  # nothing is wanted, all is well
        assert cli("status", "web").status == 1
        cli.up("web")
        assert cli("status").status == 0
        assert cli("status", "web").status == 0
        assert cli("status", "w*", "--json").status == 0
        done = cli("status", "*", "--json")
        answer = json.loads(done.out)
        assert (done.status, answer["ok"]) == (1, False)
        assert [tunnel["ok"] for tunnel in answer["tunnels"]] == [True, True]

    def test_it_never_is_anything_but_0_or_1(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        done = cli("status", "wep")
        assert (done.status, says_one_thing(done)) == (1, 'no profile "wep"')
        cli.write_profiles("[profile.web\n")
        assert cli("status").status == 1
        cli.env["SSHWRAP_SSH"] = "/no/ssh"
        assert cli("status").status == 1


class TestTables:
    def test_in_a_pipe_it_is_tab_separated(self, cli: FakeCli) -> None:
        cli.profiles(web={}, off={})
        cli.up("web")
        done = cli("status")
        rows = [line.split("\t") for line in done.out.splitlines()]
        assert [row[:2] for row in rows] == [["web", "up"], ["off", "down"]]
        assert len({len(row) for row in rows}) == 1
        assert "vps.example.com:12345" in rows[0]
        assert done.err == ""
        assert cli().out.startswith("web\tup")
        assert cli("status", "off").out.startswith("off\tdown")

    def test_on_a_terminal_for_people(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.up("web")
        screen = cli.terminal("status")
        assert screen.wait() == 0
        assert "vps.example.com:12345 → localhost:8080" in screen.screen
        assert b"\x1b[" in screen.raw
        cli.env["NO_COLOR"] = "1"
        screen = cli.terminal("status")
        assert screen.wait() == 0
        assert b"\x1b" not in screen.raw

    def test_watched_until_ctrl_c(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        screen = cli.terminal("status", "--watch")
        screen.wait_for_words("1 down")
        cli.up("web")
        screen.wait_for_words("1 up")
        screen.type(b"\x03")
        assert screen.wait() == 0
        assert cli.asked("web")["state"] == "up"


class TestWithoutAProfile:
    def test_two_lines_how_to_begin(self, cli: FakeCli) -> None:
        done = cli()
        assert (done.status, done.out) == (0, "")
        assert len(done.err.splitlines()) == 2
        assert "sshwrap run ssh -R" in done.err
        assert cli("-q").err == ""
        assert not cli.places().journal_names()
        as_json = cli("status", "--json")
        assert json.loads(as_json.out) == {"schema_version": 1, "ok": True, "tunnels": []}


class TestTheFile:
    def test_profiles_before_and_behind_the_verb(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.profiles_file.rename(cli.folder / "mine.toml")
        for words in (
            ["--profiles", "mine.toml", "status"],
            ["status", "--profiles", "mine.toml"],
            ["--config=mine.toml", "status"],
            ["--profiles", "mine.toml"],
        ):
            assert cli(*words).out.startswith("web\tdown"), words

    def test_what_is_cached_of_it_is_what_it_says(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.up("web")
        for names in (["web", "ha"], ["web"], ["web", "cam"]):
            cli.profiles(**{name: {} for name in names})
            assert list(cli.tunnels()) == names
            assert list(cli.tunnels()) == names


def test_twenty_at_once_while_its_supervisor_is_killed(cli: FakeCli) -> None:
    """Each of them tells the truth of its moment, in time, and none of them fails."""
    cli.profiles(web={})
    pid = cli.up("web")["supervisor_pid"]
    fronts = [cli.front("status", "--json") for _ in range(20)]
    os.kill(pid, signal.SIGKILL)
    for front in fronts:
        assert front.wait() in (0, 1)
        assert front.err == ""
        answer = json.loads(front.out)
        assert wrong_in(answer) == []
        tunnel = answer["tunnels"][0]
        gone = tunnel["failure"] is not None and tunnel["failure"]["kind"] == "supervisor_gone"
        assert gone == (tunnel["state"] == "down"), tunnel
    cli.wait_until_gone()
    cli.up("web")
