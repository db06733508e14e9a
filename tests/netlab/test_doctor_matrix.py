"""`sshwrap doctor --fix` and `--undo`, as somebody types them, on every kind of server.

Laws. What was done is judged from outside: by a visitor, by /etc/ssh byte for byte, by the process
that listens and the sessions that were there before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.netlab.conftest import home_cli
from tests.netlab.doctoring import WITHIN, examine, terminal
from tests.netlab.fixing import effective, is_over, sshd_files
from tests.netlab.home_cli import HomeCli, served
from tests.netlab.hosts import Account
from tests.netlab.lab import Lab
from tests.netlab.plain import PORT, meets, seen_from
from tests.netlab.test_doctor_checks import BARE, SOCKET, forward
from tests.netlab.test_servers import OPENSSH
from tests.support.sshwrap_cli import Done
from tests.support.waiting import wait_for

pytestmark = pytest.mark.matrix
PASSWORD = "open sesame 'n \"so on\\"
ROOT = {"destination": "root@vps4.example.com"}
ADMIN = ("--admin", "root@vps4.example.com")
BY_HAND = "Match User tunnel\n      GatewayPorts clientspecified"
LOOPBACK = {"127.0.0.1", "::1"}
EVERYWHERE = {"0.0.0.0", "::"}
every_openssh = pytest.mark.parametrize("kind", OPENSSH)


@contextmanager
def world(
    make_lab: Callable[..., Lab], kind: str | None = "bookworm", **options: str | int
) -> Iterator[tuple[Lab, HomeCli]]:
    """A server with Debian's defaults and these options, a page at home, and the profile `web`."""
    lab = make_lab(server=kind)
    lab.serve_page()
    lab.server.start_sshd(**options)
    with home_cli(lab) as cli:
        cli.profiles(web={})
        yield lab, cli


def doctor(cli: HomeCli, *words: str) -> Done:
    return cli("doctor", "web", *words, within=WITHIN)


def typed(cli: HomeCli, password: str, *words: str) -> tuple[int, str]:
    """The same at a terminal, where sudo's password is typed once: exit status and the screen."""
    with terminal(cli, "doctor", "web", *words) as screen:
        screen.wait_for_words("[sudo] password for tunnel:", within=WITHIN)
        screen.type(password.encode() + b"\n")
        status = screen.wait(within=WITHIN)
        assert password not in screen.screen
        return status, screen.screen


def change(cli: HomeCli, way: str, *words: str) -> str:
    """One change by that way, which has to succeed; what it says."""
    if way == "password":
        status, said = typed(cli, PASSWORD, *words, "--yes")
    else:
        done = doctor(cli, *words, "--yes", *(ADMIN if way == "admin" else ()))
        status, said = done.status, done.out + done.err
    assert status == 0, said
    return said


@every_openssh
@pytest.mark.parametrize("way", ["root", "admin", "sudo", "password"])
def test_a_visitor_is_served_and_after_the_undo_refused(
    make_lab: Callable[..., Lab], kind: str, way: str
) -> None:
    with world(make_lab, kind) as (lab, cli):
        if way == "root":
            cli.profiles(web=ROOT)
        elif way != "admin":
            lab.server.allow_sudo("tunnel", password=PASSWORD if way == "password" else None)
        lab.home.popen("ssh", "-N", "root@vps4.example.com")
        witness = wait_for(lambda: lab.server.sessions("root"), what="a session is there")
        listener, before = lab.server.sshd_pid, sshd_files(lab)
        admin = ADMIN if way == "admin" else ()

        assert examine(cli)["gateway-ports"] == "fail"
        said = change(cli, way, "--fix")
        assert "a new sign-in works, and has it" in said
        assert cli("up", "-d", "web").status == 0, cli.story("web")
        served(lab)
        assert effective(lab, "gatewayports", "nobody") == "no"
        after = sshd_files(lab)
        again = doctor(cli, "--fix", "--yes", *admin)
        assert again.status == 0, again
        assert "othing" in again.out, again
        assert sshd_files(lab) == after

        change(cli, way, "--undo")
        assert sshd_files(lab) == before
        # The tunnel was begun anew by the undo, or it would go on by the rules it began with.
        wait_for(lambda: lab.server.listeners(PORT) == LOOPBACK, within=60, what=cli.story("web"))
        assert meets(lab) == "ConnectionRefusedError"
        assert examine(cli)["gateway-ports"] == "fail"
        nothing = "sudo" in way or way == "root"
        if nothing:
            done = doctor(cli, "--undo", "--yes")
            assert done.status == 0
            assert "nothing to take back" in done.out

        assert lab.server.sshd_pid == listener, "reloaded, and never started anew"
        assert set(witness) <= set(lab.server.sessions("root")), "no session was ended"
        if kind == "systemd":
            main = lab.server.run("systemctl", "show", "-p", "MainPID", "--value", "ssh").stdout
            assert lab.server.run("cat", f"/proc/{main.strip()}/comm").stdout == "sshd\n"
            assert lab.server.log().count("Reloaded ssh.service") == 2


