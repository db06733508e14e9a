"""The look: what the script holds, and how each answer to it is read, sound or not."""

from __future__ import annotations

import pytest

from sshwrap.ssh.look import (
    Listener,
    Look,
    Owner,
    Session,
    SocketListener,
    forces_command,
    look_script,
    read_look,
)
from sshwrap.ssh.mux import FLOODED, Unknown, Why

BOOT = "3d91a283-f20a-4009-a329-6773d7f2e03a"
STAT = "4242 (sshd (old) 1) S " + " ".join(str(number) for number in range(4, 53))
FACTS = f"order little\nuid 1000\nboot {BOOT}\nipv6 yes\nsession {STAT}\n"
# port 8080 (1F90) and 80 (0050)
TCP = "table tcp\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 501 1 0 100 0 0 10 0\n"  # noqa: E501
TCP6 = "table tcp6\n10000: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 502 1 0\n"  # noqa: E501
UNIX = (
    "table unix\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01 601 /run/it's a.sock\n"
    "0000000000000000: 00000003 00000000 00000000 0001 03 602 /run/it's a.sock\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01 603\n"
    "table files\n/run/it's a.sock\n"
)


def answer(body: str, nonce: str = "N", before: str = "") -> bytes:
    return f"{before}\nbegin {nonce}\n{body}end {nonce}\n".encode()


def read(body: str, **more: str) -> Look | Unknown:
    return read_look("N", 0, answer(body, **more), b"")


def test_an_accounts_view() -> None:
    assert read(FACTS + TCP + TCP6 + UNIX) == Look(
        (
            Listener("127.0.0.1", 8080, 1000, Owner.ACCOUNT, 501),
            Listener("::1", 8080, 33, Owner.OTHER, 502),
        ),
        (SocketListener("/run/it's a.sock", Owner.ACCOUNT, has_file=True),),
        Session(4242, 22),
        BOOT,
        1000,
        True,
    )


def owners(body: str) -> list[Owner]:
    found = read(FACTS + TCP + TCP6 + body)
    assert isinstance(found, Look)
    return [one.owner for one in (*found.listeners, *found.sockets)]


def test_roots_view_knows_which_is_whose() -> None:
    held = "lrwx------ 1 root root 64 Nov 22 13:00 8 -> socket:[{}]\n"
    assert owners("table session\n" + held.format(502)) == [Owner.OTHER, Owner.OURS]
    assert owners("table session\n") == [Owner.OTHER, Owner.OTHER]


def test_what_an_account_sees_open_elsewhere_is_no_sshds() -> None:
    line = "lrwx------ 1 ann ann 64 Nov 22 13:00 8 -> socket:[501]\n"
    assert owners("table programs\n" + line) == [Owner.OTHER, Owner.OTHER]


def test_a_kernel_of_the_other_byte_order() -> None:
    big = (FACTS + TCP + TCP6).replace("order little", "order big")
    big = big.replace("0100007F", "7F000001").replace("01000000:1F90", "00000001:1F90")
    found = read(big)
    assert isinstance(found, Look)
    assert [one.address for one in found.listeners] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "before", ["", "Welcome\n", "no end of line", "begin M\nuid 0\nend M\n", "end N\n", "\xff\n"]
)
def test_a_greeting_is_not_the_answer(before: str) -> None:
    found = read(FACTS + TCP, before=before)
    assert isinstance(found, Look)
    assert found.uid == 1000


def test_no_session_and_no_ipv6() -> None:
    found = read("order little\nuid 1000\n" + TCP)
    assert isinstance(found, Look)
    assert (found.session, found.boot_id, found.has_ipv6) == (None, None, False)


@pytest.mark.parametrize(
    "body",
    [
        "",
        FACTS,  # no /proc/net
        TCP,  # no uid
        FACTS.replace("1000", "many") + TCP,
        FACTS + TCP.replace("501", "x"),
        FACTS + TCP.replace("0100007F", "01007F"),
        FACTS + TCP.replace("0100007F", "0100007F" * 3),
        FACTS + TCP.replace("0100007F", "-100007F"),
        FACTS + "table tcp\nshort\n",
        FACTS.replace("4242", "x") + TCP,
        "session 4242 (sshd) S 1\nuid 1\n" + TCP,
        FACTS.replace("1000", "9" * 5000) + TCP,
    ],
)
def test_a_proc_that_is_none(body: str) -> None:
    found = read(body)
    assert isinstance(found, Unknown)
    assert found.why is Why.NO_PROC


def test_a_boot_that_is_none_is_none() -> None:
    found = read((FACTS + TCP).replace(BOOT, "\x1b[31m"))
    assert isinstance(found, Look)
    assert found.boot_id is None


@pytest.mark.parametrize(
    ("status", "out", "err", "why", "said"),
    [
        (
            1,
            b"This account is not available.\r\n",
            b"",
            Why.REFUSED,
            "This account is not available.",
        ),
        (127, b"hi\n", b"sh: not found\n", Why.REFUSED, "sh: not found"),
        (1, b"", b"", Why.REFUSED, ""),
        (0, b"backup done\n", b"", Why.OTHER_ANSWER, "backup done"),
        (0, b"", b"", Why.OTHER_ANSWER, ""),
        (0, answer(FACTS + TCP, "M"), b"", Why.OTHER_ANSWER, "end M"),
        (0, answer(FACTS + TCP)[:-3], b"", Why.OTHER_ANSWER, "end"),
        (1, b"\x1b[2Jboo\n", b"", Why.REFUSED, "\\033[2Jboo"),
        (255, b"", b"Connection closed by UNKNOWN port 65535\r\n", Why.GONE, None),
    ],
)
def test_no_answer(status: int, out: bytes, err: bytes, why: Why, said: str | None) -> None:
    found = read_look("N", status, out, err)
    assert isinstance(found, Unknown)
    assert found.why is why
    assert said is None or found.said == said


def test_half_an_answer_in_time_is_silence() -> None:
    found = read_look("N", None, answer(FACTS + TCP)[:-3], b"", timed_out=True)
    assert isinstance(found, Unknown)
    assert found.why is Why.SILENT
    # A whole one counts, whatever its end.
    assert isinstance(read_look("N", None, answer(FACTS + TCP), b"", timed_out=True), Look)


def test_a_shell_that_writes_without_end_is_no_lost_master() -> None:
    found = read_look("N", None, b"y\n" * 30000, b"", flooded=True)
    assert found == Unknown(Why.OTHER_ANSWER, FLOODED)
    more = answer(FACTS + TCP) + b"y\n" * 30000
    assert isinstance(read_look("N", None, more, b"", flooded=True), Look)


def test_the_script_asks_for_what_is_wanted() -> None:
    script = look_script("N0", [8080, 80], ["/a b", "/it's"]).decode()
    assert "(0050|1F90)" in script
    assert "'/a b' '/it'\"'\"'s'" in script
    assert "'begin N0'" in script


@pytest.mark.parametrize(
    ("options", "forced"),
    [
        ("", False),
        ("agent-forwarding port-forwarding pty user-rc x11-forwarding", False),
        (" command permitlisten port-forwarding", True),
        (" agent-forwarding command", True),
    ],
)
def test_forced_commands(options: str, forced: bool) -> None:
    assert forces_command(options) is forced
