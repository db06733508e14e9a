"""Every kind of server greets, lets in, forwards, obeys its files, tells, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.netlab.lab import SERVER6, Lab, missing
from tests.netlab.plain import PORT, meets, page, seen_from, start_tunnel, tunnel
from tests.netlab.servers import make_server
from tests.support.processes import process
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
DEBIANS = ("bullseye", "bookworm", "trixie")
OPENSSH = (*DEBIANS, "systemd")
KINDS = (*OPENSSH, "dropbear")
VERSIONS = {
    "bullseye": (8, 4),
    "bookworm": (9, 2),
    "trixie": (10, 0),
    "systemd": (9, 2),
    "dropbear": (2022, 83),
}
pytestmark = pytest.mark.matrix
every_kind = pytest.mark.parametrize("kind", KINDS)
every_openssh = pytest.mark.parametrize("kind", OPENSSH)


@every_kind
def test_it_greets_lets_in_and_forwards(make_lab: Callable[..., Lab], kind: str) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd(GatewayPorts="yes")
    lab.serve_page()
    assert lab.server.version() == VERSIONS[kind]
    assert seen_from(lab) == "198.51.100.10"
    assert lab.server.sessions() == []
    ssh = tunnel(lab)
    software = "dropbear_2022.83" if kind == "dropbear" else "OpenSSH_{}.{}".format(*VERSIONS[kind])
    assert f"remote software version {software}" in ssh.output()
    assert page(lab) == "hello\nvisit 1\n"
    assert page(lab, address=SERVER6) == "hello\nvisit 2\n"
    assert len(lab.server.sessions()) == 1
    assert lab.server.sessions("root") == []
    assert lab.home.run("ssh", "root@vps.example.com", "id", "-u").stdout == "0\n"


@every_kind
def test_what_it_says_can_be_read(make_lab: Callable[..., Lab], kind: str) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd()
    lab.home.run("ssh", "tunnel@vps.example.com", "true")
    said = r"ubkey auth succeeded for 'tunnel'|Accepted publickey for tunnel"
    wait_for(lambda: re.search(said, lab.server.log()), what=lab.server.log)


@every_openssh
def test_a_changed_file_has_effect_from_a_reload_on(
    make_lab: Callable[..., Lab], kind: str
) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd()
    lab.serve_page()
    session = tunnel(lab)
    listener = lab.server.sshd_pid
    lab.server.put("/etc/ssh/sshd_config.d/00-ports.conf", "GatewayPorts yes\n", mode=0o644)
    assert "gatewayports yes\n" in lab.server.run("/usr/sbin/sshd", "-T").stdout
    session.stop()
    wait_for(lambda: not lab.server.listeners(PORT), what="the port is free")
    session = tunnel(lab)
    assert meets(lab) == "ConnectionRefusedError", "sshd has read the file before it was told to"
    lab.server.reload_sshd()
    assert lab.server.listeners(PORT) == {"127.0.0.1", "::1"}, "a session keeps its options"
    session.stop()
    wait_for(lambda: not lab.server.listeners(PORT), what="the port is free")
    tunnel(lab)
    assert lab.server.sshd_pid == listener, "reloaded, not started again"
    assert page(lab) == "hello\nvisit 1\n"


@pytest.mark.parametrize("kind", DEBIANS)
def test_sshd_without_systemd_is_reloaded_by_its_pid_file(
    make_lab: Callable[..., Lab], kind: str
) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd()
    lab.server.put("/etc/ssh/sshd_config.d/00-ports.conf", "GatewayPorts yes\n", mode=0o644)
    for command in ("kill -HUP $(cat /run/sshd.pid)", "service ssh reload"):
        more = lab.server.log().count("Server listening on") + 1
        lab.server.run("sh", "-ec", command)
        wait_for(partial(_has_listened, lab, more), what=f"{command} reloads")
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}


def _has_listened(lab: Lab, times: int) -> bool:
    return lab.server.log().count("Server listening on") >= times


@every_openssh
def test_sshd_starts_again(make_lab: Callable[..., Lab], kind: str) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd()
    session, before = tunnel(lab), lab.server.sshd_pid
    lab.server.restart_sshd(sessions=False, GatewayPorts="yes")
    assert session.is_alive
    assert lab.server.sshd_pid != before
    lab.server.restart_sshd()
    assert session.wait() == 255
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}


@every_openssh
def test_sshd_that_is_told_nonsense_is_told_of(make_lab: Callable[..., Lab], kind: str) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd()
    with pytest.raises(RuntimeError, match="Bad configuration option: Gateway"):
        lab.server.reload_sshd(Gateway="yes")
    assert seen_from(lab) == "198.51.100.10", "the running one goes on"


@every_openssh
def test_an_account_has_the_rights_that_it_is_given(
    make_lab: Callable[..., Lab], kind: str
) -> None:
    lab = make_lab(server=kind)
    lab.server.start_sshd()

    def sudo(*words: str, text: str = "") -> str:
        argv = ("ssh", "tunnel@vps.example.com", "sudo", *words, "id", "-u")
        done = lab.home.run(*argv, text=text, check=False)
        return done.stdout or done.stderr

    assert "password is required" in sudo("-n")
    lab.server.allow_sudo("tunnel", password="open sesame")
    assert "password is required" in sudo("-n")
    assert sudo("-S", "-p", "''", text="open sesame\n") == "0\n"
    lab.server.allow_sudo("tunnel")
    assert sudo("-n") == "0\n"


def test_systemd_keeps_its_ssh_service(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(server="systemd")
    (lab.server.root / "etc/motd").write_text("written before the start\n")
    lab.server.start_sshd()
    assert lab.server.run("cat", "/etc/motd").stdout == "written before the start\n"
    assert lab.server.run("cat", "/proc/1/comm").stdout == "systemd\n"
    assert lab.server.run("systemctl", "is-active", "ssh").stdout == "active\n"
    assert lab.server.run("hostname").stdout == "server\n"
    asked = "systemctl is-active ssh; systemctl show -p MainPID --value ssh"
    assert lab.home.run("ssh", "tunnel@vps.example.com", asked).stdout.startswith("active\n")
    lab.server.put("/etc/ssh/sshd_config.d/00-ports.conf", "GatewayPorts yes\n", mode=0o644)
    lab.server.run("systemctl", "reload", "ssh")
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}


def test_systemd_boots_again(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(server="systemd")
    lab.server.start_sshd()
    before = lab.server.boot_id()
    assert lab.server.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip() == before
    lab.server.put("/etc/motd", "kept\n", mode=0o644)
    session = tunnel(lab)
    lab.faults.server_reboot()
    assert lab.server.boot_id() != before
    assert lab.server.run("cat", "/etc/motd").stdout == "kept\n"
    session.stop()
    tunnel(lab)


def test_dropbear_has_options_of_its_own(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(server="dropbear")
    lab.server.start_sshd()
    assert lab.server.run("sh", "-c", "command -v sshd", check=False).returncode == 127
    session = tunnel(lab)
    assert meets(lab) == "ConnectionRefusedError"
    lab.server.restart_sshd(AllowTcpForwarding="no")
    assert session.wait() == 255
    assert start_tunnel(lab).wait() == 255
    with pytest.raises(RuntimeError, match="nothing like PermitListen 7"):
        lab.server.restart_sshd(PermitListen=7)
    with pytest.raises(RuntimeError, match="at its start alone"):
        lab.server.reload_sshd()


# --- nothing is left, nothing is changed ---------------------------------------------------------

OWNER = """
import json, sys, signal
from pathlib import Path
from tests.netlab.lab import Lab
with Lab(Path(sys.argv[1]), server=sys.argv[2]) as lab:
    lab.server.start_sshd()
    ours = [lab.server.pid, *(one.pid for one in lab.server.processes())]
    print(json.dumps([ours, lab.server.cgroups]), flush=True)
    signal.pause()
