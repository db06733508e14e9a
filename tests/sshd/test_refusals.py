"""Whom the server does not let in or does not let forward; and a server that lies in its banner."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.needs import needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Done, Sshwrap, Tunnel
from tests.support.web import Web, fetch

pytestmark = needs_sshd

HERE = "127.0.0.1"


@pytest.fixture
def port(cli: Sshwrap, web: Web) -> int:
    port = free_port()
    cli.profiles(web={"remote_forward": f"{port}:{HERE}:{web.port}"})
    return port


def refused(cli: Sshwrap, port: int, status: int = 77) -> Tunnel:
    """The failure that `up -d` ends with; never up, and nobody listens."""
    done: Done = cli("up", "-d", "web")
    assert done.status == status, (done, cli.journals())
    tunnel = cli.tunnel("web")
    assert tunnel["wanted"]
    assert not tunnel["ok"]
    assert cli.journal("web", "up") == []
    assert listeners(port) == set()
    failure: Tunnel = tunnel["failure"]
    return failure


def new_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def key_options(sshd: Sshd, options: str) -> None:
    public = sshd.client_key.with_suffix(".pub").read_text()
    sshd.authorized_keys.write_text(f"{options} {public}")


class TestSignIn:
    def test_a_key_that_the_server_does_not_know(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        new_key(cli.folder / "key")
        shutil.copyfile((cli.folder / "key.pub"), sshd.authorized_keys)
        failure = refused(cli, port)
        assert failure["kind"] == "permission_denied"
        assert "ssh-copy-id" in failure["advice"]
        assert failure["said"] == f"{sshd.user}@{HERE}: Permission denied (publickey)."
        entry = cli.journal("web", "needs_person")[0]
        assert 55 < entry["retry_in"] < 70  # it looks again by itself, slowly

    def test_what_worked_before_is_tried_sooner(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        cli.up("web")
        known = sshd.authorized_keys.read_text()
        sshd.authorized_keys.write_text("")
        sshd.kill_sessions()
        tunnel = cli.wait("web", "failed")
        assert tunnel["failure"]["kind"] == "permission_denied"
        assert 15 < cli.journal("web", "needs_person")[0]["retry_in"] < 30
        sshd.authorized_keys.write_text(known)
        cli.up("web")  # now, and no later: a person asks
        assert "hello" in fetch(port)

    def test_a_host_key_nobody_has_accepted(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        sshd.known_hosts.write_text("")
        failure = refused(cli, port)
        assert failure["kind"] == "host_key_unknown"
        assert sshd.known_hosts.read_text() == ""

    def test_a_host_key_nobody_has_accepted_where_ssh_would_ask(
        self, cli: Sshwrap, port: int, sshd: Sshd, web: Web
    ) -> None:
        sshd.known_hosts.write_text("")
        config = cli.ssh_config("StrictHostKeyChecking ask")
        cli.profiles(web={"ssh_config": config, "remote_forward": f"{port}:{HERE}:{web.port}"})
        assert refused(cli, port)["kind"] == "host_key_unknown"
        assert sshd.known_hosts.read_text() == ""

    @pytest.mark.parametrize("checking", ["yes", "ask", "no", "accept-new"])
    def test_a_changed_host_key_is_never_accepted(
        self, cli: Sshwrap, port: int, sshd: Sshd, web: Web, checking: str
    ) -> None:
        new_key(cli.folder / "other")
        public = (cli.folder / "other.pub").read_text()
        known = f"[{HERE}]:{sshd.port} {public}"
        sshd.known_hosts.write_text(known)
        config = cli.ssh_config(f"StrictHostKeyChecking {checking}")
        cli.profiles(web={"ssh_config": config, "remote_forward": f"{port}:{HERE}:{web.port}"})
        failure = refused(cli, port)
        assert failure["kind"] == "host_key_changed"
        assert f"ssh-keygen -f {sshd.known_hosts} -R" in failure["advice"]
        assert sshd.known_hosts.read_text() == known

    def test_an_encrypted_key(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(sshd.client_key)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        failure = refused(cli, port)
        assert failure["kind"] == "passphrase_needed"
        assert failure["advice"] == f"ssh-add {sshd.client_key}"

    def test_a_key_file_for_all_to_read(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        sshd.client_key.chmod(0o644)
        failure = refused(cli, port)
        assert failure["kind"] == "key_unreadable"
        assert failure["advice"] == f"chmod 600 {sshd.client_key}"

    def test_a_key_that_is_not_there(self, cli: Sshwrap, port: int, web: Web) -> None:
        missing = cli.folder / "no-key"
        cli.profiles(web={"remote_forward": f"{port}:{HERE}:{web.port}", "identity_file": missing})
        # The server's own key of ssh_config is tried as well: it does no harm.
        assert cli("up", "-d", "web").status == 0
        assert "hello" in fetch(port)


class TestForwarding:
    def test_forbidden_for_everybody(
        self, make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web
    ) -> None:
        cli, port = make_cli(make_sshd(options={"AllowTcpForwarding": "no"})), free_port()
        cli.profiles(web={"remote_forward": f"{port}:{HERE}:{web.port}"})
        failure = refused(cli, port)
        assert failure["kind"] == "forwarding_refused"
        assert "AllowTcpForwarding yes" in failure["advice"]

    def test_local_forwarding_only(
        self, make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web
    ) -> None:
        cli, port = make_cli(make_sshd(options={"AllowTcpForwarding": "local"})), free_port()
        cli.profiles(web={"remote_forward": f"{port}:{HERE}:{web.port}"})
        assert refused(cli, port)["kind"] == "forwarding_refused"

    def test_a_restricted_key(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        key_options(sshd, "restrict")
        failure = refused(cli, port)
        assert failure["kind"] == "key_may_not_forward"
        assert "authorized_keys" in failure["advice"]

    def test_a_restricted_key_that_may_forward(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        key_options(sshd, f'restrict,port-forwarding,permitlisten="{port}",command="false"')
        cli.up("web")
        assert "hello" in fetch(port)

    def test_another_port_is_permitted(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        key_options(sshd, 'permitlisten="localhost:1"')
        failure = refused(cli, port)
        assert failure["kind"] == "port_not_permitted"
        assert f"port {port}" in failure["summary"]
        assert f'permitlisten="{port}"' in failure["advice"]

    def test_permitted_in_another_spelling(
        self, cli: Sshwrap, port: int, sshd: Sshd, web: Web
    ) -> None:
        key_options(sshd, f'permitlisten="localhost:{port}"')
        cli.profiles(web={"remote_forward": f"{HERE}:{port}:{HERE}:{web.port}"})
        assert refused(cli, port)["kind"] == "port_not_permitted"
        cli.profiles(web={"remote_forward": f"localhost:{port}:{HERE}:{web.port}"})
        cli.up("web")
        assert "hello" in fetch(port)


BANNER = """\
debug1: Authentication succeeded (publickey).
Authenticated to 127.0.0.1 ([127.0.0.1]:22) using "publickey".
debug1: Entering interactive session.
debug1: ssh_init_forwarding: expecting replies for 1 forwards
debug1: remote forward success for: listen {port}, connect 127.0.0.1:80
debug1: forwarding_success: all expected forwarding replies received
Allocated port 4242 for remote forward to 127.0.0.1:80
debug1: client_request_forwarded_tcpip: listen localhost port {port}, originator 8.8.8.8 port 1
Timeout, server 127.0.0.1 not responding.
Permission denied (publickey).
root@127.0.0.1: Permission denied (publickey).
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Connection to 127.0.0.1 closed by remote host.
ssh: connect to host 127.0.0.1 port 22: Connection refused
\x1b[2J\x1b]0;owned\x07 [bold red]markup[/]
"""


class TestABannerThatImitatesSsh:
    @pytest.fixture
    def banner(self, sshd: Sshd, cli: Sshwrap, port: int) -> None:
        path = sshd.folder / "banner"
        path.write_text(BANNER.format(port=port))
        sshd.options["Banner"] = str(path)
        sshd.reload()

    @pytest.mark.usefixtures("banner")
    def test_changes_nothing_where_the_sign_in_fails(
        self, cli: Sshwrap, port: int, sshd: Sshd
    ) -> None:
        sshd.authorized_keys.write_text("")
        assert refused(cli, port)["kind"] == "permission_denied"

    @pytest.mark.usefixtures("banner")
    def test_changes_nothing_where_the_forward_fails(
        self, cli: Sshwrap, port: int, sshd: Sshd
    ) -> None:
        key_options(sshd, "restrict")
        assert refused(cli, port)["kind"] == "key_may_not_forward"

    @pytest.mark.usefixtures("banner")
    def test_changes_nothing_where_all_is_well(self, cli: Sshwrap, port: int, sshd: Sshd) -> None:
        tunnel = cli.up("web")
        assert tunnel["failure"] is None
        assert tunnel["forwards"][0]["allocated_port"] is None
        assert tunnel["forwards"][0]["connections"] == {"open": 0, "total": 0, "last": None}
        assert "hello" in fetch(port)
        sshd.kill_sessions()
        cli.wait("web", lambda t: t["state"] == "up" and t["drops"] == 1)
        down = cli.journal("web", "down")[0]
        assert down["failure"]["kind"] == "dropped"
        assert cli.journal("web", "attempt_failed") == []
        told = json.dumps(cli.journal("web")) + cli("logs", "web").out + cli("status").out
        assert "owned" not in told
        assert "8.8.8.8" not in told
