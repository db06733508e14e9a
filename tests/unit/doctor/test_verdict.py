"""One line and the next command, for each way that it can end."""

from __future__ import annotations

from typing import Any

import pytest

from sshwrap.doctor.checks import Asked, run_checks
from sshwrap.doctor.facts import (
    Answer,
    Facts,
    HostKey,
    HostKeyState,
    Known,
    SignIn,
    Target,
    Unknown,
)
from sshwrap.doctor.verdict import CLEAR_TEXT, Summary, exit_status, next_command, summarize
from sshwrap.profile.forward import Forward
from tests.unit.doctor.samples import (
    EVERYWHERE,
    INSIDE,
    PUBLIC,
    WEB,
    asked,
    connected,
    destination,
    failed,
    forward,
    having,
    setting,
    sound,
    trial,
)


def summary(facts: Facts, what: Asked) -> Summary:
    return summarize(run_checks(facts, what), facts, what)


def up(one: Forward, bound: tuple[str, ...], gateway: str) -> Facts:
    own = trial(one, bound, spare=False, from_here=Known(connected()), loop=Known(True))
    return having(sound(one, gateway=gateway), live={"tried": Known((own,)), "state": "up"})


def test_a_public_forward_that_works_says_what_that_means() -> None:
    found = summary(up(PUBLIC, EVERYWHERE, "clientspecified"), asked(PUBLIC))
    assert found.text == f"web works: vps.example.com:12345 is {CLEAR_TEXT}"
    assert "no encryption between visitor and server (docs/https.md)" in found.text
    assert found.next == ""


def test_one_that_is_down_is_to_be_started() -> None:
    found = summary(sound(PUBLIC, gateway="clientspecified"), asked(PUBLIC))
    assert found.text == f"web can start; vps.example.com:12345 will be {CLEAR_TEXT}"
    assert found.next == "sshwrap up web"


def test_gateway_ports_yes_opens_what_was_left_to_the_server() -> None:
    assert CLEAR_TEXT in summary(sound(gateway="yes"), asked()).text


def test_on_the_server_only_is_as_asked_and_one_step_from_public() -> None:
    for facts in (sound(), up(WEB, INSIDE, "no"), up(WEB, INSIDE, "clientspecified")):
        found = summary(facts, asked())
        assert "on the server only, as asked" in found.text
        assert found.next == "sshwrap doctor web --fix --public"
        assert exit_status(run_checks(facts, asked())) == 0


def test_gateway_ports_alone() -> None:
    found = summary(sound(PUBLIC), asked(PUBLIC))
    assert found == Summary(
        "web works on the server only. One change makes it reachable", "sshwrap doctor web --fix"
    )
    assert exit_status(run_checks(sound(PUBLIC), asked(PUBLIC))) == 1
    inner = forward("localhost:12345:localhost:8080")
    wide = summary(sound(inner, gateway="yes"), asked(inner))
    assert wide.text == "web is open wider than asked. One change puts that right"


def test_several_causes_are_counted() -> None:
    silent = Known((Target(PUBLIC, connected(Answer.REFUSED)),))
    facts = having(sound(PUBLIC), here={"targets": silent})
    found = summary(facts, asked(PUBLIC))
    assert found.text.startswith("web does not work: localhost:8080 refuses")
    assert found.text.endswith("; 1 more to put right")


def test_a_target_alone_is_no_fault_of_the_tunnel() -> None:
    silent = Known((Target(WEB, connected(Answer.REFUSED)),))
    found = summary(having(sound(), here={"targets": silent}), asked())
    assert found.text.startswith("nothing is wrong with the tunnel; localhost:8080 refuses")
    assert found.next == "ss -ltnp 'sport = :8080'"


def test_a_new_host_key_is_one_sign_in_away() -> None:
    no: Any = {"sign_in": Unknown("nobody has accepted the host key")}
    new = having(sound(), way={"host_key": Known(HostKey(HostKeyState.UNKNOWN))}, account=no)
    assert summary(new, asked()).next == "ssh root@vps.example.com true"
    changed = having(new, way={"host_key": Known(HostKey(HostKeyState.CHANGED))})
    found = summary(changed, asked())
    assert "another host key" in found.text
    assert found.next == ""  # nobody is led to take a key out


def test_the_first_command_of_the_advice_is_the_next() -> None:
    no = Known(SignIn(failed("permission_denied")))
    keys = having(sound(), here={"identities": Known(())}, account={"sign_in": no})
    assert summary(keys, asked()).text.startswith("web does not work: vps.example.com does not let")
    closed = setting(
        having(sound(), live={"tried": Known((trial(WEB, None, spare=False),))}),
        permitlisten="none",
    )
    found = summary(closed, asked())
    assert found.next == "sudo sh -c 'sshd -t && systemctl reload ssh'"


@pytest.mark.parametrize(
    ("advice", "command"),
    [
        ("    sshwrap doctor web --fix    shows the change", "sshwrap doctor web --fix"),
        ("in a file:\n    GatewayPorts yes\nthen\n    sudo ls", "sudo ls"),
        ("correct it: ssh-add x", ""),
        ("", ""),
    ],
)
def test_a_line_of_a_file_is_no_command(advice: str, command: str) -> None:
    assert next_command(advice) == command


def test_a_destination_alone() -> None:
    found = summary(sound(), destination())
    assert "keeps root@vps.example.com from carrying tunnels" in found.text
    assert found.next.startswith("sshwrap run ssh -R")


def test_what_stays_inside_and_works() -> None:
    inner = forward("localhost:12345:localhost:8080")
    found = summary(up(inner, INSIDE, "no"), asked(inner))
    assert found == Summary("web works as asked")
