"""Each check of the port fails where it has to, and passes where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sshwrap.doctor.facts import ClientConfig, Facts, Known, Port, Shell, Target, Unknown
from sshwrap.doctor.findings import Verdict
from sshwrap.profile.forward import Forward
from sshwrap.ssh.look import Listener, Owner
from tests.unit.doctor.samples import (
    PUBLIC,
    SOCKET,
    WEB,
    asked,
    connected,
    destination,
    find,
    forward,
    having,
    judge,
    setting,
    sound,
    trial,
    verdict,
)

MINE = Listener("127.0.0.1", 12345, 0, Owner.ACCOUNT)
THEIRS = Listener("127.0.0.1", 12345, 33, Owner.OTHER)


def held(*holders: Listener, one: Forward = WEB, gateway: str = "no", **values: Any) -> Facts:
    return having(sound(one, gateway=gateway), ports=(Port(one, Known(holders), **values),))


@pytest.mark.parametrize(
    ("facts", "expected", "words"),
    [
        (held(), "ok", "12345 is free"),
        (held(MINE, is_ours=True), "ok", "held by the running tunnel"),
        (held(MINE, recorded=True), "warn", "our own dead session"),
        (held(MINE), "fail", "held by this very account"),
        (held(THEIRS), "fail", "held by uid 33"),
        (held(replace(THEIRS, uid=None)), "fail", "held by another account"),
        (held(MINE, programs=("nginx",)), "fail", "held by nginx (127.0.0.1)"),
    ],
)
def test_who_holds_the_port(facts: Facts, expected: str, words: str) -> None:
    found = judge(facts, asked(), "port-free")
    assert (found.verdict, words in found.seen) == (expected, True)
    if found.verdict is Verdict.FAIL:
        assert "    sudo ss -ltnp 'sport = :12345'" in found.advice.split("\n")


def test_our_dead_session_fails_where_it_may_not_be_ended() -> None:
    facts = held(MINE, recorded=True)
    assert "    sshwrap up web" in judge(facts, asked(), "port-free").advice.split("\n")
    assert verdict(facts, asked(reclaim=False), "port-free") is Verdict.FAIL


@pytest.mark.parametrize(
    ("address", "gateway", "spec", "expected"),
    [
        ("203.0.113.7", "clientspecified", "12345:localhost:80", "ok"),
        ("203.0.113.7", "clientspecified", "*:12345:localhost:80", "fail"),
        ("::1", "clientspecified", "0.0.0.0:12345:localhost:80", "ok"),
        ("203.0.113.7", "clientspecified", "127.0.0.1:12345:localhost:80", "ok"),
        ("0.0.0.0", "clientspecified", "127.0.0.1:12345:localhost:80", "fail"),
        ("203.0.113.7", "yes", "12345:localhost:80", "fail"),
    ],
)
def test_who_is_in_the_way(address: str, gateway: str, spec: str, expected: str) -> None:
    one = forward(spec)
    facts = held(replace(THEIRS, address=address), one=one, gateway=gateway)
    assert verdict(facts, asked(one), "port-free") == expected


def test_ports_that_nobody_chose_or_looked_at() -> None:
    assert find(sound(), asked(forward("0:localhost:80")), "port-free") is None
    assert find(sound(), destination(), "port-free") is None
    assert verdict(having(sound(), ports=()), asked(), "port-free") is Verdict.UNKNOWN
    facts = having(sound(), ports=(Port(WEB, Unknown("no session")),))
    assert judge(facts, asked(), "port-free").seen == "unknown, because no session"


def test_a_socket_that_is_there_already() -> None:
    there = having(sound(SOCKET), ports=(Port(SOCKET, is_in_path_of_socket=Known(True)),))
    found = judge(there, asked(SOCKET), "port-free")
    assert found.verdict is Verdict.FAIL
    assert "rm -f /run/web.sock" in found.advice
    cured = setting(there, streamlocalbindunlink="yes")
    assert verdict(cured, asked(SOCKET), "port-free") is Verdict.OK
    free = having(sound(SOCKET), ports=(Port(SOCKET, is_in_path_of_socket=Known(False)),))
    assert verdict(free, asked(SOCKET), "port-free") is Verdict.OK


LOW = forward("*:443:localhost:8443")


def low(start: int | None = 1024, *, own: bool = False) -> Facts:
    facts = sound(LOW)
    assert isinstance(facts.account.shell, Known)
    shell: Shell = replace(facts.account.shell.value, user="tunnel", uid=1000)
    known = Unknown("not Linux") if start is None else Known(start)
    facts = having(
        facts,
        here={"config": Known(ClientConfig("vps.example.com", "tunnel", 22, {}))},
        account={"shell": Known(shell)},
        server={"unprivileged_from": known},
    )
    if own:
        return having(facts, live={"tried": Known((trial(LOW, spare=False),))})
    return facts


def test_a_port_for_root_alone() -> None:
    found = judge(low(), asked(LOW), "privileged-port")
    assert found.verdict is Verdict.FAIL
    assert found.seen == "443 is below 1024, and tunnel is not root"
    assert "ip_unprivileged_port_start=443" in found.advice
    assert verdict(low(None), asked(LOW), "privileged-port") is Verdict.UNKNOWN
    for facts in (low(443), low(own=True), sound(LOW)):
        assert verdict(facts, asked(LOW), "privileged-port") is Verdict.OK
    assert find(sound(), asked(), "privileged-port") is None


def test_it_is_the_profile_s_account_that_is_judged_whoever_has_signed_in() -> None:
    """As with --admin: root looks, and the tunnel will be another's."""
    root = sound(LOW).account.shell
    facts = having(low(), account={"shell": root})
    assert judge(facts, asked(LOW), "privileged-port").seen == (
        "443 is below 1024, and tunnel is not root"
    )
    advice = judge(setting(facts, disableforwarding="yes"), asked(LOW), "disable-forwarding").advice
    assert "    Match User tunnel" in advice.split("\n")
    assert judge(facts, asked(LOW), "sign-in").seen.startswith("root signs in")


