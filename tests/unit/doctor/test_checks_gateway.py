"""GatewayPorts: every value beside every bind address, by the files and by what sshd does."""

from __future__ import annotations

import pytest

from sshwrap.doctor.facts import Facts, GatewayPorts, Known, Rights, Software, Unknown
from sshwrap.doctor.findings import Verdict
from tests.unit.doctor.samples import (
    PUBLIC,
    SOCKET,
    WEB,
    asked,
    destination,
    find,
    forward,
    having,
    judge,
    placed,
    setting,
    sound,
    unprivileged,
    verdict,
)


@pytest.mark.parametrize(
    ("spec", "no", "yes", "clientspecified"),
    [
        ("12345:localhost:80", "ok", "ok", "ok"),
        ("*:12345:localhost:80", "fail", "ok", "ok"),
        ("0.0.0.0:12345:localhost:80", "fail", "ok", "ok"),
        ("[::]:12345:localhost:80", "fail", "ok", "ok"),
        ("localhost:12345:localhost:80", "ok", "fail", "ok"),
        ("127.0.0.1:12345:localhost:80", "ok", "fail", "ok"),
        ("203.0.113.7:12345:localhost:80", "fail", "fail", "ok"),
    ],
)
def test_each_value_beside_each_bind_address(
    spec: str, no: str, yes: str, clientspecified: str
) -> None:
    one = forward(spec)
    for value, expected in (("no", no), ("yes", yes), ("clientspecified", clientspecified)):
        found = judge(sound(one, gateway=value), asked(one), "gateway-ports")
        assert found.verdict == expected, value


def test_the_tone_of_the_one_that_everybody_meets() -> None:
    place = placed("GatewayPorts", "no", "/etc/ssh/sshd_config.d/50-cloud-init.conf", 3)
    facts = having(sound(PUBLIC), server={"origins": Known(place)})
    found = judge(facts, asked(PUBLIC), "gateway-ports")
    assert found.seen == (
        "asked for every address; sshd listens on 127.0.0.1 and ::1, and still reports success\n"
        "It comes from\n"
        "    /etc/ssh/sshd_config.d/50-cloud-init.conf:3   GatewayPorts no"
    )
    assert found.why == (
        "Only programs on the server itself can connect. -g does not help: it is for -L and -D. "
        "For -R the server decides."
    )
    assert found.advice == (
        "    sshwrap doctor web --fix    shows the change, asks, proves it\n"
        "    by hand: docs/doctor.md#gateway-ports"
    )
    assert found.fold == 'GatewayPorts is "no"'


def test_public_judges_as_if_the_forward_said_every_address() -> None:
    found = judge(sound(), asked(as_public=True), "gateway-ports")
    assert found.verdict is Verdict.FAIL
    assert "sshwrap doctor web --fix --public" in found.advice
    assert verdict(sound(gateway="yes"), asked(as_public=True), "gateway-ports") is Verdict.OK
    assert verdict(sound(), destination(), "gateway-ports") is Verdict.OK
    assert verdict(sound(), destination(as_public=True), "gateway-ports") is Verdict.FAIL


def test_a_forward_that_leaves_it_to_the_server_says_where_it_is() -> None:
    assert "on the server only" in judge(sound(), asked(), "gateway-ports").seen
    assert "on every address" in judge(sound(gateway="yes"), asked(), "gateway-ports").seen
    assert find(sound(SOCKET), asked(SOCKET), "gateway-ports") is None


def differing(files: str, running: str) -> Facts:
    facts = sound(PUBLIC, gateway=running)
    return setting(facts, gatewayports=files)


def test_an_edited_file_means_nothing_before_the_reload() -> None:
    found = judge(differing("clientspecified", "no"), asked(PUBLIC), "gateway-ports")
    assert found.verdict is Verdict.FAIL
    assert found.seen == 'its files say "clientspecified", and the running sshd does "no"'
    assert "not reloaded" in found.why
    assert "sudo sh -c 'sshd -t && systemctl reload ssh'" in found.advice
    found = judge(differing("no", "clientspecified"), asked(PUBLIC), "gateway-ports")
    assert found.verdict is Verdict.WARN
    assert "From its next reload on" in found.why
    both = differing("yes", "clientspecified")
    assert verdict(both, asked(PUBLIC), "gateway-ports") is Verdict.OK
    neither = asked(forward("203.0.113.7:12345:localhost:80"))
    assert verdict(differing("yes", "no"), neither, "gateway-ports") is Verdict.FAIL


def test_either_source_is_enough() -> None:
    files = having(sound(PUBLIC), live={"gateway_ports": Unknown("no sign-in")})
    assert verdict(files, asked(PUBLIC), "gateway-ports") is Verdict.FAIL
    live = unprivileged(sound(PUBLIC, gateway="yes"))
    assert verdict(live, asked(PUBLIC), "gateway-ports") is Verdict.OK
    none = having(live, live={"gateway_ports": Unknown("no sign-in"), "tried": Unknown("no")})
    found = judge(none, asked(PUBLIC), "gateway-ports")
    assert (found.verdict, found.seen) == (Verdict.UNKNOWN, "unknown, because no sign-in")
    files = having(files, live={"tried": Unknown("no")})
    odd = setting(files, gatewayports="perhaps")
    assert "perhaps" in judge(odd, asked(PUBLIC), "gateway-ports").seen
    upper = setting(files, gatewayports="YES")  # 10.4 prints the keyword otherwise, too
    assert verdict(upper, asked(PUBLIC), "gateway-ports") is Verdict.OK


def test_a_match_block_is_for_this_account() -> None:
    place = placed("GatewayPorts", "clientspecified", "/etc/ssh/x.conf", 2, "Match User root")
    facts = having(sound(PUBLIC, gateway="clientspecified"), server={"origins": Known(place)})
    fold = judge(facts, asked(PUBLIC), "gateway-ports").fold
    assert fold == 'GatewayPorts is "clientspecified" for root'


def test_the_advice_can_be_done() -> None:
    no_root = having(sound(PUBLIC), account={"rights": Known(Rights.NONE)})
    found = judge(no_root, asked(PUBLIC), "gateway-ports")
    assert "sshwrap doctor web --fix --admin root@vps.example.com" in found.advice
    other = Known(Software("dropbear_2022.83", None))
    found = judge(having(sound(PUBLIC), server={"software": other}), asked(PUBLIC), "gateway-ports")
    assert "--fix" not in found.advice
    assert "-a" in found.advice
    other = Known(Software("Serv-U_15", None))
    found = judge(having(sound(PUBLIC), server={"software": other}), asked(PUBLIC), "gateway-ports")
    assert "Serv-U_15" in found.advice


def test_the_values_are_those_of_sshd_config() -> None:
    assert [value.value for value in GatewayPorts] == ["no", "yes", "clientspecified"]
    assert verdict(sound(WEB), asked(WEB), "gateway-ports") is Verdict.OK
