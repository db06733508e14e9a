"""profiles.toml as it lies on a disk: whose it is, what it holds, and every fault with its line."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import socket
from pathlib import Path

import pytest

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.file import NoProfilesFile, read_profiles

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")

WEB = '[profile.web]\ndestination = "vps"\nremote_forward = "1080"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a directory whose name a shell would take apart."""
    directory = tmp_path / "my 100% dir"
    directory.mkdir()
    file = directory / "profiles.toml"
    file.write_text(WEB)
    file.chmod(0o600)
    return file


def fault(path: Path, data: bytes | str | None = None) -> UserError:
    if data is not None:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(UserError) as caught:
        read_profiles(path, environ={"HOME": "/home/u"})
    assert caught.value.status is ExitStatus.BAD_CONFIG
    return caught.value


def lines(path: Path, data: bytes | str) -> list[str]:
    """The faults, without the directory in front."""
    return [line.removeprefix(f"{path}:") for line in fault(path, data).message.splitlines()]


def test_profiles_in_the_files_order(path: Path) -> None:
    path.write_text(
        '[defaults]\nport = 22\nssh_options = { IPQoS = "none" }\n'
        '[profile.zeta]\ndestination = "z"\nidentity_file = "keys/z"\n'
        '[profile.alpha]\ndestination = "a"\nport = 23\nssh_options = { ipqos = "af21" }\n'
    )
    profiles = read_profiles(str(path), environ={})
    assert list(profiles) == ["zeta", "alpha"]
    assert profiles.path == str(path)
    assert [profile.port for profile in profiles.values()] == [22, 23]
    assert profiles["zeta"].identity_file == (f"{path.parent}/keys/z",)
    assert profiles["zeta"].profiles_file == str(path)
    assert profiles["alpha"].ssh_options == (("IPQoS", "af21"),)
    assert profiles.warnings == ()


def test_a_relative_path_to_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert read_profiles("profiles.toml", environ={})["web"].profiles_file == str(path)


def test_an_empty_file_has_no_profiles(path: Path) -> None:
    path.write_text("# nothing yet\n")
    assert read_profiles(path, environ={}) == {}


def test_windows_line_ends(path: Path) -> None:
    path.write_bytes(WEB.replace("\n", "\r\n").encode())
    assert list(read_profiles(path, environ={})) == ["web"]


def test_all_faults_with_their_lines(path: Path) -> None:
    assert lines(
        path,
        "[defaults]\n"
        "server_alive_count_max = 0\n"
        "[profile.web]\n"
        'destination = "vps"\n'
        'port = "2222"\n'
        "remote_forward = [\n"
        '  "8080:localhost:3000",\n'
        '  "8080::3000",\n'
        "]\n"
        '[profile."a b"]\n'
        'destination = "vps"\n'
        "[profile.none]\n"
        '[profiles.home]\ndestination = "vps"\n',
    ) == [
        "2: defaults.server_alive_count_max: 0 is not 1-1000; 0 would make ssh end the tunnel the"
        " first time nothing is sent for an interval",
        "5: profile.web.port: want an integer, not a string; write port = 2222",
        '8: profile.web.remote_forward[1]: "8080::3000": target host is empty; write'
        " 8080:localhost:3000",
        '10: profile."a b": name holds another character than A-Z a-z 0-9 . _ -',
        '12: profile.none: destination is missing; write destination = "user@host"',
        "13: profiles: unknown table; did you mean [profile.home]?",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[profile.web\n", "1: expected ']' at the end of a table declaration"),
        ("a = 1\nb = \n", "2: invalid value"),
        ("a = [\n1,\n", "2: invalid value"),
        ("[profile.a]\n[profile.a]\n", "2: cannot declare"),
        ("a = 1\na = 2\n", "2: cannot overwrite a value"),
        ("a = " + "[" * 5000, " arrays or tables are nested too deep"),
        ("a = " + "1" * 5000, " an integer has too many digits"),
    ],
)
def test_what_is_no_toml_has_its_line(path: Path, text: str, message: str) -> None:
    (line,) = lines(path, text)
    assert line.removeprefix(str(path)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profile = 1\n", "1: profile: want a table [profile.NAME], not the number 1"),
        ("[profile]\nweb = 1\n", "2: profile.web: want a table [profile.web], not the number 1"),
        ("[[profile.web]]\n", "1: profile.web: is a list; write [profile.web] with single"),
        ("[[defaults]]\n", "1: defaults: is a list; write [defaults]"),
        ("[default]\nport = 1\n", "1: default: unknown table; did you mean [defaults]?"),
        (
            '[web]\ndestination = "x"\n',
            "1: web: unknown table; a profile begins with [profile.web]",
        ),
    ],
)
def test_the_shape_of_the_file(path: Path, text: str, message: str) -> None:
    (line,) = lines(path, text)
    assert line.startswith(message)


