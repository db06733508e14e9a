"""Each check of sshd's configuration fails where it has to, and passes where nothing is wrong."""

from __future__ import annotations

import pytest

from sshwrap.doctor.checks_server import KERNEL_GIVES_UP
from sshwrap.doctor.facts import Facts, Known, Listening, Reloader, SignIn, Software, Unknown
from sshwrap.doctor.findings import Verdict
from sshwrap.doctor.sshd_config import Origin, Place
from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.version import Version
from tests.unit.doctor.samples import (
    ALL_OPTIONS,
    NO_SESSION,
    PENALTIES,
    PUBLIC,
    SOCKET,
    WEB,
    asked,
    destination,
    failed,
    find,
    forward,
    having,
    judge,
    placed,
    setting,
    sound,
    trial,
    unprivileged,
    verdict,
)

DISABLED = "Server has disabled port forwarding."
REFUSED = "port forwarding refused"
RECENT = Version(9, 6)
LOCAL = forward("9000:localhost:80", Kind.LOCAL)


def refused(facts: Facts, said: str, one: Forward = WEB) -> Facts:
    return having(facts, live={"tried": Known((trial(one, None, spare=False, said=said),))})


@pytest.mark.parametrize(
    ("value", "forwards", "expected"),
    [
        ("yes", (WEB, LOCAL), Verdict.OK),
        ("all", (WEB,), Verdict.OK),
        ("remote", (WEB,), Verdict.OK),
        ("remote", (WEB, LOCAL), Verdict.FAIL),
        ("local", (LOCAL,), Verdict.OK),
        ("local", (WEB,), Verdict.FAIL),
        ("no", (LOCAL,), Verdict.FAIL),
        ("no", (SOCKET,), None),  # sockets have a keyword of their own
    ],
)
def test_allow_tcp_forwarding(
    value: str, forwards: tuple[Forward, ...], expected: Verdict | None
) -> None:
    facts = setting(refused(sound(), DISABLED), allowtcpforwarding=value)
    facts = having(facts, account={"key_options": Known(())})
    assert verdict(facts, asked(*forwards), "allow-tcp-forwarding") is expected


def test_which_line_forbids_it_and_what_it_beats() -> None:
    winner = Place("/etc/ssh/sshd_config.d/10-hard.conf", 4, "no", "Match User root")
    beaten = tuple(Place("/etc/ssh/sshd_config", line, "yes") for line in range(60, 67))
    origins = {"allowtcpforwarding": Origin("AllowTcpForwarding", winner, beaten)}
    facts = having(refused(sound(), DISABLED), server={"origins": Known(origins)})
    found = judge(setting(facts, allowtcpforwarding="no"), asked(), "allow-tcp-forwarding")
    lines = found.seen.split("\n")
    assert lines[0] == 'AllowTcpForwarding is "no"'
    assert lines[2] == (
        "    /etc/ssh/sshd_config.d/10-hard.conf:4   AllowTcpForwarding no   (in Match User root)"
    )
    assert lines[3] == "    and beats /etc/ssh/sshd_config:60   AllowTcpForwarding yes"
    assert lines[-1] == "    and 3 more"
    default = having(facts, server={"origins": Known({"allowtcpforwarding": Origin("x", None)})})
    found = judge(setting(default, allowtcpforwarding="no"), asked(), "allow-tcp-forwarding")
    assert found.seen.endswith("it is sshd's own default.")


def test_what_the_running_sshd_does_goes_before_its_files() -> None:
    works = setting(sound(), allowtcpforwarding="no")  # the test ports were let in
    found = judge(works, asked(), "allow-tcp-forwarding")
    assert found.verdict is Verdict.WARN
    assert "the running sshd does not know it yet" in found.seen
    found = judge(refused(sound(), DISABLED), asked(), "allow-tcp-forwarding")
    assert found.verdict is Verdict.FAIL
    assert "not reloaded" in found.why


def test_a_test_port_tells_where_nobody_may_read_the_configuration() -> None:
    for check in ("allow-tcp-forwarding", "disable-forwarding"):
        assert verdict(unprivileged(sound()), asked(), check) is Verdict.OK
    closed = refused(unprivileged(sound()), DISABLED)
    assert verdict(closed, asked(), "allow-tcp-forwarding") is Verdict.FAIL
    silent = having(closed, live={"tried": Unknown("no")})
    assert verdict(silent, asked(), "allow-tcp-forwarding") is Verdict.UNKNOWN
    assert verdict(silent, asked(), "disable-forwarding") is Verdict.UNKNOWN


