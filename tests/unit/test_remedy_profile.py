"""What `--fix --public` writes into the profile's file, and what it leaves to a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sshwrap.commands.remedy_profile import Changes, changes_of
from sshwrap.doctor.remedy import public_forwards
from sshwrap.errors import UserError
from sshwrap.profile.file import parse_profiles, read_text
from sshwrap.profile.model import Profile

TEXT = "[profile.web]\r\ndestination = 'vps'\r\nremote_forward = ['80:h:80', '*:81:h:81']\r\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "profiles.toml"
    file.write_bytes(TEXT.encode())
    file.chmod(0o640)
    return file


def web(file: Path) -> Profile:
    return parse_profiles(read_text(file), file, environ={})["web"]


def changes(file: Path) -> Changes:
    profile = web(file)
    return changes_of(profile, public_forwards(profile))


def test_one_spec_and_no_other_byte(file: Path) -> None:
    found = changes(file)
    found.check()
    assert file.read_bytes() == TEXT.encode()
    assert found.by_hand() == ()
    found.write()
    assert file.read_bytes() == TEXT.replace("'80:h:80'", '"*:80:h:80"').encode()
    assert file.stat().st_mode & 0o777 == 0o640
    assert changes(file).mine == ()


def test_what_was_edited_meanwhile_stays(file: Path) -> None:
    found = changes(file)
    edited = TEXT + "# a word of mine\r\n[profile.other]\r\ndestination = 'x'\r\n"
    file.write_bytes(edited.encode())
    found.write()
    assert file.read_bytes() == edited.replace("'80:h:80'", '"*:80:h:80"').encode()


def test_what_is_not_there_any_more_is_not_written(file: Path) -> None:
    found = changes(file)
    file.write_bytes(TEXT.replace("80:h:80", "80:h:8080").encode())
    before = file.read_bytes()
    for act in (found.check, found.write):
        with pytest.raises(UserError) as caught:
            act()
        assert '"80:h:80" of web does not stand there' in caught.value.message
        assert '"*:80:h:80"' in (caught.value.advice or "")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_cannot_be_written_leaves_nothing_beside_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError) as caught:
        changes(file).write()
    assert caught.value.message == f"{file}: cannot be written: Operation not permitted"
    assert "sshwrap restart web" in (caught.value.advice or "")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_forward_of_ssh_config_is_for_a_person(file: Path) -> None:
    profile = web(file)
    added = replace(profile.remote_forward[0], spec="90:h:90", listen_port=90, source="config:3")
    more = replace(profile, remote_forward=(*profile.remote_forward, added))
    found = changes_of(profile, public_forwards(more))
    assert [old.spec for old, _ in found.mine] == ["80:h:80"]
    assert found.by_hand() == ('"90:h:90" comes from config:3: write "*:90:h:90" there',)


def test_a_tunnel_of_run_has_no_file(file: Path) -> None:
    profile = replace(web(file), profiles_file=None)
    found = changes_of(profile, public_forwards(profile))
    found.check()
    assert found.mine == ()
    assert found.by_hand() == ("web has no file: start it again with -R '*:80:h:80'",)
