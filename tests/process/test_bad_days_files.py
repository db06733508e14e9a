"""Profiles and state that cannot be read or written: one line, nothing lost, no tunnel harmed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import scenarios
from tests.support.command import FakeCli, says_one_thing
from tests.support.needs import needs_root
from tests.support.sshwrap_cli import REPOSITORY, Done
from tests.support.waiting import wait_for

NOBODY = 65534
NAMELESS = 54321  # a user who stands in no passwd


def python_path() -> list[str]:
    """This checkout, and where pexpect and rich are."""
    import pexpect

    return [str(REPOSITORY), str(Path(pexpect.__file__).parents[1])]


@cache
def python_for_all() -> str:
    """A Python that any user may run, this checkout with it: ours may be in somebody's home."""
    env = {"PYTHONPATH": os.pathsep.join(python_path())}
    source = "import sys, pexpect, rich, sshwrap.cli; sys.exit(sys.version_info < (3, 11))"
    for program in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        argv = [program, "-c", source]
        try:
            done = subprocess.run(
                argv, env=env, user=NOBODY, group=NOBODY, capture_output=True, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return program
    pytest.skip("no Python that other users may run this checkout with")


class TestTheProfilesFile:
    @pytest.mark.parametrize("mode", [0o602, 0o777])
    def test_writable_for_others(self, cli: FakeCli, mode: int) -> None:
        cli.profiles(web={})
        cli.profiles_file.chmod(mode)
        for words, status in ((["up", "-d"], 78), (["check"], 78), (["status"], 1)):
            done = cli(*words)
            assert done.status == status
            assert says_one_thing(done) == f"{cli.profiles_file}: is writable for everybody"
            assert f"try: chmod go-w {cli.profiles_file}" in done.err
        assert cli.starts() == 0

    def test_it_becomes_so_while_a_tunnel_is_up(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        first = cli.up("web")
        cli.profiles_file.chmod(0o666)
        done = cli("status", "--json")
        tunnel = json.loads(done.out)["tunnels"][0]
        assert (done.status, tunnel["state"]) == (1, "up")
        assert says_one_thing(done).endswith("is writable for everybody")
        assert cli("reload").status == 78
        assert cli.asked("web")["ssh_pid"] == first["ssh_pid"]
        assert cli("down", "web").status == 0

    def test_a_directory(self, cli: FakeCli) -> None:
        cli.profiles_file.mkdir()
        for words in (["up"], ["up", "-d"], ["check"], ["show", "web"]):
            done = cli(*words)
            assert done.status == 78
            assert says_one_thing(done) == f"{cli.profiles_file}: is a directory, not a file"

    def test_missing(self, cli: FakeCli) -> None:
        done = cli("up", "-d")
        assert done.status == 2
        assert says_one_thing(done) == f"{cli.profiles_file}: no profiles there"
        assert cli("up", "web").status == 2
        assert cli("status").status == 0
        cli.wait_until_gone()

    @pytest.mark.parametrize("content", [b"\xff\xfe[\x00", b"\xc3("])
    def test_no_text(self, cli: FakeCli, content: bytes) -> None:
        cli.profiles_file.write_bytes(content)
        cli.profiles_file.chmod(0o600)
        done = cli("up", "-d")
        assert done.status == 78
        says_one_thing(done)


class TestAnotherUser:
    """Run by root, the command is run as somebody whom files do refuse."""

    pytestmark = needs_root

    @pytest.fixture
    def home(self) -> Iterator[Path]:
        """Where that user can get to."""
        folder = Path(tempfile.mkdtemp(prefix="user-", dir="/tmp"))
        os.chown(folder, NOBODY, NOBODY)
        yield folder
        shutil.rmtree(folder)

    @pytest.fixture
    def run(self, cli: FakeCli, home: Path) -> Callable[..., Done]:
        def run(*words: str, user: int = NOBODY, **env: str) -> Done:
            given = cli.env | {"HOME": str(home), "SSHWRAP_STATE_DIR": str(home / "state")}
            given |= {"SSHWRAP_PROFILES": str(home / "profiles.toml"), **env}
            given |= {"PYTHONPATH": os.pathsep.join(python_path())}
            done = subprocess.run(
                [python_for_all(), "-m", "sshwrap", *words],
                env={key: value for key, value in given.items() if value},
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                user=user,
                group=user,
                extra_groups=[],
                timeout=60,
                check=False,
            )
            return Done(done.returncode, done.stdout, done.stderr)

        return run

    def test_an_unreadable_profiles_file(self, run: Callable[..., Done], home: Path) -> None:
        file = home / "profiles.toml"
        file.write_text("")
        file.chmod(0)
        for words, status in ((["up"], 78), (["check"], 78), (["status"], 1)):
            done = run(*words)
            assert done.status == status
            assert says_one_thing(done) == f"{file}: cannot be read: permission denied"

    def test_no_home(self, run: Callable[..., Done], home: Path) -> None:
        home.chmod(0o755)
        done = run("status", user=NAMELESS, HOME="", SSHWRAP_STATE_DIR="")
        assert done.status == 1
        assert says_one_thing(done).startswith("no home directory: HOME is not set")
        assert "SSHWRAP_STATE_DIR" in done.err
        done = run("status", user=NAMELESS, HOME="")
        assert done.status == 0  # all that is needed is named

    def test_a_state_directory_of_somebody_else(self, run: Callable[..., Done], home: Path) -> None:
        state = home / "state"
        state.mkdir(mode=0o700)
        done = run("up", "-d")
        assert done.status == 1
        assert says_one_thing(done).startswith(f'"{state}" ')
        assert "  try: " in done.err

    def test_a_state_directory_that_is_not_writable(
        self, run: Callable[..., Done], home: Path
    ) -> None:
        home.chmod(0o500)
        done = run("up", "-d")
        assert done.status == 1
        assert says_one_thing(done) == f'"{home / "state"}" cannot be made or used'
        assert "said: Permission denied" in done.err

    def test_a_state_directory_of_somebody_else_seen_by_root(
        self, cli: FakeCli, tmp_path: Path
    ) -> None:
        cli.profiles(web={})
        state = tmp_path / "u" / "state"
        state.mkdir()
        os.chown(state, NOBODY, NOBODY)
        for words in (["up", "-d"], ["up"], ["run", "ssh", "-R", "1:h:2", "vps"]):
            done = cli(*words)
            assert done.status == 1
            assert says_one_thing(done).startswith(f'"{state}" belongs to ')
            assert "sudo -u" in done.err
        assert cli.own_processes() == []


class TestStrangePaths:
    def test_a_state_directory_that_is_a_file(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        (cli.folder / "state").write_text("")
        done = cli("up", "-d")
        assert done.status == 1
        assert says_one_thing(done) == f'"{cli.folder / "state"}" is not a directory'
        (cli.folder / "state").unlink()

    @pytest.mark.parametrize("name", ["a state %h 100%", "-d 'quotes' \"and\" $HOME;`x` 网络"])
    def test_a_state_directory_with_any_name(self, cli: FakeCli, name: str) -> None:
        cli.env["SSHWRAP_STATE_DIR"] = str(cli.folder / name)
        cli.profiles(web={})
        self.use(cli)

    def test_a_state_directory_too_deep_for_a_socket(self, cli: FakeCli) -> None:
        deep = cli.folder.joinpath(*["a deep %d"] * 20)
        cli.env["SSHWRAP_STATE_DIR"] = str(deep)
        cli.profiles(web={}, **{"n" * 64: {}})
        assert len(cli.places().background_socket) < 85
        assert not cli.places().background_socket.startswith(str(deep))
        assert cli.up("n" * 64)["state"] == "up"
        self.use(cli)
        assert Path(cli.places().socket_dir).stat().st_mode & 0o777 == 0o700

    def use(self, cli: FakeCli) -> None:
        """All that has a path in it: sockets, locks, journal, wanted."""
        assert cli.up("web")["state"] == "up"
        number = cli.starts()
        started = scenarios.started(cli.fake, number)
        assert started is not None
        control = started["argv"][started["argv"].index("-S") + 1]
        assert "%" not in control.replace("%%", "")
        assert control.replace("%%", "%").startswith(cli.places().control_dir)
        assert len(os.fsencode(control.replace("%%", "%"))) < 85
        assert cli("logs", "web").status == 0
        assert cli("restart", "web").status == 0
        front = cli.front("up", "web")
        front.wait_for_words("Ctrl-C stops watching")
        front.signal(signal.SIGINT)
        assert front.wait() == 0
        assert cli("down").status == 0


class TestDiskFull:
    pytestmark = needs_root

    @pytest.fixture
    def small_disk(self, cli: FakeCli) -> Iterator[Path]:
        """The state directory on a disk that can be filled up."""
        state = cli.folder / "state"
        state.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", str(state)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("this machine lets nobody mount")
        yield state
        cli.close()
        umount = ["umount", str(state)]
        # Busy for a moment: what was killed lets go of its files when it is not a process any more.
        wait_for(lambda: subprocess.run(umount, capture_output=True).returncode == 0, what="umount")

    @staticmethod
    def fill(disk: Path) -> Path:
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 1024)
        return filler

    def test_while_a_tunnel_is_up(self, cli: FakeCli, small_disk: Path) -> None:
        cli.profiles(web={})
        front = cli.front("up", "web")
        cli.wait_for_entry("web", "up")
        filler = self.fill(small_disk)
        # What is left of the journal's own page is filled as well.
        path = cli.front_socket(front.pid)
        for number in range(2, 40):
            front.signal(signal.SIGUSR1)
            cli.wait_for_starts(number)
            tunnel = cli.wait_until("web", "up", path=path)
            if "cannot be written" in front.out:
                break
        assert front.out.count("cannot be written: no space left on device") == 1
        assert tunnel["ok"]
        filler.unlink()
        before = len(cli.journal("web"))
        front.signal(signal.SIGUSR1)
        cli.wait_for_starts(cli.starts() + 1)
        cli.wait_until("web", "up", path=path)
        entries = cli.journal("web")
        assert len(entries) >= before + 2  # the new one, and what had waited for the disk
        assert [entry["event"] for entry in entries].count("up") == cli.starts()

    def test_from_the_beginning(self, cli: FakeCli, small_disk: Path) -> None:
        """A full disk keeps nobody from a tunnel; that it is wanted is then not remembered."""
        cli.profiles(web={})
        cli.places().prepare_state_dir()
        filler = self.fill(small_disk)
        done = cli("up", "-d", "web")
        assert done.status == 0, done
        assert cli("status", "web").status == 0
        filler.unlink()
        assert cli("down", "web").status == 0