def test_disable_forwarding_overrides_all() -> None:
    facts = setting(refused(sound(), DISABLED), disableforwarding="yes")
    found = judge(facts, asked(), "disable-forwarding")
    assert found.verdict is Verdict.FAIL
    assert "        DisableForwarding no" in found.advice.split("\n")
    assert verdict(sound(), asked(), "disable-forwarding") is Verdict.OK
    assert verdict(sound(), destination(), "disable-forwarding") is Verdict.OK


@pytest.mark.parametrize(("value", "expected"), [("no", "fail"), ("local", "fail"), ("yes", "ok")])
def test_sockets_need_their_own_keyword(value: str, expected: str) -> None:
    facts = setting(sound(SOCKET), allowstreamlocalforwarding=value)
    assert verdict(facts, asked(SOCKET), "allow-stream-local-forwarding") == expected
    assert find(facts, asked(), "allow-stream-local-forwarding") is None


@pytest.mark.parametrize(
    ("value", "one", "expected"),
    [
        ("any", WEB, "ok"),
        ("none", WEB, "fail"),
        ("*:12345", WEB, "ok"),
        ("*:12345", PUBLIC, "ok"),
        ("12345", PUBLIC, "ok"),
        ("localhost:12345", WEB, "ok"),
        ("127.0.0.1:12345", WEB, "fail"),
        ("localhost:12345", PUBLIC, "fail"),
        ("localhost:* *:80", WEB, "ok"),
        ("*:80 *:443", WEB, "fail"),
        ("[::1]:12345", forward("[::1]:12345:localhost:80"), "ok"),
    ],
)
def test_permit_listen_as_sshd_matches_it(value: str, one: Forward, expected: str) -> None:
    facts = setting(sound(one), permitlisten=value)
    assert verdict(facts, asked(one), "permit-listen") == expected


def test_permit_listen_names_the_line_to_write() -> None:
    facts = setting(sound(), permitlisten="*:80 *:443")
    found = judge(facts, asked(), "permit-listen")
    assert '"localhost:12345"' in found.seen
    assert "        PermitListen *:80 *:443 12345" in found.advice.split("\n")
    assert "    Match User root" in found.advice.split("\n")
    hidden = refused(unprivileged(sound()), REFUSED)
    assert verdict(hidden, asked(), "permit-listen") is Verdict.FAIL
    by_key = having(hidden, account={"key_options": Known((*ALL_OPTIONS, "permitlisten"))})
    assert verdict(by_key, asked(), "permit-listen") is Verdict.UNKNOWN


def test_an_old_socket_stays_unless_sshd_unlinks_it() -> None:
    found = judge(sound(SOCKET), asked(SOCKET), "stream-local-bind-unlink")
    assert found.verdict is Verdict.WARN
    cured = setting(sound(SOCKET), streamlocalbindunlink="yes")
    assert verdict(cured, asked(SOCKET), "stream-local-bind-unlink") is Verdict.OK
    assert find(sound(), asked(), "stream-local-bind-unlink") is None


def alive(interval: str, count: str, version: Version = RECENT) -> Facts:
    software = Known(Software(f"OpenSSH_{version}", version))
    facts = having(sound(), server={"software": software}, account={"shell": NO_SESSION})
    return setting(facts, clientaliveinterval=interval, clientalivecountmax=count)


@pytest.mark.parametrize(
    ("facts", "worst", "expected"),
    [
        (alive("0", "3"), "2 h 11 min", "warn"),
        (alive("15", "0"), "2 h 11 min", "warn"),
        (alive("600", "3"), "40 min", "warn"),
        (alive("15", "3"), "1 min", "ok"),
        (alive("15", "3", Version(9, 2)), "2 min", "ok"),
        (alive("60", "3", Version(9, 2)), "8 min", "warn"),
    ],
)
def test_how_long_a_dead_session_keeps_the_port(facts: Facts, worst: str, expected: str) -> None:
    found = judge(facts, asked(), "client-alive")
    assert found.verdict == expected
    assert f"a dead session keeps the port for up to {worst}" in found.seen


