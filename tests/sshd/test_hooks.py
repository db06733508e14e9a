"""Hooks beside a real sshd: an outage and its end, with a port that the server chooses anew."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.needs import needs_sshd
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd

HERE = "127.0.0.1"
TELL = (
    'echo "$SSHWRAP_STATE $SSHWRAP_ALLOCATED_PORT $SSHWRAP_ADDRESS ${SSHWRAP_FAILURE:-none}" >> $0'
)


def test_an_outage_and_another_port(cli: Sshwrap, web: Web, sshd: Sshd, tmp_path: Path) -> None:
    told = tmp_path / "told"
    tell = ["sh", "-c", TELL, str(told)]
    cli.profiles(
        web={
            "remote_forward": f"{HERE}:0:{HERE}:{web.port}",
            **{"restart_max_delay": 1, "notify_after": 1, "on_up": tell, "on_down": tell},
        }
    )

    def lines(count: int) -> list[list[str]]:
        wait_for(lambda: told.exists() and told.read_text().count("\n") >= count, within=60)
        return [line.split(" ") for line in told.read_text().splitlines()]

    old = str(cli.up("web")["forwards"][0]["allocated_port"])
    assert lines(1) == [["up", old, f"{HERE}:{old}", "none"]]
    sshd.stop()
    down = lines(2)[1]
    assert down[:3] == ["down", "", f"{HERE}:{old}"]
    assert down[3] != "none"
    with socket.create_server((HERE, int(old))):  # the server cannot give the same one again
        sshd.start()
        up = lines(3)[2]
    new = up[1]
    assert up[:3] == ["up", new, f"{HERE}:{new}"]
    assert new not in ("", old)
    assert "hello" in fetch(int(new))
    ran = [(one["hook"], one["outcome"]) for one in cli.journal("web") if one["event"] == "hook"]
    assert ran[:2] == [("on_up", "done"), ("on_down", "done")]