@every_openssh
def test_a_tunnel_that_is_up_begins_anew(make_lab: Callable[..., Lab], kind: str) -> None:
    """Its session keeps the rules it began with: whoever was refused is served without more."""
    with world(make_lab, kind) as (lab, cli):
        assert cli("up", "-d", "web").status == 1
        assert meets(lab) == "ConnectionRefusedError"
        change(cli, "admin", "--fix")
        served(lab)
        assert examine(cli).wrong() == set()


@every_openssh
@pytest.mark.parametrize(
    ("options", "profile", "keyword", "argument"),
    [
        ({"AllowTcpForwarding": "no"}, BARE, "allowtcpforwarding", "remote"),
        ({"AllowTcpForwarding": "local"}, BARE, "allowtcpforwarding", "yes"),
        ({}, BARE | {"reclaim": False}, "clientaliveinterval", "15"),
        ({}, forward(SOCKET), "streamlocalbindunlink", "yes"),
    ],
)
def test_each_remedy(
    make_lab: Callable[..., Lab],
    kind: str,
    options: dict[str, str],
    profile: dict[str, str],
    keyword: str,
    argument: str,
) -> None:
    with world(make_lab, kind, **options) as (lab, cli):
        cli.profiles(web=profile)
        before = sshd_files(lab)
        others = effective(lab, keyword, "nobody")
        assert len(examine(cli).wrong()) >= 1
        change(cli, "admin", "--fix")
        assert effective(lab, keyword) == argument
        assert effective(lab, keyword, "nobody") == others
        assert examine(cli).wrong() == set()
        change(cli, "admin", "--undo")
        assert sshd_files(lab) == before


@every_openssh
def test_everybody(make_lab: Callable[..., Lab], kind: str) -> None:
    with world(make_lab, kind) as (lab, cli):
        change(cli, "admin", "--fix", "--everybody")
        assert effective(lab, "gatewayports", "nobody") == "clientspecified"
        assert cli("up", "-d", "web").status == 0
        served(lab)


def test_yes_says_what_it_widens(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab) as (lab, cli):
        inner = "localhost:12346:localhost:8080"
        cli.profiles(web={"remote_forward": [f"*:{PORT}:localhost:8080", inner]})
        said = change(cli, "admin", "--fix", "--gateway-ports", "yes")
        assert 'GatewayPorts "yes" opens every remote forward of tunnel' in said
        assert inner in said
        assert effective(lab, "gatewayports") == "yes"


def test_public_changes_the_profile_as_well(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab) as (lab, cli):
        cli.profiles(web=BARE)
        said = change(cli, "admin", "--fix", "--public")
        assert "+*:12345:localhost:8080" in said
        text = (lab.home_folder / "cli/profiles.toml").read_text()
        assert 'remote_forward = "*:12345:localhost:8080"' in text
        assert cli("up", "-d", "web").status == 0
        served(lab)


