from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshwrap.doctor.sshd_config import (
    Criteria,
    Origin,
    Place,
    evaluate,
    match_blocks_on,
    origin_of,
)
from sshwrap.doctor.sshd_config_edit import (
    Edit,
    Refused,
    after,
    is_ours,
    plan_edit,
    plan_removal,
)
from sshwrap.ssh.version import Version

FOLDER = "/etc/ssh/sshd_config.d"
MAIN = "/etc/ssh/sshd_config"
OURS = f"{FOLDER}/00-sshwrap.conf"
DEBIAN = (
    "# This is the sshd server system-wide configuration file.\n\n"
    "Include /etc/ssh/sshd_config.d/*.conf\n\n"
    "#GatewayPorts no\nX11Forwarding yes\n"
)
OLD = "# An old one.\r\nX11Forwarding yes\r\nGatewayPorts no\r\n"
V8_0, V9_2 = Version(8, 0), Version(9, 2)
WANTED = {"GatewayPorts": "clientspecified"}
MARK = "# sshwrap, 2026-11-28: so that web can be visited\n"


def connection(user: str) -> Criteria:
    return Criteria(user, "h.example", "192.0.2.7", "10.0.0.1", 22, ("users",))


def plan(
    files: Mapping[str, str],
    wanted: Mapping[str, str] = WANTED,
    *,
    user: str | None = "ann",
    version: Version = V9_2,
    today: str = "2026-11-28",
    why: str = "so that web can be visited",
    folder: str | None = FOLDER,
) -> Edit | Refused:
    return plan_edit(
        files,
        MAIN,
        wanted,
        criteria=connection(user or "ann"),
        scope_user=user,
        version=version,
        today=today,
        why=why,
        drop_in_folder=folder,
    )


def planned(files: Mapping[str, str], wanted: Mapping[str, str] = WANTED, **more: object) -> Edit:
    edit = plan(files, wanted, **more)  # type: ignore[arg-type]
    assert isinstance(edit, Edit), edit
    return edit


def refused(files: Mapping[str, str], wanted: Mapping[str, str] = WANTED, **more: object) -> str:
    edit = plan(files, wanted, **more)  # type: ignore[arg-type]
    assert isinstance(edit, Refused), edit
    return edit.reason


def removed(files: Mapping[str, str], path: str, *keywords: str, user: str | None = "ann") -> Edit:
    return plan_removal(files, path, frozenset(keywords), scope_user=user, version=V9_2)


def value(files: Mapping[str, str], keyword: str, user: str, version: Version = V9_2) -> str | None:
    origin = origin_of(evaluate(files, MAIN, connection(user), version=version), keyword)
    assert isinstance(origin, Origin), origin
    return origin.winner.argument if origin.winner else None


# --- a drop-in ---------------------------------------------------------------------------------


def test_for_one_account_it_is_a_block_in_a_file_of_our_own() -> None:
    edit = planned({MAIN: DEBIAN})
    assert edit == Edit(OURS, None, f"{MARK}Match User ann\n    GatewayPorts clientspecified\n")
    files = after({MAIN: DEBIAN}, edit)
    assert value(files, "GatewayPorts", "ann") == "clientspecified"
    assert value(files, "GatewayPorts", "bob") is None
    assert value(files, "X11Forwarding", "ann") == "yes"


def test_for_everybody_it_is_a_line_in_a_file_of_our_own() -> None:
    edit = planned({MAIN: DEBIAN}, user=None)
    assert edit == Edit(OURS, None, f"{MARK}GatewayPorts clientspecified\n")


def test_it_beats_a_drop_in_that_is_there() -> None:
    files = {MAIN: DEBIAN, f"{FOLDER}/50-cloud.conf": "GatewayPorts no\n"}
    for user in ("ann", None):
        edit = planned(files, user=user)
        assert edit.path == OURS
        assert value(after(files, edit), "GatewayPorts", "ann") == "clientspecified"


def test_the_same_edit_twice_is_made_once() -> None:
    for wanted in (WANTED, {**WANTED, "ClientAliveInterval": "15", "PermitListen": "80 *:90"}):
        for user in ("ann", None):
            for folder in (FOLDER, None):
                files: dict[str, str] = {MAIN: DEBIAN}
                edit = planned(files, wanted, user=user, folder=folder)
                assert edit.changes
                files = after(files, edit)
                again = planned(
                    files, wanted, user=user, folder=folder, today="2027-01-01", why="other"
                )
                assert not again.changes


