"""`reload` beside an ssh over whose control socket nobody answers: what it says, and what it does.

What is changed on a live connection is in tests/sshd/test_reload.py.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.support import scenarios
from tests.support.command import DENIED, WEB, FakeCli

OTHER = "*:12399:localhost:8080"
GONE = (
    "restarted, because its forwards could not be changed on the live connection: "
    "the tunnel's control socket is gone"
)


def texts(cli: FakeCli, name: str) -> list[str]:
    return [entry["text"] for entry in cli.journal(name, "changed")]


def test_what_cannot_be_changed_live_is_restarted_and_says_why(cli: FakeCli) -> None:
    cli.profiles(web={}, ha={})
    first = cli.up("web", "ha")
    ha = cli.asked("ha")["ssh_pid"]
    cli.profiles(web={"remote_forward": OTHER}, ha={})
    done = cli("reload")
    assert (done.status, done.out) == (0, "")
    assert done.err.splitlines() == [f"sshwrap: web: {GONE}", "sshwrap: ha: unchanged"]
    cli.wait_for_entry("web", "up", count=2)
    tunnel = cli.asked("web")
    assert (tunnel["drops"], tunnel["forwards"][0]["spec"]) == (0, OTHER)
    assert tunnel["ssh_pid"] != first["ssh_pid"]
    assert cli.asked("ha")["ssh_pid"] == ha
    started = scenarios.started(cli.fake, 3)
    assert started is not None
    assert OTHER in started["argv"]
    assert texts(cli, "web") == [GONE]


def test_quiet(cli: FakeCli) -> None:
    cli.profiles(web={})
    cli.up("web")
    assert cli("reload", "-q").err == ""
    cli.profiles(web={"remote_forward": OTHER})
    assert cli("reload", "-q").err == ""
    assert texts(cli, "web") == [GONE]


def test_many_that_were_not_touched_are_one_line(cli: FakeCli) -> None:
    names = [f"cam{number}" for number in range(7)]
    cli.profiles(web={}, **{name: {} for name in names})
    cli.up("web", *names)
    edited = {"connect_timeout": 5}
    cli.profiles(web=edited, **{name: {} for name in names})
    assert cli("reload").err.splitlines() == [
        "sshwrap: web: restarted, because connect_timeout was edited",
        "sshwrap: 7 others: unchanged",
    ]


def test_with_other_keys_it_is_another_ssh_at_once(cli: FakeCli) -> None:
    """Nothing is tried over the control socket of one that has to end anyway."""
    cli.profiles(web={})
    cli.up("web")
    edited = {"remote_forward": OTHER, "port": 2222, "user": "ann", "destination": "example.com"}
    cli.profiles(web=edited)
    done = cli("reload")
    said = "restarted, because destination, remote_forward, user and port were edited"
    assert done.err == f"sshwrap: web: {said}\n"
    cli.wait_for_entry("web", "up", count=2)
    assert texts(cli, "web") == [said]


def test_one_that_waits_takes_it_and_tries_at_once(cli: FakeCli) -> None:
    cli.profiles(web={})
    cli.server_says(DENIED, scenarios.up([WEB]))
    cli("up", "-d", "web")
    assert cli.asked("web")["state"] == "failed"
    cli.profiles(web={"remote_forward": OTHER})
    done = cli("reload")
    assert done.err == "sshwrap: web: the edited profile was taken over\n"
    cli.wait_for_entry("web", "up")
    assert cli.asked("web")["forwards"][0]["spec"] == OTHER


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_in_between(cli: FakeCli, state: str) -> None:
    """What was told of another port is not up with it."""
    gate, reached = cli.folder / "gate", cli.folder / "reached"
    held = [["touch", str(reached)], ["wait_for", str(gate)]]
    cli.profiles(web={})
    if state == "starting":
        cli.server_says([*scenarios.sign_in(), ["established"], *held, ["wait"]])
        cli("up", "-d", "web", "--timeout", "0")
    else:
        on_term = ["on", "TERM", [*held, ["exit", 0]]]
        ready = cli.folder / "ready"
        cli.server_says(
            [*scenarios.up([WEB])[:-1], on_term, ["touch", str(ready)], ["wait"]],
            scenarios.up([WEB]),
        )
        pid = cli.up("web")["supervisor_pid"]
        cli.wait_until("web", lambda _: ready.exists())
        os.kill(pid, signal.SIGUSR1)
    cli.wait_until("web", lambda t: t["state"] == state and reached.exists())
    cli.profiles(web={"remote_forward": OTHER})
    cli.server_says(scenarios.up([WEB]))
    done = cli("reload")
    said = "restarted, because remote_forward was edited"
    if state == "stopping":
        said = "the edited profile was taken over"
        gate.touch()
    assert done.err == f"sshwrap: web: {said}\n"
    cli.wait_until("web", lambda t: t["state"] == "up" and t["forwards"][0]["spec"] == OTHER)
    assert cli.asked("web")["drops"] == 0


def test_a_hang_up_is_told_in_the_journal(cli: FakeCli) -> None:
    cli.profiles(web={})
    front = cli.front("up", "web")
    cli.wait_for_entry("web", "up")
    cli.profiles(web={"remote_forward": OTHER})
    front.signal(signal.SIGHUP)
    assert cli.wait_for_entry("web", "changed")["text"] == GONE
    cli.wait_for_entry("web", "up", count=2)
    front.wait_for_words("restarted, because its forwards could not be changed")
