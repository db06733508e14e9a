"""`add`: what is written, what is refused, and that a file is written whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import shlex
import stat
from pathlib import Path

import pytest

from sshwrap.profile.ssh_command import parse_command
from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.version import Version
from tests.support.command import FakeCli, says_one_thing

LINE = "-R 12345:localhost:8080 -i key -C root@vps.example.com -p 2222"
OLD = '# mine\r\n[profile.old]\r\ndestination = "x" # here\r\nremote_forward = "1:a:1"'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file(cli: FakeCli, tmp_path: Path) -> None:
    cli.env["SSHWRAP_PROFILES"] = str(tmp_path / "a" / "b" / "p.toml")
    done = cli("add", "web", "ssh", "-N", "-f", *LINE.split())
    assert done.status == 0
    assert done.out.endswith("web written\nnext: sshwrap up -d web\n")
    assert "-f: dropped" in done.err
    assert [mode(tmp_path / at) for at in ("a", "a/b", "a/b/p.toml")] == [0o700, 0o700, 0o600]
    assert os.listdir(tmp_path / "a/b") == ["p.toml"]  # noqa: PTH208


def test_show_is_what_run_would_start(cli: FakeCli) -> None:
    assert cli("add", "web", *LINE.split()).status == 0
    parsed = parse_command(
        shlex.split(LINE), environ=cli.env, service_port={}.get, cwd=str(cli.folder), name="web"
    )
    expected = build_argv(
        parsed.profile, Version(9, 2), control_path=None, ssh=cli.env["SSHWRAP_SSH"]
    )
    assert tuple(json.loads(cli("show", "web", "--json").out)["argv"]) == expected


def test_the_rest_of_the_file_mode_and_link_stay(cli: FakeCli, tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_bytes(OLD.encode())
    real.chmod(0o640)
    cli.profiles_file.symlink_to(real)
    assert cli("add", "web", *LINE.split()).status == 0
    assert cli.profiles_file.is_symlink()
    assert real.read_bytes().startswith(OLD.encode() + b"\r\n\r\n[profile.web]\r\n")
    assert mode(real) == 0o640


def test_nothing_is_overwritten_unasked(cli: FakeCli) -> None:
    cli.write_profiles(OLD)
    done = cli("add", "old", "ssh", *LINE.split())
    assert done.status == 2
    assert '"old" is a profile already' in says_one_thing(done)
    assert cli.profiles_file.read_bytes() == OLD.encode()
    assert cli("add", "--replace", "old", "ssh", *LINE.split()).status == 0
    assert cli.profiles_file.read_bytes().startswith(b"# mine\r\n[profile.old]\r\ndestination = ")


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("ssh -R 1:a:1 b", 'no NAME before "ssh"'),
        ("-R 1:a:1 b", 'no NAME before "-R"'),
        ("../x ssh -R 1:a:1 b", "name does not begin"),
        ("a/b ssh -R 1:a:1 b", "name holds another character"),
        (f"{'a' * 300} ssh -R 1:a:1 b", "name has 300 characters"),
        ("web", "no ssh command behind it"),
        ("web ssh -R 80800:a:1 b", "80800"),
        ("web curl http://x y", "a tunnel runs no command"),
        ("--from-unit /gone.service", "cannot be read"),
    ],
)
def test_refused(cli: FakeCli, words: str, fact: str) -> None:
    done = cli("add", *words.split())
    assert done.status == 2
    assert fact in done.err
    assert not cli.profiles_file.exists()


def test_a_faulty_file_stays_as_it_is(cli: FakeCli) -> None:
    text = "[profile.a]\nprot = 1\n"
    cli.write_profiles(text)
    done = cli("add", "web", *LINE.split())
    assert done.status == 78
    assert ":2: profile.a.prot" in done.err
    assert cli.profiles_file.read_text() == text


def test_a_full_disk(cli: FakeCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not grow, which is as full for whoever writes it."""
    cli.write_profiles(OLD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        cli.env["PYTHONDONTWRITEBYTECODE"] = "1"
        done = cli("add", "web", *LINE.split())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.status == 1
    assert "cannot be written; nothing was changed" in done.err
    assert cli.profiles_file.read_bytes() == OLD.encode()
    assert [p.name for p in cli.folder.iterdir() if p.name.startswith(".")] == []


def test_a_directory_that_cannot_be_made(cli: FakeCli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cli.env["SSHWRAP_PROFILES"] = str(tmp_path / "file" / "p.toml")
    done = cli("add", "web", *LINE.split())
    assert done.status == 1
    assert "cannot be written; nothing was changed" in done.err


def test_a_word_that_is_not_utf_8(cli: FakeCli) -> None:
    done = cli("add", "web", "-i", "k\udcff", *LINE.split())
    assert done.status == 2
    assert "is not UTF-8" in done.err
    assert not cli.profiles_file.exists()


def test_a_dry_run_writes_nothing(cli: FakeCli) -> None:
    done = cli("add", "--dry-run", "web", *LINE.split())
    assert done.status == 0
    assert done.out.startswith('[profile.web]\ndestination = "root@vps.example.com"\n')
    assert not cli.profiles_file.exists()


class TestForEverybody:
    def test_unasked_it_is_left_to_the_server(self, cli: FakeCli) -> None:
        done = cli("add", "web", "ssh", "-g", *LINE.split())
        assert "-g has no effect on -R" in done.err
        assert "left to the server" in done.err
        assert '["12345:localhost:8080"]' in cli.profiles_file.read_text()

    def test_public(self, cli: FakeCli) -> None:
        assert cli("add", "--public", "web", "ssh", *LINE.split(), "-R", "1080").status == 0
        # a SOCKS proxy for everybody has to be written out
        assert '["*:12345:localhost:8080", "1080"]' in cli.profiles_file.read_text()

    @pytest.mark.parametrize(("key", "spec"), [(b"y\n", '"*:12345'), (b"\n", '"12345')])
    def test_the_question(self, cli: FakeCli, key: bytes, spec: str) -> None:
        terminal = cli.terminal("add", "web", "ssh", "-g", *LINE.split())
        terminal.wait_for_words("[y/N]")
        assert not cli.profiles_file.exists()
        terminal.type(key)
        assert terminal.wait() == 0
        assert f"remote_forward = [{spec}" in cli.profiles_file.read_text()


def test_units(cli: FakeCli, tmp_path: Path) -> None:
    cli.write_profiles(OLD)
    units = tmp_path / "systemd" / "system"
    units.mkdir(parents=True)
    text = "[Service]\nUser=nobody\nExecStart=/usr/bin/autossh -M 0 -R 1%i:a:1 {}\n"
    (units / "home@.service").write_text(text.format("vps"))
    (units / "bad.service").write_text("[Service]\nExecStart=/usr/bin/sshpass ssh vps\n")
    first, second = units / "home@22.service", units / "home@23.service"
    bad = cli("add", "--from-unit", str(first), str(units / "bad.service"))
    assert (bad.status, cli.profiles_file.read_bytes()) == (2, OLD.encode())
    assert 'runs "/usr/bin/sshpass"' in bad.err
    done = cli("add", "--from-unit", str(first), str(second))
    assert done.status == 0
    assert "sudo systemctl disable --now home@22.service && " in done.out
    assert done.out.endswith("sshwrap up -d home-22 home-23\n")
    assert "home-22: User=nobody: dropped" in done.err
    assert '"122:a:1"' in cli.profiles_file.read_text()