"""


@every_kind
def test_nothing_is_left_when_the_owner_is_killed(kind: str, tmp_path: Path) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    try:
        lower = make_server(kind, "server", tmp_path).lower
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert lower is not None
    before = _machine(Path(lower))
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "lab"), kind],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        pids, cgroups = json.loads(owner.stdout.readline())
        assert len(pids) >= 2, pids
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(process(pid) for pid in pids), what="every process ends")
    wait_for(lambda: not _left(cgroups), what="no cgroup is left")
    assert _machine(Path(lower)) == before


@every_kind
def test_nothing_is_left_or_changed_at_the_end(make_lab: Callable[..., Lab], kind: str) -> None:
    lab = make_lab(server=kind)
    lower = Path(lab.server.lower or "/")
    before = _machine(lower)
    lab.server.start_sshd()
    lab.server.put("/etc/motd", "changed\n")
    ssh = start_tunnel(lab)
    wait_for(lab.server.sessions, what="somebody is signed in")
    pids = [lab.server.pid, *(one.pid for one in lab.server.processes())]
    lab.end()
    assert not ssh.is_alive
    wait_for(lambda: not any(process(pid) for pid in pids), what="every process ends")
    assert _machine(lower) == before
    assert _left(lab.server.cgroups) == []


def _left(cgroups: list[str]) -> list[Path]:
    """Also in a hierarchy for which nobody asked."""
    names = {Path(cgroup).name for cgroup in cgroups}
    asked = [Path(cgroup) for cgroup in cgroups if Path(cgroup).exists()]
    return asked + [found for name in names for found in Path("/sys/fs/cgroup").glob(f"*/{name}")]


def _machine(lower: Path) -> list[str]:
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    files = [lower / "etc" / name for name in ("passwd", "group", "shadow", "hosts", "motd")]
    files += [*sorted((lower / "etc").iterdir()), Path("/run/systemd/nspawn"), lower]
    said = [f"{file}: {file.stat().st_mtime_ns}" for file in files if file.exists()]
    return [*said, links, Path("/proc/self/mounts").read_text()]
