"""`doctor` beside a fake ssh: whom it examines, what it writes, and what it says of mistakes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.command import DENIED, HOST, FakeCli, says_one_thing
from tests.support.scenarios import ADDRESS
from tests.support.sshwrap_cli import Done

# An address asks no name server, and nothing is ever sent to this one.
EFFECTIVE = [f"hostname {ADDRESS}", "port 22", "user root"]
SERVER = f"root@{ADDRESS}"


@pytest.fixture
def cli(cli: FakeCli) -> FakeCli:
    """Its server refuses whoever signs in, which ends a look at once."""
    cli.server_says(DENIED, effective=EFFECTIVE)
    return cli


def examined(done: Done) -> list[str]:
    """By --json: a line each."""
    answers = [json.loads(line) for line in done.out.splitlines()]
    return [answer["profile"] or answer["destination"] for answer in answers]


def profiles(cli: FakeCli, *names: str) -> None:
    cli.profiles(**{name: {"destination": SERVER} for name in names})


def state_of(cli: FakeCli) -> list[str]:
    folder = Path(cli.places().state_dir)
    return sorted(path.name for path in folder.rglob("*"))


class TestWhom:
    @pytest.mark.parametrize(
        ("words", "names"),
        [
            (["web"], ["web"]),
            (["web-*"], ["web-a", "web-b"]),
            (["[wc]*"], ["web", "web-a", "web-b", "cam"]),
            ([SERVER], [SERVER]),
            ([f"me@{HOST}"], [f"me@{HOST}"]),
            (["vps"], ["vps"]),  # a Host of ssh_config
            ([f"ssh://me@{HOST}:2222"], [f"ssh://me@{HOST}:2222"]),
        ],
    )
    def test_by_a_word(self, cli: FakeCli, words: list[str], names: list[str]) -> None:
        profiles(cli, "web", "web-a", "web-b", "cam")
        done = cli("doctor", *words, "--json")
        assert examined(done) == names, done
        assert done.status == 1

    def test_without_a_word_it_is_the_only_one(self, cli: FakeCli) -> None:
        profiles(cli, "web")
        assert examined(cli("doctor", "--json")) == ["web"]

    def test_without_a_word_those_that_are_not_as_asked(self, cli: FakeCli) -> None:
        profiles(cli, "one", "two", "three")
        assert cli("up", "-d", "one", "three").status == 77
        assert examined(cli("doctor", "--json")) == ["one", "three"]
        done = cli("doctor")
        assert done.status == 1
        assert [row.split(":")[0] for row in done.out.splitlines() if f": {SERVER}" in row] == [
            "one",
            "three",
        ]
        assert cli("down").status == 0

    def test_a_tunnel_of_run_is_one_of_them(self, cli: FakeCli) -> None:
        assert cli("run", "-d", "--name", "job", "ssh", "-R", "80:h:80", SERVER).status == 77
        assert examined(cli("doctor", "--json")) == ["job"]
        assert examined(cli("doctor", "job", "--json")) == ["job"]
        assert cli("down").status == 0

    def test_where_nothing_is_amiss(self, cli: FakeCli) -> None:
        profiles(cli, "one", "two")
        done = cli("doctor")
        assert (done.status, done.out) == (0, "")
        assert "nothing is wanted up; to look at one: sshwrap doctor NAME, of one, two" in (
            " ".join(done.err.split())
        )
        assert cli("doctor", "-q") == Done(0, "", "")
        assert cli("doctor", "--json", "-q") == Done(0, "", "")
        for words in (["--fix"], ["--undo", "--yes"], ["--report", "-"]):
            done = cli("doctor", *words)
            assert done.status == 2, done
            assert "sshwrap doctor NAME, of one, two" in " ".join(done.err.split())

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["wbe"], 2, 'no profile "wbe"'),
            (["web-*"], 2, 'no profile "web-*"'),
            (["root@"], 2, 'no profile "root@", and no destination'),
            (["one*", "--fix"], 2, "that goes for one at a time, and there are one, one-b"),
            (["one*", "--report", "x"], 2, "that goes for one at a time"),
            (["--fix", "--undo"], 2, "--fix and --undo are two things"),
        ],
    )
    def test_mistakes(self, cli: FakeCli, words: list[str], status: int, said: str) -> None:
        profiles(cli, "web", "one", "one-b")
        done = cli("doctor", *words)
        assert done.status == status
        assert says_one_thing(done).startswith(said)
        assert done.out == ""
        assert state_of(cli) == []

    def test_nearly_a_name(self, cli: FakeCli) -> None:
        profiles(cli, "web")
        assert '  try: did you mean "web"?' in cli("doctor", "wbe").err.splitlines()

    def test_no_profiles_at_all(self, cli: FakeCli) -> None:
        done = cli("doctor")
        assert done.status == 2
        assert says_one_thing(done) == "no profiles yet"
        assert "sshwrap doctor root@" in done.err
        assert state_of(cli) == []
        assert examined(cli("doctor", SERVER, "--json")) == [SERVER]

    def test_a_profiles_file_with_faults(self, cli: FakeCli) -> None:
        cli.write_profiles("[profile.web]\ndestination = 5\n[profile.cam]\ncolour = 'red'\n")
        done = cli("doctor", "web")
        assert (done.status, done.out) == (78, "")
        assert "profiles.toml:2" in done.err
        assert "profiles.toml:4" in done.err


class TestWithoutAnSsh:
    @pytest.mark.parametrize("program", ["/nowhere/ssh", "ssh-of-nobody"])
    def test_none(self, cli: FakeCli, program: str) -> None:
        profiles(cli, "web")
        cli.env["SSHWRAP_SSH"] = program
        done = cli("doctor", "web")
        assert done.status == 1, done
        assert "ssh-version" in done.out
        assert "Traceback" not in done.err
        (finding, *_) = json.loads(cli("doctor", "web", "--json").out)["findings"]
        assert (finding["id"], finding["verdict"]) == ("ssh-version", "fail")

    def test_too_old(self, cli: FakeCli) -> None:
        profiles(cli, "web")
        cli.server_says(version="OpenSSH_7.4p1, OpenSSL 1.0.2k-fips  26 Jan 2017")
        done = cli("doctor", "web", "--json")
        assert done.status == 1
        (finding, *_) = json.loads(done.out)["findings"]
        assert (finding["id"], finding["verdict"]) == ("ssh-version", "fail")
        assert "OpenSSH_7.4p1" in finding["why"]

    def test_fix_changes_nothing(self, cli: FakeCli) -> None:
        profiles(cli, "web")
        cli.env["SSHWRAP_SSH"] = "/nowhere/ssh"
        for words in (["--fix", "--yes"], ["--undo", "--yes"]):
            done = cli("doctor", "web", *words)
            assert done.status == 1, done
            assert "ssh-version" in done.out


class TestTheReport:
    def test_a_file_of_its_owners(self, cli: FakeCli, tmp_path: Path) -> None:
        profiles(cli, "web")
        old = tmp_path / "report"
        old.write_text("older words\n" * 10_000)
        old.chmod(0o644)
        done = cli("doctor", "web", "--report", str(old))
        assert (done.status, done.out) == (1, "")
        assert f"{old}: written" in done.err.replace("\n  ", " ")
        assert old.stat().st_mode & 0o777 == 0o600
        text = old.read_text()
        assert text.startswith("sshwrap ")
        assert "older words" not in text
        assert ADDRESS not in text
        new = tmp_path / "new"
        assert cli("doctor", "web", "--report", str(new), "-q").err == ""
        assert new.stat().st_mode & 0o777 == 0o600

    def test_to_stdout(self, cli: FakeCli) -> None:
        profiles(cli, "web")
        done = cli("doctor", "web", "--report", "-")
        assert done.status == 1
        assert "## findings" in done.out
        assert done.err == ""
        assert not (cli.folder / "-").exists()

    @pytest.mark.parametrize("place", [".", "", "no/such/folder", "/dev/full"])
    def test_where_none_can_be_written(self, cli: FakeCli, place: str) -> None:
        profiles(cli, "web")
        done = cli("doctor", "web", "--report", place)
        assert (done.status, done.out) == (1, "")
        assert says_one_thing(done) == f'"{place}" cannot be written'
        # A device takes the words, or not, when they come; of the rest it is known before.
        assert (cli.starts() == 0) == (place != "/dev/full")


class TestWhatIsWritten:
    def test_nothing_is_left_of_it(self, cli: FakeCli) -> None:
        profiles(cli, "web")
        kept = cli.profiles_file.read_bytes()
        cli("doctor", "web")
        files = [path for path in Path(cli.places().state_dir).rglob("*") if not path.is_dir()]
        assert [path.name for path in files] in ([], ["known.json"])
        assert cli.sockets() == []
        assert cli.profiles_file.read_bytes() == kept
        assert cli.own_processes() == []

    @pytest.mark.parametrize("words", [["web"], ["web", "--json"], ["web", "--report", "-"]])
    def test_nobody_reads_it(self, cli: FakeCli, words: Sequence[str]) -> None:
        profiles(cli, "web")
        done = cli.into_a_closed_pipe("doctor", *words)
        assert (done.status, done.err) == (0, "")

    def test_several_are_told_apart(self, cli: FakeCli) -> None:
        profiles(cli, "one", "two")
        done = cli("doctor", "*", "-v")
        assert done.status == 1
        heads = [row for row in done.out.splitlines() if f": {SERVER}," in row]
        assert [row.split(":")[0] for row in heads] == ["one", "two"]
        assert "sign-in: " in done.out
        assert done.err == ""
        assert "\033" not in done.out

    def test_a_state_directory_that_cannot_be_made(self, cli: FakeCli, tmp_path: Path) -> None:
        profiles(cli, "web")
        (tmp_path / "file").write_text("")
        cli.env["SSHWRAP_STATE_DIR"] = os.fspath(tmp_path / "file" / "state")
        done = cli("doctor", "web")
        assert done.status == 1, done
        assert says_one_thing(done)
        cli.env["SSHWRAP_STATE_DIR"] = os.fspath(cli.folder / "state")
