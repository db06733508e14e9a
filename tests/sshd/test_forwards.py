"""Every form of forward, through a real sshd, to a real service."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.needs import needs_ipv6, needs_root, needs_sshd
from tests.support.ports import free_port, listeners, privileged_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.targets import Echo, Visitor, socks_connect
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd

HERE = "127.0.0.1"


def visit(port: int, host: str = HERE) -> str:
    """What a service says to a visitor at that port, after a line of theirs."""
    with Visitor((host, port)) as visitor:
        return visitor.say("here I am")


class TestListening:
    @needs_ipv6
    def test_each_listens_where_it_was_asked_to(
        self, make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web
    ) -> None:
        cli = make_cli(make_sshd(options={"GatewayPorts": "clientspecified"}))
        everywhere, loopback, six, unsaid, empty = (free_port() for _ in range(5))
        specs = [f"*:{everywhere}", f"{HERE}:{loopback}", f"[::1]:{six}", str(unsaid), f":{empty}"]
        cli.profiles(web={"remote_forward": [f"{spec}:{HERE}:{web.port}" for spec in specs]})
        tunnel = cli.up("web")
        for port in (everywhere, loopback, unsaid, empty):
            assert "hello" in fetch(port)
        assert "hello" in fetch(six, host="::1")
        assert listeners(everywhere) == {"0.0.0.0", "::"}
        assert listeners(loopback) == {HERE}
        assert listeners(six) == {"::1"}
        assert listeners(unsaid) == {HERE, "::1"}
        assert listeners(empty) == {"0.0.0.0", "::"}
        addresses = [forward["address"] for forward in tunnel["forwards"]]
        assert addresses[:3] == [f"{HERE}:{everywhere}", f"{HERE}:{loopback}", f"[::1]:{six}"]
        tunnel = cli.wait(  # the look may be late on a slow machine, and is done again
            "web", lambda t: all(f["reach"] == "as_asked" for f in t["forwards"]), within=90
        )
        bound = [set(forward["bound"]) for forward in tunnel["forwards"]]
        assert bound == [listeners(p) for p in (everywhere, loopback, six, unsaid, empty)]
        cli.wait("web", lambda t: t["forwards"][0]["from_here"] == "open")

    @needs_ipv6
    def test_a_server_that_widens_it(
        self, make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web
    ) -> None:
        cli = make_cli(make_sshd(options={"GatewayPorts": "yes"}))
        port = free_port()
        cli.profiles(web={"remote_forward": f"{HERE}:{port}:{HERE}:{web.port}"})
        cli("up", "-d", "web")
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["reach"] == "exposed", within=90)
        assert listeners(port) == {"0.0.0.0", "::"}
        assert set(tunnel["forwards"][0]["bound"]) == {"0.0.0.0", "::"}
        assert tunnel["ok"] is False
        assert "hello" in fetch(port)

    def test_below_1024_root_may(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can set this up")
        port = privileged_port()
        cli.profiles(web={"remote_forward": f"{HERE}:{port}:{HERE}:{web.port}"})
        cli.up("web")
        assert "hello" in fetch(port)

    @needs_root
    def test_below_1024_nobody_else_may(
        self, make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web
    ) -> None:
        user = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != 0)
        cli = make_cli(make_sshd(user=user))
        port = privileged_port()
        cli.profiles(web={"remote_forward": f"{HERE}:{port}:{HERE}:{web.port}"})
        done = cli("up", "-d", "web")
        assert done.status == 1, done
        failure = cli.tunnel("web")["failure"]
        assert failure["kind"] == "privileged_port"
        assert str(port) in failure["summary"]

    def test_a_port_that_is_taken_and_then_free(self, cli: Sshwrap, web: Web) -> None:
        with socket.create_server((HERE, free_port())) as busy:
            port = busy.getsockname()[1]
            cli.profiles(web={"remote_forward": f"{HERE}:{port}:{HERE}:{web.port}"})
            assert cli("up", "-d", "web").status == 1
            failure = cli.tunnel("web")["failure"]
            assert failure["kind"] == "port_taken"
            # By the name that the person gave.
            assert failure["summary"] == f"port {port} is taken on server"
            assert failure["said"] == (
                f"Error: remote port forwarding failed for listen port {port}"
            )
        cli.wait("web", "up")
        assert "hello" in fetch(port)

    def test_one_of_two_taken_is_not_up(self, cli: Sshwrap, web: Web) -> None:
        free = free_port()
        with socket.create_server((HERE, free_port())) as busy:
            port = busy.getsockname()[1]
            target = f"{HERE}:{web.port}"
            cli.profiles(web={"remote_forward": [f"{free}:{target}", f"{HERE}:{port}:{target}"]})
            assert cli("up", "-d", "web").status == 1
            assert cli.journal("web", "up") == []
            assert str(port) in cli.tunnel("web")["failure"]["summary"]


class TestPort0:
    def test_the_port_is_told_and_asked_anew(self, cli: Sshwrap, web: Web, sshd: Sshd) -> None:
        cli.profiles(web={"remote_forward": f"{HERE}:0:{HERE}:{web.port}", "restart_max_delay": 1})
        tunnel = cli.up("web")
        old = tunnel["forwards"][0]["allocated_port"]
        assert tunnel["forwards"][0]["listen_port"] == 0
        assert tunnel["forwards"][0]["address"] == f"{HERE}:{old}"
        assert listeners(old) == {HERE}
        assert "hello" in fetch(old)
        assert cli.journal("web", "port")[0]["new"] == old
        sshd.stop()
        waiting = cli.wait("web", lambda t: t["state"] == "waiting" or t["attempt"] > 1)
        assert waiting["forwards"][0]["allocated_port"] is None
        assert waiting["forwards"][0]["address"] is None
        with socket.create_server((HERE, old)):  # the server cannot give the same one again
            sshd.start()
            new = cli.wait("web", "up")["forwards"][0]["allocated_port"]
        assert new not in (None, old)
        assert "hello" in fetch(new)
        last = cli.journal("web", "port")[-1]
        assert (last["old"], last["new"]) == (old, new)
        assert last["forward"] == f"{HERE}:0:{HERE}:{web.port}"

    def test_each_of_several_knows_its_own(self, cli: Sshwrap) -> None:
        with Echo((HERE, 0)) as one, Web(text="the page") as page:
            cli.profiles(
                web={
                    "remote_forward": [
                        f"0:{HERE}:{page.port}",
                        f"{free_port()}:{HERE}:{page.port}",
                        f"0:{HERE}:{one.port}",
                    ]
                }
            )
            first, _, third = cli.up("web")["forwards"]
            assert "the page" in fetch(first["allocated_port"])
            assert visit(third["allocated_port"]) == "here I am"
            counted = cli.wait(
                "web", lambda t: [f["connections"]["total"] for f in t["forwards"]] == [1, 0, 1]
            )
            assert counted["state"] == "up"


class TestUnixSockets:
    def test_listening_and_connecting(self, cli: Sshwrap, short_folder: Path) -> None:
        there, here = short_folder / "there", short_folder / "here"
        port = free_port()
        with Echo(here) as on_socket, Echo((HERE, 0)) as on_port:
            cli.profiles(
                web={
                    "remote_forward": [
                        f"{there}:{HERE}:{on_port.port}",
                        f"{port}:{on_socket.where}",
                        f"{there}2:{on_socket.where}",
                    ]
                }
            )
            tunnel = cli.up("web")
            with Visitor(there) as visitor:
                assert visitor.say("a port behind a socket") == "a port behind a socket"
            assert visit(port) == "here I am"
            with Visitor(Path(f"{there}2")) as visitor:
                assert visitor.say("both") == "both"
        first, second, _ = tunnel["forwards"]
        assert (first["listen_path"], first["listen_port"]) == (str(there), None)
        assert first["address"] == str(there)
        assert (second["connect_path"], second["connect_port"]) == (str(here), None)

    def test_a_socket_left_behind_needs_a_person(
        self, cli: Sshwrap, short_folder: Path, web: Web
    ) -> None:
        path = short_folder / "there"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        cli.profiles(web={"remote_forward": f"{path}:{HERE}:{web.port}"})
        assert cli("up", "-d", "web").status == 77
        failure = cli.tunnel("web")["failure"]
        assert failure["kind"] == "socket_path_taken"
        assert str(path) in failure["summary"]
        assert f"rm {path}" in failure["advice"]
        path.unlink()
        assert cli("up", "-d", "web").status == 0

    def test_a_server_that_removes_old_ones(
        self,
        make_sshd: Callable[..., Sshd],
        make_cli: Callable[[Sshd], Sshwrap],
        short_folder: Path,
    ) -> None:
        server = make_sshd(options={"StreamLocalBindUnlink": "yes"})
        cli = make_cli(server)
        path = short_folder / "there"
        with Echo((HERE, 0)) as service:
            cli.profiles(
                web={"remote_forward": f"{path}:{HERE}:{service.port}", "restart_max_delay": 1}
            )
            cli.up("web")
            server.kill_sessions()
            cli.wait("web", lambda t: t["state"] == "up" and t["drops"] == 1)
            with Visitor(path) as visitor:
                assert visitor.say("again") == "again"


class TestOtherKinds:
    def test_remote_local_and_dynamic_at_once(self, cli: Sshwrap, web: Web) -> None:
        remote, local, dynamic, remote_socks = (free_port() for _ in range(4))
        cli.profiles(
            web={
                "remote_forward": [f"{remote}:{HERE}:{web.port}", str(remote_socks)],
                "local_forward": f"{local}:{HERE}:{web.port}",
                "dynamic_forward": str(dynamic),
            }
        )
        tunnel = cli.up("web")
        kinds = [forward["kind"] for forward in tunnel["forwards"]]
        assert kinds == ["remote", "remote", "local", "dynamic"]
        assert "hello" in fetch(remote)
        assert "hello" in fetch(local)
        with Echo(("127.0.0.2", 0)) as service:
            for proxy in (dynamic, remote_socks):
                through = socks_connect((HERE, proxy), "127.0.0.2", service.port)
                with Visitor((HERE, proxy), through=through) as visitor:
                    assert visitor.say("by SOCKS") == "by SOCKS"
        assert cli("down").status == 0
        ports = (remote, local, dynamic, remote_socks)
        wait_for(lambda: not any(map(listeners, ports)), what="nobody listens")

    def test_local_alone_is_up_when_it_listens(self, cli: Sshwrap, web: Web) -> None:
        local = free_port()
        cli.profiles(web={"local_forward": f"{local}:{HERE}:{web.port}"})
        cli.up("web")
        assert "hello" in fetch(local)

    @pytest.mark.parametrize("kind", ["local", "dynamic"])
    def test_a_port_that_is_taken_here(self, cli: Sshwrap, web: Web, kind: str) -> None:
        with socket.create_server((HERE, free_port())) as busy:
            port = busy.getsockname()[1]
            spec = f"{HERE}:{port}" + (f":{HERE}:{web.port}" if kind == "local" else "")
            cli.profiles(web={f"{kind}_forward": spec})
            assert cli("up", "-d", "web").status == 1
            failure = cli.tunnel("web")["failure"]
            assert failure["kind"] == "local_port_taken"
            assert str(port) in failure["summary"]
        cli.wait("web", "up")


class TestTargets:
    def test_on_another_machine(self, cli: Sshwrap) -> None:
        port = free_port()
        with Echo(("127.0.0.2", 0)) as service:
            cli.profiles(web={"remote_forward": f"{port}:127.0.0.2:{service.port}"})
            cli.up("web")
            assert visit(port) == "here I am"
            tunnel = cli.wait("web", lambda t: t["forwards"][0]["target"] == "ok")
            assert tunnel["forwards"][0]["connect_host"] == "127.0.0.2"

    def test_down_and_there_again(self, cli: Sshwrap, web: Web) -> None:
        port = free_port()
        cli.profiles(web={"remote_forward": f"{port}:{HERE}:{web.port}"})
        cli.up("web")
        # The loop is tried before any visitor comes.
        first = cli.wait("web", lambda t: t["forwards"][0]["target"] == "ok")
        web.stop()
        with pytest.raises((OSError, EOFError)):
            visit(port)
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["target"] == "refused")
        assert (tunnel["state"], tunnel["ok"]) == ("up", True)  # no fault of the tunnel
        entry = cli.wait_for_entry("web", "target")
        assert (entry["target"], entry["connect"]) == ("refused", f"{HERE}:{web.port}")
        assert entry["said"] == f"connect_to {HERE} port {web.port}: failed."
        web.start()
        assert "hello" in fetch(port)
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["target"] == "ok")
        assert tunnel["ssh_pid"] == first["ssh_pid"]
        assert cli.wait_for_entry("web", "target", count=2)["target"] == "ok"

    def test_the_same_failure_is_told_once(self, cli: Sshwrap) -> None:
        port, nobody = free_port(), free_port()
        cli.profiles(web={"remote_forward": f"{port}:{HERE}:{nobody}"})
        cli.up("web")
        for _ in range(5):
            with contextlib.suppress(OSError, EOFError):
                visit(port)
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["connections"]["total"] == 5)
        assert tunnel["forwards"][0]["target"] == "refused"
        assert len(cli.journal("web", "target")) == 1

    def test_a_unix_socket_that_is_not_there(self, cli: Sshwrap, short_folder: Path) -> None:
        port, path = free_port(), short_folder / "service"
        cli.profiles(web={"remote_forward": f"{port}:{path}"})
        cli.up("web")
        with pytest.raises((OSError, EOFError)):
            visit(port)
        cli.wait("web", lambda t: t["forwards"][0]["target"] == "refused")
        assert cli.wait_for_entry("web", "target")["connect"] == str(path)
        with Echo(path):
            assert visit(port) == "here I am"
            cli.wait("web", lambda t: t["forwards"][0]["target"] == "ok")

    def test_a_local_forwards_target_is_the_servers(self, cli: Sshwrap, web: Web) -> None:
        local = free_port()
        web.stop()
        cli.profiles(web={"local_forward": f"{local}:{HERE}:{web.port}"})
        cli.up("web")
        with pytest.raises((OSError, EOFError)):
            visit(local)
        tunnel = cli.wait("web", lambda t: t["forwards"][0]["connections"]["total"] == 1)
        wait_for(
            lambda: cli.tunnel("web")["forwards"][0]["connections"]["open"] == 0, what="it has gone"
        )
        assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
