"""`show` and `check`, and what every command says of itself."""

from __future__ import annotations

import json
import shlex

import pytest

from sshwrap import __version__
from sshwrap.cli import VERBS
from sshwrap.profile.file import read_profiles
from sshwrap.ssh.argv import build_argv
from sshwrap.ssh.version import Version
from tests.support.command import HOST, FakeCli, says_one_thing

RICH = """
[defaults]
server_alive_interval = 20
ssh_options = { Ciphers = "aes128-gcm@openssh.com" }

[profile.web]
description = "the shop's page, 网店"
destination = "root@vps.example.com"
port = 2222
remote_forward = ["*:12345:localhost:8080", "/run/a b/%h.sock:localhost:80"]
identity_file = "~/.ssh/id with blanks"
ssh_options = { ProxyCommand = "nc -X 5 '%h' \\"%p\\" $HOME; x", HostKeyAlias = "a b" }
"""


class TestShow:
    def test_the_printed_command_is_the_one_that_runs(self, cli: FakeCli) -> None:
        cli.write_profiles(RICH)
        done = cli("show", "web")
        assert done.status == 0
        profile = read_profiles(cli.profiles_file, environ=cli.env)["web"]
        expected = build_argv(profile, Version(9, 2), control_path=None, ssh=cli.env["SSHWRAP_SSH"])
        begin = done.out.index(cli.env["SSHWRAP_SSH"])
        assert tuple(shlex.split(done.out[begin:].replace("\\\n", " "))) == expected
        answer = json.loads(cli("show", "web", "--json").out)
        assert tuple(answer["argv"]) == expected
        assert answer["schema_version"] == 1
        assert (answer["hostname"], answer["profile"]) == (HOST, "web")
        assert answer["ssh_version"] == "OpenSSH_9.2p1 Debian-2+deb12u10"

    def test_every_value_has_its_source(self, cli: FakeCli) -> None:
        cli.write_profiles(RICH)
        values = json.loads(cli("show", "web", "--json").out)["values"]
        sources = {key: value["source"] for key, value in values.items()}
        assert sources["port"] == "profile"
        assert sources["server_alive_interval"] == "defaults"
        assert sources["server_alive_count_max"] == "built in"
        assert sources["ssh_options"] == "profile and defaults"
        assert values["server_alive_interval"]["value"] == 20
        assert values["ssh_options"]["value"]["Ciphers"] == "aes128-gcm@openssh.com"
        assert "网店" in cli("show", "web").out

    def test_forwards_of_ssh_config_come_with_their_place(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        cli.server_says(effective=["hostname vps.example.com", "remoteforward 9000 [h]:90"])
        forwards = json.loads(cli("show", "web", "--json").out)["forwards"]
        assert [(each["listen_port"], each["source"]) for each in forwards] == [
            (12345, "profile"),
            (9000, "ssh_config"),
        ]

    def test_no_such_profile(self, cli: FakeCli) -> None:
        cli.profiles(web={})
        done = cli("show", "wep")
        assert (done.status, says_one_thing(done)) == (2, 'no profile "wep"')
        assert cli("show").status == 2


class TestCheck:
    def test_a_sound_file(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={"remote_forward": "*:12346:localhost:8080"})
        done = cli("check")
        assert (done.status, done.err) == (0, "")
        assert done.out == f"{cli.profiles_file}: 2 profiles, no faults\n"
        assert cli("check", "-q").out == ""
        answer = json.loads(cli("check", "--json").out)
        assert (answer["ok"], answer["profiles"], answer["faults"]) == (True, ["web", "ha"], [])

    def test_two_that_want_one_port_are_named(self, cli: FakeCli) -> None:
        """No fault: one of them may be meant for when the other is down."""
        cli.profiles(web={}, ha={})
        done = cli("check")
        assert done.status == 0
        assert 'web and ha: "*:12345:localhost:8080" and "*:12345:localhost:8080" want' in done.err
        assert "the same port of vps.example.com:22: only one can be up" in done.err

    def test_all_faults_at_once(self, cli: FakeCli) -> None:
        cli.write_profiles(
            '[profile.web]\ndestination = "-x"\nremote_forward = "*:80800:localhost:1"\n'
            '[profile.ha]\nprot = 22\n[profle.cam]\ndestination = "h"\n'
        )
        done = cli("check")
        assert done.status == 78
        facts = [line for line in done.err.splitlines() if line.startswith("sshwrap: ")]
        assert [int(fact.split(":")[2]) for fact in facts] == [2, 3, 4, 5, 6]
        assert '"80800"' in facts[1]
        assert "did you mean port?" in facts[3]
        assert "did you mean [profile.cam]?" in facts[4]
        answer = json.loads(cli("check", "--json").out)
        assert answer["faults"] == [fact.removeprefix("sshwrap: ") for fact in facts]
        assert answer["ok"] is False

    def test_what_ssh_itself_refuses(self, cli: FakeCli) -> None:
        cli.profiles(web={}, ha={"destination": "root@other.example.com"})
        (cli.fake / "other.example.com").mkdir()
        script = cli.folder / "ssh"
        fake = script.read_text()
        refusal = (
            'case "$*" in *-G*other*) echo "Bad configuration option: Foo" >&2; exit 255;; esac'
        )
        script.write_text(fake.replace("exec", f"{refusal}\nexec"))
        done = cli("check")
        assert done.status == 78
        assert says_one_thing(done) == "ha: ssh refuses this configuration"
        assert "  said: Bad configuration option: Foo" in done.err

    def test_no_file_and_no_profiles(self, cli: FakeCli) -> None:
        done = cli("check")
        assert done.status == 78
        assert says_one_thing(done) == f"{cli.profiles_file}: no profiles there"
        cli.write_profiles("[defaults]\nport = 22\n")
        assert cli("check").status == 78


class TestHelp:
    def test_of_all_names_the_verbs_and_exit_statuses(self, cli: FakeCli) -> None:
        done = cli("--help")
        assert done.status == 0
        for status in ("0 as wanted", "2 usage", "69", "77", "78", "130"):
            assert status in done.out
        assert all(f"    {verb} " in done.out for verb, _, _ in VERBS)
        assert cli("--version").out == f"sshwrap {__version__}\n"
        assert cli.into_a_closed_pipe("--help").err == ""

    @pytest.mark.parametrize("words", [["web"], ["up", "--timeout", "x"], ["--profiles"]])
    def test_usage_is_one_line(self, cli: FakeCli, words: list[str]) -> None:
        done = cli(*words)
        assert (done.status, done.out) == (2, "")
        says_one_thing(done)
        assert "--help" in done.err
