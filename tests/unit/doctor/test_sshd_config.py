from __future__ import annotations

import pytest

from sshwrap.doctor.sshd_config import (
    Criteria,
    Origin,
    Place,
    Unsupported,
    evaluate,
    include_patterns,
    match_blocks_on,
    origin_of,
)
from sshwrap.ssh.version import Version

MAIN = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/50-x.conf"
V9_2 = Version(9, 2)
ANN = Criteria("ann", "h.example", "192.0.2.7", "10.0.0.1", 22, ("users",))


def origin(
    keyword: str, files: dict[str, str] | str, version: Version = V9_2
) -> Origin | Unsupported:
    files = {MAIN: files} if isinstance(files, str) else files
    return origin_of(evaluate(files, MAIN, ANN, version=version), keyword)


def winner(keyword: str, files: dict[str, str] | str) -> str | None:
    found = origin(keyword, files)
    assert isinstance(found, Origin), found
    if found.winner is None:
        return None
    return f"{found.winner.file.rpartition('/')[2]}:{found.winner.line} {found.winner.argument}"


def test_the_first_value_wins_and_what_it_beats_is_told() -> None:
    text = "GatewayPorts no\n# GatewayPorts yes\ngatewayports yes\n"
    assert origin("GatewayPorts", text) == Origin(
        "gatewayports", Place(MAIN, 1, "no"), (Place(MAIN, 3, "yes"),)
    )


def test_a_match_block_beats_what_stands_before_and_behind_it() -> None:
    text = (
        "GatewayPorts no\n"
        "Match User bob\n GatewayPorts no\n"
        "Match User ann # her\n GatewayPorts clientspecified\n"
        "Match all\n GatewayPorts yes\n"
    )
    found = origin("gatewayports", text)
    assert isinstance(found, Origin)
    assert found.winner == Place(MAIN, 5, "clientspecified", "Match User ann # her")
    assert [place.line for place in found.beaten] == [7, 1]


def test_the_default_is_nobodys_line() -> None:
    assert origin("GatewayPorts", "Match User bob\nGatewayPorts yes\n") == Origin(
        "gatewayports", None
    )
    assert origin("GatewayPorts", "") == Origin("gatewayports", None)


def test_lists_are_whole_at_their_first_line_and_others_gather() -> None:
    text = "PermitListen 1 2\nPermitListen 3\nAllowUsers a\nAllowUsers b c\n"
    assert winner("permitlisten", text) == "sshd_config:1 1 2"
    assert origin("allowusers", text) == Origin(
        "allowusers", Place(MAIN, 3, "a"), (), (Place(MAIN, 4, "b c"),)
    )


def test_what_a_match_gathers_takes_the_place_of_the_rest() -> None:
    text = "AllowUsers a\nMatch User ann\nAllowUsers b\nMatch all\nAllowUsers c\n"
    found = origin("allowusers", text)
    assert isinstance(found, Origin)
    assert found.winner is not None
    assert [one.argument for one in (found.winner, *found.also)] == ["b", "c"]
    assert [one.argument for one in found.beaten] == ["a"]


def test_none_takes_the_place_of_a_time() -> None:
    text = "UnusedConnectionTimeout 30\nUnusedConnectionTimeout none\n"
    assert winner("UnusedConnectionTimeout", text) == "sshd_config:2 none"


def test_the_last_mask_wins() -> None:
    text = "StreamLocalBindMask 0177\nStreamLocalBindMask 0111\n"
    assert winner("StreamLocalBindMask", text) == "sshd_config:2 0111"


def test_another_name_of_a_keyword() -> None:
    assert winner("PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes +x\n") == "sshd_config:1 +x"


def test_an_include_is_read_where_it_stands() -> None:
    files = {MAIN: "Include sshd_config.d/*.conf\nGatewayPorts no\n", DROP_IN: "GatewayPorts yes\n"}
    assert winner("GatewayPorts", files) == "50-x.conf:1 yes"
    files[MAIN] = "GatewayPorts no\nInclude sshd_config.d/*.conf\n"
    assert winner("GatewayPorts", files) == "sshd_config:1 no"


def test_includes_are_read_in_the_order_of_bytes() -> None:
    names = ["00", "10", "9", "A", "Z_", "_x", "a", "\u00e4"]
    for at in range(len(names)):
        files = {f"/etc/ssh/d/{name}.conf": f"GatewayPorts {name}\n" for name in names[at:]}
        files = dict(reversed(files.items()))
        files[MAIN] = 'Include "/etc/ssh//d/*.conf"\n'
        assert winner("GatewayPorts", files) == f"{names[at]}.conf:1 {names[at]}"