ONE = forward("203.0.113.7:12345:localhost:8080")


def test_a_bind_address_that_the_server_does_not_have() -> None:
    def facts(exists: bool) -> Facts:
        port = Port(ONE, Known(()), address_exists=Known(exists))
        return having(sound(ONE), ports=(port,))

    found = judge(facts(exists=False), asked(ONE), "bind-address")
    assert found.verdict is Verdict.FAIL
    assert "    ssh root@vps.example.com ip -br address" in found.advice.split("\n")
    assert verdict(facts(exists=True), asked(ONE), "bind-address") is Verdict.OK
    assert verdict(sound(ONE), asked(ONE), "bind-address") is Verdict.UNKNOWN
    assert find(sound(PUBLIC), asked(PUBLIC), "bind-address") is None


def behind(spec: str, gateway: str = "clientspecified") -> tuple[Facts, Forward]:
    one = forward(spec)
    targets = Known((Target(one, connected(), is_sshd=True),))
    return having(sound(one, gateway=gateway), here={"targets": targets}), one


def test_an_sshd_behind_the_tunnel_sees_everybody_as_loopback() -> None:
    facts, one = behind("*:2222:localhost:22")
    found = judge(facts, asked(one), "target-sshd")
    assert found.verdict is Verdict.WARN
    assert "127.0.0.1" in found.why
    assert '    remote_forward = ["localhost:2222:localhost:22"]' in found.advice.split("\n")
    assert "    ssh -J root@vps.example.com -p 2222 localhost" in found.advice.split("\n")


@pytest.mark.parametrize(
    ("spec", "gateway", "public", "expected"),
    [
        ("localhost:2222:localhost:22", "clientspecified", False, "ok"),
        ("2222:localhost:22", "clientspecified", False, "ok"),
        ("2222:localhost:22", "clientspecified", True, "warn"),
        ("2222:localhost:22", "yes", False, "warn"),
        ("*:2222:localhost:22", "no", False, "ok"),
    ],
)
def test_who_gets_to_it(spec: str, gateway: str, public: bool, expected: str) -> None:
    facts, one = behind(spec, gateway)
    assert verdict(facts, asked(one, as_public=public), "target-sshd") == expected


def test_a_target_that_is_no_sshd_is_no_matter() -> None:
    assert find(sound(), asked(), "target-sshd") is None
