"""Forty tunnels to one sshd that takes ten sign-ins at a time: all come up, none is turned away."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = [needs_sshd, pytest.mark.timeout(300)]

COUNT = 40


def test_all_come_up_and_again_after_a_restart(
    make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web
) -> None:
    server = make_sshd(options={"MaxStartups": "10:30:60"})
    cli = make_cli(server)
    ports = {f"p{number:02}": free_port() for number in range(COUNT)}
    cli.profiles(
        **{
            name: {
                "remote_forward": f"127.0.0.1:{port}:127.0.0.1:{web.port}",
                "restart_max_delay": 2,
            }
            for name, port in ports.items()
        }
    )
    done = cli("up", "-d", "--timeout", "80", within=100)
    assert done.status == 0, done
    tunnels = cli.tunnels()
    assert {tunnel["state"] for tunnel in tunnels.values()} == {"up"}
    assert len({tunnel["ssh_pid"] for tunnel in tunnels.values()}) == COUNT
    assert len({tunnel["supervisor_pid"] for tunnel in tunnels.values()}) == 1
    for name in ("p00", "p17", "p39"):
        assert "hello" in fetch(ports[name])

    server.restart()

    def all_back() -> bool:
        answer = json.loads(cli("status", "--json").out)
        return all(t["state"] == "up" and t["drops"] == 1 for t in answer["tunnels"])

    wait_for(all_back, within=100, every=0.2, what="all are back")
    assert len(server.sessions()) == COUNT
    for port in ports.values():
        assert "hello" in fetch(port)
    assert "MaxStartups" not in server.log()
    failures = [
        entry["failure"]["kind"]
        for name in ports
        for entry in cli.journal(name)
        if entry["event"] in ("attempt_failed", "needs_person")
    ]
    assert set(failures) <= {"refused"}, failures  # while it was away