@every_openssh
def test_a_dry_run_and_a_no_change_nothing(make_lab: Callable[..., Lab], kind: str) -> None:
    with world(make_lab, kind) as (lab, cli):
        before = sshd_files(lab)
        dry = doctor(cli, "--fix", "--dry-run", *ADMIN)
        assert dry.status == 0
        assert "+    GatewayPorts clientspecified" in dry.out
        unasked = doctor(cli, "--fix", *ADMIN)
        assert unasked.status != 0
        assert "--yes" in unasked.err
        with terminal(cli, "doctor", "web", "--fix", *ADMIN) as screen:
            screen.wait_for_words("Apply? [y/N]", within=WITHIN)
            screen.type(b"n\n")
            assert screen.wait(within=WITHIN) == 1
            assert "nothing was changed" in screen.screen
        assert sshd_files(lab) == before
        assert is_over(lab)


# --- refused ---------------------------------------------------------------------------------


def refused(lab: Lab, cli: HomeCli, *says: str, words: Sequence[str] = ADMIN) -> None:
    """It says why and what to do by hand, and not a byte has changed."""
    before = sshd_files(lab)
    done = doctor(cli, "--fix", "--yes", *words)
    said = done.out + done.err
    assert done.status == 1, said
    for one in says:
        assert one in said, said
    assert sshd_files(lab) == before
    assert is_over(lab)
    assert seen_from(lab) == "198.51.100.10", "whoever has a key still gets in"


def test_a_wrong_password_changes_nothing(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab) as (lab, cli):
        lab.server.allow_sudo("tunnel", password=PASSWORD)
        before = sshd_files(lab)
        status, said = typed(cli, "open sesami", "--fix", "--yes")
        assert status == 1
        assert "did not take the password; it was tried once" in said
        assert sshd_files(lab) == before
        unattended = doctor(cli, "--fix", "--yes")
        assert unattended.status == 1
        assert "sudo asks for a password, and nobody is there to type it" in unattended.err


@every_openssh
def test_an_account_without_rights_is_told_what_to_do(
    make_lab: Callable[..., Lab], kind: str
) -> None:
    with world(make_lab, kind) as (lab, cli):
        refused(lab, cli, "not root there, and may not use sudo", BY_HAND, words=())


@every_openssh
def test_a_match_that_looks_deliberate(make_lab: Callable[..., Lab], kind: str) -> None:
    with world(make_lab, kind) as (lab, cli):
        lab.server.reload_sshd(match="Match User tunnel\n    GatewayPorts no\n")
        refused(lab, cli, "somebody has meant it so", 'under "Match User tunnel"')


@every_openssh
def test_a_configuration_that_is_broken(make_lab: Callable[..., Lab], kind: str) -> None:
    with world(make_lab, kind) as (lab, cli):
        lab.server.put("/etc/ssh/sshd_config.d/50-mine.conf", "Gateway yes\n", mode=0o644)
        refused(lab, cli, "sshd refuses its configuration as it is", "sshd -t")


def test_a_file_that_a_tool_writes(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab) as (lab, cli):
        text = "# Ansible managed: do not edit\nX11Forwarding no\n"
        lab.server.put("/etc/ssh/sshd_config.d/50-mine.conf", text, mode=0o644)
        refused(lab, cli, "a tool writes these files", "Ansible managed")


def test_a_folder_that_nobody_can_write(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab) as (lab, cli):
        script = "mount --bind /etc/ssh /etc/ssh && mount -o remount,bind,ro /etc/ssh"
        lab.server.run("sh", "-ec", script)
        refused(lab, cli, "cannot be written")


def test_a_file_that_is_immutable(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab) as (lab, cli):
        # The lab's file system knows no such mark: whoever asks for it is told that it is there.
        text = '#!/bin/sh\nfor one; do last=$one; done\necho "----i---------e------- $last"\n'
        lab.server.put("/usr/local/bin/lsattr", text, mode=0o755)
        refused(lab, cli, "immutable")


