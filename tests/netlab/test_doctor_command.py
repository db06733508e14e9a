"""`doctor --fix` and `--undo` as a person runs them: the plan, the question, what comes of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netlab.conftest import home_cli
from tests.netlab.fixing import listens_at, sshd_files
from tests.netlab.home_cli import HomeCli, served
from tests.netlab.lab import Lab
from tests.netlab.plain import PORT
from tests.support.command import Terminal
from tests.support.needs import needs_program
from tests.support.waiting import wait_for

ADMIN = ("--admin", "root@vps4.example.com")
FIX = ("doctor", "web", "--fix", "--public", *ADMIN)
INSIDE, EVERYWHERE = {"127.0.0.1", "::1"}, {"0.0.0.0", "::"}
QUESTION = "Apply? [y/N]"
LEFT = f"{PORT}:localhost:8080"  # no bind address: the server chooses
PASSWORD = r"pass 'word' \n of $HOME"
# Everything that somebody might have written in there stays: line ends, quotes, comments, blanks.
TEXT = (
    "# mine: ü\r\n"
    "[profile.web]\r\n"
    "destination = 'tunnel@vps4.example.com'   # the small one\r\n"
    "remote_forward = [\r\n"
    f"  '{LEFT}',   # to the page\r\n"
    "]\r\n"
    "server_alive_interval = 1\r\n"
    "\r\n"
    "[profile.other]\r\n"
    "destination = 'tunnel@vps4.example.com'\r\n"
    "autostart = false\r\n"
    f"remote_forward = '2299:localhost:8080' # not '{LEFT}'"
)


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Its server has the GatewayPorts that every server has."""
    lab = make_lab()
    lab.server.start_sshd()
    lab.serve_page()
    return lab


def linked_profiles(cli: HomeCli, text: str = TEXT) -> Path:
    """The profiles file is a link to one that others may read; its place, from outside."""
    root = cli.lab.home.root
    cli.lab.home.put("/srv/cli/kept", None, cli.account, 0o700)
    cli.lab.home.put("/srv/cli/kept/tunnels.toml", "", cli.account, 0o644)
    kept = root / "srv/cli/kept/tunnels.toml"
    kept.write_bytes(text.encode())
    link = root / "srv/cli/profiles.toml"
    link.unlink(missing_ok=True)
    link.symlink_to("kept/tunnels.toml")
    return kept


@contextlib.contextmanager
def at_terminal(cli: HomeCli, *words: str) -> Iterator[Terminal]:
    terminal = cli.terminal(*words)
    try:
        yield terminal
    finally:
        terminal.close()


def said(terminal: Terminal) -> str:
    return terminal.raw.decode().replace("\r\n", "\n")


def test_nothing_is_changed_before_somebody_says_yes(cli: HomeCli) -> None:
    lab, kept = cli.lab, linked_profiles(cli)
    cli.up("web")
    before, ssh = sshd_files(lab), cli.asked("web")["ssh_pid"]

    def is_untouched() -> bool:
        same = sshd_files(lab) == before and kept.read_bytes() == TEXT.encode()
        return same and cli.asked("web")["ssh_pid"] == ssh

    for keys, status in ((b"n\n", 1), (b"\n", 1), (b"\x04", 1)):
        with at_terminal(cli, *FIX) as terminal:
            terminal.wait_for_words(QUESTION)
            terminal.type(keys)
            assert terminal.wait() == status
            assert said(terminal).splitlines()[-1] == "nothing was changed"
        assert is_untouched()
    with at_terminal(cli, *FIX) as terminal:
        terminal.wait_for_words(QUESTION)
        # As Ctrl-C does; but that would also end the nsenter(1) that tells the exit status.
        os.kill(cli.command_of(*FIX), signal.SIGINT)
        assert terminal.wait() == 130
        assert said(terminal).splitlines()[-1] == "nothing was changed"
    assert is_untouched()

    done = cli(*FIX)
    assert done.status == 1, done
    assert "nobody is there to be asked, so nothing was changed" in done.err
    assert "--yes" in done.err
    assert "+    GatewayPorts clientspecified" in done.out
    with at_terminal(cli, *FIX, "--no-input") as terminal:
        assert terminal.wait() == 1
        assert QUESTION not in said(terminal)
    done = cli(*FIX, "--dry-run")
    assert done.status == 0, done
    assert f"+*:{LEFT}" in done.out
    assert is_untouched()


def test_yes_changes_both_and_undo_takes_the_servers_part_back(cli: HomeCli) -> None:
    lab, kept = cli.lab, linked_profiles(cli)
    before = {name: text for name, text in sshd_files(lab).items() if "sshwrap" not in name}
    inside = Path(kept)
    mode, owner = inside.stat().st_mode, (inside.stat().st_uid, inside.stat().st_gid)
    ssh = cli.up("web")["ssh_pid"]
    with at_terminal(cli, *FIX) as terminal:
        terminal.wait_for_words(QUESTION)
        shown = said(terminal)
        for line in (
            "on vps4.example.com, as root:",
            "  +Match User tunnel",
            "  +    GatewayPorts clientspecified",
            "in /srv/cli/profiles.toml, profile web:",
            f"  -{LEFT}",
            f"  +*:{LEFT}",
        ):
            assert line in shown.splitlines(), shown
        terminal.type(b"y\n")
        assert terminal.wait(within=90) == 0, said(terminal)
        shown = said(terminal)
        assert shown.count("[y/N]") == 1
        assert "a new sign-in works, and has it" in shown
        assert "sshwrap doctor web --undo --admin root@vps4.example.com" in shown
    assert kept.read_bytes() == TEXT.replace(f"'{LEFT}',", f'"*:{LEFT}",').encode()
    assert (kept.stat().st_mode, (kept.stat().st_uid, kept.stat().st_gid)) == (mode, owner)
    assert (lab.home.root / "srv/cli/profiles.toml").is_symlink()
    assert sorted(path.name for path in kept.parent.iterdir()) == ["tunnels.toml"]
    assert cli.asked("web")["ssh_pid"] != ssh
    assert lab.server.listeners(PORT) == EVERYWHERE
    served(lab)

    done = cli(*FIX)
    assert done.status == 0, done
    assert "nothing to do" in done.out
    done = cli("doctor", "web", "--fix", *ADMIN)
    assert done.status == 0, done
    assert "nothing to do" in done.out
    assert f"{PORT} is held by the running tunnel" in done.out

    done = cli("doctor", "web", "--undo", *ADMIN, "--yes")
    assert done.status == 0, done
    assert "a new sign-in works\n" in done.out
    assert "web still asks for every address" in done.out
    assert {name: text for name, text in sshd_files(lab).items() if ".sshwrap-" not in name} == (
        before
    )
    assert listens_at(lab) == INSIDE
    done = cli("doctor", "web", "--undo", *ADMIN, "--yes")
    assert done.status == 0, done
    assert "there is nothing to take back" in done.out


