"""How doctor's scripts become root's: root itself, sudo, and sudo that asks for a password."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sshwrap.doctor.apply import Result
from sshwrap.doctor.apply_root import NoRoot, Root, WithPassword, become_root
from sshwrap.doctor.facts import Rights
from tests.netlab.fixing import Fix, LabLine, line, listens_at
from tests.netlab.lab import Lab
from tests.support.needs import needs_program

pytestmark = needs_program("sudo")

PASSWORD = "touch /tmp/obeyed; 'pass $word' \\n ü"
ASKS = "tunnel ALL=(ALL) ALL\n"
EVERYWHERE = {"0.0.0.0", "::"}


@contextmanager
def with_sudo(
    make_lab: Callable[..., Lab], rules: str, defaults: str = ""
) -> Iterator[tuple[Lab, LabLine]]:
    """A line to the account "tunnel", whom sudoers allow that."""
    lab = make_lab()
    lab.server.start_sshd()
    text = f"Defaults !lecture, secure_path=/usr/sbin:/usr/bin:/sbin:/bin{defaults}\n"
    lab.server.put("/etc/sudoers", f"{text}root ALL=(ALL) ALL\n{rules}", mode=0o440)
    lab.server.run("chpasswd", text=f"tunnel:{PASSWORD}\n")
    with line(lab, "tunnel") as by:
        yield lab, by


def become(by: LabLine, answer: str | None, asked: list[str] | None = None) -> Root | NoRoot:
    def ask(prompt: str) -> str | None:
        if asked is not None:
            asked.append(prompt)
        return answer

    return become_root(by, Rights.SUDO_PASSWORD, ask, secrets.token_hex(8), user="tunnel")


def was_obeyed(lab: Lab) -> bool:
    return (lab.server.root / "tmp/obeyed").exists()


def test_sudo_that_does_not_ask(make_lab: Callable[..., Lab]) -> None:
    with with_sudo(make_lab, "tunnel ALL=(ALL) NOPASSWD: ALL\n") as (lab, by):
        asked: list[str] = []
        root = become(by, PASSWORD, asked)
        assert not isinstance(root, NoRoot)
        assert asked == []
        assert Fix(lab).apply(root).result is Result.APPLIED
        assert listens_at(lab) == EVERYWHERE


@pytest.mark.parametrize("defaults", ["", ", timestamp_timeout=0", ", use_pty", ", !use_pty"])
def test_sudo_with_a_password(make_lab: Callable[..., Lab], defaults: str) -> None:
    with with_sudo(make_lab, ASKS, defaults) as (lab, by):
        asked: list[str] = []
        root = become(by, PASSWORD, asked)
        assert not isinstance(root, NoRoot), root
        assert asked == ["[sudo] password for tunnel: "]
        outcome = Fix(lab).apply(root)
        assert outcome.result is Result.APPLIED, outcome
        assert listens_at(lab) == EVERYWHERE
        assert len(asked) == 1
        assert not was_obeyed(lab)


def test_the_password_is_in_no_argv_and_no_environment(make_lab: Callable[..., Lab]) -> None:
    with with_sudo(make_lab, ASKS, ", timestamp_timeout=0") as (_, by):
        root = become(by, PASSWORD)
        assert isinstance(root, WithPassword)
        assert "pass" not in repr(root).replace("WithPassword", "")
        script = b"id -u; for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do cat $f; done"
        ran = root.run(script, 30)
        assert ran.out.startswith(b"0\n")
        assert b"sudo" in ran.out
        assert b"$word" not in ran.out + ran.err


def test_a_password_is_never_a_command_where_sudo_does_not_ask(
    make_lab: Callable[..., Lab],
) -> None:
    with with_sudo(make_lab, "tunnel ALL=(ALL) NOPASSWD: /usr/bin/sh, /bin/sh\n") as (lab, by):
        # "sudo -n true" is refused, so the password is offered to a sudo that does not want it.
        root = WithPassword(by, PASSWORD, secrets.token_hex(8))
        ran = root.run(b"id -u\n", 30)
        assert ran.out == b"0\n", ran
        assert not was_obeyed(lab)


def test_a_wrong_password_is_tried_once(make_lab: Callable[..., Lab]) -> None:
    with with_sudo(make_lab, ASKS, ", logfile=/var/log/sudo.log") as (lab, by):
        asked: list[str] = []
        root = become(by, "touch /tmp/obeyed", asked)
        assert isinstance(root, NoRoot)
        assert root.reason == "sudo did not take the password; it was tried once"
        assert len(asked) == 1
        log = (lab.server.root / "var/log/sudo.log").read_text()
        assert "1 incorrect password attempt" in log
        assert not was_obeyed(lab)


@pytest.mark.parametrize("answer", [None, ""])
def test_nobody_types_a_password(make_lab: Callable[..., Lab], answer: str | None) -> None:
    with with_sudo(make_lab, ASKS) as (_, by):
        root = become(by, answer)
        assert isinstance(root, NoRoot)
        assert root.reason == "no password was given"
        silent = become_root(by, None, None, secrets.token_hex(8))
        assert isinstance(silent, NoRoot)
        assert "asks for a password" in silent.reason


def test_sudo_that_wants_a_terminal(make_lab: Callable[..., Lab]) -> None:
    with with_sudo(make_lab, ASKS, ", requiretty") as (_, by):
        root = become(by, PASSWORD)
        assert isinstance(root, NoRoot)
        assert root.reason == "sudo there wants a terminal (requiretty)"


def test_an_account_that_sudo_does_not_know(make_lab: Callable[..., Lab]) -> None:
    with with_sudo(make_lab, "") as (lab, by):
        root = become(by, PASSWORD)
        assert isinstance(root, NoRoot)
        assert root.reason == "sudo there does not let this account become root"
        assert not was_obeyed(lab)
