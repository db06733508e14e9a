"""What doctor gathers as an account without rights: shells, no shell, no /proc, closed files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sshwrap.doctor.facts import (
    GatewayPorts,
    Rights,
    Unknown,
)
from tests.support.accounts import UID, Account
from tests.support.gathering import Doctor, keywords, known, unknown
from tests.support.needs import needs_namespaces, needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd

pytestmark = needs_sshd

HERE = "127.0.0.1"
MakeSshd = Callable[..., Sshd]


@pytest.fixture
def doctor(short_folder: Path) -> Doctor:
    folder = short_folder / "c"
    folder.mkdir(mode=0o700)
    return Doctor(folder)


@pytest.fixture
def home() -> Iterator[Path]:
    """Of the account, and open to it."""
    folder = Path(tempfile.mkdtemp(prefix="sw-home-", dir="/tmp"))
    folder.chmod(0o755)
    os.chown(folder, UID, UID)
    yield folder
    shutil.rmtree(folder)


def opened_to_all(folder: Path, home: Path) -> str:
    """What makes a folder of pytest's reachable for an account, in the server's eyes alone."""
    top = Path("/", *folder.parts[1:3])
    keep = home / "keep"
    keep.mkdir()
    return (
        f"mount --bind {folder} {keep} && mount -t tmpfs -o mode=755 tmpfs {top}"
        f" && mkdir -p {folder} && mount --bind {keep} {folder}"
    )


@needs_namespaces
class TestAccount:
    @pytest.mark.parametrize("shell", ["/bin/sh", "/bin/csh", "/usr/bin/fish", "busybox"])
    def test_it_is_asked_whatever_its_shell(
        self, make_sshd: MakeSshd, doctor: Doctor, home: Path, shell: str, tmp_path: Path
    ) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell} on this machine")
        folder = tmp_path / "sshd-0"
        server = Account(make_sshd, home, shell, opened_to_all(folder, home)).sshd
        server.sshd_config.chmod(0o644)
        folder.chmod(0o755)
        before = set(Path("/tmp").iterdir())
        facts = doctor.ask(server, f"*:{free_port()}:{HERE}:9", f"80:{HERE}:9")
        found = known(facts.account.shell)
        assert (found.user, found.uid) == ("tunnel", UID)
        assert found.home_is_writable is True
        assert known(facts.account.rights) is Rights.NONE
        assert known(facts.server.unprivileged_from) == 1024
        # By a throw-away key that is gone.
        assert keywords(facts)["gatewayports"] == ("no",)
        assert keywords(facts)["authorizedkeyscommanduser"] == ("root",)
        assert known(facts.server.is_valid) is True
        assert str(server.sshd_config) in known(facts.server.files)
        assert known(facts.live.gateway_ports) is GatewayPorts.NO
        assert isinstance(facts.live.firewall, Unknown)
        assert [one for one in set(Path("/tmp").iterdir()) - before if one.name[:4] == "tmp."] == []

    def test_files_that_root_alone_may_read(
        self, make_sshd: MakeSshd, doctor: Doctor, home: Path
    ) -> None:
        server = Account(make_sshd, home, "/bin/sh").sshd
        server.sshd_config.chmod(0o600)
        facts = doctor.ask(server)
        assert unknown(facts.server.files).endswith("is not readable for this account")
        assert isinstance(facts.server.effective, Unknown)
        assert isinstance(facts.server.is_valid, Unknown)
        assert known(facts.live.gateway_ports) is GatewayPorts.NO

    def test_no_shell(self, make_sshd: MakeSshd, doctor: Doctor, home: Path) -> None:
        server = Account(make_sshd, home, "/usr/sbin/nologin").sshd
        facts = doctor.ask(server, f"*:{free_port()}:{HERE}:9")
        assert unknown(facts.account.shell) == "the account runs no commands on the server"
        assert known(facts.live.gateway_ports) is GatewayPorts.NO

    def test_no_proc(self, make_sshd: MakeSshd, doctor: Doctor, home: Path) -> None:
        server = Account(make_sshd, home, "/bin/sh", "mount -t tmpfs tmpfs /proc").sshd
        facts = doctor.ask(server, f"*:{free_port()}:{HERE}:9")
        assert known(facts.account.shell).uid == UID
        assert "/proc" in unknown(facts.ports[0].holders)
        assert known(facts.live.gateway_ports) is GatewayPorts.NO

    def test_a_home_that_cannot_be_written(
        self, make_sshd: MakeSshd, doctor: Doctor, home: Path
    ) -> None:
        server = Account(make_sshd, home, "/bin/sh").sshd
        os.chown(home, 0, 0)
        facts = doctor.ask(server)
        assert known(facts.account.shell).home_is_writable is False
        assert known(facts.live.gateway_ports) is GatewayPorts.NO

    def test_as_the_administrator_for_the_account(
        self, make_sshd: MakeSshd, doctor: Doctor, home: Path
    ) -> None:
        account = Account(make_sshd, home, "/bin/sh").sshd
        account.match = "Match User tunnel\n    GatewayPorts clientspecified\n"
        account.restart()
        text = account.config.read_text().replace("    User tunnel\n", "")
        account.config.write_text(text + f"Host {HERE}\n    User root\n")
        facts = doctor.ask(
            account,
            profile={"destination": f"tunnel@{account.alias}"},
            admin=f"root@{account.alias}",
        )
        assert known(facts.account.shell).user == "root"
        assert keywords(facts)["gatewayports"] == ("clientspecified",)
        winner = known(facts.server.origins)["gatewayports"].winner
        assert winner.block == "Match User tunnel"
        assert "as root@" in unknown(facts.live.gateway_ports)