def test_the_tunnel_that_carries_its_caller_is_not_restarted(cli: HomeCli) -> None:
    lab = cli.lab
    linked_profiles(cli)
    ssh = cli.up("web")["ssh_pid"]
    held = f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; sleep 300; :"
    with lab.server.popen("bash", "-c", held):

        def its_port() -> str:
            rows = lab.home.run("ss", "-Htn", "dport", "=", ":8080", tools=True).stdout.split()
            found = [word for word in rows if ":" in word and not word.endswith(":8080")]
            return found[0].rpartition(":")[2] if found else ""

        port = wait_for(its_port, what="somebody has come in through the tunnel")
        cli.env["SSH_CONNECTION"] = f"127.0.0.1 {port} 127.0.0.1 8080"
        done = cli(*FIX, "--yes")
    assert done.status == 1, done
    assert "not restarted: web: you are connected through it" in done.out
    assert "sshwrap restart web --yes" in done.out
    assert listens_at(lab) == EVERYWHERE
    assert cli.asked("web")["ssh_pid"] == ssh


def test_a_tunnel_of_run_is_told_what_to_ask_for(cli: HomeCli) -> None:
    lab = cli.lab
    command = ("ssh", "-R", LEFT, "tunnel@vps4.example.com")
    assert cli("run", "-d", "--name", "web", *command).status == 0
    ssh = cli.asked("web")["ssh_pid"]
    done = cli(*FIX, "--yes")
    assert done.status == 1, done  # the server is as wanted, and the tunnel asks for the same still
    assert f"web has no file: start it again with -R '*:{LEFT}'" in done.out
    assert listens_at(lab) == EVERYWHERE
    assert cli.asked("web")["ssh_pid"] == ssh
    assert lab.server.listeners(PORT) == INSIDE


@needs_program("sudo")
def test_sudos_password_is_typed_once_and_seen_nowhere(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    lab.server.start_sshd()
    lab.serve_page()
    lab.server.allow_sudo("tunnel", password=PASSWORD)
    with home_cli(lab) as cli:
        with lab.server.popen("sh", "-c", f': "{PASSWORD}"; sleep 300; :'):  # it would be seen
            wait_for(lambda: where_it_stands(lab), what="somebody's argv is seen")
        cli.profiles(web={})
        assert cli("up", "-d", "web").status == 1  # for the server alone
        before = sshd_files(lab)
        fix = ("doctor", "web", "--fix")
        prompt = "[sudo] password for tunnel:"
        done = cli(*fix, "--yes")
        assert done.status == 1, done
        assert "sudo asks for a password, and nobody is there to type it" in done.err
        for keys, words in (
            (b"wrong\n", "sudo did not take the password; it was tried once"),
            (b"\x04", "no password was given"),
        ):
            with at_terminal(cli, *fix) as terminal:
                terminal.wait_for_words(prompt)
                terminal.type(keys)
                assert terminal.wait() == 1
                shown = said(terminal)
                assert words in shown.replace("\n  ", " ")
                assert "wrong" not in shown
                assert QUESTION not in shown
                assert "sshwrap doctor web --fix --admin root@vps4.example.com" in shown
            assert sshd_files(lab) == before
        with at_terminal(cli, *fix) as terminal:
            terminal.wait_for_words(prompt)
            terminal.type(PASSWORD.encode() + b"\n")
            terminal.wait_for_words(QUESTION)
            terminal.type(b"y\n")
            seen: list[str] = []

            def is_over() -> bool:
                seen.extend(where_it_stands(lab))
                return b"Undo at any time" in terminal.raw

            wait_for(is_over, within=90, what=lambda: said(terminal))
            assert terminal.wait() == 0, said(terminal)
            assert "word" not in said(terminal).replace("password for tunnel", "")
        assert seen == []
        state = Path(cli.places().state_dir)
        for file in (path for path in state.rglob("*") if path.is_file()):
            assert PASSWORD.encode() not in file.read_bytes(), file
        assert PASSWORD not in lab.server.log()
        assert lab.server.listeners(PORT) == EVERYWHERE
        served(lab)


def where_it_stands(lab: Lab) -> list[str]:
    """In which argv or environment of the two hosts the password can be read."""
    found = []
    for host in (lab.home, lab.server):
        for one in host.processes():
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    data = Path("/proc", str(one.pid), name).read_bytes()
                    if b"of $HOME" in data:
                        found.append(f"{host.name}: {name} of {one.title}")
    return found
