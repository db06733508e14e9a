"""Command lines of ssh and autossh: what is carried over, dropped with a note, or refused."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.model import Profile
from sshwrap.profile.ssh_command import Parsed, name_after, parse_command

DEFAULTS = Profile("x", "x")


def parse(line: str, environ: dict[str, str] | None = None, name: str | None = None) -> Parsed:
    return parse_command(
        shlex.split(line),
        environ={"HOME": "/home/u", **(environ or {})},
        service_port={"http": 80}.get,
        cwd="/some dir",
        name=name,
    )


def told(line: str) -> dict[str, Any]:
    """What the command line sets, forwards by their spec."""
    profile = parse(line).profile
    found: dict[str, Any] = {"destination": profile.destination}
    for key in ("remote_forward", "local_forward", "dynamic_forward"):
        if specs := [forward.spec for forward in getattr(profile, key)]:
            found[key] = specs
    for key in Profile.__dataclass_fields__:
        value = getattr(profile, key)
        if key not in ("name", "destination") and "_forward" not in key:
            found |= {key: value} if value != getattr(DEFAULTS, key) else {}
    return found


def refused(line: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(line)
    assert caught.value.status is ExitStatus.USAGE
    return caught.value.message


R = "*:12345:localhost:8080"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"ssh -R {R} root@vps", {"destination": "root@vps", "remote_forward": [R]}),
        (f"-R {R} vps", {"remote_forward": [R]}),
        (f"-- ssh -R {R} vps", {"remote_forward": [R]}),
        (f"ssh -R {R} -- vps", {"remote_forward": [R]}),
        (f"/usr/bin/ssh vps -R {R}", {"remote_forward": [R]}),
        (f"ssh -NTfnqvR {R} vps", {"remote_forward": [R]}),
        (f"ssh -NR{R} vps", {"remote_forward": [R]}),
        ("ssh -R 1 -R 2:h:80 -L 3:h:4 -D 5 -D6 vps",
         {"remote_forward": ["1", "2:h:80"], "local_forward": ["3:h:4"],
          "dynamic_forward": ["5", "6"]}),
        ("ssh -p2222 -l me vps", {"port": 2222, "user": "me"}),
        ("ssh -p 2222 -lme vps", {"port": 2222, "user": "me"}),
        ("ssh -i key -i ~/.ssh/a -i /b vps",
         {"identity_file": ("/some dir/key", "~/.ssh/a", "/b")}),
        ("ssh -F cfg vps", {"ssh_config": "/some dir/cfg"}),
        ("ssh -F '~/cfg' vps", {"ssh_config": "/home/u/cfg"}),
        ("ssh -J a@b:1,c vps", {"proxy_jump": "a@b:1,c"}),
        ("ssh -4 vps", {"ssh_options": (("AddressFamily", "inet"),)}),
        ("ssh -6C vps", {"ssh_options": (("AddressFamily", "inet6"), ("Compression", "yes"))}),
        ("ssh -c aes128-ctr -m m -I lib -b 10.0.0.1 -B eth0 vps",
         {"ssh_options": (("Ciphers", "aes128-ctr"), ("MACs", "m"), ("PKCS11Provider", "lib"),
                          ("BindAddress", "10.0.0.1"), ("BindInterface", "eth0"))}),
        ("ssh -k vps", {"ssh_options": (("GSSAPIDelegateCredentials", "no"),)}),
        ("ssh -K vps", {"ssh_options": (("GSSAPIAuthentication", "yes"),
                                        ("GSSAPIDelegateCredentials", "yes"))}),
        ("ssh -oServerAliveInterval=30 -o 'ServerAliveCountMax 2' -o 'connecttimeout = 1m30s' vps",
         {"server_alive_interval": 30, "server_alive_count_max": 2, "connect_timeout": 90}),
        ("ssh -o Port=22 -oUser=me -o 'IdentityFile \"my key\"' -oProxyJump=j vps",
         {"port": 22, "user": "me", "identity_file": ("/some dir/my key",), "proxy_jump": "j"}),
        ("ssh -o 'RemoteForward 8080 localhost:80' -oDynamicForward=1080 vps",
         {"remote_forward": ["8080:localhost:80"], "dynamic_forward": ["1080"]}),
        ("ssh -o ipqos=none -o 'SetEnv A=1' -oSetEnv=B=2 vps",
         {"ssh_options": (("IPQoS", "none"), ("SetEnv", "A=1"), ("SetEnv", "B=2"))}),
        ("ssh -o StrictHostKeyChecking=accept-new vps",
         {"ssh_options": (("StrictHostKeyChecking", "accept-new"),)}),
        ("ssh -o BatchMode=yes -o ExitOnForwardFailure=yes -oControlMaster=no -aNTx vps", {}),
        (f"autossh -M 0 -f -R {R} vps", {"remote_forward": [R]}),
        (f"autossh -M20000:7 -NR {R} vps", {"remote_forward": [R]}),
        (f"autossh -fM 20000 -R {R} vps", {"remote_forward": [R]}),
        (f"env AUTOSSH_GATETIME=0 autossh -M 0 -R {R} vps", {"remote_forward": [R]}),
        (f"-M 0 -R {R} vps", {"remote_forward": [R]}),
        ("ssh -g -L 1:h:2 vps",
         {"local_forward": ["1:h:2"], "ssh_options": (("GatewayPorts", "yes"),)}),
        ("ssh ssh://u@h:2222", {"destination": "ssh://u@h:2222"}),
    ],
)  # fmt: skip
def test_what_is_carried_over(line: str, expected: dict[str, Any]) -> None:
    assert told(line) == {"destination": "vps", **expected}


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        ("ssh -NTnax vps", []),
        ("ssh -f vps", ["-f: dropped: -d puts the tunnel into the background: sshwrap run -d …"]),
        ("ssh -A vps", ["-A: dropped: a tunnel opens no session, so it would do nothing"]),
        ("ssh -tt vps", ["-t: dropped: a tunnel opens no session, so it would do nothing"]),
        ("ssh -E log vps", ["-E log: dropped: sshwrap keeps the log: sshwrap logs"]),
        ("ssh -M -S none vps", [
            "-M: dropped: every tunnel has a control socket of its own",
            "-S none: dropped: every tunnel has a control socket of its own"]),
        ("autossh -M 0 vps", ["-M 0: dropped: ssh's own keepalive watches the line"]),
        ("ssh -oLogLevel=QUIET vps",
         ["-o LogLevel=QUIET: dropped: sshwrap sets it to read what ssh says"]),
        ("ssh -oControlPath=/x vps",
         ["-o ControlPath=/x: dropped: every tunnel has a control socket of its own"]),
        ("ssh -oServerAliveInterval=0 vps",
         ["-o ServerAliveInterval=0: dropped: 0 would turn keepalives off, and a dead line would"
          " never be noticed; it is 15"]),
        ("ssh -p 1 -p 2 -oPort=1 vps", ['port "2": dropped: "1" came first']),
        ("ssh -C -oCompression=no vps", ['Compression "no": dropped: "yes" came first']),
    ],
)  # fmt: skip
def test_what_is_dropped_and_why(line: str, notes: list[str]) -> None:
    assert list(parse(line).notes) == notes


def test_a_value_that_was_dropped_leaves_the_default() -> None:
    assert told("ssh -oServerAliveInterval=0 -oConnectTimeout=none vps") == {"destination": "vps"}


def test_g_says_what_it_does_not_do() -> None:
    (note,) = parse("ssh -gR 1:h:2 vps").notes
    assert note.startswith("-g has no effect on -R, it is for -L and -D; for everybody write")
    assert told("ssh -gR 1:h:2 vps") == {"destination": "vps", "remote_forward": ["1:h:2"]}


def test_autosshs_variables_are_understood() -> None:
    environ = {"AUTOSSH_GATETIME": "0", "AUTOSSH_PATH": "/opt/ssh", "AUTOSSH_LOGFILE": "x"}
    assert parse("autossh -M 0 vps", environ).notes[:3] == (
        "AUTOSSH_GATETIME: dropped: sshwrap tries again whatever the first try was",
        "AUTOSSH_LOGFILE: dropped: sshwrap keeps the log: sshwrap logs",
        "AUTOSSH_PATH: dropped: to run another ssh set SSHWRAP_SSH",
    )
    assert parse("ssh vps", environ).notes == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no destination"),
        ("ssh -N", "no destination"),
        ("ssh -R", "-R: no value after it"),
        ("ssh vps sleep 3", '"sleep 3": a tunnel runs no command on the server'),
        ("ssh vps -N -- sleep 3", '"sleep 3": a tunnel runs no command'),
        ("ssh -- vps -N", '"-N": a tunnel runs no command'),
        ("ssh -W h:22 vps", "-W h:22: connects one standard input and output"),
        ("ssh -w 0:0 vps", "-w 0:0: a network device is no forward"),
        ("ssh -O check vps", "-O check: commands another ssh"),
        ("ssh -Q cipher", "-Q cipher: asks ssh what it can do"),
        ("ssh -s vps sftp", "-s: a tunnel runs no subsystem"),
        ("ssh -V", "-V: prints a version"),
        ("ssh -G vps", "-G: prints a configuration"),
        ("ssh -P x vps", "-P x: means another thing in every version"),
        ("ssh -Z vps", '"-Z" is no option of ssh'),
        ("ssh --help", '"--" is no option of ssh'),
        ("ssh -p x vps", '-p: "x" is no number'),
        ("ssh -p 0 vps", "-p 0: 0 is not 1-65535"),
        ("ssh -oPort vps", '-o "Port" is no KEYWORD=ARGUMENT'),
        ("ssh -oConnectTimeout=soon vps", '-o ConnectTimeout: "soon" is no time'),
        ("ssh -oStrictHostKeyChecking=no vps", 'write "accept-new"'),
        ("ssh -oStrictHostKeyChecking=off vps", 'write "accept-new"'),
        ("ssh -oRemoteCommand=ls vps", "-o RemoteCommand: a tunnel runs no command"),
        ("ssh -oClearAllForwardings=yes vps", "-o ClearAllForwardings: it would take"),
        ("ssh -oTunnel=yes vps", "-o Tunnel: a network device"),
        ("ssh -oInclude=x vps", "-o Include: it belongs in an ssh_config file"),
        ("ssh -oCiper=x vps", "-o Ciper: is no keyword of ssh_config(5); did you mean Ciphers?"),
        ("ssh -oRemoteForward='1 2 3' vps", '-o RemoteForward: "1 2 3" has more than two parts'),
        ("ssh -R 8080::80 vps", '-R 8080::80: "8080::80": target host is empty'),
        ("ssh -R 1:h:2 -R 1:h:3 vps", "asks for the same port as remote_forward[0]"),
        ("ssh -4 -6 vps", '-6: both "inet" and "inet6"'),
        ("ssh -J a -J b vps", '-J: both "a" and "b"'),
        ("ssh -l a b@vps", '-l a: destination names one already: "b"'),
        ("ssh 'v;id'", "a shell would act on it"),
        ("FOO=1 ssh vps", '"FOO=1": sshwrap sets no environment for ssh'),
    ],
)
def test_what_cannot_be_kept_is_refused(line: str, message: str) -> None:
    assert message in refused(line)


def test_all_faults_of_a_command_line_at_once() -> None:
    assert len(refused("ssh -R 8080::80 -L 1 -p 0 'v;id'").splitlines()) == 4


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        ("root@vps.example.com", "vps"),
        ("vps", "vps"),
        ("198.51.100.7", "198.51.100.7"),
        ("u@fe80::1%eth0", "fe80--1-eth0"),
        ("ssh://u@h.example:22", "h"),
        ("münchen", "m-nchen"),
        ("_x", "x"),
        ("h" * 99, "h" * 64),
        ("-x", "tunnel"),
    ],
)
def test_a_tunnel_is_named_after_its_host(destination: str, name: str) -> None:
    assert name_after(destination) == name


def test_a_name_that_was_given_is_kept() -> None:
    assert parse("ssh vps").profile.name == "vps"
    assert parse("ssh vps", name="web").profile.name == "web"
    assert parse("ssh vps").profile.profiles_file is None
    with pytest.raises(UserError, match="name does not begin with a letter or digit"):
        parse("ssh vps", name="-web")
