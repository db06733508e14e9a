"""A wait that ends before its time: the server is looked at, and used when it is back."""

from __future__ import annotations

from datetime import datetime

from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.web import Web, fetch

pytestmark = needs_sshd


def test_a_server_that_is_back_is_used_before_the_next_try_is_due(
    cli: Sshwrap, sshd: Sshd, web: Web
) -> None:
    port = free_port()
    cli.profiles(web={"remote_forward": f"{port}:127.0.0.1:{web.port}", "restart_max_delay": 600})
    cli.up("web")
    sshd.stop()
    # 0.5, 1, 2, 4, 8 s: from here on the next try is seconds away.
    failed = cli.wait_for_entry("web", "attempt_failed", count=5)
    assert failed["failure"]["kind"] == "refused"
    due = datetime.fromisoformat(failed["at"]).timestamp() + failed["retry_in"]
    sshd.start()
    up = cli.wait_for_entry("web", "up", count=2)
    assert datetime.fromisoformat(up["at"]).timestamp() < due
    assert "hello" in fetch(port)
