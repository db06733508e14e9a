"""A hundred tunnels to one server, which reboots: paced, none lost, nobody locked out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.netlab.conftest import home_cli
from tests.netlab.home_cli import HomeCli, served
from tests.netlab.lab import Lab
from tests.netlab.plain import PORT
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COUNT = 100
WITHIN = 240.0
# What an sshd says of somebody it turned away unheard (10.0, and before).
TURNED_AWAY = ("penalty", "MaxStartups", "drop connection", "Not allowed at this time")


@pytest.mark.parametrize("system", [None, "trixie"])
def test_a_hundred_tunnels_come_back(make_lab: Callable[..., Lab], system: str | None) -> None:
    lab = make_lab(server=system)
    lab.server.start_sshd(GatewayPorts="clientspecified", LogLevel="VERBOSE")
    lab.serve_page()
    with home_cli(lab) as cli:
        cli.profiles(
            **{
                f"t{number}": {
                    "remote_forward": f"*:{PORT + number}:localhost:8080",
                    "server_alive_interval": 5,
                    "restart_max_delay": 10,
                }
                for number in range(COUNT)
            }
        )
        cli("up", "-d", "--timeout", "1")
        _all_up(lab, cli, drops=0)
        supervisor = cli.supervisor()

        lab.faults.server_reboot()
        _all_up(lab, cli, drops=1)
        assert cli.supervisor() == supervisor
        assert len(cli.own_ssh()) == COUNT
        for number in (0, COUNT // 2, COUNT - 1):
            served(lab, port=PORT + number)
        said = [line for line in lab.server.log().splitlines() if _is_turned_away(line)]
        assert said == [], said[:5]
        failures = {
            entry["failure"]["kind"]
            for number in range(COUNT)
            for entry in cli.journal(f"t{number}", "attempt_failed")
        }
        assert "throttled" not in failures, failures


def _is_turned_away(line: str) -> bool:
    # A look costs a second of penalty, which is in force only when there are fifteen of them.
    return "deferred penalty" not in line and any(words in line for words in TURNED_AWAY)


def _all_up(lab: Lab, cli: HomeCli, *, drops: int) -> None:
    """Each of them is, after that many drops, by the supervisor's word and by the server's."""
    last: list[object] = []

    def up() -> bool:
        try:
            tunnels = cli.ask(op="status")["tunnels"]
        except OSError as error:  # it is just starting
            last[:] = [error]
            return False
        good = [one for one in tunnels if one["state"] == "up" and one["drops"] == drops]
        last[:] = [len(good), *(one for one in tunnels if one not in good)][:3]
        return len(good) == COUNT

    wait_for(up, within=WITHIN, what=lambda: f"{COUNT} are up: {last}", every=0.2)
    wait_for(
        lambda: len(lab.server.sessions()) == COUNT,
        within=WITHIN,
        what=lambda: f"{COUNT} sessions, not {len(lab.server.sessions())}",
        every=1,
    )
