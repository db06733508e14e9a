"""Each check of the way fails where it has to, and passes where nothing is wrong."""

from __future__ import annotations

import pytest

from sshwrap.doctor.facts import Answer, Facts, HostKey, HostKeyState, Known, Unknown
from sshwrap.doctor.findings import Verdict
from tests.unit.doctor.samples import (
    KEY,
    asked,
    connected,
    failed,
    find,
    having,
    judge,
    sound,
    verdict,
)


def test_a_name_without_an_address() -> None:
    found = judge(having(sound(), way={"addresses": Known(())}), asked(), "name-resolves")
    assert found.verdict is Verdict.FAIL
    assert "getent hosts vps.example.com" in found.advice
    assert judge(sound(), asked(), "name-resolves").fold == "203.0.113.7"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer.REFUSED, "refuses the connection on port 22"),
        (Answer.TIMEOUT, "does not answer on port 22 in 10 s"),
        (Answer.NO_ROUTE, "there is no way to vps.example.com"),
    ],
)
def test_a_server_that_takes_no_connection(answer: Answer, words: str) -> None:
    facts = having(sound(), way={"tcp": Known(connected(answer, 10.0))})
    found = judge(facts, asked(), "tcp")
    assert (found.verdict, words in found.seen) == (Verdict.FAIL, True)
    assert found.advice.split("\n")[-1].startswith("    ")


def test_a_connection_that_could_not_be_tried_for_want_of_an_address() -> None:
    facts = having(sound(), way={"tcp": Known(connected(Answer.UNRESOLVED))})
    assert verdict(facts, asked(), "tcp") is Verdict.UNKNOWN
    assert verdict(sound(), asked(), "tcp") is Verdict.OK


@pytest.mark.parametrize(
    ("text", "fold"),
    [
        ("SSH-2.0-OpenSSH_9.6p1 Ubuntu-3", "OpenSSH 9.6"),
        ("SSH-1.99-OpenSSH_8.0", "OpenSSH 8.0"),
        ("SSH-2.0-dropbear_2022.83", "dropbear_2022.83"),
    ],
)
def test_an_ssh_server_greets(text: str, fold: str) -> None:
    found = judge(having(sound(), way={"banner": Known(text)}), asked(), "banner")
    assert (found.verdict, found.fold) == (Verdict.OK, fold)


@pytest.mark.parametrize("text", ["HTTP/1.1 400 Bad Request", "SSH-1.5-old", ""])
def test_something_else_greets(text: str) -> None:
    found = judge(having(sound(), way={"banner": Known(text)}), asked(), "banner")
    assert found.verdict is Verdict.FAIL
    assert text in found.seen


def with_key(key: HostKey, *, signed_in: bool = False) -> Facts:
    facts = having(sound(), way={"host_key": Known(key)})
    if signed_in:
        return facts
    return having(facts, account={"sign_in": Unknown("nobody has accepted the host key")})


def test_a_new_host_key_is_for_a_person_to_accept_once() -> None:
    new = HostKey(HostKeyState.UNKNOWN, f"{KEY} (ED25519)")
    found = judge(with_key(new), asked(port=2222), "host-key")
    assert found.verdict is Verdict.FAIL
    assert KEY in found.seen
    assert "    ssh -p 2222 root@vps.example.com true" in found.advice.split("\n")
    assert verdict(with_key(new, signed_in=True), asked(), "host-key") is Verdict.OK


def test_a_changed_host_key_is_never_accepted_for_anybody() -> None:
    place, name = "/home/you/my keys/known_hosts:7", "[vps.example.com]:2222"
    changed = HostKey(HostKeyState.CHANGED, f"{KEY} (ED25519)", place, name)
    for signed_in in (False, True):
        found = judge(with_key(changed, signed_in=signed_in), asked(), "host-key")
        assert found.verdict is Verdict.FAIL
        assert "line 7 of /home/you/my keys/known_hosts" in found.seen
        line = "ssh-keygen -f '/home/you/my keys/known_hosts' -R '[vps.example.com]:2222'"
        assert f"    {line}" in found.advice.split("\n")
        assert found.advice.startswith("only if you know why")


def test_a_known_host_key_is_well() -> None:
    assert judge(sound(), asked(), "host-key").fold == "host key known"


def test_a_slow_way_is_worth_a_word() -> None:
    found = judge(having(sound(), way={"round_trip": Known(2.04)}), asked(), "latency")
    assert (found.verdict, found.seen) == (Verdict.WARN, "a round trip takes 2.0 s")
    assert judge(sound(), asked(), "latency").fold == "31 ms"


def test_through_a_jump_host_only_the_key_and_the_sign_in_are_seen() -> None:
    no = Unknown("it goes through a jump host")
    way = {"jump": "bastion", "addresses": no, "tcp": no, "banner": no, "round_trip": no}
    facts = having(sound(), way=way)
    assert find(facts, asked(), "name-resolves") is None
    assert find(facts, asked(), "banner") is None
    assert judge(facts, asked(), "tcp").fold == "through bastion"
    assert verdict(facts, asked(), "host-key") is Verdict.OK
    broken = having(facts, account={"sign_in": Unknown("the way broke off")})
    assert find(broken, asked(), "tcp") is None


def test_the_catalogue_has_the_kinds_that_the_path_explains() -> None:
    for kind in ("name_not_resolved", "refused", "timed_out", "no_route", "network_unreachable"):
        assert failed(kind).kind == kind


def test_a_running_tunnel_has_come_the_whole_way() -> None:
    unseen = Unknown("the running tunnel was used")
    facts = having(
        sound(),
        way={"by_tunnel": True}
        | dict.fromkeys(("tcp", "banner", "host_key", "round_trip"), unseen),
    )
    for check in ("tcp", "banner", "host-key"):
        found = judge(facts, asked(), check)
        assert (found.verdict, "running tunnel came this way" in found.seen) == (Verdict.OK, True)
    assert find(facts, asked(), "latency") is None
    timed = having(facts, way={"round_trip": Known(0.02)})  # by a knock at the port
    assert verdict(timed, asked(), "latency") is Verdict.OK
