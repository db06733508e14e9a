"""Each check by doing fails where it has to, names its cause, and passes where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sshwrap.doctor.facts import Answer, Connected, Fact, Facts, Firewall, Known, Tried, Unknown
from sshwrap.doctor.findings import Verdict
from sshwrap.profile.forward import Forward
from sshwrap.tunnel.reach import AS_ASKED, EXPOSED, HALF_BOUND, LOOPBACK_ONLY, UNKNOWN, Reach
from tests.unit.doctor.samples import (
    ALL_OPTIONS,
    EVERYWHERE,
    INSIDE,
    PUBLIC,
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

SPARE = forward("*:0:localhost:9")
HA = forward("*:8123:localhost:8123")


def live(
    *trials: Tried, one: Forward = PUBLIC, gateway: str = "clientspecified", **more: Any
) -> Facts:
    return having(sound(one, gateway=gateway), live={"tried": Known(trials), **more})


def test_where_a_test_port_listens() -> None:
    assert judge(sound(), asked(), "test-port").fold == "a test port listens on 127.0.0.1 and ::1"
    wide = live(trial(SPARE, EVERYWHERE))
    assert judge(wide, asked(PUBLIC), "test-port").fold == "a test port listens on every address"
    half = live(trial(SPARE, ("0.0.0.0",)))
    assert "every IPv4 address" in judge(half, asked(PUBLIC), "test-port").seen
    found = judge(sound(PUBLIC), asked(PUBLIC), "test-port")
    assert (found.verdict, found.cause) == (Verdict.FAIL, "gateway-ports")


def test_a_refused_test_port_names_what_refuses() -> None:
    refused = live(trial(SPARE, None, said="Server has disabled port forwarding."))
    found = judge(refused, asked(PUBLIC), "test-port")
    assert (found.verdict, found.cause) == (Verdict.FAIL, "allow-tcp-forwarding")
    key = having(refused, account={"key_options": Known(("pty",))})
    assert judge(key, asked(PUBLIC), "test-port").cause == "key-options"
    off = setting(refused, disableforwarding="yes")
    assert judge(off, asked(PUBLIC), "test-port").cause == "disable-forwarding"
    silent = judge(live(trial(SPARE, None)), asked(PUBLIC), "test-port")
    assert (silent.verdict, silent.cause) == (Verdict.FAIL, "")
    assert "journalctl" in silent.advice


def test_an_account_for_certain_ports_has_no_spare_one() -> None:
    facts = live(trial(SPARE, None, said="port forwarding refused"))
    assert verdict(facts, asked(PUBLIC), "test-port") is Verdict.UNKNOWN


def test_nothing_was_tried() -> None:
    assert verdict(live(), asked(PUBLIC), "test-port") is Verdict.UNKNOWN
    assert find(live(trial(PUBLIC, EVERYWHERE, spare=False)), asked(PUBLIC), "test-port") is None
    for check in ("test-port", "loop", "from-here"):
        facts = having(sound(PUBLIC), live={"tried": Unknown("no sign-in")})
        assert judge(facts, asked(PUBLIC), check).seen == "unknown, because no sign-in"


INNER = forward("localhost:12345:localhost:8080")


@pytest.mark.parametrize(
    ("one", "gateway", "reach", "bound", "expected", "cause"),
    [
        (PUBLIC, "clientspecified", AS_ASKED, EVERYWHERE, "ok", ""),
        (PUBLIC, "no", LOOPBACK_ONLY, INSIDE, "fail", "gateway-ports"),
        (INNER, "yes", EXPOSED, EVERYWHERE, "fail", "gateway-ports"),
        (PUBLIC, "clientspecified", HALF_BOUND, ("::",), "fail", ""),
        (PUBLIC, "clientspecified", UNKNOWN, (), "unknown", ""),
    ],
)
def test_the_tunnels_own_forwards(
    one: Forward, gateway: str, reach: str, bound: tuple[str, ...], expected: str, cause: str
) -> None:
    own = trial(one, bound, reach=reach, spare=False)
    found = judge(live(own, one=one, gateway=gateway, state="up"), asked(one), "forwards")
    assert (found.verdict, found.cause) == (expected, cause)


def test_a_session_that_is_older_than_the_reload_has_to_be_opened_anew() -> None:
    own = trial(PUBLIC, INSIDE, reach=LOOPBACK_ONLY, spare=False)
    found = judge(live(own, state="up"), asked(PUBLIC), "forwards")
    assert (found.verdict, found.cause) == (Verdict.FAIL, "")
    assert "older than its last reload" in found.why
    assert found.advice == "    sshwrap restart web"


def test_what_a_forward_came_to_tells_gateway_ports_where_nothing_else_does() -> None:
    no = {"gateway_ports": Unknown("x")}
    facts = having(sound(PUBLIC), live=no, server={"effective": Unknown("x")})
    assert judge(facts, asked(PUBLIC), "gateway-ports").fold == 'GatewayPorts is "no"'
    wide = having(sound(INNER, gateway="yes"), live=no, server={"effective": Unknown("x")})
    assert verdict(wide, asked(INNER), "gateway-ports") is Verdict.FAIL


def test_a_forward_that_was_left_to_the_server_is_as_asked_until_it_is_to_be_public() -> None:
    facts = live(trial(WEB, INSIDE, spare=False), one=WEB, gateway="no", state="up")
    assert verdict(facts, asked(), "forwards") is Verdict.OK
    found = judge(facts, asked(as_public=True), "forwards")
    assert (found.verdict, found.cause) == (Verdict.FAIL, "gateway-ports")
    facts = live(trial(WEB, INSIDE, spare=False), one=WEB, state="up")  # clientspecified
    found = judge(facts, asked(as_public=True), "forwards")
    assert found.verdict is Verdict.WARN  # the profile alone has to change
    assert "--fix --public" in found.advice


def test_half_a_port_says_who_has_the_rest() -> None:
    half = Reach(HALF_BOUND, ("::",), "uid 33 listens on 0.0.0.0")
    facts = live(replace(trial(PUBLIC, spare=False), reach=half), state="up")
    found = judge(facts, asked(PUBLIC), "forwards")
    assert "uid 33 listens on 0.0.0.0" in found.seen
    assert "    sudo ss -ltnp 'sport = :12345'" in found.advice.split("\n")


def test_a_profile_that_is_down_has_no_forwards_to_look_at() -> None:
    assert find(sound(PUBLIC), asked(PUBLIC), "forwards") is None
    no = having(sound(PUBLIC), live={"tried": Unknown("x"), "state": "up"})
    assert verdict(no, asked(PUBLIC), "forwards") is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("came_back", "expected"),
    [(Known(True), "ok"), (Known(False), "fail"), (Unknown("permitopen"), "unknown")],
)
def test_the_loop(came_back: Fact[bool], expected: str) -> None:
    facts = live(trial(SPARE, EVERYWHERE, loop=came_back))
    assert verdict(facts, asked(PUBLIC), "loop") == expected
    assert find(live(trial(SPARE, None)), asked(PUBLIC), "loop") is None


# --- from here -------------------------------------------------------------------------------


def reached(
    answer: Answer,
    *,
    spare: bool = True,
    bound: tuple[str, ...] = EVERYWHERE,
    reach: str = AS_ASKED,
    firewall: Firewall | None = None,
) -> Facts:
    one = trial(
        SPARE if spare else HA,
        bound,
        reach=reach,
        spare=spare,
        from_here=Known(Connected(answer, 5.0)),
        address=f"vps.example.com:{40001 if spare else 8123}",
    )
    known = Unknown("not readable") if firewall is None else Known(firewall)
    return live(one, one=HA, firewall=known)


def ufw(*, active: bool = True, allows: bool | None = None) -> Firewall:
    return Firewall("ufw", active, {} if allows is None else {8123: allows}, "8123 is not in")


def test_it_answers_from_here() -> None:
    found = judge(reached(Answer.OPEN, spare=False), asked(HA), "from-here")
    assert (found.verdict, found.fold) == (
        Verdict.OK,
        "vps.example.com:8123 answers from here in 5 s",
    )


def test_refused_and_on_loopback_is_gateway_ports() -> None:
    found = judge(sound(PUBLIC), asked(PUBLIC), "from-here")
    assert (found.verdict, found.cause) == (Verdict.FAIL, "gateway-ports")
    assert found.fold == "a test port answers on the server and is refused from here"


def test_the_servers_own_firewall() -> None:
    facts = reached(Answer.TIMEOUT, firewall=ufw(allows=False))
    found = judge(facts, asked(HA), "from-here")
    assert found.verdict is Verdict.FAIL
    assert found.fold == "listens on every address; no answer from here in 5 s"
    assert "    sudo ufw allow 8123/tcp" in found.advice.split("\n")
    assert "安全组" in found.advice
    closed = Firewall("firewalld", True, {8123: False})
    found = judge(reached(Answer.NO_ROUTE, firewall=closed), asked(HA), "from-here")
    assert "firewall-cmd --permanent --add-port=8123/tcp" in found.advice


def test_a_firewall_in_front_of_the_server() -> None:
    for firewall in (ufw(allows=True), ufw(active=False)):
        found = judge(
            reached(Answer.TIMEOUT, spare=False, firewall=firewall), asked(HA), "from-here"
        )
        assert found.verdict is Verdict.FAIL
        assert "in front of the server" in found.advice
        assert '"security group", 安全组' in found.advice
        assert "sudo" not in found.advice


def test_a_spare_port_alone_proves_nothing_of_the_real_one() -> None:
    found = judge(reached(Answer.TIMEOUT), asked(HA), "from-here")
    assert found.verdict is Verdict.WARN
    assert "may still let 8123 in" in found.why
    assert verdict(reached(Answer.TIMEOUT, spare=False), asked(HA), "from-here") is Verdict.FAIL


def test_refused_though_it_listens_everywhere() -> None:
    for spare, expected in ((True, Verdict.WARN), (False, Verdict.FAIL)):
        found = judge(reached(Answer.REFUSED, spare=spare), asked(HA), "from-here")
        assert (found.verdict, found.cause) == (expected, "")
        assert "leads to another machine" in found.why


def test_who_asks_for_nobody_from_outside_needs_no_answer() -> None:
    local = forward("localhost:8123:localhost:8123")
    for what in (asked(), asked(local), destination()):
        assert find(sound(), what, "from-here") is None
    facts = reached(Answer.UNRESOLVED)
    assert verdict(facts, asked(HA), "from-here") is Verdict.UNKNOWN
    unseen = live(trial(SPARE, EVERYWHERE, from_here=Unknown("this machine has no IPv4")))
    assert verdict(unseen, asked(PUBLIC), "from-here") is Verdict.UNKNOWN
    assert find(live(trial(SPARE, None)), asked(PUBLIC), "from-here") is None


def test_the_real_port_goes_before_a_spare_one() -> None:
    spare = trial(SPARE, EVERYWHERE, from_here=Known(connected(Answer.TIMEOUT)))
    real = trial(HA, EVERYWHERE, spare=False, from_here=Known(connected()), address="vps:8123")
    assert verdict(live(spare, real, one=HA), asked(HA), "from-here") is Verdict.OK


def test_the_key_of_the_samples_may_forward() -> None:
    assert "port-forwarding" in ALL_OPTIONS
