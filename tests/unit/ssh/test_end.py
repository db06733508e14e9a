"""The end of a session: what the script holds, and how each answer to it is read, sound or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sshwrap.ssh.end import Ended, Outcome, Taken, end_script, read_end
from sshwrap.ssh.mux import FLOODED
from sshwrap.ssh.session_record import Machine, SessionRecord

BOOT = "3d91a283-f20a-4009-a329-6773d7f2e03a"
RECORD = SessionRecord(
    "web", "vps", "vps:22", 4242, 99, BOOT, 1000, Machine("m", "h", (), "/s"), 77, 1234, BOOT
)
IN = b'Authenticated to vps ([192.0.2.1]:22) using "publickey".\n'


def answer(body: str, nonce: str = "N", before: str = "") -> bytes:
    return IN + f"{before}\nbegin {nonce}\n{body}end {nonce}\n".encode()


def read(body: str, **more: str) -> Ended:
    return read_end("N", 0, answer(body, **more), b"")


def test_the_script_names_the_record_and_nothing_else_of_it() -> None:
    text = end_script("N", RECORD, [8080, 80]).decode()
    for word in ("4242", "99", BOOT, "1000", "(0050|1F90)", "begin N", "end N"):
        assert word in text
    for word in ("web", "vps", "1234", "{{", "}}"):
        assert word not in text


def test_without_ports_no_row_is_one() -> None:
    assert "'^-$'" in end_script("N", RECORD, ()).decode()


@pytest.mark.parametrize(
    "values",
    [
        {"session_pid": 1},
        {"session_pid": -4242},
        {"session_boot_id": ""},
        {"session_boot_id": "'; kill 1; '"},
    ],
)
def test_a_record_that_proves_nothing_makes_no_script(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no session"):
        end_script("N", replace(RECORD, **values), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("sent TERM\nended\n", Outcome.ENDED, "ended our old session on the server"),
        (
            "sent TERM\nsent KILL\nended\n",
            Outcome.ENDED,
            "ended our old session on the server, which took a KILL",
        ),
        ("sent TERM\nno gone\n", Outcome.ENDED, "ended our old session on the server"),
        ("no gone\n", Outcome.GONE, "our old session has ended by itself"),
        ("no reused\n", Outcome.GONE, None),
        ("no rebooted\n", Outcome.GONE, None),
        ("no account\n", Outcome.NOT_OURS, None),
        ("no owner\n", Outcome.NOT_OURS, None),
        ("no name\n", Outcome.NOT_OURS, None),
        ("no ourselves\n", Outcome.NOT_OURS, None),
        ("no terminal\n", Outcome.NOT_OURS, None),
        ("no busy\n", Outcome.NOT_OURS, None),
        ("no unseen\n", Outcome.NOT_OURS, None),
        ("denied\n", Outcome.FAILED, "the account may not end its own old session"),
        ("sent TERM\nno busy\n", Outcome.FAILED, "the old session was told to end and has not yet"),
        (
            "sent TERM\nsent KILL\nstays\n",
            Outcome.FAILED,
            "the old session does not end, not even by KILL",
        ),
        ("", Outcome.FAILED, "the server's answer makes no sense"),
        ("no such\n", Outcome.FAILED, "the server's answer makes no sense"),
        ("\x1b[2J\nno\nsent\n", Outcome.FAILED, "the server's answer makes no sense"),
    ],
)
def test_each_answer(body: str, outcome: Outcome, reason: str | None) -> None:
    found = read(body)
    assert (found.outcome, found.taken) == (outcome, ())
    assert found.reason == reason if reason else found.reason


def test_the_script_gives_no_other_reason_than_is_read() -> None:
    text = end_script("N", RECORD, ()).decode()
    given = {part.split(";")[0].split()[0] for part in text.split("why=")[1:] if part[:1].isalpha()}
    assert given == {
        *("unseen", "rebooted", "account", "gone", "reused", "owner", "name", "ourselves"),
        *("terminal", "busy"),
    }
    for word in given:
        assert read(f"no {word}\n").outcome in (Outcome.GONE, Outcome.NOT_OURS)


def test_whose_the_ports_are() -> None:
    body = "no gone\ntaken 33 1F90\ntaken 1000 0050\ntaken 33 1F90\n"
    assert read(body).taken == (Taken(80, 1000), Taken(8080, 33))


@pytest.mark.parametrize(
    "row", ["taken", "taken 1", "taken x 1F90", "taken 1 1F9", "taken 1 +F90", "taken 1 1F90 x"]
)
def test_a_row_that_is_none(row: str) -> None:
    assert read(f"no gone\n{row}\n").taken == ()


@pytest.mark.parametrize("before", ["", "Welcome", "begin M\nended\nend M", "end N", "\x1b[2J"])
def test_a_greeting_is_not_the_answer(before: str) -> None:
    assert read("no gone\n", before=before).outcome is Outcome.GONE


@pytest.mark.parametrize(
    ("status", "out", "err", "timed_out", "ended"),
    [
        (
            255,
            b"x: Permission denied (publickey).\n",
            b"banner\n",
            False,
            Ended(Outcome.FAILED, "the second sign-in failed", "x: Permission denied (publickey)."),
        ),
        (None, b"", b"", True, Ended(Outcome.FAILED, "the second sign-in took too long")),
        (None, IN, b"", True, Ended(Outcome.FAILED, "the server did not answer in time")),
        (None, IN, b"", False, Ended(Outcome.FAILED, "the server did not answer in time")),
        (
            255,
            answer("sent TERM\n")[:-4],
            b"",
            False,
            Ended(Outcome.FAILED, "the line broke before the answer was complete"),
        ),
        (
            255,
            answer("ended\n", "M"),
            b"",
            False,
            Ended(
                Outcome.NO_SHELL,
                "the server ran nothing of what it was asked (no shell, or a forced command)",
                "end M",
            ),
        ),
        (
            1,
            IN + b"This account is not available.\r\n",
            b"a banner\n",
            False,
            Ended(
                Outcome.NO_SHELL,
                "the server ran nothing of what it was asked (no shell, or a forced command)",
                "This account is not available.",
            ),
        ),
    ],
)
def test_no_answer(
    status: int | None, out: bytes, err: bytes, timed_out: bool, ended: Ended
) -> None:
    assert read_end("N", status, out, err, timed_out=timed_out) == ended


def test_a_shell_that_writes_without_end_runs_nothing() -> None:
    ended = read_end("N", None, IN + b"y\n" * 30000, b"", flooded=True)
    assert ended == Ended(Outcome.NO_SHELL, FLOODED)
    # An answer counts, whatever comes behind it.
    more = answer("no gone\n") + b"y\n" * 30000
    assert read_end("N", None, more, b"", flooded=True).outcome is Outcome.GONE


def test_an_answer_just_before_the_deadline_is_one() -> None:
    assert read_end("N", None, answer("no gone\n"), b"", timed_out=True).outcome is Outcome.GONE
