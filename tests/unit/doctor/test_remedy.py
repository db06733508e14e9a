"""What `--fix` would change for whom, what it shows of it, and what it leaves to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sshwrap.doctor.facts import (
    Account,
    Facts,
    GatewayPorts,
    Known,
    Listening,
    Live,
    Reloader,
    Rights,
    Server,
    Shell,
    Software,
    Unknown,
)
from sshwrap.doctor.findings import Finding, Section, Verdict
from sshwrap.doctor.fix_script import Last
from sshwrap.doctor.remedy import (
    ByHand,
    Nothing,
    Options,
    Plan,
    diff_of,
    plan_fix,
    plan_undo,
    public_forwards,
    wanted_of,
)
from sshwrap.doctor.sshd_config import Criteria, Origin, evaluate
from sshwrap.doctor.sshd_config_edit import Edit
from sshwrap.profile.forward import Kind, parse_forward
from sshwrap.profile.model import Profile
from sshwrap.ssh.version import Version

DEBIAN_12 = Version(9, 2)
MAIN = "/etc/ssh/sshd_config"
DROPIN = "/etc/ssh/sshd_config.d/00-sshwrap.conf"
DEBIAN = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"
OPTIONS = Options("2026-11-22")
WANTED = {"GatewayPorts": "clientspecified"}
BLOCK = """# sshwrap, 2026-11-22: let root's own tunnels choose where they listen
Match User root
    GatewayPorts clientspecified
