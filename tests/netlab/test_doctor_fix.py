"""A change of sshd_config on a real server: what is written, what sshd makes of it, what stays."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sshwrap.doctor.apply import Outcome, Result, last_change
from sshwrap.doctor.apply_root import Direct
from sshwrap.doctor.facts import Reloader
from sshwrap.doctor.fix_script import Last
from tests.netlab.fixing import (
    BLOCK,
    DROPIN,
    MAIN,
    Fix,
    LabLine,
    effective,
    line,
    listens_at,
    main_text,
    sshd_files,
    start_with,
    states,
)
from tests.netlab.lab import Lab

LOOPBACK = {"127.0.0.1", "::1"}
EVERYWHERE = {"0.0.0.0", "::"}
STEPS = ("baseline", "candidate", "armed", "installed", "reloaded")


@contextmanager
def server(make_lab: Callable[..., Lab], name: str | None = None) -> Iterator[tuple[Lab, LabLine]]:
    """One with Debian's defaults, and a line to its root."""
    lab = make_lab(server=name)
    lab.server.start_sshd()
    with line(lab) as root:
        yield lab, root


@pytest.mark.parametrize("name", [None, "bullseye", "trixie"])
def test_a_drop_in_opens_the_account_alone(make_lab: Callable[..., Lab], name: str | None) -> None:
    with server(make_lab, name) as (lab, root):
        pid = lab.server.sshd_pid
        assert listens_at(lab) == LOOPBACK
        fix = Fix(lab)
        outcome = fix.apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert outcome.steps == STEPS
        assert fix.sign_ins == 1
        assert lab.server.sshd_pid == pid
        assert listens_at(lab) == EVERYWHERE
        assert listens_at(lab, "root") == LOOPBACK
        assert sshd_files(lab)["sshd_config.d/00-sshwrap.conf"] == BLOCK
        assert (lab.server.root / DROPIN[1:]).stat().st_mode & 0o777 == 0o644
        assert states(lab) == ["confirmed"]


def test_the_server_s_own_shell_may_be_busybox(make_lab: Callable[..., Lab]) -> None:
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no busybox on this machine")
    with server(make_lab) as (lab, root):
        lab.server.run("ln", "-sf", str(busybox), "/bin/sh")
        # Its own programs as well, as a small system has them.
        for applet in (
            "cp",
            "mv",
            "mkdir",
            "cat",
            "ls",
            "grep",
            "readlink",
            "sync",
            "setsid",
            "date",
        ):
            lab.server.run("ln", "-sf", str(busybox), f"/usr/local/bin/{applet}")
        assert Fix(lab).apply(root).result is Result.APPLIED
        assert listens_at(lab) == EVERYWHERE
        outcome = undo(lab, root)
        assert outcome.result is Result.APPLIED, outcome
        assert listens_at(lab) == LOOPBACK


