"""The look at who listens, the knock from here: what they make of a tunnel, and what they cost it.

The server's side is a fake that answers looks as a scenario says (scenarios.answer_looks).
"""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import scenarios
from tests.support.command import HOST, SPEC, WEB, FakeCli
from tests.support.ports import free_port
from tests.support.waiting import wait_for

EVERYWHERE = (("0.0.0.0", 12345), ("::", 12345))


class TestTheLook:
    def test_it_is_not_up_before_the_look_has_answered(self, cli: FakeCli, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        scenarios.answer_looks(cli.fake, *EVERYWHERE, wait_for=gate)
        cli.profiles(web={})
        assert cli("up", "-d", "web", "--timeout", "0").status == 1
        wait_for(lambda: scenarios.looks(cli.fake), what="a look")
        # It may have come up since, by the patience of the supervisor, but not by the look.
        seen = cli.asked("web")
        assert seen["forwards"][0]["reach"] in ("checking", "unknown")
        assert seen["forwards"][0]["bound"] is None
        assert seen["state"] == "starting" or "up" in cli.events("web")
        gate.touch()
        cli.wait_until("web", "up")

    def test_what_it_sees_is_what_status_says(self, cli: FakeCli) -> None:
        scenarios.answer_looks(cli.fake, *EVERYWHERE)
        cli.profiles(web={})
        tunnel = cli.up("web")
        (forward,) = tunnel["forwards"]
        assert (forward["reach"], forward["reach_reason"]) == ("as_asked", None)
        assert forward["bound"] == ["0.0.0.0", "::"]
        assert tunnel["ok"] is True
        (entry,) = cli.journal("web", "up")
        assert entry["forwards"][0]["reach"] == "as_asked"
        assert cli.events("web") == ["wanted", "up"]
        assert scenarios.looks(cli.fake) == 1

    def test_a_server_that_shows_nothing_in_time_does_not_keep_it_down(
        self, cli: FakeCli, tmp_path: Path
    ) -> None:
        scenarios.answer_looks(cli.fake, *EVERYWHERE, wait_for=tmp_path / "never")
        cli.profiles(web={})
        cli.up("web")
        seen = cli.wait_until("web", lambda t: t["forwards"][0]["reach"] == "unknown")
        assert seen["forwards"][0]["reach_reason"] == "no answer over the tunnel in time"
        assert seen["ok"] is True
        assert cli.starts() == 1

    @pytest.mark.parametrize(
        ("ours", "others", "reach", "reason"),
        [
            ((("127.0.0.1", 12345), ("::1", 12345)), (), "loopback_only", None),
            (EVERYWHERE[1:], EVERYWHERE[:1], "half_bound", "uid 4711 listens on 0.0.0.0"),
        ],
    )
    def test_what_is_not_as_asked_is_up_and_not_ok(
        self,
        cli: FakeCli,
        ours: tuple[tuple[str, int], ...],
        others: tuple[tuple[str, int], ...],
        reach: str,
        reason: str | None,
    ) -> None:
        scenarios.answer_looks(cli.fake, *ours, others=others)
        cli.profiles(web={})
        cli("up", "-d", "web")
        tunnel = cli.wait_until("web", "up")
        assert tunnel["ok"] is False
        assert tunnel["forwards"][0]["reach"] == reach
        assert tunnel["forwards"][0]["reach_reason"] == reason
        assert cli("status").status == 1
        assert cli.events("web") == ["wanted", "up", "reach"]
        (entry,) = cli.journal("web", "reach")
        assert (entry["forward"], entry["reach"], entry["old"]) == (SPEC, reach, None)

    def test_an_ssh_that_ends_during_the_look_was_never_up(
        self, cli: FakeCli, tmp_path: Path
    ) -> None:
        scenarios.answer_looks(cli.fake, *EVERYWHERE, wait_for=tmp_path / "never")
        # It ends when it has been asked; the next one cannot reach the server.
        asked = cli.fake / "looked.1"
        cli.server_says(scenarios.up_until(asked, [WEB]), scenarios.refused(HOST))
        cli.profiles(web={})
        assert cli("up", "-d", "web").status == 1
        tunnel = cli.wait_until("web", lambda t: t["attempt"] > 1)
        assert tunnel["drops"] == 0
        assert cli.journal("web", "up") == []
        assert cli.journal("web", "attempt_failed")[0]["failure"]["kind"] == "dropped"

    def test_each_ssh_is_looked_at_and_what_the_last_one_showed_is_forgotten(
        self, cli: FakeCli, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        scenarios.answer_looks(cli.fake, ("127.0.0.1", 12345), ("::1", 12345))
        cli.server_says(scenarios.up_until(gate, [WEB]), scenarios.up([WEB]))
        cli.profiles(web={})
        cli("up", "-d", "web")
        cli.wait_until("web", lambda t: t["forwards"][0]["reach"] == "loopback_only")
        scenarios.answer_looks(cli.fake, *EVERYWHERE)
        gate.touch()
        tunnel = cli.wait_until("web", lambda t: t["state"] == "up" and t["drops"] == 1)
        assert tunnel["forwards"][0]["reach"] == "as_asked"
        assert scenarios.looks(cli.fake) == 2

    def test_down_in_the_middle_of_a_look_leaves_nobody(self, cli: FakeCli, tmp_path: Path) -> None:
        scenarios.answer_looks(cli.fake, *EVERYWHERE, wait_for=tmp_path / "never")
        cli.profiles(web={})
        cli("up", "-d", "web", "--timeout", "0")
        wait_for(lambda: scenarios.looks(cli.fake), what="a look")
        assert cli("down", "web").status == 0
        cli.wait_until_gone()


class TestNoSession:
    def test_where_none_is_wanted_none_is_opened(self, cli: FakeCli) -> None:
        scenarios.answer_looks(cli.fake, *EVERYWHERE)
        cli.profiles(web={"run_on_server": False})
        (forward,) = cli.up("web")["forwards"]
        assert forward["reach"] == "unknown"
        assert "run_on_server is false" in forward["reach_reason"]
        assert scenarios.looks(cli.fake) == 0

    def test_a_key_with_a_command_of_its_own_never_runs_it(self, cli: FakeCli) -> None:
        scenarios.answer_looks(cli.fake, *EVERYWHERE)
        options = (
            "debug1: Remote: /home/t/.ssh/authorized_keys:1: key options: command permitlisten"
        )
        cli.server_says([*scenarios.log(options), *scenarios.up([WEB])])
        cli.profiles(web={})
        (forward,) = cli.up("web")["forwards"]
        assert forward["reach"] == "unknown"
        assert "the key runs a command of its own" in forward["reach_reason"]
        assert scenarios.looks(cli.fake) == 0


class TestFromHere:
    def test_an_open_port_answers(self, cli: FakeCli) -> None:
        with socket.create_server(("127.0.0.1", 0)) as visited:
            port = visited.getsockname()[1]
            self._up(cli, port)
            tunnel = cli.wait_until("web", lambda t: t["forwards"][0]["from_here"] != "unknown")
            assert tunnel["forwards"][0]["from_here"] == "open"
            assert tunnel["ok"] is True
            assert "from_here" not in cli.events("web")

    def test_a_refused_one_is_told_and_not_ok(self, cli: FakeCli) -> None:
        port = free_port()
        self._up(cli, port)
        tunnel = cli.wait_until("web", lambda t: t["forwards"][0]["from_here"] != "unknown")
        assert tunnel["forwards"][0]["from_here"] == "refused"
        assert tunnel["ok"] is False
        done = cli("status", "--json")
        assert (done.status, json.loads(done.out)["ok"]) == (1, False)
        (entry,) = cli.journal("web", "from_here")
        assert entry["address"] == f"{HOST}:{port}"
        assert (entry["from_here"], entry["old"]) == ("refused", "unknown")

    def test_nobody_knocks_at_what_is_for_the_server_alone(self, cli: FakeCli) -> None:
        with socket.create_server(("127.0.0.1", 0)) as visited:
            port = visited.getsockname()[1]
            scenarios.answer_looks(cli.fake, ("127.0.0.1", port), ("::1", port))
            spec = f"localhost:{port}:localhost:8080"
            cli.server_says(self._steps(spec, port))
            cli.profiles(web={"remote_forward": spec})
            (forward,) = cli.up("web")["forwards"]
            assert (forward["reach"], forward["from_here"]) == ("as_asked", "unknown")
            visited.settimeout(0)
            with pytest.raises(BlockingIOError):
                visited.accept()

    def _up(self, cli: FakeCli, port: int) -> None:
        scenarios.answer_looks(cli.fake, ("0.0.0.0", port), ("::", port))
        spec = f"*:{port}:localhost:8080"
        cli.server_says(self._steps(spec, port))
        cli.profiles(web={"remote_forward": spec})
        cli("up", "-d", "web")
        cli.wait_until("web", "up")

    def _steps(self, spec: str, port: int) -> scenarios.Steps:
        host = spec.partition(":")[0]
        forward = replace(WEB, spec=spec, listen_host=host, listen_port=port)
        return scenarios.up([forward], address="127.0.0.1")
