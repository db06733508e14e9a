"""Directories as the system has them: modes, owners, links, no home, no room for a socket."""

from __future__ import annotations

import os
import pwd
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sshwrap.errors import UserError
from sshwrap.paths import CONTROL_NAME_BYTES, Places, find_places
from tests.support.needs import needs_root

NOBODY = 65534


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that other users can look into, as pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: str | Path) -> int:
    return Path(path).stat().st_mode & 0o7777


def refusal(state_dir: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        Places("/p.toml", str(state_dir)).prepare_state_dir()
    assert str(state_dir) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize("mask", [0o022, 0o000, 0o777])
def test_all_directories_are_made_and_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    places = Places("/p.toml", str(tmp_path / "new" / "deeper" / "state"))
    with umask(mask):
        places.prepare_state_dir()
        places.prepare_state_dir()
    for path in (
        *(places.profile_lock("web"), places.wanted_file("web"), places.journal_file("web")),
        *(places.front_lock(1), places.front_socket(1), places.background_lock),
        *(places.control_dir + "/x", places.known_cache, places.state_dir),
    ):
        assert mode(Path(path).parent) == 0o700


@pytest.mark.parametrize("found", [0o777, 0o750, 0o000, 0o500, 0o1700])
def test_our_own_directory_is_made_private(tmp_path: Path, found: int) -> None:
    (tmp_path / "state" / "journal").mkdir(parents=True)
    (tmp_path / "state" / "journal").chmod(found)
    (tmp_path / "state").chmod(found)
    Places("/p.toml", str(tmp_path / "state")).prepare_state_dir()
    assert (mode(tmp_path / "state"), mode(tmp_path / "state" / "journal")) == (0o700, 0o700)


def test_a_link_of_our_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "disk")
    Places("/p.toml", str(tmp_path / "state")).prepare_state_dir()
    assert (tmp_path / "disk" / "journal").is_dir()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "state of mind").touch()
    error = refusal(tmp_path / "state of mind")
    assert error.message.endswith('state of mind" is not a directory')
    assert error.advice is not None
    subprocess.run(shlex.split(error.advice), check=True)
    Places("/p.toml", str(tmp_path / "state of mind")).prepare_state_dir()


def test_a_file_further_up_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "state").said == "Not a directory"


@needs_root
def test_another_users_directory(open_dir: Path) -> None:
    state = open_dir / "state"
    state.mkdir()
    os.chown(state, NOBODY, -1)
    error = refusal(state)
    assert error.message == f'"{state}" belongs to nobody, and you are root'
    assert error.advice == "sudo -u nobody sshwrap …"
    assert list(state.iterdir()) == []


@needs_root
def test_roots_directory_left_behind_by_sudo(open_dir: Path) -> None:
    state = open_dir / "my state"
    state.mkdir(mode=0o755)
    with as_nobody():
        error = refusal(state)
    assert error.message == f'"{state}" belongs to root, and you are nobody'
    assert error.advice == f"sudo chown -R nobody: '{state}'"
    subprocess.run(shlex.split(error.advice)[1:], check=True)
    with as_nobody():
        Places("/p.toml", str(state)).prepare_state_dir()


@needs_root
def test_a_directory_of_ours_inside_that_is_roots(open_dir: Path) -> None:
    (open_dir / "state").mkdir()
    (open_dir / "state" / "journal").mkdir()
    os.chown(open_dir / "state", NOBODY, -1)
    with as_nobody():
        assert 'state/journal" belongs to root' in refusal(open_dir / "state").message


@needs_root
def test_a_place_where_we_may_not_write(open_dir: Path) -> None:
    with as_nobody():
        error = refusal(open_dir / "state")
    assert error.message == f'"{open_dir}/state" cannot be made or used'
    assert error.said == "Permission denied"
    assert error.advice == f"export SSHWRAP_STATE_DIR=/var/tmp/sshwrap-{NOBODY}"


@needs_root
def test_a_link_that_somebody_else_made(open_dir: Path, tmp_path: Path) -> None:
    (open_dir / "state").symlink_to(tmp_path)
    os.chown(open_dir / "state", NOBODY, -1, follow_symlinks=False)
    assert refusal(open_dir / "state").message == f'"{open_dir}/state" is a link that nobody made'
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_a_read_only_file_system(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,mode=700,size=64k", "none", str(tmp_path / "ro")]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("root may not mount here")
    try:
        assert refusal(tmp_path / "ro" / "state").said == "Read-only file system"
        assert refusal(tmp_path / "ro").message == f'"{tmp_path}/ro" is not writable'
    finally:
        subprocess.run(["umount", str(tmp_path / "ro")], check=True)


def deep(tmp_path: Path) -> Path:
    return tmp_path / ("d" * 60) / "state"


def test_a_deep_state_directory_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        places = Places("/p.toml", str(deep(tmp_path)), temporary=temporary)
        places.prepare_state_dir()
        assert places.socket_dir.startswith(temporary)
        assert mode(places.socket_dir) == mode(places.control_dir) == 0o700
        assert (deep(tmp_path) / "journal").is_dir()
        for path in (
            places.front_socket(4194304),
            places.control_dir + "/" + "c" * CONTROL_NAME_BYTES,
        ):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)