def test_a_second_account_has_a_block_of_its_own() -> None:
    files = after({MAIN: DEBIAN}, planned({MAIN: DEBIAN}))
    before = files[OURS]
    files = after(files, planned(files, {"GatewayPorts": "yes"}, user="bob"))
    assert files[OURS] == f"{before}{MARK}Match User bob\n    GatewayPorts yes\n"
    assert value(files, "GatewayPorts", "ann") == "clientspecified"
    assert value(files, "GatewayPorts", "bob") == "yes"


def test_a_line_for_everybody_goes_above_the_blocks() -> None:
    files = after({MAIN: DEBIAN}, planned({MAIN: DEBIAN}))
    block = files[OURS]
    files = after(files, planned(files, {"ClientAliveInterval": "15"}, user=None))
    assert files[OURS] == f"{MARK}ClientAliveInterval 15\n{block}"


def test_an_account_may_get_a_second_keyword_and_another_value() -> None:
    files = after({MAIN: DEBIAN}, planned({MAIN: DEBIAN}))
    wanted = {"GatewayPorts": "yes", "PermitListen": "8080"}
    files = after(files, planned(files, wanted, today="2027-01-02", why="more"))
    assert files[OURS] == (
        "# sshwrap, 2027-01-02: more\nMatch User ann\n    GatewayPorts yes\n    PermitListen 8080\n"
    )


def test_a_value_for_everybody_is_replaced_where_it_stands() -> None:
    files = after({MAIN: DEBIAN}, planned({MAIN: DEBIAN}, user=None))
    files[OURS] += "# mine\nClientAliveInterval 15"
    files = after(files, planned(files, {"GatewayPorts": "yes"}, user=None, why="more"))
    assert files[OURS] == (
        "# sshwrap, 2026-11-28: more\nGatewayPorts yes\n# mine\nClientAliveInterval 15"
    )


# --- the main file -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V8_0, V9_2])
def test_without_a_drop_in_one_account_has_a_block_at_the_end(version: Version) -> None:
    edit = planned({MAIN: OLD}, version=version, folder=None if version == V9_2 else FOLDER)
    assert edit == Edit(
        MAIN,
        OLD,
        OLD
        + (MARK + "Match User ann\n    GatewayPorts clientspecified\nMatch all\n").replace(
            "\n", "\r\n"
        ),
    )


def test_what_is_appended_one_day_is_not_for_the_account_alone() -> None:
    files = after({MAIN: OLD}, planned({MAIN: OLD}, folder=None))
    files[MAIN] += "ClientAliveInterval 15\r\n"
    assert value(files, "ClientAliveInterval", "bob") == "15"


def test_without_a_drop_in_a_line_for_everybody_goes_above_everything() -> None:
    text = "# Read sshd_config(5).\n\nInclude /etc/ssh/sshd_config.d/*.conf\nGatewayPorts no\n"
    files = {MAIN: text, f"{FOLDER}/50-x.conf": "GatewayPorts yes\n"}
    edit = planned(files, user=None, folder=None)
    head, tail = text[:24], text[24:]
    assert edit.after == f"{head}{MARK}GatewayPorts clientspecified\n{tail}"


def test_an_include_below_a_value_makes_the_main_file_the_place() -> None:
    files = {MAIN: f"GatewayPorts no\nInclude {FOLDER}/*.conf\n"}
    edit = planned(files, user=None)
    assert edit.path == MAIN
    assert edit.after is not None
    assert edit.after.startswith(f"{MARK}GatewayPorts clientspecified\nGatewayPorts no\n")


def test_our_line_goes_to_the_top_again_where_something_was_put_above_it() -> None:
    files = after({MAIN: OLD}, planned({MAIN: OLD}, user=None, folder=None))
    files[MAIN] = "GatewayPorts no\n" + files[MAIN]
    edit = planned(files, user=None, folder=None)
    assert edit.after is not None
    assert edit.after.startswith(f"{MARK}GatewayPorts clientspecified\nGatewayPorts no\n")
    assert edit.after.count("clientspecified") == 1


def test_a_file_without_a_last_newline_gets_one() -> None:
    edit = planned({MAIN: "X11Forwarding yes"}, folder=None)
    assert edit.after is not None
    assert edit.after.startswith(f"X11Forwarding yes\n{MARK}")
    edit = planned({MAIN: "# nothing"}, user=None, folder=None)
    assert edit.after == f"# nothing\n{MARK}GatewayPorts clientspecified\n"


# --- what is refused ---------------------------------------------------------------------------