def test_the_main_file_keeps_what_is_the_admin_s(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    here = lab.server.root / MAIN[1:]
    lab.server.start_sshd()
    with here.open("ab") as file:
        file.write(b"# bytes \xff\r\n\tX11Forwarding  no # mine\nAllowUsers *")
    before = main_text(lab)
    here.chmod(0o640)
    with line(lab) as root:
        after = f"{before}\nMatch User tunnel\n    GatewayPorts clientspecified # sshwrap\n"
        outcome = Fix(lab, path=MAIN, after=after).apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert main_text(lab) == after
        assert here.stat().st_mode & 0o777 == 0o640
        backups = [text for name, text in sshd_files(lab).items() if ".sshwrap-2" in name]
        assert backups == [before]
        assert undo(lab, root).result is Result.APPLIED
        assert main_text(lab) == before
        assert here.stat().st_mode & 0o777 == 0o640


def test_everybody_is_opened_where_that_is_asked_for(make_lab: Callable[..., Lab]) -> None:
    with server(make_lab) as (lab, root):
        text = "GatewayPorts clientspecified\n"
        assert Fix(lab, after=text).apply(root).why == "more"
        assert DROPIN.rpartition("/")[2] not in " ".join(sshd_files(lab))
        assert Fix(lab, after=text, everybody=True).apply(root).result is Result.APPLIED
        assert listens_at(lab, "root") == EVERYWHERE


@pytest.mark.parametrize(
    ("keyword", "argument"),
    [
        ("GatewayPorts", "yes"),
        ("AllowTcpForwarding", "yes"),
        ("ClientAliveInterval", "15"),
        ("StreamLocalBindUnlink", "yes"),
    ],
)
def test_each_keyword_takes_effect(
    make_lab: Callable[..., Lab], keyword: str, argument: str
) -> None:
    lab = make_lab()
    lab.server.start_sshd(AllowTcpForwarding="no")
    with line(lab) as root:
        text = f"Match User tunnel\n    {keyword} {argument}\n"
        outcome = Fix(lab, after=text, wanted={keyword.lower(): argument}).apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert effective(lab, keyword) == argument
        assert effective(lab, keyword, "root") != argument


def test_what_was_done_is_taken_back_once(make_lab: Callable[..., Lab]) -> None:
    with server(make_lab) as (lab, root):
        before = sshd_files(lab)
        assert Fix(lab).apply(root).result is Result.APPLIED
        more = f"{BLOCK}Match User root\n    GatewayPorts clientspecified\n"
        assert Fix(lab, account="root", after=more).apply(root).result is Result.APPLIED
        assert listens_at(lab, "root") == EVERYWHERE
        assert undo(lab, root).result is Result.APPLIED
        assert sshd_files(lab)["sshd_config.d/00-sshwrap.conf"] == BLOCK
        assert listens_at(lab, "root") == LOOPBACK
        assert undo(lab, root).result is Result.APPLIED
        assert sshd_files(lab) == before
        assert listens_at(lab) == LOOPBACK
        found = last_change(Direct(root, "sh -s"), secrets.token_hex(8))
        assert isinstance(found, Outcome)
        assert found.why == "none"


def test_an_undo_that_no_sign_in_proves_is_no_undo(make_lab: Callable[..., Lab]) -> None:
    with server(make_lab) as (lab, root):
        assert Fix(lab).apply(root).result is Result.APPLIED
        outcome = undo(lab, root, prove=lambda: "no sign-in")
        assert (outcome.result, outcome.why) == (Result.UNDONE, "unproved")
        assert listens_at(lab) == EVERYWHERE
        assert undo(lab, root).result is Result.APPLIED


def undo(lab: Lab, root: LabLine, prove: Callable[[], str | None] | None = None) -> Outcome:
    found = last_change(Direct(root, "sh -s"), secrets.token_hex(8))
    assert isinstance(found, Last), found
    fix = Fix(lab, found.account, {}, found.edit.path, found.edit.before, undoes=found.change)
    assert fix.order().edit.before == found.edit.after
    return fix.apply(root, prove)


RELOADS = {
    Reloader.SYSTEMD: ("ssh.service", "systemctl", ["reload ssh.service"]),
    Reloader.SYSTEMD_SOCKET: (
        *("ssh.socket", "systemctl"),
        ["is-active --quiet ssh.service", "reload ssh.service"],
    ),
    Reloader.OPENRC: ("sshd", "rc-service", ["sshd reload"]),
    Reloader.SERVICE: ("ssh", "service", ["ssh reload"]),
}


@pytest.mark.parametrize("reloader", RELOADS)
def test_the_service_manager_reloads(make_lab: Callable[..., Lab], reloader: Reloader) -> None:
    unit, program, words = RELOADS[reloader]
    with server(make_lab) as (lab, root):
        # Stands for the manager: it notes what it is told, and does what the unit's reload does.
        hup = "kill -HUP $(cat /run/lab.pid)"
        text = f'#!/bin/sh\necho "$*" >>/run/told\ncase $* in *reload*) {hup} ;; esac\n'
        lab.server.put(f"/usr/local/sbin/{program}", text, mode=0o755)
        pid = inner_pid(lab)
        lab.server.put("/run/lab.pid", f"{pid}\n")
        outcome = Fix(lab, reloader=reloader, unit=unit).apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert (lab.server.root / "run/told").read_text().splitlines() == words
        assert listens_at(lab) == EVERYWHERE


def inner_pid(lab: Lab) -> int:
    """Of the listener, as the server itself sees it."""
    status = Path("/proc", str(lab.server.sshd_pid), "status").read_text()
    found = re.search(r"(?m)^NSpid:.*\s(\d+)$", status)
    assert found is not None
    return int(found[1])


def test_systemd_runs_the_timer_where_it_can(make_lab: Callable[..., Lab]) -> None:
    with server(make_lab) as (lab, root):
        lab.server.put("/run/systemd", None, mode=0o755)
        lab.server.put("/run/systemd/system", None, mode=0o755)
        text = '#!/bin/sh\necho "$*" >/run/told\nshift 3\nsetsid "$@" &\n'
        lab.server.put("/usr/local/bin/systemd-run", text, mode=0o755)
        assert Fix(lab).apply(root).result is Result.APPLIED
        told = (lab.server.root / "run/told").read_text()
        assert told.startswith("--quiet --collect --unit=sshwrap-doctor-")


def test_sshd_may_have_been_started_with_another_file(make_lab: Callable[..., Lab]) -> None:
    with server(make_lab) as (lab, root):
        lab.server.put("/etc/ssh/other", "Include sshd_config.d/*.conf\n", mode=0o644)
        outcome = Fix(lab, config="/etc/ssh/other", arguments=("-f", "/etc/ssh/other")).apply(root)
        assert outcome.result is Result.APPLIED, outcome


def test_a_link_stays_a_link(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.server.start_sshd()
    text = main_text(lab)
    lab.server.run(
        "sh", "-ec", f"mkdir /srv/admin; mv {MAIN} /srv/admin/c; ln -s ../../srv/admin/c {MAIN}"
    )
    with line(lab) as root:
        after = f"GatewayPorts yes\n{text}"
        assert Fix(lab, path=MAIN, after=after, everybody=True).apply(root).why == "overridden"
        after = f"GatewayPorts clientspecified\n{text}"
        outcome = Fix(lab, path=MAIN, after=after, everybody=True).apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert (lab.server.root / "etc/ssh/sshd_config").is_symlink()
        assert (lab.server.root / "srv/admin/c").read_text() == after


def test_a_drop_in_of_cloud_init_is_beaten(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    start_with(lab, {"sshd_config.d/50-cloud-init.conf": "GatewayPorts no\n"})
    with line(lab) as root:
        assert Fix(lab).apply(root).result is Result.APPLIED
        assert listens_at(lab) == EVERYWHERE
