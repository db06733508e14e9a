"""The rules of a profile: every fault at once, in the words a person can act on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.keys import KEYS, NOT_YET
from sshwrap.profile.keywords import KEYWORDS, PROFILE_KEYS, REFUSED, find_keyword
from sshwrap.profile.model import (
    Fault,
    Profile,
    check_defaults,
    make_profile,
    merge_defaults,
    profile_digest,
    profile_from_json,
    profile_to_json,
    profile_warnings,
)

FULL: dict[str, Any] = {
    "destination": "vps.example.com",
    "description": "the web shop, 网店",
    "remote_forward": ["*:12345:localhost:8080", "0:localhost:22", "/r.sock:/l.sock"],
    "local_forward": "5432:localhost:5432",
    "dynamic_forward": ["1080"],
    "user": "tunnel",
    "port": 2222,
    "identity_file": ["~/.ssh/id", "keys/other", "%d/x", "/abs"],
    "proxy_jump": "a@b:22,c",
    "server_alive_interval": 5,
    "server_alive_count_max": 2,
    "connect_timeout": 20,
    "ssh_config": "~/cfg",
    "ssh_options": {"compression": True, "RekeyLimit": "1G", "SendEnv": ["A", "B"], "IPQoS": 8},
    "probe_interval": 60,
    "run_on_server": False,
    "reclaim": False,
    "restart_max_delay": 7.5,
    "autostart": False,
    "on_up": ["notify-send", "web", "", "two\nlines"],
    "on_down": ["bin/tell", "~/not/expanded"],
    "on_failed": ["~/bin/tell"],
    "notify_after": 2.5,
}


def make(table: dict[str, Any], name: str = "web") -> Profile | list[Fault]:
    return make_profile(
        name,
        table,
        file_dir="/etc/sshwrap",
        environ={"HOME": "/home/u"},
        service_port={"http": 80}.get,
        profiles_file="/etc/sshwrap/profiles.toml",
    )


def good(table: dict[str, Any]) -> Profile:
    made = make({"destination": "vps", **table})
    assert isinstance(made, Profile), made
    return made


def faults(table: dict[str, Any], name: str = "web") -> list[str]:
    made = make({"destination": "vps", **table}, name)
    assert isinstance(made, list)
    return [str(fault) for fault in made]


def test_every_key_is_read() -> None:
    made = make(FULL)
    assert isinstance(made, Profile)
    assert [forward.spec for forward in made.forwards] == [
        *FULL["remote_forward"],
        "5432:localhost:5432",
        "1080",
    ]
    assert made.identity_file == ("~/.ssh/id", "/etc/sshwrap/keys/other", "%d/x", "/abs")
    assert made.ssh_config == "/home/u/cfg"
    assert made.ssh_options == (
        ("Compression", "yes"),
        ("RekeyLimit", "1G"),
        ("SendEnv", "A"),
        ("SendEnv", "B"),
        ("IPQoS", "8"),
    )
    plain = (
        *("user", "port", "proxy_jump", "connect_timeout", "probe_interval", "run_on_server"),
        *("reclaim", "restart_max_delay", "autostart"),
    )
    assert {key: getattr(made, key) for key in plain} == {key: FULL[key] for key in plain}
    assert made.profiles_file == "/etc/sshwrap/profiles.toml"


def test_the_table_of_keys_is_the_profile() -> None:
    fields = {field.name: field for field in dataclasses.fields(Profile)}
    assert {key.name for key in KEYS} == fields.keys() - {"name", "profiles_file"}
    assert set(FULL) == {key.name for key in KEYS}
    made = good({})
    for key in KEYS:
        if key.default is not None:
            assert getattr(made, key.name) == key.default


def test_who_says_nothing_has_a_look_and_a_reclaim_and_no_probe_in_between() -> None:
    made = good({})
    assert (made.probe_interval, made.run_on_server, made.reclaim) == (0, True, True)


def test_a_profile_without_forwards_may_have_them_from_ssh_config() -> None:
    assert good({}).forwards == ()


def test_all_faults_at_once() -> None:
    assert faults(
        {
            "destination": "-oProxyCommand=x",
            "port": "2222",
            "user": "a;b",
            "remote_forward": ["8080:h:80", "8080::3000", 7],
            "conect_timeout": 3,
            "compression": True,
        }
    ) == [
        "conect_timeout: unknown key; did you mean connect_timeout?",
        'compression: unknown key; write ssh_options = { Compression = "yes" }',
        "remote_forward[2]: want a string, not the number 7",
        'remote_forward[1]: "8080::3000": target host is empty; write 8080:localhost:3000',
        "port: want an integer, not a string; write port = 2222",
        'destination: host "-oProxyCommand=x" begins with "-": ssh would read an option',
        'user: user "a;b" holds ";"; a shell would act on it',
    ]


@pytest.mark.parametrize("key", NOT_YET)
def test_keys_to_come_are_refused_by_name(key: str) -> None:
    assert faults({key: True}) == [f"{key}: not supported yet by this version of sshwrap"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("RemoteForward", "did you mean remote_forward?"),
        ("remote-forward", "did you mean remote_forward?"),
        ("remote_forwards", "did you mean remote_forward?"),
        ("host", "did you mean destination?"),
        ("restart_delay_max", "did you mean restart_max_delay?"),
        ("Ciphers", 'write ssh_options = { Ciphers = "x" }'),
        ("strict_host_key_checking", 'write ssh_options = { StrictHostKeyChecking = "x" }'),
        ("log_level", "LogLevel is ssh_config's, and cannot be set"),
    ],
)
def test_unknown_keys_have_a_hint(key: str, hint: str) -> None:
    (fault,) = faults({key: "x"})
    assert fault.startswith(f"{key}: unknown key")
    assert fault.partition("unknown key")[2].lstrip(";: ").startswith(hint)


def test_a_key_like_no_other_has_none() -> None:
    assert faults({"zzz": 1}) == ["zzz: unknown key"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("port", 0, "0 is not 1-65535"),
        ("port", True, "want an integer, not true"),
        ("port", 22.0, "want an integer, not the number 22.0"),
        ("server_alive_interval", 0, "a dead line would never be noticed"),
        ("server_alive_count_max", 0, "0 would make ssh end the tunnel the first time"),
        ("connect_timeout", 99999, "99999 is not 1-3600"),
        ("restart_max_delay", float("nan"), "nan is not 1-86400"),
        ("restart_max_delay", "x", 'want a number of seconds, not the string "x"'),
        ("probe_interval", -1, "-1 is not 0-86400"),
        ("probe_interval", "60", 'want a number of seconds, not the string "60"'),
        ("probe_interval", True, "want a number of seconds, not true"),
        ("run_on_server", "no", 'want true or false, not the string "no"'),
        ("reclaim", 0, "want true or false, not the number 0"),
        ("autostart", "yes", 'want true or false, not the string "yes"'),
        ("autostart", 1, "want true or false, not the number 1"),
        ("destination", 7, "want a string, not the number 7"),
        ("description", "", "is empty"),
        ("description", "a\x1b[31mb", '"a\\x1b[31mb" holds a control character'),
        ("description", "x" * 5000, "has 5000 characters, 4096 at most"),
        ("identity_file", {}, "want a string or a list of strings, not a table"),
        ("ssh_config", "~other/x", "write the whole path"),
        ("ssh_options", [], "want a table of keywords, not a list"),
        ("proxy_jump", "a,,b", "has an empty hop"),
        ("proxy_jump", "-oX,b", 'begins with "-"'),
        ("proxy_jump", "a:99999", 'port "99999" is not 1-65535'),
        ("user", "-l", 'begins with "-"'),
    ],
)
def test_wrong_values(key: str, value: object, message: str) -> None:
    (fault,) = faults({key: value})
    assert fault.startswith(f"{key}: ")
    assert message in fault


def test_a_number_that_python_does_not_write() -> None:
    huge = 1 << 20_000
    assert faults({"port": huge, "description": -huge, "ssh_options": {"IPQoS": huge}}) == [
        "description: want a string, not the number -2^64 and less",
        "port: 2^64 and more is not 1-65535",
        "ssh_options.IPQoS: want a string, an integer or a boolean, not the number 2^64 and more",
    ]


@pytest.mark.parametrize("keyword", [*PROFILE_KEYS, *REFUSED])
def test_keywords_that_a_tunnel_depends_on_are_refused(keyword: str) -> None:
    (fault,) = faults({"ssh_options": {keyword.upper(): "x"}})
    assert fault.startswith(f"ssh_options.{keyword.upper()}: cannot stand in ssh_options: ")
    if keyword in PROFILE_KEYS:
        assert f"write {PROFILE_KEYS[keyword]} = …" in fault


@pytest.mark.parametrize("value", ["no", "off", "No", False])
def test_strict_host_key_checking_cannot_be_off(value: object) -> None:
    (fault,) = faults({"ssh_options": {"stricthostkeychecking": value}})
    assert "accept-new" in fault


@pytest.mark.parametrize("value", ["yes", "ask", "accept-new", True])
def test_strict_host_key_checking_can_be_strict(value: object) -> None:
    assert len(good({"ssh_options": {"StrictHostKeyChecking": value}}).ssh_options) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Ciper": "x"}, "did you mean Ciphers?"),
        ({"rekey_limit": "x"}, "did you mean RekeyLimit?"),
        ({"a b": "x"}, 'ssh_options."a b": is no keyword'),
        ({"Ciphers": "x", "ciphers": "y"}, 'the same keyword as "Ciphers"'),
        ({"Ciphers": 1.5}, "want a string, an integer or a boolean, not the number 1.5"),
        ({"Ciphers": []}, "is empty"),
        ({"SendEnv": ["A", 1.5]}, "ssh_options.SendEnv[1]"),
        ({"ProxyCommand": "x\ny"}, "holds a control character"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    assert any(message in fault for fault in faults({"ssh_options": options}))


def test_every_keyword_is_found_in_any_spelling() -> None:
    for keyword in KEYWORDS:
        assert find_keyword(keyword.upper()) == keyword
    assert {*PROFILE_KEYS, *REFUSED} <= set(KEYWORDS)


def test_a_keyword_of_a_newer_ssh_is_passed_on_with_a_warning() -> None:
    made = good({"ssh_options": {"QuantumFoam": "yes"}})
    assert made.ssh_options == (("QuantumFoam", "yes"),)
    (warning,) = profile_warnings(made)
    assert str(warning).startswith("ssh_options.QuantumFoam: no keyword")


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("8080:a:1", "8080:b:2", True),
        ("8080:a:1", "localhost:8080:b:2", True),
        ("*:8080:a:1", "192.0.2.1:8080:b:2", True),
        ("0.0.0.0:8080:a:1", "127.0.0.1:8080:b:2", True),
        ("[::]:8080:a:1", "[::1]:8080:b:2", True),
        ("Localhost:8080:a:1", "localhost:8080:b:2", True),
        ("0:a:1", "0:a:1", True),
        ("/s:a:1", "/s:b:1", True),
        ("0.0.0.0:8080:a:1", "[::]:8080:b:2", False),
        ("127.0.0.1:8080:a:1", "192.0.2.1:8080:b:2", False),
        ("8080:a:1", "8081:a:1", False),
        ("0:a:1", "0:b:1", False),
        ("*:0:a:1", "0:a:1", False),
        ("/s:a:1", "/t:a:1", False),
        ("/s:a:1", "8080:a:1", False),
    ],
)
def test_two_listeners_on_one_port(one: str, other: str, clash: bool) -> None:
    for pair in ([one, other], [other, one]):
        made = make({"destination": "vps", "remote_forward": pair})
        assert isinstance(made, list) is clash
        if isinstance(made, list):
            assert [fault.path for fault in made] == [("remote_forward", 1)]
            assert str(made[0]).endswith("as remote_forward[0]")


def test_local_and_dynamic_share_this_machine_and_not_the_servers() -> None:
    assert faults({"local_forward": "1080:a:1", "dynamic_forward": "1080"}) == [
        'dynamic_forward: "1080" asks for the same port as local_forward'
    ]
    assert good({"remote_forward": "1080", "dynamic_forward": "1080"}).forwards


def test_a_socks_proxy_for_everybody_is_a_warning() -> None:
    made = good({"remote_forward": ["localhost:1", "*:2"], "dynamic_forward": ["[::]:3", "4"]})
    assert [(warning.path, warning.message[:18]) for warning in profile_warnings(made)] == [
        (("remote_forward", 1), 'a SOCKS proxy on "'),
        (("dynamic_forward", 0), 'a SOCKS proxy on "'),
    ]


@pytest.mark.parametrize("name", ["a", "A1._-x", "9", "x" * 64])
def test_names(name: str) -> None:
    assert isinstance(make({"destination": "vps"}, name), Profile)


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "ä", "x" * 65, "a\n"])
def test_no_names(name: str) -> None:
    assert len(faults({}, name)) == 1


def test_a_destination_is_required() -> None:
    made = make({})
    assert isinstance(made, list)
    assert str(made[0]).startswith("destination is missing")


def test_two_values_for_one_thing() -> None:
    table = {"destination": "ssh://u@h:22", "user": "v", "port": 23}
    assert faults(table) == [
        'user: destination names one already: "u"',
        'port: destination names one already: "22"',
    ]
    table = {"proxy_jump": "a", "ssh_options": {"ProxyCommand": "x"}}
    assert faults(table) == ["proxy_jump: ssh_options.ProxyCommand is there too; ssh takes one"]


def test_defaults_lists_replace_and_tables_merge() -> None:
    defaults = {
        "identity_file": ["a", "b"],
        "port": 22,
        "user": "d",
        "ssh_options": {"compression": True, "RekeyLimit": "1G"},
    }
    table = {"identity_file": "c", "ssh_options": {"Compression": False, "IPQoS": "none"}}
    assert merge_defaults(defaults, table) == {
        "identity_file": "c",
        "port": 22,
        "user": "d",
        "ssh_options": {"RekeyLimit": "1G", "Compression": False, "IPQoS": "none"},
    }


def test_the_destinations_own_user_and_port_beat_the_default_ones() -> None:
    defaults = {"user": "d", "port": 1}
    assert merge_defaults(defaults, {"destination": "u@h"}) == {"destination": "u@h", "port": 1}
    assert merge_defaults(defaults, {"destination": "ssh://h:2"}) == {
        "destination": "ssh://h:2",
        "user": "d",
    }


def test_defaults_are_checked_by_themselves() -> None:
    found = check_defaults(
        {"port": "x", "visitor_log": False}, file_dir="/", environ={}, service_port={}.get
    )
    assert [fault.path for fault in found] == [("visitor_log",), ("port",)]


def test_json_is_lossless() -> None:
    made = make(FULL)
    assert isinstance(made, Profile)
    data = json.loads(json.dumps(profile_to_json(made)))
    assert profile_from_json(data) == made
    assert profile_from_json({**data, "of_a_newer_version": 1}) == made


@pytest.mark.parametrize(
    "data",
    [{}, {"name": "a", "destination": "b", "remote_forward": [1]}, {"ssh_options": 7}],
)
def test_json_of_something_else_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no (profile|forward)"):
        profile_from_json(data)


def test_the_digest_changes_with_what_ssh_is_told() -> None:
    made = make(FULL)
    assert isinstance(made, Profile)
    digest = profile_digest(made)
    assert len(digest) == 16
    for other in (
        {**FULL, "description": "else"},
        {**FULL, "autostart": True},
        {**FULL, "probe_interval": 0},
        {**FULL, "run_on_server": True},
        {**FULL, "reclaim": True},
        {**FULL, "on_up": [], "on_down": ["x"], "on_failed": ["y"], "notify_after": 9},
        {**FULL, "remote_forward": ["*:012345:localhost:8080", *FULL["remote_forward"][1:]]},
    ):
        changed = make(other)
        assert isinstance(changed, Profile)
        assert profile_digest(changed) == digest
    for other in (
        {**FULL, "remote_forward": FULL["remote_forward"][:2]},
        {**FULL, "port": 22},
        {**FULL, "ssh_options": {}},
        {**FULL, "restart_max_delay": 8},
    ):
        changed = make(other)
        assert isinstance(changed, Profile)
        assert profile_digest(changed) != digest


def test_the_program_of_a_hook_is_found_where_the_file_is() -> None:
    made = make(FULL)
    assert isinstance(made, Profile)
    assert made.on_up == ("notify-send", "web", "", "two\nlines")
    assert made.on_down == ("/etc/sshwrap/bin/tell", "~/not/expanded")
    assert made.on_failed == ("/home/u/bin/tell",)
    assert profile_from_json(json.loads(json.dumps(profile_to_json(made)))) == made
    dot = make({"destination": "h", "on_up": ["./tell"], "on_down": ["/x/./y"]})
    assert isinstance(dot, Profile)
    assert (dot.on_up, dot.on_down) == (("/etc/sshwrap/tell",), ("/x/./y",))


def test_an_empty_list_is_no_hook_whatever_the_defaults_say() -> None:
    merged = merge_defaults({"on_down": ["tell"]}, {"destination": "h", "on_down": []})
    made = make(merged)
    assert isinstance(made, Profile)
    assert made.on_down == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "notify-send 'it is up'",
            'on_up: no shell reads it: write it as a list: on_up = ["notify-send", "it is up"]',
        ),
        (
            "tell | mail me",
            "on_up: no shell reads it: write it as a list:"
            ' on_up = ["sh", "-c", "…"] for a shell of your own',
        ),
        ("it's", "on_up: no shell reads it: write it as a list"),
        ("", "on_up: no shell reads it: write it as a list"),
        (True, "on_up: want a list of strings, not true"),
        ({"a": 1}, "on_up: want a list of strings, not a table"),
        ([""], "on_up[0]: is empty"),
        (["a\nb"], "on_up[0]: \"a\\x0ab\" holds a control character: '\\n'"),
        (["tell", 5], "on_up[1]: want a string, not the number 5"),
        (["tell", ["x"]], "on_up[1]: want a string, not a list"),
        (["tell", "a\x1bb"], "on_up[1]: \"a\\x1bb\" holds a control character: '\\x1b'"),
        (["tell", "a\0"], "on_up[1]: \"a\\x00\" holds a control character: '\\x00'"),
        (["tell", "x" * 4097], "on_up[1]: has 4097 characters, 4096 at most"),
        (["tell"] * 257, "on_up: has 257 words, 256 at most"),
        (["~ann/tell"], 'on_up[0]: "~ann/tell": write the whole path'),
    ],
)
def test_what_is_no_hook(value: object, said: str) -> None:
    assert faults({"on_up": value}) == [said]


@pytest.mark.parametrize("value", ["60", True, -1, 86401])
def test_what_is_no_time_of_an_outage(value: object) -> None:
    assert len(faults({"notify_after": value})) == 1


scalars = st.one_of(
    st.none().map(lambda _: "x"), st.integers(), st.floats(), st.booleans(), st.text(max_size=9)
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(), scalars))
names = st.sampled_from([key.name for key in KEYS]) | st.text(max_size=5)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(names, values, max_size=8), st.text(max_size=5))
def test_no_table_makes_it_fall_over(table: dict[str, Any], name: str) -> None:
    made = make(table, name)
    if isinstance(made, Profile):
        assert profile_from_json(json.loads(json.dumps(profile_to_json(made)))) == made
        profile_warnings(made)
    else:
        assert made
        assert all(fault.message.isprintable() for fault in made)
