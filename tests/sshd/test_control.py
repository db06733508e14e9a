"""Everything asked over a real master's control socket, and every way in which it has no answer."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sshwrap.ssh.look import Owner, Session, SocketListener
from sshwrap.ssh.mux import Added, Refused, Unknown, Why
from sshwrap.ssh.probe import Found, Probed
from sshwrap.supervisor.control import Control
from sshwrap.tunnel.reach import judge_reach
from tests.support.children import World
from tests.support.masters import (
    NOWHERE,
    PATIENCE,
    Master,
    add,
    alive,
    cancel,
    look,
    masters,
    probe,
    remote,
    seen,
    unknown,
)
from tests.support.needs import needs_ipv6, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.processes import descendants, process
from tests.support.sshd import Sshd
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd

HERE = "127.0.0.1"
MakeSshd = Callable[..., Sshd]


@pytest.fixture
def world() -> Iterator[World]:
    with masters() as world:
        yield world


def everything(master: Master, port: int) -> list[Any]:
    """Each question once, and only why it had no answer."""
    probed = probe(master, f"{port}:{NOWHERE}", port)
    assert probed.found is Found.UNKNOWN, probed
    forward = f"{port}:{NOWHERE}"
    answers = [look(master, port), alive(master), add(master, forward), cancel(master, forward)]
    return [unknown(answer) for answer in answers]


class TestLook:
    @needs_ipv6
    def test_who_listens_and_in_which_session(self, sshd: Sshd, world: World) -> None:
        port, other = free_port(), free_port()
        master = Master(world, sshd, [f"localhost:{port}:{NOWHERE}"])
        found = seen(master, port, other)
        assert {(one.address, one.port) for one in found.listeners} == {
            (HERE, port),
            ("::1", port),
        }
        assert found.uid == os.getuid()
        assert {one.uid for one in found.listeners} == {os.getuid()}
        assert all(one.owner is not Owner.OTHER for one in found.listeners)
        (session,) = sshd.sessions()
        owners = [process(session), *descendants(session)]
        assert found.session is not None
        assert found.session in [Session(one.pid, one.started) for one in owners if one]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert found.boot_id == boot

    def test_the_session_is_the_one_that_owns_the_listeners(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        session = seen(master, port).session
        assert session is not None
        os.kill(session.pid, signal.SIGTERM)
        wait_for(lambda: not listeners(port), what="the listener is gone with its session")

    def test_nobody_listens(self, sshd: Sshd, world: World) -> None:
        master = Master(world, sshd)
        assert seen(master, free_port()).listeners == ()
        assert seen(master).listeners == ()

    def test_unix_sockets(self, sshd: Sshd, world: World) -> None:
        path, odd = str(world.folder / "a.sock"), str(world.folder / "it's $HOME.sock")
        master = Master(world, sshd, [f"{path}:{NOWHERE}", f"{odd}:{NOWHERE}"])
        found = seen(master, paths=[path, odd, str(world.folder / "none")])
        assert {one.path: one.has_file for one in found.sockets} == {path: True, odd: True}
        assert judge_reach(remote(f"{path}:{NOWHERE}"), None, found).reach == "as_asked"
        Path(path).unlink()
        found = seen(master, paths=[path, odd])
        assert SocketListener(path, found.sockets[0].owner, has_file=False) in found.sockets

    @needs_ipv6
    def test_a_name_with_spaces_and_percent_signs(self, sshd: Sshd) -> None:
        port = free_port()
        with masters("a b %h 100%") as world:
            master = Master(world, sshd, [f"{port}:{NOWHERE}"], name="c %u d")
            assert len(seen(master, port).listeners) == 2
            assert probe(master, f"{port}:{NOWHERE}", port).found is Found.OURS
            assert alive(master) is None
            assert isinstance(add(master, f"0:{NOWHERE}"), Added)
            assert cancel(master, f"{port}:{NOWHERE}") is None
            assert seen(master, port).listeners == ()


class TestForwards:
    def test_the_port_that_the_server_gave(self, sshd: Sshd, world: World, web: Web) -> None:
        master = Master(world, sshd)
        added = add(master, f"0:{HERE}:{web.port}")
        assert isinstance(added, Added)
        assert added.port is not None
        assert "hello" in fetch(added.port)
        assert cancel(master, f"0:{HERE}:{web.port}") is None
        assert seen(master, added.port).listeners == ()
        assert listeners(added.port) == set()

    def test_a_port_that_is_taken(self, sshd: Sshd, world: World) -> None:
        master = Master(world, sshd)
        with socket.create_server((HERE, free_port())) as busy:
            port = busy.getsockname()[1]
            words = f"remote port forwarding failed for listen port {port}"
            assert add(master, f"{HERE}:{port}:{NOWHERE}") == Refused(words)
        assert add(master, f"{HERE}:{port}:{NOWHERE}") == Added(None)
        assert listeners(port) == {HERE}

    def test_the_same_again_is_granted_unasked(self, sshd: Sshd, world: World) -> None:
        """So a grant proves nothing: what listens is for the look to say."""
        port = free_port()
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        session = seen(master, port).session
        asked = [line for line in master.log if "mux_confirm_remote_forward" in line]
        assert add(master, f"{port}:{NOWHERE}") == Added(None)
        assert session is not None
        assert asked == [line for line in master.log if "mux_confirm_remote_forward" in line]

    @needs_ipv6
    def test_half_bound_is_seen_and_healed_and_taken_back_whole(
        self, make_sshd: MakeSshd, world: World
    ) -> None:
        sshd = make_sshd(options={"GatewayPorts": "clientspecified"})
        wide, four = (f"{bind}:{{}}:{NOWHERE}" for bind in ("*", "0.0.0.0"))
        with socket.create_server((HERE, free_port())) as busy:
            port = busy.getsockname()[1]
            wide, four = wide.format(port), four.format(port)
            master = Master(world, sshd, [wide])  # which ssh reports as a success
            found = seen(master, port)
            # Root sees which socket is whose; an account does not know its own from sshd's.
            judged = judge_reach(remote(wide), None, found)
            assert judged[:2] == ("half_bound", ("::",))
            assert judged.reason == f"uid {os.getuid()} listens on {HERE}"
            assert isinstance(add(master, four), Refused)
        assert add(master, four) == Added(None)
        judged = judge_reach(remote(wide), None, seen(master, port))
        assert judged == ("as_asked", ("0.0.0.0", "::"), None)
        assert cancel(master, wide) is None
        left = {one.address for one in seen(master, port).listeners}
        assert left == {"0.0.0.0"}  # what asked for the rest has left it
        assert cancel(master, wide, four) is None
        assert seen(master, port).listeners == ()
        assert listeners(port) == set()

    def test_what_nobody_has_is_taken_back_in_silence(self, sshd: Sshd, world: World) -> None:
        assert cancel(Master(world, sshd), f"{free_port()}:{NOWHERE}") is None


class TestProbe:
    @needs_ipv6
    def test_through_to_the_target_and_no_visitor(self, sshd: Sshd, world: World, web: Web) -> None:
        port = free_port()
        spec = f"{port}:{HERE}:{web.port}"
        master = Master(world, sshd, [spec])
        for address in (HERE, "::1"):
            probed = probe(master, spec, port, address)
            assert (probed.found, probed.target) == (Found.OURS, "ok")
        assert master.count("visitor_opened") == 0
        assert "hello" in fetch(port)
        world.run_until(lambda: master.count("visitor_opened") == 1)

    def test_the_target_is_down(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        spec = f"{port}:{HERE}:{free_port()}"
        master = Master(world, sshd, [spec])
        probed = probe(master, spec, port)
        assert (probed.found, probed.target) == (Found.OURS, "refused")
        assert "failed" in probed.said
        assert master.count("visitor_opened") == 0

    def test_a_silent_target_is_well(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        with socket.create_server((HERE, 0)) as silent:
            spec = f"{port}:{HERE}:{silent.getsockname()[1]}"
            master = Master(world, sshd, [spec])
            probed = probe(master, spec, port)
            assert (probed.found, probed.target) == (Found.OURS, "ok")
            silent.settimeout(20)
            guest, _ = silent.accept()
            with guest:
                guest.settimeout(20)
                assert guest.recv(1) == b""  # never written to, and left again

    def test_a_target_on_a_path(self, sshd: Sshd, world: World) -> None:
        port, path = free_port(), str(world.folder / "t.sock")
        spec = f"{port}:{path}"
        master = Master(world, sshd, [spec])
        probed = probe(master, spec, port)
        assert (probed.found, probed.target) == (Found.OURS, "refused")
        with socket.socket(socket.AF_UNIX) as target:
            target.bind(path)
            target.listen()
            assert probe(master, spec, port).found is Found.OURS

    def test_through_a_socks_listener(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        master = Master(world, sshd, [str(port)])
        assert probe(master, str(port), port).found is Found.OURS

    def test_not_ours(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        spec = f"{port}:{NOWHERE}"
        master = Master(world, sshd)
        assert probe(master, spec, port).found is Found.NOBODY
        with Web(port=port):
            assert probe(master, spec, port).found is Found.OTHER
        # There is no connection to a broadcast address, on any machine; and nobody is asked for it.
        assert probe(master, spec, port, "255.255.255.255").found is Found.UNREACHABLE

    def test_a_port_that_takes_and_says_nothing(self, sshd: Sshd, world: World) -> None:
        master = Master(world, sshd)
        with socket.create_server((HERE, 0)) as mute:
            port = mute.getsockname()[1]
            probed = probe(master, f"{port}:{NOWHERE}", port, deadline=0.3)
        assert probed.found is Found.SILENT

    def test_a_server_that_connects_to_nowhere(self, make_sshd: MakeSshd, world: World) -> None:
        port = free_port()
        master = Master(world, make_sshd(options={"PermitOpen": "none"}), [f"{port}:{NOWHERE}"])
        assert probe(master, f"{port}:{NOWHERE}", port).found is Found.FORBIDDEN
        assert alive(master) is None  # that was an answer

    def test_many_at_once_have_an_answer_each(self, sshd: Sshd, world: World, web: Web) -> None:
        up, down, none = free_port(), free_port(), free_port()
        specs = {up: f"{up}:{HERE}:{web.port}", down: f"{down}:{HERE}:{free_port()}"}
        master = Master(world, sshd, list(specs.values()))
        told: list[tuple[int, Found, str]] = []
        lived: list[Unknown | None] = []

        def ask(port: int) -> None:
            def tell(probed: Probed) -> None:
                told.append((port, probed.found, probed.target))

            forward = remote(specs.get(port, f"{port}:{NOWHERE}"))
            master.control.probe(forward, HERE, port, tell, deadline=PATIENCE)
            master.control.alive(lived.append, deadline=PATIENCE)

        for _ in range(3):
            for port in (up, down, none):
                ask(port)
        world.run_until(lambda: len(told) == len(lived) == 9)
        expected = [
            (up, Found.OURS, "ok"),
            (down, Found.OURS, "refused"),
            (none, Found.NOBODY, "unknown"),
        ]
        assert told == expected * 3
        assert lived == [None] * 9
        assert master.count("visitor_opened") == 0
        # Not one of their refusals is left that could be taken for a target's.
        assert master.count("target_refused") == 3


class TestNoAnswer:
    @pytest.mark.parametrize("how", ["unlinked", "moved", "master killed", "never there"])
    def test_a_socket_that_is_gone_makes_no_sign_in(
        self, sshd: Sshd, world: World, how: str
    ) -> None:
        port = free_port()
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        path = Path(master.path)
        match how:
            case "unlinked":
                path.unlink()
            case "moved":
                path.rename(path.with_name("elsewhere"))
            case "master killed":
                master.watched.child.signal(signal.SIGKILL)
                world.run_until(lambda: master.watched.ended)
                assert path.exists()
            case _:
                env = {"PATH": os.environ["PATH"]}
                master.control = Control(f"{path}-not", "ssh", env, loop=world.loop)
        before = sshd.log().count("Connection from")
        assert everything(master, port) == [Why.GONE] * 4
        assert sshd.log().count("Connection from") == before == 1

    def test_sessions_are_refused(self, make_sshd: MakeSshd, world: World, web: Web) -> None:
        port = free_port()
        spec = f"{port}:{HERE}:{web.port}"
        master = Master(world, make_sshd(options={"MaxSessions": 0}), [spec])
        answer = look(master, port)
        assert unknown(answer) is Why.REFUSED
        assert "refused by peer" in answer.said
        assert probe(master, spec, port).target == "ok"
        assert alive(master) is None

    def test_a_forced_command_of_the_key_does_not_run(self, sshd: Sshd, world: World) -> None:
        ran, port = world.folder / "ran", free_port()
        key = sshd.authorized_keys.read_text()
        sshd.authorized_keys.write_text(f'command="touch {ran}" {key}')
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        answer = look(master, port, key_options=master.key_options)
        assert unknown(answer) is Why.FORCED
        assert not [line for line in master.log if "client-session" in line]
        assert not ran.exists()
        # Without that word of the log it would have.
        assert unknown(look(master, port)) is Why.OTHER_ANSWER
        assert ran.exists()

    def test_key_options_without_a_command(self, sshd: Sshd, world: World) -> None:
        key = sshd.authorized_keys.read_text()
        sshd.authorized_keys.write_text(f'restrict,port-forwarding,environment="A=command" {key}')
        port = free_port()
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        assert "port-forwarding" in master.key_options
        assert seen(master, port, key_options=master.key_options).listeners

    def test_a_forced_command_of_sshd_config(self, make_sshd: MakeSshd, world: World) -> None:
        sshd = make_sshd(options={"ForceCommand": "echo only backups here"})
        answer = look(Master(world, sshd), 1)
        assert unknown(answer) is Why.OTHER_ANSWER
        assert answer.said == "only backups here"

    @needs_ipv6
    def test_a_frozen_master(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        master.watched.child.signal(signal.SIGSTOP)
        answers = [
            look(master, port, deadline=0.2),
            alive(master, deadline=0.2),
            master.ask(
                lambda told: master.control.cancel([remote(f"1:{NOWHERE}")], told, deadline=0.2)
            ),
        ]
        assert [unknown(answer) for answer in answers] == [Why.SILENT] * 3
        probed = probe(master, f"{port}:{NOWHERE}", port, deadline=0.2)
        assert probed.found is Found.SILENT
        world.run_until(lambda: not clients(master))
        master.watched.child.signal(signal.SIGCONT)
        assert alive(master) is None
        assert len(seen(master, port).listeners) == 2

    def test_a_frozen_server(self, sshd: Sshd, world: World) -> None:
        port = free_port()
        master = Master(world, sshd, [f"{port}:{NOWHERE}"])
        session = seen(master, port).session
        assert session is not None
        os.kill(session.pid, signal.SIGSTOP)
        try:
            assert unknown(alive(master, deadline=0.2)) is Why.SILENT
            assert unknown(look(master, port, deadline=0.2)) is Why.SILENT
            world.run_until(lambda: not clients(master))  # killed, though the master lingers
        finally:
            os.kill(session.pid, signal.SIGCONT)
        assert alive(master) is None
        assert probe(master, f"{port}:{NOWHERE}", port).found is Found.OURS

    def test_the_master_ends_in_the_middle(self, sshd: Sshd, world: World) -> None:
        master = Master(world, sshd)
        master.watched.child.signal(signal.SIGSTOP)
        answers: list[Any] = []
        master.control.look([1], answers.append)
        master.control.alive(answers.append)
        master.control.add(remote(f"0:{NOWHERE}"), answers.append)
        world.run_until(lambda: len(clients(master)) == 3)
        master.watched.child.signal(signal.SIGKILL)
        world.run_until(lambda: len(answers) == 3)
        assert [unknown(answer) for answer in answers] == [Why.GONE] * 3

    def test_no_ssh(self, world: World) -> None:
        control = Control("/nowhere", "/no/such/ssh", {}, loop=world.loop)
        answers: list[Any] = []
        control.look([1], answers.append)
        control.alive(answers.append)
        control.add(remote(f"0:{NOWHERE}"), answers.append)
        control.cancel([remote(f"0:{NOWHERE}")], answers.append)
        control.probe(remote(f"1:{NOWHERE}"), HERE, 1, answers.append)
        assert answers == []  # never from within the question
        world.run_until(lambda: len(answers) == 5)
        unknowns = [answer for answer in answers if isinstance(answer, Unknown)]
        assert [one.why for one in unknowns] == [Why.FAILED] * 4
        assert [one.found for one in answers if isinstance(one, Probed)] == [Found.UNKNOWN]

    def test_closed_tells_nothing_more(self, sshd: Sshd, world: World) -> None:
        master = Master(world, sshd)
        answers: list[Any] = []
        master.control.look([1], answers.append)
        master.control.look([1], answers.append, key_options="command")
        master.control.alive(answers.append)
        master.control.alive(answers.append)
        master.control.close()
        master.control.look([1], answers.append)
        world.run_until(lambda: not clients(master))
        world.turn()
        assert answers == []


def clients(master: Master) -> list[int]:
    """Of its control socket, zombies not counted."""
    here = descendants(os.getpid())
    return [one.pid for one in here if "-S" in one.argv and "ProxyCommand=false" in one.argv]
