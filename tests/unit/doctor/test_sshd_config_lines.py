from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshwrap.doctor.sshd_config_lines import parse, render
from sshwrap.ssh.version import Version

OLD, NEW = Version(8, 4), Version(9, 2)

PIECES = st.sampled_from(
    [
        *("GatewayPorts", "Match", "Include", "yes", "#", '"', "'", "\\", "=", ",", "*", "x"),
        *(
            "\n",
            "\r\n",
            "\r",
            "\t",
            " ",
            "\f",
            "\v",
            "\x00",
            "\ufeff",
            "\udc80",
            "\ud800",
            "\u2028",
        ),
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=40).map("".join),
    st.text(alphabet=st.characters(), max_size=60),
)


@given(text=TEXTS, version=st.sampled_from([OLD, NEW]))
def test_nothing_is_lost(text: str, version: Version) -> None:
    lines = parse(text, version)
    assert render(lines) == text
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))


@given(text=TEXTS, version=st.sampled_from([OLD, NEW]))
def test_a_line_stands_alone(text: str, version: Version) -> None:
    for line in parse(text, version):
        assert "\n" not in line.raw[:-1]
        (again,) = parse(line.raw, version)
        assert (again.keyword, again.arguments) == (line.keyword, line.arguments)


@pytest.mark.parametrize(
    ("text", "keyword", "arguments"),
    [
        ("GatewayPorts yes", "gatewayports", ("yes",)),
        ("  \tGATEWAYPORTS\tyes \r\n", "gatewayports", ("yes",)),
        ("GatewayPorts=yes", "gatewayports", ("yes",)),
        ("GatewayPorts = yes", "gatewayports", ("yes",)),
        ("GatewayPorts =yes", "gatewayports", ("yes",)),
        ('GatewayPorts "yes"', "gatewayports", ("yes",)),
        ('"GatewayPorts" yes', "gatewayports", ("yes",)),
        ("GatewayPorts yes \f\n", "gatewayports", ("yes",)),
        ("GatewayPorts yes # and why", "gatewayports", ("yes",)),
        ("PermitOpen a:1  b:2", "permitopen", ("a:1", "b:2")),
        ('Banner "/a b"', "banner", ("/a b",)),
        ("# GatewayPorts yes", "", ()),
        ("\t#", "", ()),
        ("", "", ()),
        (" \r\n", "", ()),
    ],
)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_words(text: str, keyword: str, arguments: tuple[str, ...], version: Version) -> None:
    for line in parse(text, version):
        assert (line.keyword, line.arguments, line.fault) == (keyword, arguments, "")


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("GatewayPorts 'yes'", ("'yes'",), ("yes",)),
        ("Banner a#b", ("a",), ("a#b",)),
        ("SetEnv A=b", ("A", "b"), ("A=b",)),
        (r"Banner a\ b", ("a\\", "b"), ("a b",)),
        (r'Banner "a\"b"', None, ('a"b',)),
        ('Banner "a # b"', None, ("a # b",)),
        ("Banner o'brien", ("o'brien",), None),
        ('Banner a"b c"d', ("ab c", "d"), ("ab cd",)),
    ],
)
def test_versions_split_differently(
    text: str, old: tuple[str, ...] | None, new: tuple[str, ...] | None
) -> None:
    for version, expected in ((OLD, old), (NEW, new)):
        (line,) = parse(text, version)
        assert line.fault == ("" if expected is not None else "its quotes do not pair")
        if expected is not None:
            assert line.arguments == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("GatewayPorts", '"GatewayPorts" has no argument'),
        ("GatewayPorts # yes", '"GatewayPorts" has no argument'),
        ("\ufeffGatewayPorts yes", '"\ufeffGatewayPorts" is no keyword'),
        ("Gateway\x00Ports yes", "it has a NUL byte"),
        ("\u212aeepAlive yes", '"\u212aeepAlive" is no keyword'),  # KELVIN SIGN
    ],
)
def test_what_sshd_refuses_is_a_fault(text: str, fault: str) -> None:
    (line,) = parse(text, NEW)
    assert line.fault == fault
