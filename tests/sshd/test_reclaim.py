"""A stale session on a real sshd: recorded over a tunnel, left behind, ended by a sign-in."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sshwrap.ssh.end import Ended, Outcome, Taken
from sshwrap.ssh.look import COMMAND
from sshwrap.ssh.mux import FLOODED, session_argv
from sshwrap.ssh.side import side_argv
from sshwrap.supervisor.reclaim import (
    Reclaim,
    make_record,
    read_record,
    remove_record,
    why_not_now,
    write_record,
)
from sshwrap.supervisor.sign_in import SignedIn
from tests.support.masters import seen
from tests.support.needs import needs_namespaces, needs_root, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.processes import Process, descendants, process, processes
from tests.support.sshd import Sshd
from tests.support.stale import ENV, UID, V9_2, MakePlace, Place, with_account

pytestmark = needs_sshd

MakeSshd = Callable[..., Sshd]


@pytest.fixture
def account(make_place: MakePlace, make_sshd: MakeSshd, home: Path) -> Place:
    """As an account that is not root."""
    return make_place(with_account(make_sshd, home))


class TestFromEndToEnd:
    def test_our_own(self, place: Place) -> None:
        self.check(place)

    @needs_namespaces
    @pytest.mark.parametrize(
        ("shell", "gateway_ports"),
        [
            ("/bin/sh", "clientspecified"),
            ("/bin/bash", "yes"),
            ("/bin/csh", "no"),
            ("/usr/bin/fish", "yes"),
        ],
    )
    def test_of_an_account(
        self,
        make_place: MakePlace,
        make_sshd: MakeSshd,
        home: Path,
        gateway_ports: str,
        shell: str,
    ) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell} on this machine")
        options = {"GatewayPorts": gateway_ports}
        self.check(make_place(with_account(make_sshd, home, shell, options=options)))

    def check(self, place: Place) -> None:
        port = free_port()
        master, record = place.tunnel(port)
        write_record(place.places, record)
        assert "still runs" in (why_not_now(record, place.order, place.places) or "")
        place.lose(master)
        found = read_record(place.places, "web")
        assert found == record
        assert why_not_now(found, place.order, place.places) is None
        assert listeners(port)
        ended = place.reclaim(found, port)
        assert ended == Ended(Outcome.ENDED, "ended our old session on the server")
        assert not listeners(port)
        again, _ = place.tunnel(port)  # which ssh has confirmed
        assert place.reclaim(found, port).outcome is Outcome.GONE
        assert again.watched.ended is None
        remove_record(place.places, "web")
        remove_record(place.places, "web")
        assert read_record(place.places, "web") is None


class TestNothingElse:
    """Whatever the record says: no other session of the server is touched."""

    def test_another_tunnel_of_the_account(self, place: Place) -> None:
        port, other_port = free_port(), free_port()
        other, _ = place.tunnel(other_port)
        stale = place.stale(port)
        also_stale_port = free_port()
        place.stale(also_stale_port)
        assert place.reclaim(stale, port).outcome is Outcome.ENDED
        assert not listeners(port)
        assert listeners(other_port)
        assert listeners(also_stale_port)
        assert other.watched.ended is None

    def test_a_pid_that_is_another_tunnels_now(self, place: Place) -> None:
        port = free_port()
        _, other = place.tunnel(port)
        old = replace(other, session_started=other.session_started - 1)
        ended = place.reclaim(old, port)
        assert (ended.outcome, ended.taken[:1]) == (
            Outcome.GONE,
            (Taken(port, other.session_uid),),
        )
        assert "another process" in ended.reason
        assert listeners(port)

    def test_a_server_that_has_restarted(self, place: Place) -> None:
        port = free_port()
        _, record = place.tunnel(port)
        boot = record.session_boot_id[:-4] + ("0000" if record.session_boot_id[-4:] > "0" else "1")
        ended = place.reclaim(replace(record, session_boot_id=boot), port)
        assert ended.outcome is Outcome.GONE
        assert listeners(port)

    @needs_namespaces
    def test_another_users_session(self, account: Place) -> None:
        """sshd's own listener and monitors are root's: an account could not end them anyhow."""
        _, record = account.tunnel(free_port())
        top = process(account.server.pid)
        assert top is not None
        found = account.reclaim(replace(record, session_pid=top.pid, session_started=top.started))
        assert found == Ended(Outcome.NOT_OURS, "the recorded process is another account's")
        stranger = replace(record, session_uid=UID + 1)
        assert account.reclaim(stranger).outcome is Outcome.NOT_OURS
        assert process(top.pid) is not None
        assert process(record.session_pid) is not None

    # An sshd that is not root cannot give anybody a terminal: chown(2) of it is refused.
    @pytest.mark.parametrize("terminal", [pytest.param("-tt", marks=needs_root), "-T"])
    def test_an_interactive_session(self, place: Place, terminal: str) -> None:
        """With a terminal, and a command without one; each exactly as recorded."""
        _, record = place.tunnel(free_port())
        before = {one.pid for one in sshds(place.server)}
        argv = ["ssh", "-F", str(place.server.config), terminal, "--", place.server.alias]
        person = place.world.start([*argv, "echo ready; exec cat"], LC_ALL="C")
        place.world.run_until(lambda: "ready" in str(person.told))
        with_children = [
            one
            for one in sshds(place.server)
            if one.pid not in before and any(below.argv == ("cat",) for below in children(one))
        ]
        (theirs,) = with_children
        session = replace(record, session_pid=theirs.pid, session_started=theirs.started)
        ended = place.reclaim(session)
        assert ended.outcome is Outcome.NOT_OURS
        assert ("terminal" in ended.reason) == (terminal == "-tt")
        assert process(theirs.pid) is not None
        assert person.ended is None

    def test_a_process_that_is_no_sshd(self, place: Place) -> None:
        _, record = place.tunnel(free_port())
        ours = process(os.getpid())
        assert ours is not None
        ended = place.reclaim(replace(record, session_pid=ours.pid, session_started=ours.started))
        assert ended.outcome is Outcome.NOT_OURS

    def test_the_session_that_asks(self, place: Place) -> None:
        """Over the control socket of the very tunnel."""
        port = free_port()
        master, record = place.tunnel(port)
        argv = session_argv(master.path, COMMAND)
        ended = place.reclaim(record, port, argv=argv)
        assert ended == Ended(
            Outcome.NOT_OURS,
            "the recorded process is the one that asks",
            taken=ended.taken,
        )
        assert listeners(port)


def sshds(server: Sshd) -> list[Process]:
    return [one for one in descendants(server.pid) if one.title.startswith("sshd")]


def children(parent: Process) -> list[Process]:
    return processes(lambda one: one.parent == parent.pid)


class TestNoAnswer:
    def test_interrupted_half_way(self, place: Place) -> None:
        """Closed while it is under way, at several points; nothing is told, and the next one is
        told the truth, whatever the one before it had come to."""
        port = free_port()
        record = place.stale(port)
        answers: list[Ended] = []
        argv = side_argv(place.order.profile, V9_2, COMMAND)
        for moment in (0, 1, 2):
            before = place.server.log().count("Accepted publickey")
            reclaim = Reclaim(
                argv, ENV, record, [port], loop=place.world.loop, on_done=answers.append
            )
            if moment == 1:
                place.world.run_until(
                    lambda before=before: place.server.log().count("Accepted publickey") > before
                )
            elif moment == 2:
                place.world.run_until(lambda: not listeners(port))
            told = len(answers)  # that the port is free may be seen after the answer is there
            reclaim.close()
            reclaim.close()
            place.world.turn()
            assert len(answers) == told
        assert place.reclaim(record, port).outcome is Outcome.GONE
        assert place.tunnel(port)

    def test_a_session_that_is_deaf(self, place: Place) -> None:
        """Stopped on the server: it takes a KILL."""
        port = free_port()
        record = place.stale(port)
        os.kill(record.session_pid, signal.SIGSTOP)
        ended = place.reclaim(record, port, deadline=30)  # it is waited for by counting forks
        assert ended.outcome is Outcome.ENDED
        assert "KILL" in ended.reason
        assert not listeners(port)

    @needs_namespaces
    def test_no_shell(self, make_place: MakePlace, make_sshd: MakeSshd, home: Path) -> None:
        shell = home / "shell"
        shell.write_text('#!/bin/sh\nexec /bin/sh "$@"\n')
        shell.chmod(0o755)
        place = make_place(with_account(make_sshd, home, str(shell)))
        port = free_port()
        record = place.stale(port)
        shell.write_text("#!/bin/sh\necho This account is not available.\nexit 1\n")
        ended = place.reclaim(record, port)
        assert (ended.outcome, ended.said) == (
            Outcome.NO_SHELL,
            "This account is not available.",
        )
        assert listeners(port)
        assert place.sign_in() == SignedIn(True)

    @needs_namespaces
    def test_a_shell_that_writes_without_end(
        self, make_place: MakePlace, make_sshd: MakeSshd, home: Path
    ) -> None:
        """It is not read until the deadline; and a sign-in is one all the same."""
        shell = home / "shell"
        shell.write_text('#!/bin/sh\nexec /bin/sh "$@"\n')
        shell.chmod(0o755)
        place = make_place(with_account(make_sshd, home, str(shell)))
        port = free_port()
        record = place.stale(port)
        shell.write_text("#!/bin/sh\nexec yes\n")
        ended = place.reclaim(record, port, deadline=600.0)
        assert ended == Ended(Outcome.NO_SHELL, FLOODED)
        assert listeners(port)
        assert place.sign_in(command=COMMAND, deadline=600.0) == SignedIn(True)

    def test_sessions_are_refused(self, place: Place) -> None:
        port = free_port()
        record = place.stale(port)
        place.server.options["MaxSessions"] = 0
        place.server.reload()
        ended = place.reclaim(record, port)
        assert ended.outcome is Outcome.NO_SHELL
        assert "open failed" in ended.said
        assert listeners(port)
        assert place.sign_in() == SignedIn(True)

    def test_a_key_that_is_no_longer_known(self, place: Place) -> None:
        record = place.stale(free_port())
        place.server.authorized_keys.write_text("")
        ended = place.reclaim(record)
        assert (ended.outcome, ended.reason) == (Outcome.FAILED, "the second sign-in failed")
        assert "Permission denied" in ended.said
        answer = place.sign_in()
        assert (answer.got_through, "Permission denied" in answer.words) == (False, True)

    def test_a_frozen_server(self, place: Place) -> None:
        _, record = place.tunnel(free_port())
        os.kill(place.server.pid, signal.SIGSTOP)
        try:
            ended = place.reclaim(record, deadline=0.5)
            assert ended == Ended(Outcome.FAILED, "the second sign-in took too long")
            assert not place.sign_in(deadline=0.5).got_through
        finally:
            os.kill(place.server.pid, signal.SIGCONT)

    def test_no_ssh(self, place: Place) -> None:
        _, record = place.tunnel(free_port())
        ended = place.reclaim(record, argv=("/no/such/ssh",))
        assert (ended.outcome, ended.reason) == (
            Outcome.FAILED,
            '"/no/such/ssh" cannot be started',
        )

    def test_a_session_that_the_look_did_not_see(self, place: Place) -> None:
        port = free_port()
        master, _ = place.tunnel(port)
        look = seen(master, port)
        for less in (replace(look, session=None), replace(look, boot_id=None)):
            assert make_record(place.order, less, 2, place.places) is None


def test_what_a_record_is_made_of(place: Place) -> None:
    port = free_port()
    master, record = place.tunnel(port)
    found = process(record.session_pid)
    assert found is not None
    assert (found.title[:4], found.started) == ("sshd", record.session_started)
    assert record.ssh_pid == master.watched.child.pid
    ssh = process(record.ssh_pid)
    assert ssh is not None
    assert (ssh.started, record.session_uid) == (record.ssh_started, os.getuid())
