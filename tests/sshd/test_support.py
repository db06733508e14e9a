"""The throwaway sshd, the web service and the looks at the machine do what tests rely on."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.needs import has_ipv6, needs_root, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.processes import descendants, process, processes
from tests.support.sshd import Sshd
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch


def run_ssh(server: Sshd, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", str(server.config), "-o", "BatchMode=yes", server.alias, *command],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@contextmanager
def tunnel(server: Sshd, forward: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [
            *("ssh", "-F", str(server.config), "-N", "-o", "ExitOnForwardFailure=yes"),
            *("-R", forward, server.alias),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait(timeout=20)


@needs_sshd
class TestSshd:
    def test_signs_in_with_its_own_key(self, sshd: Sshd) -> None:
        done = run_ssh(sshd, "id", "-un")
        assert (done.returncode, done.stdout.strip()) == (0, sshd.user)
        assert done.stderr == ""

    def test_listens_on_loopback_only(self, sshd: Sshd) -> None:
        assert listeners(sshd.port) == {"127.0.0.1"}

    def test_a_stopped_server_is_gone_and_comes_back_on_its_port(self, sshd: Sshd) -> None:
        port = sshd.port
        sshd.stop()
        assert listeners(port) == set()
        assert run_ssh(sshd, "true").returncode == 255
        sshd.start()
        assert sshd.port == port
        assert run_ssh(sshd, "true").returncode == 0

    def test_a_folder_with_blanks_and_per_cent_signs(self, tmp_path: Path) -> None:
        with Sshd(tmp_path / "100 %d of it") as server:
            assert run_ssh(server, "true").returncode == 0

    def test_options_can_be_changed_while_it_runs(self, sshd: Sshd) -> None:
        assert run_ssh(sshd, "true").stderr == ""
        pid = sshd.pid
        banner = sshd.folder / "banner"
        banner.write_text("no fishing here\n")
        sshd.options["Banner"] = str(banner)
        sshd.reload()
        assert sshd.pid == pid
        assert run_ssh(sshd, "true").stderr == "no fishing here\n"

    def test_an_option_it_does_not_know_is_said_and_stops_nothing(self, sshd: Sshd) -> None:
        sshd.options["GatewayPort"] = "yes"
        with pytest.raises(ValueError, match="GatewayPort"):
            sshd.reload()
        assert process(sshd.pid) is not None

    def test_a_match_block_reaches_its_user(self, make_sshd: Callable[..., Sshd]) -> None:
        server = make_sshd(match="Match User *\n    ForceCommand echo forced\n")
        assert run_ssh(server, "true").stdout == "forced\n"

    def test_sessions_are_counted_and_killed_and_only_its_own(
        self, make_sshd: Callable[..., Sshd], web: Web
    ) -> None:
        server, other = make_sshd(), make_sshd()
        port, other_port = free_port(), free_port()
        with (
            tunnel(server, f"{port}:127.0.0.1:{web.port}") as child,
            tunnel(other, f"{other_port}:127.0.0.1:{web.port}") as other_child,
        ):
            wait_for(lambda: listeners(port) and listeners(other_port), what="both forwards")
            assert len(server.sessions()) == len(other.sessions()) == 1
            assert "hello" in fetch(port)
            server.kill_sessions()
            assert server.sessions() == []
            assert child.wait(timeout=20) == 255
            assert listeners(port) == set()
            assert "hello" in fetch(other_port)
            assert other_child.poll() is None

    def test_sessions_may_outlive_their_listener(self, sshd: Sshd, web: Web) -> None:
        port = free_port()
        with tunnel(sshd, f"{port}:127.0.0.1:{web.port}") as child:
            wait_for(lambda: listeners(port), what="the forward")
            sshd.stop(sessions=False)
            assert listeners(sshd.port) == set()
            assert "hello" in fetch(port)
            assert len(sshd.sessions()) == 1
            sshd.stop()
            assert child.wait(timeout=20) == 255
            assert sshd.sessions() == []

    def test_who_has_not_signed_in_is_no_session(self, sshd: Sshd) -> None:
        with socket.create_connection((sshd.host, sshd.port)):
            wait_for(lambda: descendants(sshd.pid), what="sshd has taken the connection")
            assert sshd.sessions() == []

    def test_its_sessions_have_a_home_of_their_own(self, sshd: Sshd) -> None:
        """What the account's shell does at its start is nothing that a test can rely on."""
        done = run_ssh(sshd, "echo $HOME; ls -A ~")
        assert done.stdout == f"{sshd.home}\n"

    def test_who_is_on_the_way_in_when_it_stops_is_ended_too(self, sshd: Sshd) -> None:
        with socket.create_connection((sshd.host, sshd.port)) as client:
            wait_for(lambda: descendants(sshd.pid), what="sshd has taken the connection")
            sshd.stop()
            client.settimeout(20)
            with suppress(ConnectionResetError):
                while client.recv(1000):
                    pass

    def test_gateway_ports_can_be_opened(self, make_sshd: Callable[..., Sshd]) -> None:
        server = make_sshd(options={"GatewayPorts": "clientspecified"})
        port = free_port()
        with tunnel(server, f"0.0.0.0:{port}:127.0.0.1:9"):
            wait_for(lambda: listeners(port), what="the forward")
            assert listeners(port) == {"0.0.0.0"}

    def test_a_port_that_is_taken_is_said_with_sshds_words(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        with pytest.raises(RuntimeError, match="Address already in use"):
            Sshd(tmp_path / "second", port=sshd.port).start()

    @needs_root
    def test_root_can_let_another_account_in(self, make_sshd: Callable[..., Sshd]) -> None:
        server = make_sshd(user=_account_with_a_shell())
        assert run_ssh(server, "id", "-un").stdout.strip() == server.user


def _account_with_a_shell() -> str:
    for entry in pwd.getpwall():
        if entry.pw_uid != 0 and entry.pw_shell.endswith("sh"):
            return entry.pw_name
    pytest.skip("no account but root has a shell here")


class TestWeb:
    def test_counts_its_visits_and_comes_back_on_its_port(self) -> None:
        with Web(text="page") as web:
            assert fetch(web.port) == "page\nvisit 1\n"
            assert fetch(web.port) == "page\nvisit 2\n"
            web.stop()
            with pytest.raises(ConnectionRefusedError):
                fetch(web.port)
            web.start()
            assert fetch(web.port) == "page\nvisit 1\n"

    def test_a_taken_port_is_an_error(self, web: Web, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(RuntimeError, match="ended with 1"):
            Web(port=web.port).start()
        assert "Address already in use" in capfd.readouterr().err


class TestPorts:
    def test_free_ports_differ_and_nobody_listens_there(self) -> None:
        ports = [free_port() for _ in range(50)]
        assert len(set(ports)) == 50
        assert all(listeners(port) == set() for port in ports)

    @pytest.mark.parametrize(
        ("family", "address"),
        [
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET, "0.0.0.0"),
            (socket.AF_INET6, "::1"),
            (socket.AF_INET6, "::"),
        ],
    )
    def test_listeners_are_told_by_their_address(
        self, family: socket.AddressFamily, address: str
    ) -> None:
        if family == socket.AF_INET6 and not has_ipv6():
            pytest.skip("no IPv6 on this machine")
        with socket.socket(family) as listener:
            port = free_port()
            listener.bind((address, port))
            assert listeners(port) == set()  # bound is not listening
            listener.listen()
            assert listeners(port) == {address}


class TestProcesses:
    def test_a_zombie_is_not_alive(self) -> None:
        with subprocess.Popen(["true"]) as child:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            assert process(child.pid) is None
        assert process(os.getpid()) is not None

    def test_children_of_children_are_found(self) -> None:
        with subprocess.Popen(["sh", "-c", "cat; true"], stdin=subprocess.PIPE) as child:
            wait_for(
                lambda: [one.argv for one in descendants(child.pid)] == [("cat",)],
                what="sh runs cat",
            )
            found = processes(lambda one: one.parent == child.pid)
            assert [one.title for one in found] == ["cat"]
        assert process(child.pid) is None

    def test_a_stopped_process_is_alive(self) -> None:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
            child.send_signal(signal.SIGSTOP)
            wait_for(lambda: (one := process(child.pid)) and one.state == "T", what="it stops")
            child.kill()


class TestWaiting:
    def test_gives_the_first_true_value(self) -> None:
        values = iter([0, None, "", 7])
        assert wait_for(lambda: next(values)) == 7

    def test_says_what_it_waited_for_and_what_it_saw(self) -> None:
        with pytest.raises(AssertionError, match=r"not within 0 s: the sun \(last seen: 0\)"):
            wait_for(lambda: 0, within=0, what="the sun")

    def test_an_error_of_the_look_is_not_swallowed(self) -> None:
        with pytest.raises(ZeroDivisionError):
            wait_for(lambda: 1 / 0)
