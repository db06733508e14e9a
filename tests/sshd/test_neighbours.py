"""Two profiles that ask one server for one port: named to each other, without a sign-in for it."""

from __future__ import annotations

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd


def sign_ins(server: Sshd) -> int:
    return server.log().count("Accepted publickey")


@pytest.mark.parametrize("in_front", [False, True], ids=["one supervisor", "two supervisors"])
def test_the_second_one_names_the_first_and_comes_up_after_it(
    cli: Sshwrap, sshd: Sshd, web: Web, in_front: bool
) -> None:
    port = free_port()
    forward = f"127.0.0.1:{port}:127.0.0.1:{web.port}"
    cli.profiles(web={"remote_forward": forward}, other={"remote_forward": forward})
    if in_front:
        cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        wait_for(lambda: cli.tunnel("web")["forwards"][0]["reach"] == "as_asked")
    else:
        cli.up("web")
    before = sign_ins(sshd)
    done = cli("up", "-d", "--timeout", "20", "other")
    words = f'port {port} is already forwarded by profile "web"'
    assert done.status != 0
    assert words in done.out + done.err
    (entry,) = cli.journal("other", "attempt_failed")
    assert (entry["failure"]["kind"], entry["failure"]["summary"]) == ("port_taken", words)
    assert entry["failure"]["advice"].endswith("sshwrap down web")
    assert entry["retry_in"] > 20
    assert words in cli("status", "other").out
    assert sign_ins(sshd) == before + 1  # its own; none to see whose the port is
    assert cli("down", "web").status == 0
    cli.wait_for_entry("other", "up")
    assert len(cli.journal("other", "attempt_failed")) <= 2  # the port may be freed a moment later
    assert "hello" in fetch(port)
