"""The hosts are what their names say, whatever Debian the server runs; nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.netlab import lab as lab_module
from tests.netlab.hosts import Account
from tests.netlab.lab import SERVER6, Lab, missing
from tests.netlab.plain import PORT, meets, page, seen_from, start_tunnel, tunnel
from tests.support.processes import process
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
NOLOGIN = Account("gate", 5003, "/home/gate", "/usr/sbin/nologin")


def test_a_visitor_sees_the_page_of_a_home_behind_nat(lab: Lab) -> None:
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}
    assert page(lab) == "hello\nvisit 1\n"
    assert page(lab, address=SERVER6) == "hello\nvisit 2\n"
    assert seen_from(lab) == "198.51.100.10"
    assert seen_from(lab, "vps6.example.com") == "2001:db8:aa:1::10"


def test_nobody_gets_into_the_home_unasked(lab: Lab) -> None:
    lab.home.popen(*_listen("::", 4000)).wait_for_words("listening")
    argv = _connect("2001:db8:aa:1::10", 4000)
    assert lab.router.run(*argv, tools=True).stdout == "connected\n"
    assert lab.visitor.run(*argv, tools=True).stdout == "timeout\n"


def test_a_home_without_nat_has_an_address_of_its_own(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(nat=False)
    lab.server.start_sshd()
    assert seen_from(lab) == "198.18.1.10"


def test_hosts_without_ipv6_have_no_address_of_it(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(ipv6=False)
    lab.server.start_sshd()
    lab.serve_page()
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"127.0.0.1"}
    lab.server.restart_sshd(GatewayPorts="yes", AddressFamily="inet")
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"0.0.0.0"}
    assert page(lab) == "hello\nvisit 1\n"
    assert meets(lab, address=SERVER6) == "OSError"  # cannot assign requested address


def test_a_normal_account_of_the_home_signs_in_as_well(lab: Lab) -> None:
    ssh = tunnel(lab, account="you")
    assert Path("/proc", str(ssh.pid)).stat().st_uid == 5001
    assert page(lab) == "hello\nvisit 1\n"
    assert lab.home.run("pwd", account="you").stdout == "/srv/you\n"
    assert (lab.home_folder / "you/.ssh/id_ed25519").stat().st_uid == 5001


def test_accounts_of_the_server_may_have_no_shell_and_a_key_that_does_little(lab: Lab) -> None:
    lab.server.add_account(NOLOGIN)
    asked = lab.home.run("ssh", "gate@vps.example.com", "true", check=False)
    assert (asked.returncode, "not available" in asked.stdout) == (1, True)
    lab.server.authorize("tunnel", options='restrict,port-forwarding,permitlisten="7"')
    denied = start_tunnel(lab)
    assert denied.wait() == 255
    assert "remote port forwarding failed" in denied.output()


@pytest.mark.parametrize("system", [None, "bullseye", "bookworm", "trixie"])
def test_the_server_may_run_another_debian(make_lab: Callable[..., Lab], system: str) -> None:
    lab = make_lab(server=system)
    lab.server.start_sshd(GatewayPorts="yes")
    lab.serve_page()
    known = {"bullseye": (8, 4), "bookworm": (9, 2), "trixie": (10, 0)}
    assert system is None or lab.server.version() == known[system]
    ssh = tunnel(lab)
    assert f"remote software version OpenSSH_{'.'.join(map(str, lab.server.version()))}" in (
        ssh.output()
    )
    assert page(lab) == "hello\nvisit 1\n"
    assert len(lab.server.sessions()) == 1
    assert lab.server.sessions("root") == []


def test_sshd_obeys_what_it_is_told_from_its_start_or_reload_on(lab: Lab) -> None:
    lab.server.restart_sshd(GatewayPorts="no")
    ssh = tunnel(lab)
    assert lab.server.listeners(PORT) == {"127.0.0.1", "::1"}
    assert meets(lab) == "ConnectionRefusedError"
    lab.server.reload_sshd(GatewayPorts="yes")
    assert lab.server.listeners(PORT) == {"127.0.0.1", "::1"}, "a session keeps its options"
    ssh.stop()
    wait_for(lambda: not lab.server.listeners(PORT), what="the port is free")
    tunnel(lab)
    assert lab.server.listeners(PORT) == {"0.0.0.0", "::"}
    lab.server.restart_sshd(match="Match User tunnel\n    AllowTcpForwarding no\n")
    assert start_tunnel(lab).wait() == 255


def test_sshd_that_is_told_nonsense_does_not_start(lab: Lab) -> None:
    with pytest.raises(RuntimeError, match="Bad configuration option: Gateway"):
        lab.server.restart_sshd(Gateway="yes")


def test_sshwrap_runs_in_the_home(lab: Lab) -> None:
    profiles = lab.home_folder / "root/profiles.toml"
    profiles.write_text(
        '[profile.web]\ndestination = "tunnel@vps.example.com"\n'
        f'remote_forward = "*:{PORT}:localhost:8080"\n'
    )
    profiles.chmod(0o600)
    env = {
        "SSHWRAP_PROFILES": "/srv/root/profiles.toml",
        "SSHWRAP_STATE_DIR": "/srv/root/state",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = (sys.executable, "-m", "sshwrap")
    up = lab.home.run(*command, "up", "-d", "web", env=env, check=False)
    assert up.returncode == 0, (up.stdout, up.stderr)
    assert page(lab) == "hello\nvisit 1\n"
    assert lab.home.run(*command, "down", env=env).returncode == 0
    wait_for(lambda: not lab.server.listeners(PORT), what="the port is free")


def test_where_there_can_be_no_lab_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    why = missing.__wrapped__
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why() == "only root can make hosts"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(lab_module, "PATH", "/nowhere")
    assert why() == "no unshare on this machine"
    monkeypatch.undo()
    if missing() is not None:
        return
    monkeypatch.setattr(lab_module, "TRY", "echo no NAT here >&2; exit 1")
    assert why() == "this machine can make no hosts: no NAT here"


# --- nothing is left, nothing is changed ---------------------------------------------------------


OWNER = """
import sys, signal
from pathlib import Path
from tests.netlab.lab import Lab
with Lab(Path(sys.argv[1])) as lab:
    lab.server.start_sshd()
    lab.serve_page()
    lab.visitor.watch(("203.0.113.7", 22))
    ours = [one.pid for host in lab.hosts for one in host.processes()]
    print(*ours, *(host.pid for host in lab.hosts), flush=True)
    signal.pause()