def test_a_match_block_that_wins_is_named() -> None:
    block = "Match Group users\n    GatewayPorts no\n"
    files = {MAIN: DEBIAN + block}
    for user, folder in (("ann", None), (None, FOLDER), (None, None)):
        assert refused(files, user=user, folder=folder) == (
            f'{MAIN}:8 under "Match Group users" wins'
        )
    # a drop-in's block comes before it; that it looks deliberate is for match_blocks_on to show
    assert planned(files).path == OURS


def test_a_block_that_cannot_be_told_is_named() -> None:
    reason = refused({MAIN: "Match RDomain 3\nGatewayPorts no\n"}, folder=None)
    assert reason == f'{MAIN}:2: it cannot be told whom "Match RDomain 3" is for'


def test_a_file_that_is_broken_is_not_touched() -> None:
    assert refused({MAIN: DEBIAN + "Match\n"}) == f'{MAIN}:7: "Match" has no argument'


def test_what_is_said_already_is_not_said_again() -> None:
    files = {MAIN: DEBIAN, f"{FOLDER}/00-a.conf": "GatewayPorts clientspecified\n"}
    for user in ("ann", None):
        assert not planned(files, user=user).changes
        edit = planned(files, {**WANTED, "MaxSessions": "3"}, user=user)
        assert edit.path == OURS
        assert "GatewayPorts" not in (edit.after or "")


def test_what_a_block_says_for_one_is_not_said_for_everybody() -> None:
    files = {MAIN: DEBIAN + "Match User ann\nGatewayPorts clientspecified\n"}
    assert not planned(files, user="ann").changes
    assert planned(files, user=None).path == OURS


def test_a_folder_that_nothing_includes_is_no_place() -> None:
    edit = planned({MAIN: DEBIAN}, folder="/elsewhere")
    assert edit.path == MAIN


@pytest.mark.parametrize(
    "user", ["a*", "a?", "!a", "a,b", 'a"b', "a'b", "a\\b", "#a", "a=b", "a\nb", "", " a", "a\tb"]
)
def test_a_name_that_a_match_would_read_otherwise(user: str) -> None:
    assert refused({MAIN: DEBIAN}, user=user) == (
        f'the name "{user}" cannot be written in a Match line'
    )


@pytest.mark.parametrize(
    "user", ["all", "ann-1", "a.b@example.com", "machine$", "domain user", "\u00e4"]
)
@pytest.mark.parametrize("version", [V8_0, V9_2, Version(9, 9), Version(10, 0)])
def test_a_name_that_is_none_but_itself(user: str, version: Version) -> None:
    files = after({MAIN: OLD}, planned({MAIN: OLD}, user=user, version=version, folder=None))
    assert value(files, "GatewayPorts", user, version) == "clientspecified"
    assert value(files, "GatewayPorts", "ann", version) == "no"
    again = planned(files, user=user, version=version, folder=None)
    assert not again.changes


@pytest.mark.parametrize(
    ("keyword", "argument", "why"),
    [
        ("Match", "all", '"Match" is no keyword to set'),
        ("include", "/x", '"include" is no keyword to set'),
        ("Gateway Ports", "yes", '"Gateway Ports" is no keyword to set'),
        ("GatewayPorts", "yes\nX", 'the argument "yes\nX" cannot be written on a line'),
        ("GatewayPorts", "yes # x", 'the argument "yes # x" cannot be written on a line'),
        ("GatewayPorts", "", 'the argument "" cannot be written on a line'),
        (
            "AllowUsers",
            "ann",
            '"AllowUsers" gathers its values: a new line would not take the others\' place',
        ),
    ],
)
def test_what_cannot_be_written(keyword: str, argument: str, why: str) -> None:
    assert refused({MAIN: DEBIAN}, {keyword: argument}) == why


def test_the_reason_is_one_line_of_plain_text() -> None:
    edit = planned({MAIN: DEBIAN}, why="a\nGatewayPorts yes\x1b[0m")
    assert edit.after is not None
    assert edit.after.splitlines()[0] == "# sshwrap, 2026-11-28: a GatewayPorts yes [0m"


# --- taking back -------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["ann", None])
@pytest.mark.parametrize("folder", [FOLDER, None])
@pytest.mark.parametrize("text", [DEBIAN, OLD.replace("GatewayPorts no\r\n", "")])
def test_taken_back_it_is_as_it_was(user: str | None, folder: str | None, text: str) -> None:
    files = {MAIN: text}
    edit = planned(files, {**WANTED, "MaxSessions": "5"}, user=user, folder=folder)
    edited = after(files, edit)
    half = removed(edited, edit.path, "gatewayports", user=user)
    assert value(after(edited, half), "MaxSessions", "ann") == "5"
    assert value(after(edited, half), "GatewayPorts", "ann") is None
    back = removed(edited, edit.path, "gatewayports", "maxsessions", user=user)
    assert after(edited, back) == files


