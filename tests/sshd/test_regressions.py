"""Defects that were found beside a real sshd, and must not come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd


@pytest.mark.parametrize("words", [("up", "-d", "web"), ("reload",)], ids=["up", "reload"])
def test_ssh_config_finds_the_server_elsewhere(
    make_sshd: Callable[..., Sshd],
    make_cli: Callable[[Sshd], Sshwrap],
    web: Web,
    words: tuple[str, ...],
) -> None:
    """The profile is word for word the same; its Host block names another machine's port."""
    before, after = make_sshd(), make_sshd()
    cli = make_cli(before)
    config, port = cli.folder / "ssh_config", free_port()
    shutil.copy(before.config, config)
    cli.profiles(web={"ssh_config": config, "remote_forward": f"{port}:127.0.0.1:{web.port}"})
    first = cli.up("web")
    assert (len(before.sessions()), len(after.sessions())) == (1, 0)
    shutil.copy(after.config, config)
    assert cli(*words).status == 0
    tunnel = cli.wait("web", lambda t: t["state"] == "up" and t["ssh_pid"] != first["ssh_pid"])
    wait_for(lambda: (len(before.sessions()), len(after.sessions())) == (0, 1))
    assert "hello" in fetch(port)
    assert tunnel["drops"] == 0
    said = "restarted, because ssh_config finds the server elsewhere"
    assert cli.journal("web", "changed")[0]["text"] == said
