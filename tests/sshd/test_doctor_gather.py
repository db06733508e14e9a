"""What doctor gathers of a real sshd: what it runs with, who holds ports, what answers."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sshwrap.doctor.facts import (
    Answer,
    Facts,
    GatewayPorts,
    HostKeyState,
    Known,
    Unknown,
    value_of,
)
from sshwrap.ssh.session_record import Machine, SessionRecord
from tests.support.accounts import UID, holding
from tests.support.gathering import Doctor, keywords, known, spare, unknown
from tests.support.masters import Master, masters, seen
from tests.support.needs import needs_ipv6, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd

pytestmark = needs_sshd

HERE = "127.0.0.1"
MakeSshd = Callable[..., Sshd]


@pytest.fixture
def doctor(short_folder: Path) -> Doctor:
    folder = short_folder / "c"
    folder.mkdir(mode=0o700)
    return Doctor(folder)


class TestAll:
    def test_a_server_that_is_well(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        server = make_sshd()
        port = free_port()
        facts = doctor.ask(server, f"*:{port}:{HERE}:{free_port()}")
        assert facts.sign_ins == 1
        assert known(facts.here.ssh).text.startswith("OpenSSH_")
        (key,) = known(facts.here.identities)
        assert (key.path, key.is_encrypted, key.mode) == (str(server.client_key), False, 0o600)
        assert key.fingerprint.startswith("SHA256:")
        assert known(facts.here.targets)[0].connected.answer is Answer.REFUSED
        assert known(facts.way.addresses) == (HERE,)
        assert known(facts.way.tcp).answer is Answer.OPEN
        assert known(facts.way.banner).startswith("SSH-2.0-OpenSSH_")
        host_key = known(facts.way.host_key)
        assert host_key.state is HostKeyState.KNOWN
        assert host_key.place == f"{server.known_hosts}:1"
        assert host_key.fingerprint.endswith(" (ED25519)")
        assert known(facts.account.sign_in).failure is None
        assert known(facts.account.sign_in).method == "publickey"
        assert "port-forwarding" in known(facts.account.key_options)
        shell = known(facts.account.shell)
        assert (shell.user, shell.uid) == (server.user, os.geteuid())
        assert shell.client[0] == HERE
        assert shell.server == (HERE, server.port)
        assert shell.system == "Linux"
        assert known(facts.server.software).openssh is not None
        listening = known(facts.server.listening)
        assert listening.pid == server.pid
        assert listening.config == str(server.sshd_config)
        assert listening.arguments == ("-f", str(server.sshd_config))
        assert keywords(facts)["gatewayports"] == ("no",)
        assert known(facts.server.files) == {
            str(server.sshd_config): server.sshd_config.read_text()
        }
        assert known(facts.server.managed) == ""
        assert known(facts.server.is_valid) is True
        assert known(facts.ports[0].holders) == ()
        assert known(facts.ports[0].address_exists) is True
        assert facts.live.ports_opened == 2
        assert server.sessions() == []

    @needs_ipv6
    @pytest.mark.parametrize("argument", GatewayPorts)
    def test_gateway_ports_by_what_the_test_ports_do(
        self, make_sshd: MakeSshd, doctor: Doctor, argument: str
    ) -> None:
        facts = doctor.ask(make_sshd(options={"GatewayPorts": argument}))
        assert known(facts.live.gateway_ports) == argument
        tried = spare(facts)
        assert known(tried.loop) is True
        assert tried.reach is not None
        if argument == "no":
            assert tried.reach.reach == "loopback_only"
            assert unknown(tried.from_here) == "it listens on the server only"
        else:
            assert tried.reach.reach == "as_asked"
            assert known(tried.from_here).answer is Answer.OPEN
        assert listeners(tried.port or 0) == set()

    def test_what_sshd_has_not_reloaded(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        """The file says one thing, and the one that runs does another."""
        server = make_sshd()
        text = server.sshd_config.read_text()
        server.sshd_config.write_text("GatewayPorts yes\n" + text)
        facts = doctor.ask(server)
        assert keywords(facts)["gatewayports"] == ("yes",)
        winner = known(facts.server.origins)["gatewayports"].winner
        assert (winner.file, winner.line) == (str(server.sshd_config), 1)
        assert known(facts.live.gateway_ports) is GatewayPorts.NO

    def test_files_that_are_included_come_as_they_are(
        self, make_sshd: MakeSshd, doctor: Doctor, tmp_path: Path
    ) -> None:
        folder = tmp_path / "conf d"
        folder.mkdir()
        texts = {"00.conf": "# Ansible managed\r\n\tPermitTTY no", "10.conf": "\n\n|x\n"[:2]}
        plain = tmp_path / "d"
        plain.symlink_to(folder)
        for name, text in texts.items():
            (folder / name).write_bytes(text.encode())
        server = make_sshd(options={"Include": f"{plain}/*.conf"})
        facts = doctor.ask(server)
        files = known(facts.server.files)
        assert {Path(file).name: text for file, text in files.items()} == {
            "sshd_config": server.sshd_config.read_text(),
            **texts,
        }
        assert known(facts.server.managed) == f"{plain}/00.conf:1: # Ansible managed"

    def test_a_configuration_that_is_broken(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        server = make_sshd()
        text = server.sshd_config.read_text()
        server.sshd_config.write_text("GatewayPorts maybe\n" + text)
        facts = doctor.ask(server)
        assert known(facts.server.is_valid) is False
        assert "line 1" in facts.server.fault
        assert isinstance(facts.server.effective, Unknown)

    def test_who_holds_the_port(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        port = free_port()
        with holding(port, uid=UID):
            facts = doctor.ask(make_sshd(), f"{port}:{HERE}:9", f"203.0.113.9:{port}:{HERE}:9")
        (holder,) = known(facts.ports[0].holders)
        assert (holder.address, holder.uid) == (HERE, UID)
        assert not facts.ports[0].is_ours
        assert not facts.ports[0].recorded
        assert known(facts.ports[1].address_exists) is False
        if shutil.which("ss"):
            assert facts.ports[0].programs == ("python3",)

    def test_a_file_in_the_way_of_a_socket(
        self, make_sshd: MakeSshd, doctor: Doctor, short_folder: Path
    ) -> None:
        there, free = short_folder / "there.sock", short_folder / "free.sock"
        there.touch()
        facts = doctor.ask(make_sshd(), f"{there}:{HERE}:9", f"{free}:{HERE}:9")
        found = [known(one.is_in_path_of_socket) for one in facts.ports]
        assert found == [True, False]

    def test_a_recorded_session_that_holds_the_port(
        self, make_sshd: MakeSshd, doctor: Doctor
    ) -> None:
        server = make_sshd()
        port = free_port()
        with masters() as world:
            look = seen(Master(world, server, [f"{port}:{HERE}:9"]), port)
            assert look.session is not None
            assert look.boot_id is not None
            machine = Machine(None, "h", (), "/s")
            record = SessionRecord(
                *("web", server.alias, "s", look.session.pid, look.session.started),
                *(look.boot_id, look.uid, machine, 2, None, None),
            )
            facts = doctor.ask(server, f"{port}:{HERE}:9", record=record)
        assert facts.ports[0].recorded

    def test_only_what_the_key_may(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        server = make_sshd()
        key = server.authorized_keys.read_text()
        port = free_port()
        line = f'restrict,port-forwarding,permitlisten="*:{port}"'
        server.authorized_keys.write_text(f"{line} {key}")
        facts = doctor.ask(server, f"*:{port}:{HERE}:9")
        own, tried = known(facts.live.tried)
        assert (tried.reach, tried.said) == (None, "port forwarding refused")
        assert unknown(facts.live.gateway_ports) == "the server refused a test port"
        # Its own port is the only one that can tell.
        assert not own.is_spare
        assert own.reach is not None
        assert own.reach.reach == "loopback_only"
        assert known(own.loop) is True
        assert listeners(port) == set()

    def test_nobody_asks_for_a_port_that_is_wanted(
        self, make_sshd: MakeSshd, doctor: Doctor
    ) -> None:
        server = make_sshd(options={"AllowTcpForwarding": "no"})
        snapshot = {"state": "waiting", "wanted": True, "forwards": []}
        facts = doctor.ask(server, f"{free_port()}:{HERE}:9", snapshot=snapshot)
        (tried,) = known(facts.live.tried)
        assert tried.said == "Server has disabled port forwarding."
        assert facts.live.state == "waiting"
        assert facts.live.ports_opened == 0


class TestNoSession:
    def test_a_key_with_a_command_never_runs_it(
        self, make_sshd: MakeSshd, doctor: Doctor, tmp_path: Path
    ) -> None:
        server = make_sshd(options={"GatewayPorts": "clientspecified"})
        ran = tmp_path / "ran"
        key = server.authorized_keys.read_text()
        server.authorized_keys.write_text(f'command="touch {ran}" {key}')
        facts = doctor.ask(server, f"*:{free_port()}:{HERE}:9")
        assert unknown(facts.account.shell) == "the key runs a command of its own in every session"
        assert not ran.exists()
        # No session, and it is known all the same.
        assert known(facts.live.gateway_ports) is GatewayPorts.CLIENTSPECIFIED
        assert known(spare(facts).loop) is True

    @pytest.mark.parametrize("argument", GatewayPorts)
    def test_sshd_runs_something_else(
        self, make_sshd: MakeSshd, doctor: Doctor, argument: str
    ) -> None:
        options = {"ForceCommand": "echo no", "GatewayPorts": argument}
        facts = doctor.ask(make_sshd(options=options))
        assert "forced command" in unknown(facts.account.shell)
        assert known(facts.live.gateway_ports) == argument

    def test_none_is_opened_where_none_is_wanted(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        facts = doctor.ask(make_sshd(), profile={"run_on_server": False})
        assert unknown(facts.account.shell) == "run_on_server is false in the profile"
        assert known(facts.live.gateway_ports) is GatewayPorts.NO


class TestItAlwaysEnds:
    def test_a_session_that_hangs(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        options = {"ForceCommand": "sleep 600", "GatewayPorts": "yes"}
        facts = doctor.ask(make_sshd(options=options), f"*:{free_port()}:{HERE}:9")
        assert unknown(facts.account.shell) == "no answer over the tunnel in time"
        assert known(facts.live.gateway_ports) is GatewayPorts.YES
        assert known(spare(facts).from_here).answer is Answer.OPEN

    def test_a_server_that_freezes_after_the_sign_in(
        self, make_sshd: MakeSshd, doctor: Doctor
    ) -> None:
        server = make_sshd()

        def freeze(facts: Facts) -> None:
            if isinstance(facts.way.tcp, Known) and not isinstance(facts.account.shell, Known):
                server.kill_sessions(signal.SIGSTOP)

        doctor.on_told = freeze
        facts = doctor.ask(server, f"*:{free_port()}:{HERE}:9")
        assert known(facts.account.sign_in).failure is None
        assert isinstance(facts.account.shell, Unknown)
        assert isinstance(facts.live.gateway_ports, Unknown)
        assert facts.live.ports_opened == 0


class TestNoSignIn:
    def test_a_key_that_the_server_does_not_know(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        server = make_sshd()
        server.authorized_keys.write_text("")
        facts = doctor.ask(server, f"{free_port()}:{HERE}:9")
        failure = known(facts.account.sign_in).failure
        assert failure.kind == "permission_denied"
        assert known(facts.way.host_key).state is HostKeyState.KNOWN
        assert known(facts.server.software).openssh is not None
        assert unknown(facts.account.shell) == "the sign-in did not work"
        assert doctor.line is None
        assert server.log().count("Connection from") == 1

    @pytest.mark.parametrize("state", [HostKeyState.UNKNOWN, HostKeyState.CHANGED])
    def test_the_host_key(self, make_sshd: MakeSshd, doctor: Doctor, state: HostKeyState) -> None:
        server = make_sshd()
        client = server.client_key.with_suffix(".pub").read_text()
        changed = f"[{HERE}]:{server.port} {client}"
        server.known_hosts.write_text(changed if state is HostKeyState.CHANGED else "")
        facts = doctor.ask(server)
        host_key = known(facts.way.host_key)
        assert host_key.state is state
        assert host_key.name == f"[{HERE}]:{server.port}"
        assert host_key.fingerprint.startswith("SHA256:")
        if state is HostKeyState.CHANGED:
            assert host_key.place == f"{server.known_hosts}:1"
        assert known(facts.account.sign_in).failure.kind == f"host_key_{state}"

    def test_nobody_is_there(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        server = make_sshd()
        server.stop()
        facts = doctor.ask(server)
        assert known(facts.way.tcp).answer is Answer.REFUSED
        assert known(facts.account.sign_in).failure.kind == "refused"


class TestOverTheTunnel:
    def test_no_sign_in_where_it_is_up(self, make_sshd: MakeSshd, doctor: Doctor) -> None:
        server = make_sshd(options={"GatewayPorts": "clientspecified"})
        port = free_port()
        with masters() as world:
            master = Master(world, server, [f"*:{port}:{HERE}:9"])
            shown = {
                **{"kind": "remote", "listen_host": "*", "listen_port": port, "listen_path": None},
                **{"allocated_port": None, "bound": ["0.0.0.0", "::"], "reach": "as_asked"},
                **{"reach_reason": None, "address": f"{HERE}:{port}", "target": "refused"},
            }
            snapshot = {"state": "up", "wanted": True, "forwards": [shown]}
            facts = doctor.ask(
                server,
                f"*:{port}:{HERE}:9",
                control_path=master.path,
                snapshot=snapshot,
            )
            assert len(listeners(port)) == 2
        assert facts.sign_ins == 0
        assert server.log().count("Accepted publickey") == 1
        assert known(facts.account.sign_in).over_tunnel
        assert facts.ports[0].is_ours
        assert known(facts.live.gateway_ports) is GatewayPorts.CLIENTSPECIFIED
        own, tried = known(facts.live.tried)
        assert known(own.from_here).answer is Answer.OPEN
        assert known(own.loop) is True
        assert listeners(tried.port) == set()
        assert value_of(facts.server.software) is not None

    def test_a_tunnel_that_has_ended_meanwhile(
        self, make_sshd: MakeSshd, doctor: Doctor, short_folder: Path
    ) -> None:
        gone = short_folder / "gone"
        gone.touch()
        snapshot = {"state": "up", "wanted": True, "forwards": []}
        facts = doctor.ask(make_sshd(), control_path=str(gone), snapshot=snapshot)
        assert facts.sign_ins == 1
        assert known(facts.live.gateway_ports) is GatewayPorts.NO