def test_only_what_is_asked_for_is_taken_back() -> None:
    files = {MAIN: DEBIAN}
    for user in ("ann", "bob", None):
        files = after(files, planned(files, user=user))
    assert value(files, "GatewayPorts", "eve") == "clientspecified"
    files = after(files, removed(files, OURS, "gatewayports", user=None))
    assert value(files, "GatewayPorts", "eve") is None
    files = after(files, removed(files, OURS, "gatewayports", user="ann"))
    assert files[OURS] == f"{MARK}Match User bob\n    GatewayPorts clientspecified\n"
    assert not removed(files, OURS, "gatewayports", user="ann").changes
    assert not removed(files, OURS, "gatewayports", user=None).changes
    assert removed({}, OURS, "gatewayports") == Edit(OURS, None, None)


def test_what_was_put_beside_our_lines_stays_for_whom_it_was() -> None:
    files = after({MAIN: OLD}, planned({MAIN: OLD}, folder=None))
    files[MAIN] = files[MAIN].replace("Match all", "MaxSessions 3\r\nMatch all")
    files[MAIN] += "ClientAliveInterval 15\r\n"
    back = after(files, removed(files, MAIN, "gatewayports"))
    for user in ("ann", "bob"):
        assert value(back, "GatewayPorts", user) == "no"
        assert value(back, "ClientAliveInterval", user) == "15"
    assert value(back, "MaxSessions", "ann") == "3"
    assert value(back, "MaxSessions", "bob") is None


def test_a_line_behind_our_block_does_not_fall_into_another() -> None:
    start = {MAIN: "X11Forwarding yes\nMatch User bob\nMaxSessions 1\n"}
    files = after(start, planned(start, folder=None))
    files[MAIN] += "ClientAliveInterval 15\n"
    back = after(files, removed(files, MAIN, "gatewayports"))
    assert value(back, "ClientAliveInterval", "eve") == "15"
    assert value(back, "GatewayPorts", "ann") is None


def test_a_comment_like_ours_is_not_ours() -> None:
    text = "# sshwrap, yesterday: x\nGatewayPorts no\n"
    assert not removed({MAIN: text}, MAIN, "gatewayports", user=None).changes


def test_our_own_blocks_are_known() -> None:
    files = {MAIN: DEBIAN + "Match User bob\n    GatewayPorts no\n"}
    files = after(files, planned(files))
    files[OURS] += "X11Forwarding no\n"
    places = match_blocks_on(files, MAIN, "GatewayPorts", version=V9_2)
    assert isinstance(places, tuple)
    assert {(one.file, is_ours(files, one, version=V9_2)) for one in places} == {
        (OURS, True),
        (MAIN, False),
    }
    assert not is_ours(files, Place(OURS, 4, "no"), version=V9_2)


# --- whatever the file -------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        *("", "# GatewayPorts yes", "GatewayPorts no", "\tgatewayports=yes", "MaxSessions 3"),
        *("Match User ann", "Match all", "Match User bob", "    X11Forwarding no", "Include d/*"),
        MARK.rstrip("\n"),
    ]
)
FILES = st.tuples(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans()).map(
    lambda drawn: drawn[1].join(drawn[0]) + (drawn[1] if drawn[2] else "")
)


@given(text=FILES, inner=FILES, user=st.sampled_from(["ann", None]), has_folder=st.booleans())
def test_whatever_is_there_stays_and_the_edit_does_what_it_says(
    text: str, inner: str, user: str | None, has_folder: bool
) -> None:
    files = {MAIN: text, "/etc/ssh/d/50.conf": inner.replace("Include d/*", "")}
    edit = plan(files, user=user, folder="/etc/ssh/d" if has_folder else None)
    if isinstance(edit, Refused):
        return
    edited = after(files, edit)
    assert value(edited, "GatewayPorts", "ann") == "clientspecified"
    assert value(edited, "MaxSessions", "ann") == value(files, "MaxSessions", "ann")
    if user is not None:
        assert value(edited, "GatewayPorts", "eve") == value(files, "GatewayPorts", "eve")
    kept = iter((edit.after or "").splitlines())
    # in order; but a line under what looks like our mark is ours to change
    if MARK.rstrip("\n") not in text + inner:
        assert all(line in kept for line in (edit.before or "").splitlines())
    back = after(edited, removed(edited, edit.path, "gatewayports", user=user))
    if MARK.rstrip("\n") not in text + inner and text.endswith("\n"):
        assert back == files