@pytest.mark.parametrize("words", [(), ADMIN])
def test_dropbear_is_for_a_person(make_lab: Callable[..., Lab], words: Sequence[str]) -> None:
    with world(make_lab, "dropbear") as (_lab, cli):
        report = examine(cli)
        assert report["gateway-ports"] == "fail"
        assert report["banner"] == "ok"
        assert "-a" in report.text("gateway-ports")
        done = doctor(cli, "--fix", "--yes", *words)
        assert done.status == 1
        assert 'the server is "dropbear_2022.83", not OpenSSH' in done.out
        assert "add -a to dropbear's own options" in done.out


def test_dropbear_that_lets_others_in(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab, "dropbear", GatewayPorts="yes") as (lab, cli):
        assert examine(cli).wrong() == set()
        assert cli("up", "-d", "web").status == 0
        served(lab)
        assert examine(cli).wrong() == set()


# --- the line is cut -------------------------------------------------------------------------


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", ["as root:", "written", "reloaded", "a new sign-in works"])
def test_the_line_is_cut(make_lab: Callable[..., Lab], step: str) -> None:
    """Whenever that is: it is done and said to be, or the server takes it back by itself."""
    with world(make_lab) as (lab, cli):
        before = sshd_files(lab)
        with terminal(cli, "doctor", "web", "--fix", "--yes", *ADMIN) as screen:
            screen.wait_for_words(step, within=WITHIN)
            lab.faults.silence()
            status = screen.wait(within=WITHIN)
            said = screen.screen
        wait_for(lambda: is_over(lab), within=180, what="nothing is pending")
        is_unsure = "unless it was proved" in " ".join(said.split())
        if status == 0 or (is_unsure and sshd_files(lab) != before):  # the last answer was cut off
            assert effective(lab, "gatewayports") == "clientspecified", said
        else:
            assert sshd_files(lab) == before, said
            assert effective(lab, "gatewayports") == "no"
        lab.faults.speak()
        assert seen_from(lab) == "198.51.100.10"
        change(cli, "admin", "--fix")
        assert examine(cli).wrong() == set()


# --- how sshd says it ------------------------------------------------------------------------


def test_an_sshd_that_writes_its_keywords_as_people_do(make_lab: Callable[..., Lab]) -> None:
    """From 10.4 on `sshd -T` says "GatewayPorts yes"; nothing else of it is new."""
    with world(make_lab, "trixie", GatewayPorts="yes") as (lab, cli):
        sshd = lab.server.root / "usr/sbin/sshd"
        sshd.rename(sshd.with_name("sshd.real"))
        names = ["GatewayPorts", "AllowTcpForwarding", "PermitListen", "ClientAliveInterval"]
        edits = " ".join(f"-e 's/^{name.lower()} /{name} /'" for name in names)
        text = f'#!/bin/sh\ncase " $* " in *" -T "*) "$0.real" "$@" | sed {edits} ;; '
        lab.server.put("/usr/sbin/sshd", text + '*) exec "$0.real" "$@" ;; esac\n', mode=0o755)
        assert re.search("(?m)^GatewayPorts yes$", lab.server.run("/usr/sbin/sshd", "-T").stdout)
        report = examine(cli)
        assert report.wrong() == set()
        assert 'AllowTcpForwarding is "yes"' in report.text("allow-tcp-forwarding")


def test_an_account_that_sshd_knows_by_its_group(make_lab: Callable[..., Lab]) -> None:
    with world(make_lab, "trixie") as (lab, cli):
        lab.server.add_account(Account("group", 5011, "/home/group"))
        cli.profiles(web={"destination": "group@vps4.example.com"})
        change(cli, "admin", "--fix")
        assert effective(lab, "gatewayports", "group") == "clientspecified"
        assert effective(lab, "gatewayports") == "no"
