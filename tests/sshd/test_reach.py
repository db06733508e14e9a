"""What `status --json` says of who listens, against what listens on a real server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.accounts import UID, Account, holding
from tests.support.needs import needs_namespaces, needs_root, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap, Tunnel
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd

HERE = "127.0.0.1"
MakeSshd = Callable[..., Sshd]
MakeCli = Callable[[Sshd], Sshwrap]
Forward = dict[str, Any]

needs_ipv6 = pytest.mark.skipif(
    not Path("/proc/net/if_inet6").exists() or not Path("/proc/net/if_inet6").read_text(),
    reason="this machine has no IPv6",
)


LATE = "no answer over the tunnel in time"  # on a slow machine; it is looked at again after 30 s
LOOKED = 90.0


def is_looked_at(tunnel: Tunnel) -> bool:
    return tunnel["state"] == "up" and all(
        forward["reach"] != "checking" and LATE not in (forward["reach_reason"] or "")
        for forward in tunnel["forwards"]
    )


def is_as_asked(tunnel: Tunnel) -> bool:
    return all(forward["reach"] == "as_asked" for forward in tunnel["forwards"])


def brought_up(cli: Sshwrap, spec: str, **keys: object) -> Forward:
    """The one forward of a tunnel that is up and has been looked at."""
    cli.profiles(web={"remote_forward": spec, **keys})
    cli("up", "-d", "web")
    forward: Forward = cli.wait("web", is_looked_at, within=LOOKED)["forwards"][0]
    return forward


def sessions_of(server: Sshd) -> int:
    """How many sessions sshd has opened; a forward opens none."""
    return server.log().count("Starting session")


class TestOnTheServer:
    @pytest.mark.parametrize(
        ("gateway_ports", "bind", "reach"),
        [
            ("no", "", "as_asked"),
            ("no", "*:", "loopback_only"),
            ("yes", "", "as_asked"),
            ("yes", "localhost:", "exposed"),
            ("clientspecified", "*:", "as_asked"),
            ("clientspecified", f"{HERE}:", "as_asked"),
        ],
    )
    def test_the_truth_about_it(
        self,
        make_sshd: MakeSshd,
        make_cli: MakeCli,
        web: Web,
        gateway_ports: str,
        bind: str,
        reach: str,
    ) -> None:
        server = make_sshd(options={"GatewayPorts": gateway_ports})
        cli = make_cli(server)
        port = free_port()
        forward = brought_up(cli, f"{bind}{port}:{HERE}:{web.port}")
        assert (forward["reach"], set(forward["bound"])) == (reach, listeners(port))
        tunnel = cli.tunnel("web")
        assert tunnel["ok"] is (reach == "as_asked")
        assert cli("status").status == (0 if reach == "as_asked" else 1)
        assert bool(cli.journal("web", "reach")) is (reach != "as_asked")
        # Over the tunnel's own line: nobody has signed in a second time.
        assert server.log().count("Accepted publickey") == 1

    def test_the_port_that_the_server_chose_is_looked_at(self, cli: Sshwrap, web: Web) -> None:
        forward = brought_up(cli, f"0:{HERE}:{web.port}")
        assert forward["reach"] == "as_asked"
        assert set(forward["bound"]) == listeners(forward["allocated_port"]) != set()

    def test_a_socket(self, cli: Sshwrap, web: Web) -> None:
        with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
            path = Path(folder, "web.sock")
            forward = brought_up(cli, f"{path}:{HERE}:{web.port}")
            assert (forward["reach"], forward["bound"]) == ("as_asked", [str(path)])
            assert forward["from_here"] == "unknown"


@needs_ipv6
class TestHalfBound:
    def test_it_is_said_and_healed_on_the_same_line(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        cli = make_cli(make_sshd(options={"GatewayPorts": "clientspecified"}))
        port = free_port()
        with holding(port, uid=os.geteuid(), address="0.0.0.0"):
            forward = brought_up(cli, f"*:{port}:{HERE}:{web.port}")
            assert (forward["reach"], forward["bound"]) == ("half_bound", ["::"])
            assert forward["reach_reason"] == f"uid {os.geteuid()} listens on 0.0.0.0"
            done = cli("status", "--json")
            assert (done.status, json.loads(done.out)["ok"]) == (1, False)
            assert "hello" in fetch(port, host="::1")
        before = cli.tunnel("web")
        healed = cli.wait("web", is_as_asked, within=LOOKED)
        assert listeners(port) == {"0.0.0.0", "::"}
        assert set(healed["forwards"][0]["bound"]) == {"0.0.0.0", "::"}
        assert (healed["ssh_pid"], healed["drops"]) == (before["ssh_pid"], 0)
        assert healed["since"] == before["since"]
        assert "hello" in fetch(port)
        told = [(entry["old"], entry["reach"]) for entry in cli.journal("web", "reach")]
        assert told == [(None, "half_bound"), ("half_bound", "as_asked")]

    def test_on_the_loopback_too(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        with holding(port, uid=os.geteuid()):
            forward = brought_up(cli, f"localhost:{port}:{HERE}:{web.port}")
            assert (forward["reach"], forward["bound"]) == ("half_bound", ["::1"])
        cli.wait("web", is_as_asked, within=LOOKED)
        assert listeners(port) == {HERE, "::1"}
        assert "hello" in fetch(port)

    @pytest.mark.parametrize("then", ["lets go of it", "listens"])
    def test_one_who_has_taken_half_of_it_and_does_not_listen_yet(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web, then: str
    ) -> None:
        """Nobody can see him, and sshd is refused by him all the same."""
        cli = make_cli(make_sshd(options={"GatewayPorts": "clientspecified"}))
        port = free_port()
        with socket.socket() as other:
            other.bind(("0.0.0.0", port))
            forward = brought_up(cli, f"*:{port}:{HERE}:{web.port}")
            assert forward["bound"] == ["::"]
            if then == "listens":
                other.listen()
                cli.wait("web", lambda t: t["forwards"][0]["reach"] == "half_bound", within=LOOKED)
        cli.wait(
            "web", lambda t: set(t["forwards"][0]["bound"]) == {"0.0.0.0", "::"}, within=LOOKED
        )
        assert is_as_asked(cli.tunnel("web"))
        assert "hello" in fetch(port)

    def test_a_server_that_forwards_one_family_alone_is_asked_in_vain_and_left_in_peace(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        options = {"GatewayPorts": "clientspecified", "AddressFamily": "inet"}
        sshd = make_sshd(options=options)
        cli = make_cli(sshd)
        port = free_port()
        forward = brought_up(cli, f"*:{port}:{HERE}:{web.port}")
        assert (forward["reach"], forward["bound"]) == ("as_asked", ["0.0.0.0"])
        assert forward["reach_reason"].startswith("IPv4 only")
        asked = "channel_setup_fwd_listener_tcpip: getaddrinfo(::)"
        wait_for(lambda: sshd.log().count(asked) == 2, within=LOOKED, what=sshd.log)
        assert cli.tunnel("web")["forwards"][0]["reach"] == "as_asked"
        assert cli.journal("web", "reach") == []

    def test_a_visitor_of_the_half_that_is_there_stays(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        """While the other half is asked for, again and again, and had at last."""
        cli = make_cli(make_sshd(options={"GatewayPorts": "clientspecified"}))
        port = free_port()
        with contextlib.ExitStack() as stack:
            held = stack.enter_context(contextlib.ExitStack())
            held.enter_context(holding(port, uid=os.geteuid(), address="0.0.0.0"))
            brought_up(cli, f"*:{port}:{HERE}:{web.port}")
            visitor = stack.enter_context(socket.create_connection(("::1", port), 20))
            cli.wait("web", lambda t: t["forwards"][0]["connections"]["open"] == 1)
            held.close()
            cli.wait("web", is_as_asked, within=LOOKED)
            visitor.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"200" in visitor.recv(100)


class TestFromHere:
    @pytest.mark.parametrize("gateway_ports", ["clientspecified", "no"])
    def test_the_knock_is_no_visitor(
        self,
        make_sshd: MakeSshd,
        make_cli: MakeCli,
        web: Web,
        gateway_ports: str,
    ) -> None:
        """On one machine a knock, a probe and a visitor all come from 127.0.0.1."""
        cli = make_cli(make_sshd(options={"GatewayPorts": gateway_ports}))
        port = free_port()
        brought_up(cli, f"*:{port}:{HERE}:{web.port}")
        forward = self._settled(cli)
        assert (forward["from_here"], forward["target"]) == ("open", "ok")
        assert forward["connections"] == {"open": 0, "total": 0, "last": None}
        for count in range(1, 4):
            assert "hello" in fetch(port)
            visited = self._visits(cli, count)
            assert visited["connections"]["total"] == count
        # And again after each of several new beginnings.
        for count in range(3):
            pid = cli.tunnel("web")["ssh_pid"]
            assert cli("restart", "web").status in (0, 1)
            cli.wait(
                "web", lambda t, old=pid: is_looked_at(t) and t["ssh_pid"] != old, within=LOOKED
            )
            assert self._settled(cli)["connections"]["total"] == 3 + count
            assert "hello" in fetch(port)
            self._visits(cli, 4 + count)

    def test_many_visitors_with_the_probe_on_are_all_counted_and_nobody_else(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        cli = make_cli(make_sshd(options={"GatewayPorts": "clientspecified"}))
        port = free_port()
        brought_up(cli, f"*:{port}:{HERE}:{web.port}", probe_interval=0.05)
        self._settled(cli)
        for _ in range(200):
            assert "hello" in fetch(port)
        assert self._visits(cli, 200)["connections"] | {"last": None} == {
            "open": 0,
            "total": 200,
            "last": None,
        }

    def test_what_only_the_server_may_use_is_not_knocked_at(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        forward = brought_up(cli, f"localhost:{port}:{HERE}:{web.port}")
        assert forward["from_here"] == "unknown"
        cli.wait("web", lambda t: t["forwards"][0]["target"] == "ok")
        assert cli.tunnel("web")["forwards"][0]["from_here"] == "unknown"

    def test_a_target_that_is_down_is_told_before_any_visitor(self, cli: Sshwrap) -> None:
        port, target = free_port(), free_port()
        brought_up(cli, f"{HERE}:{port}:{HERE}:{target}")
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["target"] == "refused")
        assert (tunnel["state"], tunnel["forwards"][0]["connections"]["total"]) == ("up", 0)
        with Web(port=target):
            assert "hello" in fetch(port)
            cli.wait("web", lambda t: t["forwards"][0]["target"] == "ok")

    def _settled(self, cli: Sshwrap) -> Forward:
        """Once the knock and the loop have answered."""
        tunnel = cli.wait(
            "web",
            lambda t: (
                t["forwards"][0]["from_here"] != "unknown"
                and t["forwards"][0]["target"] != "unknown"
            ),
        )
        forward: Forward = tunnel["forwards"][0]
        return forward

    def _visits(self, cli: Sshwrap, count: int) -> Forward:
        tunnel = cli.wait(
            "web",
            lambda t: (
                t["forwards"][0]["connections"]["total"] >= count
                and t["forwards"][0]["connections"]["open"] == 0
            ),
            what=f"{count} visits",
        )
        forward: Forward = tunnel["forwards"][0]
        assert forward["connections"]["total"] == count
        return forward


class TestWithoutASession:
    def test_none_is_opened_where_none_is_wanted(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        server = make_sshd(options={"GatewayPorts": "clientspecified"})
        cli = make_cli(server)
        port = free_port()
        forward = brought_up(cli, f"*:{port}:{HERE}:{web.port}", run_on_server=False)
        assert (forward["reach"], set(forward["bound"])) == ("as_asked", listeners(port))
        cli.wait("web", lambda t: t["forwards"][0]["from_here"] == "open")
        assert sessions_of(server) == 0
        assert forward["connections"]["total"] == 0

    def test_and_with_one_there_is_one(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        """So that the test above can fail."""
        brought_up(cli, f"{HERE}:{free_port()}:{HERE}:{web.port}")
        assert sessions_of(sshd) == 1

    def test_a_forced_command_never_runs(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web, tmp_path: Path
    ) -> None:
        server = make_sshd(options={"GatewayPorts": "no"})
        ran = tmp_path / "ran"
        key = server.authorized_keys.read_text()
        server.authorized_keys.write_text(f'command="touch {ran}" {key}')
        cli = make_cli(server)
        port = free_port()
        forward = brought_up(cli, f"*:{port}:{HERE}:{web.port}")
        assert (forward["reach"], set(forward["bound"])) == ("loopback_only", listeners(port))
        assert sessions_of(server) == 0
        assert not ran.exists()

    def test_a_key_that_may_connect_to_nowhere_hides_the_reach(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        server = make_sshd()
        port = free_port()
        key = server.authorized_keys.read_text()
        options = f'restrict,port-forwarding,permitopen="{HERE}:9",command="false"'
        server.authorized_keys.write_text(f"{options} {key}")
        cli = make_cli(server)
        forward = brought_up(cli, f"{HERE}:{port}:{HERE}:{web.port}")
        assert (forward["reach"], forward["bound"]) == ("unknown", None)
        assert "permitopen" in forward["reach_reason"]
        assert cli.tunnel("web")["ok"] is True
        assert "hello" in fetch(port)

    def test_a_server_that_opens_no_sessions(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        server = make_sshd(options={"MaxSessions": 0, "GatewayPorts": "clientspecified"})
        cli = make_cli(server)
        port = free_port()
        forward = brought_up(cli, f"*:{port}:{HERE}:{web.port}")
        assert (forward["reach"], set(forward["bound"])) == ("as_asked", listeners(port))
        assert "hello" in fetch(port)
        assert cli.tunnel("web")["drops"] == 0

    def test_the_control_socket_is_deleted_under_us(
        self, make_sshd: MakeSshd, make_cli: MakeCli, web: Web
    ) -> None:
        """The tunnel serves on; what could not be asked any more is not guessed."""
        server = make_sshd(options={"GatewayPorts": "clientspecified"})
        cli = make_cli(server)
        port = free_port()
        with holding(port, uid=os.geteuid(), address="0.0.0.0"):
            assert brought_up(cli, f"*:{port}:{HERE}:{web.port}")["reach"] == "half_bound"
            before = cli.tunnel("web")
            (control,) = Path(cli.places().control_dir).iterdir()
            control.unlink()
            # What was being asked when it went has been answered before this line.
            wait_for(lambda: not clients(cli), what="nobody asks over it")
        assert "hello" in fetch(port, host="::1")
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["connections"]["total"] == 1)
        assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
        assert (tunnel["ssh_pid"], tunnel["since"]) == (before["ssh_pid"], before["since"])
        assert listeners(port) == {"::"}
        # Nobody has signed in anew for a question, and the next ssh is asked as ever.
        assert server.log().count("Accepted publickey") == 1
        cli("restart", "web")
        cli.wait("web", lambda t: is_as_asked(t) and t["state"] == "up", within=LOOKED)
        assert server.log().count("Accepted publickey") == 2
        assert listeners(port) == {"0.0.0.0", "::"}


def clients(cli: Sshwrap) -> list[str]:
    """Of ssh's control socket."""
    return [one.title for one in cli.own_processes() if "ProxyCommand=false" in one.title]