def test_what_an_include_does_not_find() -> None:
    files = {MAIN: "Include d/*.conf nothing\n"}
    for name in ("x.conf.bak", ".x.conf", "deep/x.conf"):
        files[f"/etc/ssh/d/{name}"] = "GatewayPorts yes\n"
    assert winner("GatewayPorts", files) is None


def test_a_match_does_not_leak_out_of_its_file() -> None:
    files = {
        MAIN: "Include sshd_config.d/*.conf\nGatewayPorts no\n",
        DROP_IN: "Match User bob\n GatewayPorts yes\n",
    }
    assert winner("GatewayPorts", files) == "sshd_config:2 no"
    files[DROP_IN] = "Match User ann\n X11Forwarding yes\n"
    found = origin("GatewayPorts", files)
    assert isinstance(found, Origin)
    assert found.winner == Place(MAIN, 2, "no")


def test_an_include_in_a_match_is_for_whom_the_match_is() -> None:
    files = {
        MAIN: "Match User bob\nInclude sshd_config.d/*.conf\n",
        DROP_IN: "GatewayPorts yes\nMatch all\nX11Forwarding yes\n",
    }
    assert winner("GatewayPorts", files) is None
    assert winner("X11Forwarding", files) is None
    files[MAIN] = "Match User ann\nInclude sshd_config.d/*.conf\n"
    assert winner("GatewayPorts", files) == "50-x.conf:1 yes"
    found = origin("GatewayPorts", files)
    assert isinstance(found, Origin)
    assert found.winner is not None
    assert found.winner.block == "Match User ann"
    assert winner("X11Forwarding", files) == "50-x.conf:3 yes"


@pytest.mark.parametrize(
    ("files", "version", "why"),
    [
        ({}, V9_2, f"{MAIN}: it was not read"),
        ({MAIN: "Include x\n"}, Version(8, 0), f"{MAIN}:1: OpenSSH 8.0 has no Include"),
        ({MAIN: "\nGatewayPorts\n"}, V9_2, f'{MAIN}:2: "GatewayPorts" has no argument'),
        ({MAIN: "Match User\n"}, V9_2, f'{MAIN}:1: "user" has no argument'),
        ({MAIN: f"Include {MAIN}\n"}, V9_2, f"{MAIN}: Include stands in Include more than 16 deep"),
        (
            {MAIN: "Include ~/x\n"},
            V9_2,
            f'{MAIN}:1: it cannot be told what "Include ~/x" reads',
        ),
        (
            {MAIN: "Include d/[0-9]*\n"},
            V9_2,
            f'{MAIN}:1: it cannot be told what "Include d/[0-9]*" reads',
        ),
    ],
)
def test_what_sshd_would_refuse_is_not_read(
    files: dict[str, str], version: Version, why: str
) -> None:
    assert evaluate(files, MAIN, ANN, version=version) == Unsupported(why)
    assert match_blocks_on(files, MAIN, "x", version=version) == Unsupported(why)


def test_what_depends_on_a_match_that_cannot_be_told_is_not_told() -> None:
    text = "GatewayPorts no\nMatch RDomain 3\nGatewayPorts yes\n"
    assert origin("GatewayPorts", text) == Unsupported(
        f'{MAIN}:3: it cannot be told whom "Match RDomain 3" is for'
    )
    assert winner("GatewayPorts", "Match User ann\nGatewayPorts no\n" + text.split("\n", 1)[1]) == (
        "sshd_config:2 no"
    )
    assert winner("X11Forwarding", "X11Forwarding no\n" + text) == "sshd_config:1 no"


def test_ipqos_is_told_only_where_the_versions_agree() -> None:
    assert isinstance(origin("IPQoS", "IPQoS af21\nIPQoS cs1\n"), Unsupported)
    assert winner("IPQoS", "IPQoS af21\n") == "sshd_config:1 af21"


def test_match_blocks_on_a_keyword() -> None:
    files = {
        MAIN: "GatewayPorts no\nInclude sshd_config.d/*.conf\nMatch User bob\ngatewayports yes\n",
        DROP_IN: "Match Group x\n GatewayPorts no\n X11Forwarding no\n",
    }
    assert match_blocks_on(files, MAIN, "GatewayPorts", version=V9_2) == (
        Place(DROP_IN, 2, "no", "Match Group x"),
        Place(MAIN, 4, "yes", "Match User bob"),
    )
    assert match_blocks_on(files, MAIN, "PermitListen", version=V9_2) == ()


def test_include_patterns() -> None:
    text = 'Include a.conf "/b c/*.conf"\nMatch User x\n include = sub/./d/*\n#Include no\n'
    assert include_patterns(text, version=V9_2) == (
        "/etc/ssh/a.conf",
        "/b c/*.conf",
        "/etc/ssh/sub/d/*",
    )
    assert include_patterns(text, version=Version(8, 0)) == ()