"""
DEFAULTS = {
    "gatewayports": ("no",),
    "allowtcpforwarding": ("yes",),
    "clientaliveinterval": ("0",),
    "clientalivecountmax": ("3",),
    "streamlocalbindunlink": ("no",),
}


def profile(*specs: str) -> Profile:
    forwards = [
        parse_forward(Kind.REMOTE, spec, environ={}, service_port=lambda _: None)
        for spec in specs or ("*:12345:localhost:8080",)
    ]
    return Profile("web", "root@vps.example.com", remote_forward=tuple(forwards))


def facts(
    *,
    files: Mapping[str, str] | None = None,
    effective: Mapping[str, tuple[str, ...]] | None = None,
    version: Version = DEBIAN_12,
    user: str = "root",
    rights: Rights = Rights.ROOT,
    live: GatewayPorts | None = None,
    **server: Any,
) -> Facts:
    texts = {MAIN: DEBIAN} if files is None else dict(files)
    shell = Shell(user, 0, (user,), "/bin/sh", ("198.51.100.1", 4000), ("203.0.113.7", 22))
    criteria = Criteria(user, "198.51.100.1", "198.51.100.1", "203.0.113.7", 22, (user,))
    reading = evaluate(texts, MAIN, criteria, version=version)
    assert isinstance(reading, Mapping)
    origins = {key: one for key, one in reading.items() if isinstance(one, Origin)}
    given: dict[str, Any] = {
        "software": Known(Software("OpenSSH_9.2p1", version)),
        "listening": Known(listening()),
        "effective": Known({**DEFAULTS, **(effective or {})}),
        "files": Known(texts),
        "origins": Known(origins),
        "managed": Known(""),
        "is_valid": Known(True),
    }
    return Facts(
        account=Account(shell=Known(shell), rights=Known(rights)),
        server=Server(**{**given, **server}),
        live=Live(gateway_ports=Known(live) if live else Unknown("it was not asked")),
    )


def listening(**more: Any) -> Listening:
    given = Listening(12, "/usr/sbin/sshd", (), Reloader.SYSTEMD, "ssh.service", MAIN)
    return replace(given, **more)


def planned(found: object) -> Plan:
    assert isinstance(found, Plan), found
    return found


def by_hand(found: object) -> ByHand:
    assert isinstance(found, ByHand), found
    return found


# --- the plan ------------------------------------------------------------------------------------


def test_the_least_is_a_block_of_the_account_in_a_file_of_our_own() -> None:
    plan = planned(plan_fix(facts(), profile(), WANTED, OPTIONS))
    assert plan.order.edit == Edit(DROPIN, None, BLOCK)
    assert plan.diff == (
        "--- /dev/null",
        f"+++ {DROPIN}",
        *(f"+{line}" for line in BLOCK.splitlines()),
    )
    assert plan.commands == ("sshd -t && systemctl reload ssh",)
    assert plan.order.may_change == ("GatewayPorts",)
    assert not plan.order.everybody
    assert plan.risk == ()


def test_where_nothing_is_included_it_is_the_main_file() -> None:
    plan = planned(plan_fix(facts(files={MAIN: "UsePAM yes\n"}), profile(), WANTED, OPTIONS))
    assert plan.order.edit.path == MAIN
    assert plan.order.edit.after is not None
    assert plan.order.edit.after.startswith(f"UsePAM yes\n{BLOCK}")
    assert plan.diff[2].startswith("@@")


def test_everybody_and_another_account_are_asked_for() -> None:
    everybody = planned(plan_fix(facts(), profile(), WANTED, replace(OPTIONS, everybody=True)))
    assert everybody.order.everybody
    assert "Match" not in (everybody.order.edit.after or "")
    other = planned(plan_fix(facts(), profile(), WANTED, replace(OPTIONS, account="tunnel")))
    assert other.order.account.user == "tunnel"
    assert "Match User tunnel\n" in (other.order.edit.after or "")
    assert other.order.others == ("root",)


def test_all_findings_that_have_a_remedy_are_one_plan() -> None:
    def finding(name: str, verdict: Verdict) -> Finding:
        return Finding(name, Section.SERVER, "", verdict, "")

    found = [
        finding("gateway-ports", Verdict.FAIL),
        finding("client-alive", Verdict.WARN),
        finding("stream-local-bind-unlink", Verdict.OK),
        finding("host-key", Verdict.FAIL),
    ]
    wanted = wanted_of(found, OPTIONS)
    assert wanted == {
        "GatewayPorts": "clientspecified",
        "ClientAliveInterval": "15",
        "ClientAliveCountMax": "3",
    }
    plan = planned(plan_fix(facts(), profile(), wanted, OPTIONS))
    # CountMax is 3 already.
    assert plan.order.wanted == {"GatewayPorts": "clientspecified", "ClientAliveInterval": "15"}
    assert wanted_of([], replace(OPTIONS, public=True, gateway_ports="yes")) == {
        "GatewayPorts": "yes"
    }


@pytest.mark.parametrize(
    ("have", "local", "least"),
    [("no", False, "remote"), ("no", True, "yes"), ("local", False, "yes")],
)
def test_forwarding_is_allowed_as_far_as_it_is_needed(have: str, local: bool, least: str) -> None:
    who = profile()
    if local:
        one = parse_forward(Kind.LOCAL, "1:h:2", environ={}, service_port=lambda _: None)
        who = replace(who, local_forward=(one,))
    found = facts(effective={"allowtcpforwarding": (have,)})
    plan = planned(plan_fix(found, who, {"AllowTcpForwarding": "remote"}, OPTIONS))
    assert plan.order.wanted == {"AllowTcpForwarding": least}


def test_a_second_run_has_nothing_to_do() -> None:
    found = facts(
        files={MAIN: DEBIAN, DROPIN: BLOCK}, effective={"gatewayports": ("clientspecified",)}
    )
    nothing = plan_fix(found, profile(), WANTED, OPTIONS)
    assert nothing == Nothing("it is all there already for root")


def test_files_that_sshd_has_not_read_are_no_reason_to_edit_them() -> None:
    files = {MAIN: DEBIAN, DROPIN: BLOCK}
    said = {"gatewayports": ("clientspecified",)}
    found = facts(files=files, effective=said, live=GatewayPorts.NO)
    hand = by_hand(plan_fix(found, profile(), WANTED, OPTIONS))
    assert hand.lines == ("    sshd -t && systemctl reload ssh",)


def test_gateway_ports_yes_names_what_it_opens() -> None:
    options = replace(OPTIONS, gateway_ports="yes")
    who = profile("8080:localhost:80", "*:81:localhost:81")
    plan = planned(plan_fix(facts(), who, {"GatewayPorts": "yes"}, options))
    assert "every remote forward of root" in plan.risk[0]
    assert plan.risk[1:] == (
        "    8080:localhost:80",
        "    and those of every other client, at its next sign-in",
    )


def test_public_changes_forwards_without_an_address_and_no_socks_proxy() -> None:
    who = profile("8080:localhost:80", "localhost:81:h:81", "1080", "/tmp/s:h:82")
    assert [(old.spec, new.spec) for old, new in public_forwards(who)] == [
        ("8080:localhost:80", "*:8080:localhost:80")
    ]
    plan = planned(plan_fix(facts(), who, WANTED, replace(OPTIONS, public=True)))
    assert [new.listen_host for _, new in plan.forwards] == ["*"]


@pytest.mark.parametrize(
    ("reloader", "command"),
    [
        (Reloader.SYSTEMD_SOCKET, "sshd -t && systemctl try-reload-or-restart ssh"),
        (Reloader.OPENRC, "sshd -t && rc-service ssh reload"),
        (Reloader.SERVICE, "sshd -t && service ssh reload"),
        (Reloader.PIDFILE, "sshd -t && kill -HUP 12"),
        (Reloader.NONE, "sshd -t"),
    ],
)
def test_the_command_is_the_server_s_own(reloader: Reloader, command: str) -> None:
    found = facts(listening=Known(listening(reloader=reloader)))
    assert planned(plan_fix(found, profile(), WANTED, OPTIONS)).commands == (command,)


# --- what is for a person -------------------------------------------------------------------------

SALT = "# This file is managed by Salt.\n"
MATCH = "Match User root\n    GatewayPorts no\n"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (facts(software=Known(Software("dropbear_2022.83", None))), "not OpenSSH"),
        (facts(rights=Rights.NONE), "not root there"),
        (facts(managed=Known("# Ansible managed")), "a tool writes these files"),
        (facts(files={MAIN: SALT + DEBIAN}), "a tool writes these files"),
        (facts(is_valid=Known(False)), "refuses its configuration"),
        (facts(files={MAIN: DEBIAN + MATCH}), "somebody has meant it so"),
        (facts(listening=Unknown("no sshd was found")), "no sshd was found"),
    ],
)
def test_what_cannot_be_done_safely_is_said(found: Facts, reason: str) -> None:
    hand = by_hand(plan_fix(found, profile(), WANTED, OPTIONS))
    assert reason in hand.reason


def test_a_command_line_beats_every_file_but_for_a_match_block() -> None:
    found = facts(listening=Known(listening(arguments=("-o", "GatewayPorts=no"))))
    everybody = replace(OPTIONS, everybody=True)
    assert "beats every file" in by_hand(plan_fix(found, profile(), WANTED, everybody)).reason
    assert isinstance(plan_fix(found, profile(), WANTED, OPTIONS), Plan)


def test_a_name_that_no_script_can_hold_is_for_a_person() -> None:
    hand = by_hand(plan_fix(facts(user="EXAMPLE+a b"), profile(), WANTED, OPTIONS))
    assert hand.reason == '"EXAMPLE+a b" cannot be told to a script'
    assert "    Match User EXAMPLE+a b" in hand.lines


def test_what_only_root_can_check_is_checked_as_root() -> None:
    found = facts(is_valid=Unknown("sshd cannot check it", "no hostkeys available -- exiting."))
    assert isinstance(plan_fix(found, profile(), WANTED, OPTIONS), Plan)


def test_by_hand_is_to_be_pasted() -> None:
    hand = by_hand(plan_fix(facts(rights=Rights.NONE), profile(), WANTED, OPTIONS))
    assert [line for line in hand.lines if line.startswith("    ")] == [
        "    Match User root",
        "        GatewayPorts clientspecified",
        "    sshd -t && systemctl reload ssh",
    ]


def test_a_match_of_our_own_is_not_in_the_way() -> None:
    ours = BLOCK.replace("clientspecified", "no")
    found = facts(files={MAIN: DEBIAN, DROPIN: ours})
    plan = planned(plan_fix(found, profile(), WANTED, OPTIONS))
    assert plan.order.edit == Edit(DROPIN, ours, BLOCK)


def test_cloud_init_s_file_is_no_reason_to_stop() -> None:
    cloud = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
    text = "# made by cloud-init\nPasswordAuthentication no\nGatewayPorts no\n"
    managed = Known(f"{cloud}:1: # made by cloud-init")
    found = facts(files={MAIN: DEBIAN, cloud: text}, managed=managed)
    assert planned(plan_fix(found, profile(), WANTED, OPTIONS)).order.edit.path == DROPIN


@pytest.mark.parametrize(
    ("spec", "gateway_ports"), [("*:1080", "clientspecified"), ("1080", "yes")]
)
def test_no_socks_proxy_is_opened(spec: str, gateway_ports: str) -> None:
    options = replace(OPTIONS, gateway_ports=gateway_ports)
    wanted = {"GatewayPorts": gateway_ports}
    hand = by_hand(plan_fix(facts(), profile("80:h:80", spec), wanted, options))
    assert "SOCKS proxy" in hand.reason
    assert isinstance(plan_fix(facts(), profile("80:h:80", "1080"), WANTED, OPTIONS), Plan)


# --- taking it back -------------------------------------------------------------------------------

LAST = Last(
    "20261122T101500Z-0011223344556677", Edit(DROPIN, None, BLOCK), "root", ("gatewayports",), False
)


def test_the_last_change_is_turned_round() -> None:
    plan = planned(plan_undo(facts(files={MAIN: DEBIAN, DROPIN: BLOCK}), LAST, OPTIONS))
    assert plan.order.edit == Edit(DROPIN, BLOCK, None)
    assert plan.order.undoes == LAST.change
    assert plan.order.wanted == {}
    assert plan.order.may_change == ("gatewayports",)
    assert plan.diff[:2] == (f"--- {DROPIN}", "+++ /dev/null")


def test_what_somebody_has_edited_since_is_not_taken_back() -> None:
    found = facts(files={MAIN: DEBIAN, DROPIN: f"{BLOCK}# mine\n"})
    hand = by_hand(plan_undo(found, LAST, OPTIONS))
    assert "edited it since" in hand.reason


def test_a_diff_shows_where() -> None:
    assert diff_of(Edit("/f", "a\nb\n", "a\nc\n")) == (
        *("--- /f", "+++ /f", "@@ -1,2 +1,2 @@"),
        *(" a", "-b", "+c"),
    )
