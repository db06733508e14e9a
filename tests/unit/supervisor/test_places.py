"""Which environment gives which places, and that no socket's path is too long."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.paths import CONTROL_NAME_BYTES, SOCKET_PATH_BYTES, Places, find_places

HOME = {"HOME": "/home/ann"}


@pytest.mark.parametrize(
    ("environ", "profiles_file", "state_dir"),
    [
        ({}, "/home/ann/.config/sshwrap/profiles.toml", "/home/ann/.local/state/sshwrap"),
        (
            {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"},
            "/c/sshwrap/profiles.toml",
            "/s/sshwrap",
        ),
        (
            {"XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "relative/is/ignored"},
            "/home/ann/.config/sshwrap/profiles.toml",
            "/home/ann/.local/state/sshwrap",
        ),
        ({"SSHWRAP_PROFILES": "/p.toml", "SSHWRAP_STATE_DIR": "/a b/100%"}, "/p.toml", "/a b/100%"),
        (
            {"SSHWRAP_PROFILES": "", "SSHWRAP_STATE_DIR": ""},
            "/home/ann/.config/sshwrap/profiles.toml",
            "/home/ann/.local/state/sshwrap",
        ),
        (
            {"XDG_RUNTIME_DIR": "/run/user/1000", "TMPDIR": "/somewhere"},
            "/home/ann/.config/sshwrap/profiles.toml",
            "/home/ann/.local/state/sshwrap",
        ),
    ],
)
def test_the_table(environ: dict[str, str], profiles_file: str, state_dir: str) -> None:
    places = find_places(HOME | environ)
    assert (places.profiles_file, places.state_dir) == (profiles_file, state_dir)
    assert places.socket_dir == state_dir


def test_the_option_beats_the_variable() -> None:
    environ = HOME | {"SSHWRAP_PROFILES": "/variable.toml"}
    assert find_places(environ, profiles="/option.toml").profiles_file == "/option.toml"


def test_no_home_is_needed_where_all_is_named() -> None:
    environ = {"SSHWRAP_PROFILES": "/p.toml", "SSHWRAP_STATE_DIR": "/s"}
    assert find_places(environ).state_dir == "/s"


@pytest.mark.parametrize(("value", "ssh"), [(None, "ssh"), ("", "ssh"), ("/opt/ssh", "/opt/ssh")])
def test_which_ssh(value: str | None, ssh: str) -> None:
    environ = HOME if value is None else HOME | {"SSHWRAP_SSH": value}
    assert find_places(environ).ssh == ssh


@settings(max_examples=50)
@given(st.text("ab/é 安%", min_size=1, max_size=120))
def test_every_socket_path_is_short_enough_for_ssh_to_bind(below: str) -> None:
    places = Places("/p.toml", "/" + below)
    control = places.control_dir + "/" + "x" * CONTROL_NAME_BYTES
    for path in (places.background_socket, places.front_socket(4194304), control):
        assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES


def test_a_deep_state_directory_keeps_all_but_its_sockets() -> None:
    deep = "/home/ann/" + "deep/" * 20 + "state"
    places = Places("/p.toml", deep)
    assert places.socket_dir.startswith("/tmp/sshwrap-")
    assert places.socket_dir == Places("/other.toml", deep).socket_dir
    assert places.socket_dir != Places("/p.toml", deep + "2").socket_dir
    for path in (places.background_lock, places.journal_file("web"), places.wanted_file("web")):
        assert path.startswith(deep + "/")


def test_no_two_names_share_a_file() -> None:
    places = Places("/p.toml", "/s")
    names = ["web", "web.json", "web.jsonl", "web.lock", "background", "1"]
    files = [
        path
        for name in names
        for path in (places.profile_lock(name), places.wanted_file(name), places.journal_file(name))
    ]
    files += [places.background_lock, places.background_socket, places.known_cache]
    files += [places.front_lock(1), places.front_socket(1)]
    assert len(set(files)) == len(files)