def test_where_sshwrap_ends_its_dead_session_itself_nothing_is_wrong() -> None:
    assert verdict(sound(), asked(), "client-alive") is Verdict.OK
    assert verdict(sound(), asked(reclaim=False), "client-alive") is Verdict.WARN
    assert verdict(sound(), asked(run_on_server=False), "client-alive") is Verdict.WARN
    assert find(sound(), asked(forward("0:localhost:80")), "client-alive") is None
    assert KERNEL_GIVES_UP == 7860


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "ok"), ("none", "ok"), ("0", "ok"), ("300", "warn"), ("5m", "warn")],
)
def test_an_idle_tunnel_is_ended_by_unused_connection_timeout(
    value: str | None, expected: str
) -> None:
    facts = setting(sound(), unusedconnectiontimeout=value)
    found = judge(facts, asked(), "unused-connection-timeout")
    assert found.verdict == expected
    assert ("5 min" in found.why) is (expected == "warn")


def test_no_session_beside_the_tunnel() -> None:
    facts = setting(sound(), maxsessions="0")
    assert verdict(facts, asked(), "max-sessions") is Verdict.WARN
    assert verdict(facts, asked(run_on_server=False), "max-sessions") is Verdict.OK
    assert verdict(setting(sound(), maxsessions="1"), asked(), "max-sessions") is Verdict.OK


def test_more_profiles_than_sshd_lets_in_at_a_time() -> None:
    many = having(sound(), here={"profiles_at_server": 12})
    found = judge(many, asked(), "max-startups")
    assert found.verdict is Verdict.WARN
    assert "    MaxStartups 24:30:200" in found.advice.split("\n")
    assert verdict(having(many, here={"profiles_at_server": 10}), asked(), "max-startups") == "ok"
    one = setting(having(many, here={"profiles_at_server": 4}), persourcemaxstartups="3")
    assert "PerSourceMaxStartups" in judge(one, asked(), "max-startups").seen


def test_penalties_matter_where_the_sign_in_fails() -> None:
    facts = setting(having(sound(), here={"profiles_at_server": 5}), persourcepenalties=PENALTIES)
    assert verdict(facts, asked(), "penalties") is Verdict.OK
    no = Known(SignIn(failed("permission_denied")))
    denied = having(facts, account={"sign_in": no})
    assert verdict(denied, asked(), "penalties") is Verdict.WARN
    alone = having(denied, here={"profiles_at_server": 1})
    assert verdict(alone, asked(), "penalties") is Verdict.OK
    assert find(sound(), asked(), "penalties") is None  # 9.2 has none
    strict = setting(sound(), persourcepenalties=PENALTIES.replace("authfail:5", "authfail:60"))
    assert verdict(strict, asked(), "penalties") is Verdict.WARN
    off = setting(sound(), persourcepenalties="no")
    assert verdict(off, asked(), "penalties") is Verdict.OK
    assert find(unprivileged(sound()), asked(), "penalties") is None


@pytest.mark.parametrize(
    ("reloader", "command"),
    [
        (Reloader.SYSTEMD, "systemctl reload ssh"),
        (Reloader.OPENRC, "rc-service sshd reload"),
        (Reloader.PIDFILE, "kill -HUP 7"),
        (None, "systemctl reload ssh"),
    ],
)
def test_the_advice_reloads_sshd_as_this_server_does(
    reloader: Reloader | None, command: str
) -> None:
    listening = Known(Listening(7, "/usr/sbin/sshd", (), reloader))
    facts = having(refused(sound(), DISABLED), server={"listening": listening})
    found = judge(setting(facts, disableforwarding="yes"), asked(), "disable-forwarding")
    assert f"    sudo sh -c 'sshd -t && {command}'" in found.advice.split("\n")


def test_what_is_placed_is_what_is_found() -> None:
    origins = placed("MaxSessions", "0", "/etc/ssh/sshd_config", 9)
    facts = having(setting(sound(), maxsessions="0"), server={"origins": Known(origins)})
    assert "/etc/ssh/sshd_config:9   MaxSessions 0" in judge(facts, asked(), "max-sessions").seen
