from __future__ import annotations

import pytest

from sshwrap.doctor.sshd_config_lines import parse
from sshwrap.doctor.sshd_config_match import BadConfig, Criteria, Told, is_for_all, matches
from sshwrap.ssh.version import Version

V8_4, V9_2, V9_9, V10_0 = Version(8, 4), Version(9, 2), Version(9, 9), Version(10, 0)
ANN = Criteria("ann", "Home.example", "192.0.2.7", "10.0.0.1", 22, ("users", "wheel"))
IPV6 = Criteria("ann", "h", "2001:db8::7", "::1", 22)


def told(text: str, criteria: Criteria = ANN, version: Version = V9_2) -> Told:
    (line,) = parse(f"Match {text}", version)
    return matches(line, criteria, version)


@pytest.mark.parametrize("version", [V8_4, V9_2, V9_9, V10_0])
@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("all", True),
        ("User ann", True),
        ("user ANN", False),  # names have case, criteria have none
        ("User bob,ann", True),
        ("User *,!ann", False),
        ("User !ann", False),
        ("User !bob", False),  # a negated pattern matches nobody by itself
        ("User !bob,*", True),
        ("User a?n", True),
        ("User a*n*", True),
        ("User a*m", False),
        ('User "ann"', True),
        ("Group wheel", True),
        ("Group *,!wheel", False),
        ("Group root", False),
        ("Host *.EXAMPLE", True),
        ("Address 192.0.2.0/24", True),
        ("Address 192.0.2.0/24,!192.0.2.7", False),
        ("Address !192.0.2.8,192.0.2.*", True),
        ("Address 192.0.2.?", True),
        ("Address 2001:db8::/32", False),
        ("Address 192.0.2.0/255.255.255.0", False),  # a pattern, which no address is like
        ("LocalAddress 10.0.0.1 LocalPort 22", True),
        ("LocalPort 2222", False),
        ("User ann Address 10.0.0.0/8", False),
    ],
)
def test_criteria(text: str, holds: bool, version: Version) -> None:
    assert told(text, version=version) is (Told.YES if holds else Told.NO)


def test_ipv6() -> None:
    assert told("Address 2001:DB8:0::/32", IPV6) is Told.YES
    assert told("Address 0.0.0.0/0,2001:db8:*", IPV6) is Told.YES
    assert told("Address ::/0,!2001:db8::7/128", IPV6) is Told.NO


@pytest.mark.parametrize(
    "text",
    [
        *("RDomain 3", "Version OpenSSH_9*", "Moon full", "LocalPort ssh", "Address 192.0.2"),
        *("Address !010.0.0.1,*", "Address fe80::1%eth0", "User ann RDomain x"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert told(text) is Told.UNTOLD


def test_what_fails_anyway_needs_no_telling() -> None:
    assert told("User bob RDomain 3") is Told.NO
    assert told("Group wheel", IPV6) is Told.UNTOLD  # whose groups nobody knows


def test_an_account_that_signs_in_is_no_invalid_user() -> None:
    assert told("Invalid-User", version=V10_0) is Told.NO


@pytest.mark.parametrize(
    ("version", "expected"),
    [(V8_4, Told.YES), (V9_2, Told.YES), (V9_9, Told.UNTOLD), (V10_0, Told.YES)],
)
def test_an_equals_sign(version: Version, expected: Told) -> None:
    assert told("User=ann Address=192.0.2.0/24", version=version) is expected


def test_a_name_keeps_its_case_behind_an_equals_sign() -> None:
    assert told("USER=ANN", version=V10_0) is Told.NO


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("all User ann", '"all" stands beside other criteria'),
        ("User ann all", '"all" stands beside other criteria'),
        ("User", '"user" has no argument'),
        ("User # ann", '"user" has no argument'),
        ("Address 192.0.2.1/24", '"192.0.2.1/24" has address bits behind its mask'),
        ("Address 192.0.2.1/33", '"192.0.2.1/33" has a mask that is too long'),
        ("Address 192.0.2.1,,::1", "a list of addresses has an empty one"),
        ("LocalPort 65536", '"65536" is no port'),
    ],
)
def test_what_sshd_refuses(text: str, why: str) -> None:
    with pytest.raises(BadConfig, match=f"^{why}$"):
        told(text)


def test_all_is_for_all_and_nothing_else_is() -> None:
    for text, expected in (("ALL # of them", True), ("User *", False), ("RDomain 3", False)):
        (line,) = parse(f"Match {text}", V9_2)
        assert is_for_all(line, V9_2) is expected