def test_the_sockets_are_found_through_a_link_as_well(tmp_path: Path) -> None:
    deep(tmp_path).mkdir(parents=True)
    (tmp_path / ("e" * 60)).symlink_to(deep(tmp_path).parent)
    linked = Places("/p.toml", str(tmp_path / ("e" * 60) / "state"))
    assert linked.socket_dir == Places("/p.toml", str(deep(tmp_path))).socket_dir


@needs_root
@pytest.mark.parametrize("trap", ["directory", "link", "file"])
def test_a_trap_in_the_temporary_directory_is_refused(
    open_dir: Path, tmp_path: Path, trap: str
) -> None:
    temporary = open_dir / "t"
    temporary.mkdir()
    temporary.chmod(0o1777)
    places = Places("/p.toml", str(deep(tmp_path)), temporary=str(temporary))
    squatted = Path(places.socket_dir)
    if trap == "directory":
        squatted.mkdir(mode=0o777)
    elif trap == "link":
        squatted.symlink_to(tmp_path)
    else:
        squatted.touch()
    os.chown(squatted, NOBODY, -1, follow_symlinks=False)
    with pytest.raises(UserError, match="sshwrap-0-") as caught:
        places.prepare_state_dir()
    assert caught.value.advice
    assert not (tmp_path / "ssh").exists()


def test_spaces_and_percent_signs(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        places = Places("/p.toml", short + "/a b %h %%")
        places.prepare_state_dir()
        assert places.socket_dir == short + "/a b %h %%"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(places.background_socket)
        assert Path(places.background_socket).is_socket()


def test_what_stands_in_the_directories_is_found(tmp_path: Path) -> None:
    places = Places("/p.toml", str(tmp_path / "state"))
    assert (places.wanted_names(), places.journal_names(), places.front_pids()) == ([], [], [])
    places.prepare_state_dir()
    for name in ("web", "db.json", "a"):
        Path(places.wanted_file(name)).touch()
        Path(places.journal_file(name)).touch()
        Path(places.journal_file(name) + ".1").touch()
    for pid in (20, 3):
        Path(places.front_lock(pid)).touch()
    Path(places.front_lock(0)).with_name("other.lock").touch()
    assert places.wanted_names() == places.journal_names() == ["a", "db.json", "web"]
    assert places.front_pids() == [3, 20]


def test_without_home_passwd_is_asked() -> None:
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert find_places({}).state_dir == home + "/.local/state/sshwrap"
    assert (
        find_places({"HOME": "relative"}).profiles_file == home + "/.config/sshwrap/profiles.toml"
    )


@needs_root
def test_without_home_and_without_an_account() -> None:
    os.setresuid(54321, 54321, 0)
    try:
        with pytest.raises(UserError) as caught:
            find_places({"SSHWRAP_PROFILES": "/p.toml"})
    finally:
        os.setresuid(0, 0, 0)
    assert caught.value.message == (
        "no home directory: HOME is not set, and user 54321 has none in passwd"
    )
    assert caught.value.advice == "set HOME, or SSHWRAP_STATE_DIR to an absolute path"


def test_a_relative_path_is_the_working_directorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    environ = {"SSHWRAP_STATE_DIR": "../state", "HOME": "/h"}
    assert find_places(environ, profiles="p.toml").profiles_file == str(
        tmp_path / "gone" / "p.toml"
    )
    assert find_places(environ).state_dir == str(tmp_path / "state")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match="working directory does not exist any more"):
        find_places(environ)


def test_the_light_modules_stay_light() -> None:
    program = (
        "import sys, sshwrap.paths, sshwrap.supervisor.ipc, sshwrap.supervisor.lock\n"
        "print(*{'pathlib','typing','dataclasses','asyncio','tempfile','hashlib','subprocess',"
        "'logging','tomllib','shlex','pwd'} & set(sys.modules))"
    )
    command = [sys.executable, "-S", "-c", program]
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
