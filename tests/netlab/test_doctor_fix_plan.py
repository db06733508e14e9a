"""What is planned from a real server's files is what that server then takes, and gives back."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from sshwrap.doctor.apply import Result, apply_order, last_change
from sshwrap.doctor.apply_root import Direct
from sshwrap.doctor.facts import (
    Account,
    Facts,
    Known,
    Listening,
    Reloader,
    Rights,
    Server,
    Shell,
    Software,
)
from sshwrap.doctor.fix_script import Last
from sshwrap.doctor.remedy import Nothing, Options, Plan, plan_fix, plan_undo
from sshwrap.profile.forward import Kind, parse_forward
from sshwrap.profile.model import Profile
from sshwrap.ssh.version import Version
from tests.netlab.fixing import MAIN, Fix, effective, line, listens_at, sshd_files
from tests.netlab.lab import Lab
from tests.netlab.server import SSHD

OPTIONS = Options("2026-11-22", account="tunnel")
WANTED = {"GatewayPorts": "clientspecified", "ClientAliveInterval": "15"}
FORWARD = parse_forward(Kind.REMOTE, "*:2201:h:80", environ={}, service_port=lambda _: None)
PROFILE = Profile("web", "tunnel@vps.example.com", remote_forward=(FORWARD,))


def facts(lab: Lab) -> Facts:
    version = Version(*lab.server.version())
    shell = Shell("root", 0, ("root",), "/bin/sh", ("198.51.100.10", 4000), ("203.0.113.7", 22))
    files = {
        f"/etc/ssh/{name}": text
        for name, text in sshd_files(lab).items()
        if name == "sshd_config" or name.endswith(".conf")
    }
    values = {name.lower(): (effective(lab, name),) for name in WANTED}
    return Facts(
        account=Account(shell=Known(shell), rights=Known(Rights.ROOT)),
        server=Server(
            software=Known(Software("OpenSSH", version)),
            listening=Known(Listening(1, SSHD, (), Reloader.PIDFILE)),
            effective=Known(values),
            files=Known(files),
            is_valid=Known(True),
        ),
    )


@pytest.mark.parametrize("has_include", [True, False])
@pytest.mark.parametrize("name", [None, "bullseye", "trixie"])
def test_a_plan_is_carried_out(
    make_lab: Callable[..., Lab], name: str | None, has_include: bool
) -> None:
    lab = make_lab(server=name)
    lab.server.start_sshd(match="Match User root\n    X11Forwarding no\n")
    if not has_include:
        here = lab.server.root / MAIN[1:]
        here.write_text(here.read_text().partition("\n")[2])
    before = {file: text for file, text in sshd_files(lab).items() if "sshwrap" not in file}
    with line(lab) as by:
        root, prove = Direct(by, "sh -s"), Fix(lab).prove
        plan = plan_fix(facts(lab), PROFILE, WANTED, OPTIONS)
        assert isinstance(plan, Plan), plan
        outcome = apply_order(plan.order, root, prove, secrets.token_hex(8))
        assert outcome.result is Result.APPLIED, outcome
        assert listens_at(lab) == {"0.0.0.0", "::"}
        assert listens_at(lab, "root") == {"127.0.0.1", "::1"}
        assert isinstance(plan_fix(facts(lab), PROFILE, WANTED, OPTIONS), Nothing)
        last = last_change(root, secrets.token_hex(8))
        assert isinstance(last, Last)
        undo = plan_undo(facts(lab), last, OPTIONS)
        assert isinstance(undo, Plan), undo
        outcome = apply_order(undo.order, root, prove, secrets.token_hex(8))
        assert outcome.result is Result.APPLIED, outcome
    after = {file: text for file, text in sshd_files(lab).items() if ".sshwrap-" not in file}
    assert after == before
    assert listens_at(lab) == {"127.0.0.1", "::1"}