SHELLS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "a greeting": ("/bin/bash", {".bashrc": "printf 'Welcome!\\nno end of line'"}),
    "csh": ("/bin/csh", {".cshrc": "echo Welcome; set prompt='!'"}),
    "fish": ("/usr/bin/fish", {".config/fish/config.fish": "printf 'Welcome!\\n'"}),
    "nologin": ("/usr/sbin/nologin", {}),
    "false": ("/bin/false", {}),
}


@pytest.fixture
def home() -> Iterator[Path]:
    """Of the account, and open to it."""
    folder = Path(tempfile.mkdtemp(prefix="sw-home-", dir="/tmp"))
    folder.chmod(0o755)
    os.chown(folder, UID, UID)
    yield folder
    shutil.rmtree(folder)


@needs_root
@needs_namespaces
@pytest.mark.parametrize("name", SHELLS)
def test_whatever_the_login_shell_the_reach_is_seen(
    make_sshd: MakeSshd, make_cli: MakeCli, home: Path, web: Web, name: str
) -> None:
    shell, files = SHELLS[name]
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    for file, text in files.items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text + "\n")
    server = Account(make_sshd, home, shell).sshd
    cli = make_cli(server)
    port = free_port()
    forward = brought_up(cli, f"{HERE}:{port}:{HERE}:{web.port}")
    assert (forward["reach"], forward["bound"]) == ("as_asked", [HERE])
    assert listeners(port) == {HERE}
    assert "hello" in fetch(port)
    wait_for(
        lambda: cli.tunnel("web")["forwards"][0]["connections"]["total"] == 1, what="one visit"
    )