"""


def test_nothing_is_left_when_the_owner_is_killed(tmp_path: Path) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    before = _machine()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "lab")],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) >= 5 + 3, pids  # the first of five hosts; sshd, the page, the visitor
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(process(pid) for pid in pids), what="every process ends")
    _is_as(before)


def test_nothing_is_left_or_changed_at_the_end(make_lab: Callable[..., Lab]) -> None:
    before = _machine()
    lab = make_lab()
    lab.server.start_sshd()
    lab.server.put("/etc/motd", "changed\n")
    lab.home.put("/etc/motd", "changed\n")
    ssh = start_tunnel(lab)
    assert lab.home.has(ssh.pid)
    assert not lab.server.has(ssh.pid)
    pids = [host.pid for host in lab.hosts]
    lab.faults.freeze(ssh.pid)
    lab.end()
    assert not ssh.is_alive
    wait_for(lambda: not any(process(pid) for pid in pids), what="every process ends")
    _is_as(before)


def _machine() -> list[str]:
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    files = [Path("/etc", name) for name in ("passwd", "group", "shadow", "hosts", "motd")]
    files += sorted(Path("/etc/ssh").iterdir())
    said = [f"{file}: {file.stat().st_mtime_ns}" for file in files if file.exists()]
    mounts = Path("/proc/self/mounts").read_text()
    return sorted([*said, *links.splitlines(), *mounts.splitlines()])


def _is_as(before: list[str]) -> None:
    """Nothing is there that was not, and nothing is gone; what others mount passes."""

    def changed() -> list[str]:
        now = _machine()
        return [f"+ {one}" for one in now if one not in before] + [
            f"- {one}" for one in before if one not in now
        ]

    wait_for(lambda: not changed(), within=60, what=lambda: "\n".join(["as before:", *changed()]))


# --- little programs -----------------------------------------------------------------------------


def _listen(address: str, port: int) -> tuple[str, ...]:
    text = f"""
import socket
listener = socket.create_server(({address!r}, {port}), family=socket.AF_INET6)
print("listening", flush=True)
while True:
    listener.accept()
"""
    return (sys.executable, "-S", "-E", "-c", text)


def _connect(address: str, port: int) -> tuple[str, ...]:
    text = f"""
import socket
try:
    socket.create_connection(({address!r}, {port}), timeout=1).close()
    print("connected")
except TimeoutError:
    print("timeout")
"""
    return (sys.executable, "-S", "-E", "-c", text)
