"""The command line, word for word: what each version is told, and what each key adds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.forward import Forward, Kind
from sshwrap.profile.keys import KEYS
from sshwrap.profile.model import Profile
from sshwrap.ssh.argv import build_argv, build_resolve_argv
from sshwrap.ssh.version import Version

V8_4, V8_5, V8_6, V8_7, V9_2, V10_0 = (
    Version(*numbers) for numbers in ((8, 4), (8, 5), (8, 6), (8, 7), (9, 2), (10, 0))
)
WEB = Forward(
    Kind.REMOTE,
    "*:12345:localhost:8080",
    listen_host="*",
    listen_port=12345,
    connect_host="localhost",
    connect_port=8080,
)
# What a tunnel depends on: before anything that a person may set, for ssh takes the first.
HEAD = ("ssh", "-N", "-T", "-n", "-v", "-E", "/dev/stdout")
OURS = (
    *("-o", "LogLevel=DEBUG1"),
    *("-o", "BatchMode=yes"),
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ClearAllForwardings=no"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ConnectionAttempts=1"),
)
MASTER = ("-o", "ControlMaster=yes", "-o", "ControlPersist=no")
NO_MASTER = ("-o", "ControlMaster=no", "-o", "ControlPath=none")
ALONE = (
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
    *("-o", "RequestTTY=no"),
    *("-o", "ForwardAgent=no"),
    *("-o", "ForwardX11=no"),
    *("-o", "Tunnel=no"),
)
SINCE_8_5 = ("-o", "LogVerbose=none")
SINCE_8_7 = ("-o", "ForkAfterAuthentication=no", "-o", "SessionType=none")
FORWARD = ("-R", "*:12345:localhost:8080")
TAIL = ("--", "root@vps.example.com")


TOLD_TO_SSH = {
    *("destination", "remote_forward", "local_forward", "dynamic_forward"),
    *("user", "port", "identity_file", "proxy_jump", "ssh_config", "ssh_options"),
    *("server_alive_interval", "server_alive_count_max", "connect_timeout"),
}
NOT_FOR_SSH = {
    *("description", "restart_max_delay", "autostart"),
    *("probe_interval", "run_on_server", "reclaim"),
    *("on_up", "on_down", "on_failed", "notify_after"),
}


def profile(**values: Any) -> Profile:
    defaults = {"name": "web", "destination": "root@vps.example.com", "remote_forward": (WEB,)}
    return Profile(**{**defaults, **values})


def added(**values: Any) -> tuple[str, ...]:
    """What a key adds to the command line: between what is ours and the first forward."""
    plain = build_argv(profile(), V9_2, control_path=None)
    argv = build_argv(profile(**values), V9_2, control_path=None)
    begin = plain.index("-R")
    assert argv[:begin] == plain[:begin]
    assert argv[-len(plain[begin:]) :] == plain[begin:]
    return argv[begin : len(argv) - len(plain[begin:])]


class TestWholeCommandLines:
    @pytest.mark.parametrize(
        ("version", "of_the_version"),
        [
            (V8_4, ()),
            (V8_5, SINCE_8_5),
            (V8_6, SINCE_8_5),
            (V8_7, (*SINCE_8_5, *SINCE_8_7)),
            (V9_2, (*SINCE_8_5, *SINCE_8_7)),
            (V10_0, (*SINCE_8_5, *SINCE_8_7)),
        ],
        ids=str,
    )
    def test_of_each_version(self, version: Version, of_the_version: tuple[str, ...]) -> None:
        argv = build_argv(profile(), version, control_path="/state/ssh/0a1b.cd")
        control = ("-S", "/state/ssh/0a1b.cd")
        assert argv == (*HEAD, *control, *OURS, *MASTER, *ALONE, *of_the_version, *FORWARD, *TAIL)
        pasted = build_argv(profile(), version, control_path=None)
        assert pasted == (*HEAD, *OURS, *NO_MASTER, *ALONE, *of_the_version, *FORWARD, *TAIL)

    def test_with_every_key(self) -> None:
        local = Forward(
            Kind.LOCAL, "9000:[::1]:90", listen_port=9000, connect_host="::1", connect_port=90
        )
        socks = Forward(Kind.DYNAMIC, "1080", listen_port=1080)
        full = profile(
            description="never seen by ssh",
            local_forward=(local,),
            dynamic_forward=(socks,),
            user="tunnel",
            port=2222,
            identity_file=("~/.ssh/id one", "/keys/two"),
            proxy_jump="jump@bastion.example.com:2200",
            server_alive_interval=5,
            server_alive_count_max=2,
            connect_timeout=7,
            ssh_config="/etc/my ssh_config",
            ssh_options=(("Ciphers", "aes128-gcm@openssh.com"), ("HostKeyAlias", "a b")),
            restart_max_delay=3.5,
            autostart=False,
            profiles_file="/home/me/profiles.toml",
        )
        ours = list(OURS)
        for old, new in (("Interval=15", "Interval=5"), ("Max=3", "Max=2"), ("out=10", "out=7")):
            ours = [word.replace(old, new) for word in ours]
        assert build_argv(full, V9_2, control_path=None, ssh="/opt/ssh") == (
            *("/opt/ssh", *HEAD[1:]),
            *ours,
            *NO_MASTER,
            *ALONE,
            *SINCE_8_5,
            *SINCE_8_7,
            *("-F", "/etc/my ssh_config"),
            *("-p", "2222"),
            *("-l", "tunnel"),
            *("-J", "jump@bastion.example.com:2200"),
            *("-i", "~/.ssh/id one", "-i", "/keys/two"),
            *("-o", "IdentitiesOnly=yes"),
            *("-o", "Ciphers=aes128-gcm@openssh.com", "-o", "HostKeyAlias=a b"),
            *("-R", "*:12345:localhost:8080"),
            *("-L", "9000:[::1]:90"),
            *("-D", "1080"),
            *TAIL,
        )


class TestEachKey:
    def test_of_the_table_is_known_here(self) -> None:
        """Who adds a key to a profile says here what ssh is told of it."""
        assert {key.name for key in KEYS} == TOLD_TO_SSH | NOT_FOR_SSH

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"user": "u"}, ("-l", "u")),
            ({"port": 2222}, ("-p", "2222")),
            ({"proxy_jump": "none"}, ("-J", "none")),
            ({"ssh_config": "none"}, ("-F", "none")),
            ({"identity_file": ("%d/k",)}, ("-i", "%d/k", "-o", "IdentitiesOnly=yes")),
            ({"ssh_options": (("Compression", "yes"),)}, ("-o", "Compression=yes")),
            ({"ssh_options": (("ProxyCommand", "nc %h %p"),)}, ("-o", "ProxyCommand=nc %h %p")),
            ({"description": "words"}, ()),
            ({"restart_max_delay": 1}, ()),
            ({"autostart": False}, ()),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_adds_its_own_words_and_no_more(
        self, values: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        assert added(**values) == words

    @pytest.mark.parametrize("keyword", ["IdentitiesOnly", "identitiesonly"])
    def test_a_person_may_have_the_agent_s_keys_as_well(self, keyword: str) -> None:
        words = added(identity_file=("k",), ssh_options=((keyword, "no"),))
        assert words == ("-i", "k", "-o", f"{keyword}=no")


class TestWhatStandsWhere:
    def test_a_control_path_with_space_and_percent(self) -> None:
        argv = build_argv(profile(), V9_2, control_path="/a state/100%h/ssh/x")
        assert argv[argv.index("-S") + 1] == "/a state/100%%h/ssh/x"

    @pytest.mark.parametrize("destination", ["-V", "-oProxyCommand=x", "ssh://u@h:22", "h"])
    def test_the_destination_behind_two_dashes(self, destination: str) -> None:
        for argv in (
            build_argv(profile(destination=destination), V8_4, control_path=None),
            build_resolve_argv(profile(destination=destination)),
        ):
            assert argv[-2:] == ("--", destination)
            assert argv.count("--") == 1

    @settings(max_examples=25)
    @given(
        st.lists(st.tuples(st.sampled_from(["LogLevel", "BatchMode", "Ciphers"]), st.text())),
        st.sampled_from([V8_4, V9_2, V10_0]),
    )
    def test_nothing_that_a_person_sets_comes_before_what_is_ours(
        self, options: list[tuple[str, str]], version: Version
    ) -> None:
        argv = build_argv(profile(ssh_options=tuple(options)), version, control_path="/c")
        plain = build_argv(profile(), version, control_path="/c")
        begin = plain.index("-R")
        assert argv[:begin] == plain[:begin]
        given_words = [word for key, value in options for word in ("-o", f"{key}={value}")]
        assert argv[begin:] == (*given_words, *plain[begin:])

    def test_ssh_is_asked_about_the_same_connection(self) -> None:
        """Without our own forwards, so that what comes back is what ssh_config adds."""
        full = profile(port=2222, user="u", ssh_config="/c", ssh_options=(("Ciphers", "x"),))
        asked = build_resolve_argv(full, ssh="/opt/ssh")
        assert asked[:2] == ("/opt/ssh", "-G")
        assert ("-R" in asked, "-S" in asked) == (False, False)
        connection = ("-F", "/c", "-p", "2222", "-l", "u", "-o", "Ciphers=x")
        assert asked[-len(connection) - 2 :] == (*connection, *TAIL)
        argv = build_argv(full, V9_2, control_path=None)
        assert argv[argv.index("-F") : argv.index("-R")] == connection