def test_a_fault_of_the_defaults_is_told_once_and_where_it_stands(path: Path) -> None:
    text = '[defaults]\nssh_options = { LogLevel = "x" }\nconnect_timeout = 0\n'
    for name in "abc":
        text += f'[profile.{name}]\ndestination = "vps"\nssh_options = {{ IPQoS = "none" }}\n'
    assert [line.partition(": ")[2].partition(":")[0] for line in lines(path, text)] == [
        "defaults.ssh_options.LogLevel",
        "defaults.connect_timeout",
    ]


def test_a_warning_has_its_line_and_stops_nothing(path: Path) -> None:
    path.write_text(WEB.replace('"1080"', '["localhost:1", "*:1080"]'))
    profiles = read_profiles(path, environ={})
    (warning,) = profiles.warnings
    assert warning.startswith(f"{path}:3: profile.web.remote_forward[1]: a SOCKS proxy on")
    assert list(profiles) == ["web"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbf" + WEB.encode(), "1: begins with a byte order mark"),
        (WEB.encode("utf-16"), "1: is UTF-16; save it as UTF-8"),
        (WEB.encode() + b"# \xff\n", "4: is not UTF-8: byte 0xff"),
        (WEB.encode() + b"\n\0", "5: holds a NUL byte"),
    ],
)
def test_what_is_no_text(path: Path, data: bytes, message: str) -> None:
    (line,) = lines(path, data)
    assert line.startswith(message)


def test_a_file_of_ten_megabytes(path: Path) -> None:
    assert fault(path, b"#" * 10_000_000).message == (
        f"{path}: is larger than 1 MiB: no profiles file"
    )


def test_no_file_is_an_error_of_its_own(path: Path) -> None:
    path.unlink()
    error = fault(path)
    assert isinstance(error, NoProfilesFile)
    assert error.path == str(path)
    assert isinstance(fault(path.parent / "no dir" / "x"), NoProfilesFile)


def test_a_directory(path: Path) -> None:
    assert fault(path.parent).message == f"{path.parent}: is a directory, not a file"


def test_a_fifo_does_not_keep_us_waiting(path: Path) -> None:
    fifo = path.parent / "fifo"
    os.mkfifo(fifo, 0o600)
    assert fault(fifo).message == f"{fifo}: is no regular file"


def test_a_socket(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert fault(path.parent / "s").message.startswith(f"{path.parent}/s: cannot be read: ")


def test_a_symbolic_link_is_followed_to_the_file_that_counts(path: Path) -> None:
    link = path.parent / "link.toml"
    link.symlink_to(path)
    assert list(read_profiles(link, environ={})) == ["web"]
    path.chmod(0o646)
    assert "is writable for everybody" in fault(link).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(path: Path) -> None:
    path.chmod(0)
    assert fault(path).message == f"{path}: cannot be read: permission denied"


def test_writable_for_everybody(path: Path) -> None:
    path.chmod(0o666)
    error = fault(path)
    assert error.message == f"{path}: is writable for everybody"
    assert error.advice == f"chmod go-w {shlex.quote(str(path))}"


@AS_ROOT
def test_writable_for_a_group(path: Path) -> None:
    group = next(g for g in grp.getgrall() if g.gr_gid != 0 and g.gr_name != "root")
    os.chown(path, 0, group.gr_gid)
    path.chmod(0o660)
    error = fault(path)
    assert error.message == f'{path}: is writable for group "{group.gr_name}"'
    assert error.advice == f"chmod go-w {shlex.quote(str(path))}"
    path.chmod(0o640)
    assert list(read_profiles(path, environ={})) == ["web"]


def _has_private_group() -> bool:
    me = pwd.getpwuid(os.geteuid())
    try:
        group = grp.getgrgid(me.pw_gid)
    except KeyError:  # a number alone
        return False
    others = [user for user in pwd.getpwall() if user.pw_gid == me.pw_gid and user != me]
    return group.gr_name == me.pw_name and set(group.gr_mem) <= {me.pw_name} and not others


@pytest.mark.skipif(not _has_private_group(), reason="the account has no group of its own")
def test_the_owners_private_group_may_write(path: Path) -> None:
    os.chown(path, -1, pwd.getpwuid(os.geteuid()).pw_gid)
    path.chmod(0o664)
    assert list(read_profiles(path, environ={})) == ["web"]


@AS_ROOT
def test_somebody_elses(path: Path) -> None:
    other = next(user for user in pwd.getpwall() if user.pw_uid != 0)
    os.chown(path, other.pw_uid, -1)
    error = fault(path)
    assert error.message == f"{path}: belongs to {other.pw_name}, not to you or root"
    name = shlex.quote(str(path))
    assert error.advice == f"chown {pwd.getpwuid(0).pw_name} {name} && chmod go-w {name}"
