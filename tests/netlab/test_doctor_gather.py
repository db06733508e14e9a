"""What doctor gathers across a router: a filter on the server's side, and the way's own time."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.netlab import runtime
from tests.netlab.home_cli import HomeCli
from tests.netlab.lab import SERVER4, Lab
from tests.netlab.plain import PORT

CODE = """
import json, os, sys
from pathlib import Path
from sshwrap.doctor.facts import value_of
from sshwrap.doctor.gather import Question, gather
from sshwrap.profile.forward import Kind, parse_forward
from sshwrap.profile.model import Profile

spec = sys.argv[1]
forward = parse_forward(Kind.REMOTE, spec, environ={}, service_port=lambda _: None)
profile = Profile("web", "tunnel@vps4.example.com", remote_forward=(forward,))
folder = Path("/srv/cli/doctor")
folder.mkdir(mode=0o700, exist_ok=True)
facts, line = gather(Question(profile, dict(os.environ), str(folder)), lambda facts: None)
line.close()
knocked = lambda one: value_of(one.from_here) and value_of(one.from_here).answer
print(json.dumps({
    "gateway_ports": value_of(facts.live.gateway_ports),
    "addresses": value_of(facts.way.addresses),
    "seconds": facts.seconds,
    "round_trips": facts.round_trips,
    "tried": [
        [one.is_spare, one.port, one.reach and one.reach.reach, value_of(one.loop), knocked(one)]
        for one in value_of(facts.live.tried)
    ],
    "targets": [one.connected.answer for one in value_of(facts.here.targets)],
}))
"""


def ask(lab: Lab, cli: HomeCli, spec: str = f"*:{PORT}:localhost:8080") -> dict[str, Any]:
    argv = lab.home.enter(runtime.PYTHON, "-c", CODE, spec, account=cli.account)
    done = subprocess.run(argv, env=cli.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["round_trips"] <= 12
    assert found["seconds"] < 15
    assert found["addresses"] == [SERVER4]
    return found


def test_nothing_is_in_the_way(lab: Lab, cli: HomeCli) -> None:
    found = ask(lab, cli)
    assert found["gateway_ports"] == "clientspecified"
    ((is_spare, _port, reach, loop, from_here),) = found["tried"]
    assert (is_spare, reach, loop, from_here) == (True, "as_asked", True, "open")
    assert found["targets"] == ["open"]


@pytest.mark.parametrize(
    ("rules", "own"),
    [
        (("-P FORWARD DROP",), "timeout"),
        # The one port that somebody has opened: only that one can tell it.
        (("-P FORWARD DROP", f"-I FORWARD -p tcp --dport {PORT} -j ACCEPT"), "open"),
    ],
)
def test_a_filter_before_the_server(
    lab: Lab, cli: HomeCli, rules: tuple[str, ...], own: str
) -> None:
    """As a provider's security group has it: sshd is let through, and silence for the rest."""
    every = (
        *rules,
        "-I FORWARD -p tcp --dport 22 -j ACCEPT",
        "-I FORWARD -p tcp ! --syn -j ACCEPT",
    )
    lab.internet.run("sh", "-ec", "\n".join(f"iptables -w {one}" for one in every), tools=True)
    found = ask(lab, cli)
    mine, spare = found["tried"]
    assert spare[2:] == ["as_asked", True, "timeout"]
    assert (mine[0], mine[1], mine[2:]) == (False, PORT, ["as_asked", True, own])
