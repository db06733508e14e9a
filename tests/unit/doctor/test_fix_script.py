"""What scripts hold, and how answers are read."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sshwrap.doctor import fix_shell
from sshwrap.doctor.facts import Listening, Reloader
from sshwrap.doctor.fix_script import (
    Answer,
    Last,
    Order,
    decide_script,
    install_script,
    last_script,
    read_answer,
    read_last,
)
from sshwrap.doctor.fix_words import WHY
from sshwrap.doctor.sshd_config import Criteria
from sshwrap.doctor.sshd_config_edit import Edit

NONCE = "0011223344556677"
CHANGE = f"20261122T101500Z-{NONCE}"
DROPIN = "/etc/ssh/sshd_config.d/00-sshwrap.conf"
ORDER = Order(
    Listening(1, "/usr/sbin/sshd", (), Reloader.SYSTEMD, "ssh.socket"),
    Edit(DROPIN, None, "it's $HOME `id`\n"),
    Criteria("tunnel", "198.51.100.1", "198.51.100.1", "203.0.113.7", 2222),
    {"GatewayPorts": "clientspecified"},
    ("GatewayPorts",),
)


def answer(*lines: str, end: bool = True) -> bytes:
    tail = [f"end {NONCE}"] if end else []
    return "\n".join(["Welcome!", f"begin {NONCE}", *lines, *tail, ""]).encode()


def test_a_script_does_nothing_before_its_last_line() -> None:
    text = install_script(ORDER, NONCE).decode()
    assert text.startswith("main() {\n")
    assert text.endswith("}\nmain\n")
    assert text.count("\nmain\n") == 1


def test_values_are_quoted_and_in_terms_of_the_kernel() -> None:
    text = install_script(ORDER, NONCE).decode()
    assert """text_after='it'"'"'s $HOME `id`\n'""" in text
    for value in ("port_hex=08AE", "reloader=systemd\n", "unit=ssh.service", "kind=create"):
        assert value in text


def test_sshd_is_asked_as_it_was_started() -> None:
    arguments = ("-f", "/etc/ssh/other", "-o", "Port=2222", "-oPidFile=none")
    sshd = replace(ORDER.listening, arguments=arguments, config="/etc/ssh/other")
    text = install_script(replace(ORDER, listening=sshd), NONCE).decode()
    assert '/usr/sbin/sshd -o Port=2222 -o PidFile=none -f "$file" "$@"' in text
    assert "start_sshd() { /usr/sbin/sshd -o Port=2222 -o PidFile=none -f /etc/ssh/other; }" in text


@pytest.mark.parametrize(
    "order",
    [
        replace(ORDER, edit=Edit("/etc/ssh/a b", None, "")),
        replace(ORDER, edit=Edit("/etc/ssh/*.conf", None, "")),
        replace(ORDER, account=replace(ORDER.account, user="a,addr=1")),
        replace(ORDER, account=replace(ORDER.account, user="a\nb")),
        replace(ORDER, may_change=("x.*",)),
        replace(ORDER, others=("$(id)",)),
        replace(ORDER, undoes="../../etc"),
    ],
)
def test_what_no_script_can_hold_is_refused(order: Order) -> None:
    with pytest.raises(ValueError, match="cannot be told to a script"):
        install_script(order, NONCE)


def test_a_change_is_named_and_no_path() -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        decide_script("../x", "now", NONCE)
    with pytest.raises(ValueError, match="cannot be told"):
        last_script("x; id")


def test_an_answer_tells_its_steps() -> None:
    out = answer("step baseline", "step candidate", f"change {CHANGE}", "step armed")
    assert read_answer(NONCE, out) == Answer(
        True, ("baseline", "candidate", "armed"), change=CHANGE
    )
    assert not read_answer(NONCE, answer("step baseline", end=False)).is_whole
    assert read_answer(NONCE, b"step baseline\nconfirmed\n") == Answer(False)
    assert read_answer(NONCE, answer("undone")).undone
    assert read_answer(NONCE, answer("confirmed")).confirmed


def test_what_a_server_says_is_data() -> None:
    out = answer("no broken", "| line 3: \x1b[31mbad\r", *["| more"] * 50, "change ../../etc")
    found = read_answer(NONCE, out)
    assert found.why == "broken"
    assert found.said.splitlines()[0] == "line 3: \\033[31mbad"
    assert len(found.said.splitlines()) == 20
    assert found.change == ""


RECORD = (f"target {DROPIN}", "account tunnel", "may ^(gatewayports|x11forwarding) ", "others ^$")


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("create", Edit(DROPIN, None, "new\n")),
        ("replace", Edit(DROPIN, "old\n\ncr\r\nno end", "new\n")),
        ("remove", Edit(DROPIN, "old\n\ncr\r\nno end", None)),
    ],
)
def test_the_last_change_comes_back_byte_for_byte(kind: str, edit: Edit) -> None:
    lines = [f"change {CHANGE}", *RECORD, f"kind {kind}"]
    for name, text in (("before", edit.before), ("after", edit.after)):
        lines += [f"file {name} {NONCE}", *(text or "").split("\n"), f"over {name} {NONCE}"]
    found = read_last(NONCE, answer(*lines))
    assert found == Last(CHANGE, edit, "tunnel", ("gatewayports", "x11forwarding"), False)
    assert isinstance(read_last(NONCE, answer(*lines, end=False)), Answer)


def test_no_last_change() -> None:
    assert read_last(NONCE, answer("no none")) == Answer(True, why="none")


def test_every_reason_has_its_words() -> None:
    shell = fix_shell.SHARED + fix_shell.INSTALL + fix_shell.LAST
    shell = re.sub(r"(?m)(^| )# .*$", "", shell)
    said = set(re.findall(r"(?m)(?:why=|(?:^|[ ;{'])(?:no|refuse|back_out) )([a-z]+)\b", shell))
    assert {*said, "unproved", "cut"} == set(WHY)
    for words in WHY.values():
        assert words.summary[0].islower()
        assert not words.summary.endswith(".")
