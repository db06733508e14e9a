"""What `sshwrap doctor` finds where not only sshd_config decides: accounts, keys, the way, ports.

Laws. As of test_doctor_checks.py: a world says all that is wrong in it. Each begins with a server
that lets everything through, a page at home, and the profile `web`; most run only with
SSHWRAP_SLOW=1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sshwrap.doctor.checks import CHECKS
from tests.netlab.doctoring import Report, examine
from tests.netlab.home_cli import HomeCli
from tests.netlab.hosts import PYTHON, Account
from tests.netlab.lab import Lab
from tests.netlab.plain import CONFIRMED, PORT
from tests.netlab.test_doctor_checks import ROWS, SOCKET, forward
from tests.support.waiting import wait_for

World = Callable[[Lab, HomeCli], None]
KEY = "/srv/you/.ssh/id_ed25519"
KNOWN_HOSTS = "/srv/you/.ssh/known_hosts"
# One answer to whoever connects, be it asked for or not: python -c ANSWER PORT TEXT
ANSWER = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
    connection.close()
"""
# A provider's security group: sshd is let through, and silence for the rest.
CLOSED = (
    "-P FORWARD DROP",
    "-I FORWARD -p tcp --dport 22 -j ACCEPT",
    "-I FORWARD -p tcp ! --syn -j ACCEPT",
)
WORLDS: list[tuple[str, World, str, str, tuple[str, ...], set[str], bool]] = []


def world(
    check: str, verdict: str, *says: str, also: tuple[str, ...] = (), plain: bool = False
) -> Callable[[World], World]:
    """`says`: words of that check; `also`: what else is wrong; `plain`: runs without slow, too."""

    def keep(made: World) -> World:
        wrong = {*also, *([check] if verdict in ("fail", "warn") else [])}
        WORLDS.append((made.__name__, made, check, verdict, says, wrong, plain))
        return made

    return keep


# --- the account and its key -----------------------------------------------------------------


@world("key-options", "fail", "restrict", also=("test-port", "forwards"), plain=True)
def restricted(lab: Lab, cli: HomeCli) -> None:
    lab.server.authorize("tunnel", options="restrict")


@world("key-options", "fail", "no-port-forwarding", also=("test-port", "forwards"))
def no_port_forwarding(lab: Lab, cli: HomeCli) -> None:
    lab.server.authorize("tunnel", options="no-port-forwarding")


@world("key-options", "ok", "may forward")
def restricted_but_for_forwards(lab: Lab, cli: HomeCli) -> None:
    lab.server.authorize("tunnel", options="restrict,port-forwarding")


@world("key-options", "fail", 'may not listen on "*:12345"', "spelling", also=("forwards",))
def permitted_on_localhost(lab: Lab, cli: HomeCli) -> None:
    lab.server.authorize("tunnel", options='permitlisten="localhost:12345"')


@world("key-options", "ok", "certain ports")
def permitted(lab: Lab, cli: HomeCli) -> None:
    lab.server.authorize("tunnel", options='permitlisten="12345"')


@world("shell", "unknown", "The tunnel needs no session", plain=True)
def nologin(lab: Lab, cli: HomeCli) -> None:
    lab.server.add_account(Account("mute", 5010, "/home/mute", "/usr/sbin/nologin"))
    cli.profiles(web={"destination": "mute@vps4.example.com"})


@world("gateway-ports", "fail", "docs/doctor.md", also=("test-port",))
def nologin_and_closed(lab: Lab, cli: HomeCli) -> None:
    """No session, no sshd -T: test ports alone show it."""
    lab.server.reload_sshd(GatewayPorts="no")
    nologin(lab, cli)


@world("shell", "unknown", "runs a command of its own")
def forced_command(lab: Lab, cli: HomeCli) -> None:
    lab.server.authorize("tunnel", options='command="touch /tmp/ran"')


@world("shell", "unknown")
def forced_by_sshd(lab: Lab, cli: HomeCli) -> None:
    lab.server.reload_sshd(match="Match User tunnel\n    ForceCommand echo nothing\n")


@world("shell", "ok", "/bin/bash")
def a_shell(lab: Lab, cli: HomeCli) -> None:
    pass


@world("sign-in", "fail", "Permission denied", plain=True)
def wrong_key(lab: Lab, cli: HomeCli) -> None:
    lab.server.put("/home/tunnel/.ssh/authorized_keys", "", "tunnel")


@world("identity-file", "fail", "chmod 600", also=("sign-in",))
def open_key(lab: Lab, cli: HomeCli) -> None:
    lab.home.run("chmod", "644", KEY)


@world("identity-file", "warn", "is not there")
def no_such_key(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={"identity_file": "~/.ssh/nosuch"})


@world("identity-file", "fail", "has a passphrase, and no agent", also=("sign-in",))
def encrypted_key(lab: Lab, cli: HomeCli) -> None:
    lab.home.run("ssh-keygen", "-q", "-p", "-N", "secret", "-f", KEY, account="you")


@world("agent", "warn", "ssh-add", also=("identity-file", "sign-in"))
def empty_agent(lab: Lab, cli: HomeCli) -> None:
    start_agent(lab, cli)
    encrypted_key(lab, cli)


@world("agent", "ok", "holds the key")
def agent_that_holds_it(lab: Lab, cli: HomeCli) -> None:
    start_agent(lab, cli)
    lab.home.run("ssh-add", "-q", KEY, account="you", env=cli.env)
    encrypted_key(lab, cli)


def start_agent(lab: Lab, cli: HomeCli) -> None:
    place = "/srv/you/agent"
    lab.home.popen("ssh-agent", "-D", "-a", place, account="you")
    wait_for(lambda: (lab.home_folder / "you/agent").exists(), what="the agent is there")
    cli.env["SSH_AUTH_SOCK"] = place


@world("ssh-config", "fail", "*:12345", "the same listener")
def the_forward_twice(lab: Lab, cli: HomeCli) -> None:
    lab.home.put("/srv/you/.ssh/config", "RemoteForward *:12345 localhost:8081\n", "you")


@world("ssh-config", "warn", "*:12399", also=("port-free",))
def one_more_that_fails(lab: Lab, cli: HomeCli) -> None:
    lab.faults.hold_port(12399)
    lab.home.put("/srv/you/.ssh/config", "RemoteForward *:12399 localhost:8080\n", "you")


@world("sshd-configuration", "fail", "Nonsense", "sshd -t")
def a_configuration_that_is_broken(lab: Lab, cli: HomeCli) -> None:
    lab.server.run("sh", "-c", "echo 'Nonsense yes' >> /etc/ssh/sshd_config")
    cli.profiles(web={"destination": "root@vps4.example.com"})


# --- the way ---------------------------------------------------------------------------------


@world("host-key", "fail", "SHA256:", "ssh tunnel@vps4.example.com true", plain=True)
def unknown_host_key(lab: Lab, cli: HomeCli) -> None:
    lab.home.put(KNOWN_HOSTS, "", "you")


@world("host-key", "fail", "not the host key", "ssh-keygen -f /srv/you/.ssh/known_hosts -R")
def changed_host_key(lab: Lab, cli: HomeCli) -> None:
    key = lab.server.host_key
    lab.server.run("rm", key, f"{key}.pub")
    lab.server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    lab.server.restart_sshd()


@world("tcp", "fail", "refuses the connection on port 22", plain=True)
def sshd_is_down(lab: Lab, cli: HomeCli) -> None:
    lab.server.stop_sshd()


@world("tcp", "fail", "does not answer on port 22")
def sshd_is_filtered(lab: Lab, cli: HomeCli) -> None:
    lab.faults.firewall(22)


@world("tcp", "fail", "there is no way to")
def sshd_is_rejected(lab: Lab, cli: HomeCli) -> None:
    lab.faults.firewall_reject(22)


@world("tcp", "fail", "there is no way to", "nreachable")
def no_route(lab: Lab, cli: HomeCli) -> None:
    lab.faults.no_route()


@world("banner", "fail", "HTTP/1.1 400 Bad Request")
def a_web_server(lab: Lab, cli: HomeCli) -> None:
    instead_of_sshd(lab, "HTTP/1.1 400 Bad Request\\r\\n\\r\\n")


@world("banner", "fail", "does not greet")
def silence(lab: Lab, cli: HomeCli) -> None:
    lab.server.stop_sshd()
    lab.faults.hold_port(22)


def instead_of_sshd(lab: Lab, text: str) -> None:
    lab.server.stop_sshd()
    lab.server.popen(*PYTHON, "-c", ANSWER, "22", text, tools=True).wait_for_words("ready")


# --- targets and ports -----------------------------------------------------------------------


@world("target-sshd", "warn", "127.0.0.1", "ssh -J tunnel@vps4.example.com", plain=True)
def an_sshd_that_everybody_enters(lab: Lab, cli: HomeCli) -> None:
    greeting = "SSH-2.0-OpenSSH_9.2\\r\\n"
    lab.home.popen(*PYTHON, "-c", ANSWER, "8022", greeting, tools=True).wait_for_words("ready")
    cli.profiles(web=forward("*:12345:localhost:8022"))


@world("target-sshd", "ok", "only the server itself")
def an_sshd_for_the_server_alone(lab: Lab, cli: HomeCli) -> None:
    an_sshd_that_everybody_enters(lab, cli)
    cli.profiles(web=forward("12345:localhost:8022"))


@world("port-free", "fail", "uid 0", "0.0.0.0 and ::", plain=True)
def another_program(lab: Lab, cli: HomeCli) -> None:
    lab.faults.hold_port(PORT)


@world("port-free", "fail", "the other half", "0.0.0.0")
def another_program_on_one_family(lab: Lab, cli: HomeCli) -> None:
    lab.faults.hold_port(PORT, "v4")


@world("port-free", "fail", "python")
def another_program_as_root_sees_it(lab: Lab, cli: HomeCli) -> None:
    lab.faults.hold_port(PORT)
    cli.profiles(web={"destination": "root@vps4.example.com"})


@world("port-free", "fail", "uid 5003")
def another_account_s_tunnel(lab: Lab, cli: HomeCli) -> None:
    lab.server.add_account(Account("other", 5003, "/home/other"))
    words = ("ssh", "-N", "-v", "-R", f"*:{PORT}:localhost:8080", "other@vps4.example.com")
    lab.home.popen(*words).wait_for_words(CONFIRMED)


@world("port-free", "fail", "this very account")
def a_tunnel_of_the_same_account(lab: Lab, cli: HomeCli) -> None:
    words = ("ssh", "-N", "-v", "-R", f"*:{PORT}:localhost:8080", "tunnel@vps4.example.com")
    lab.home.popen(*words).wait_for_words(CONFIRMED)


@world("port-free", "warn", "our own dead session", "sshwrap up web")
def our_stale_session(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")
    lab.faults.home_reboot()
    places = cli.places()
    for left in (*Path(places.control_dir).iterdir(), Path(places.background_socket)):
        left.unlink()  # of those that had no time to take their own away
    assert lab.server.listeners(PORT)


@world("port-free", "fail", "this very account", also=("client-alive",))
def our_stale_session_that_stays(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={"reclaim": False})
    our_stale_session(lab, cli)


@world("port-free", "fail", "is there already", "rm -f", also=("stream-local-bind-unlink",))
def a_socket_in_the_way(lab: Lab, cli: HomeCli) -> None:
    lab.server.put(SOCKET.partition(":")[0], "", "tunnel")
    cli.profiles(web=forward(SOCKET))


@world("port-free", "ok", "will replace it")
def a_socket_that_is_replaced(lab: Lab, cli: HomeCli) -> None:
    lab.server.reload_sshd(StreamLocalBindUnlink="yes")
    a_socket_in_the_way(lab, cli)


@world("privileged-port", "ok", "any account may listen from 80 on")
def ports_that_are_everybody_s(lab: Lab, cli: HomeCli) -> None:
    lab.server.sysctl(net__ipv4__ip_unprivileged_port_start=80)
    cli.profiles(web=forward("*:80:localhost:8080"))


@world("gateway-ports", "fail", "sshd not reloaded", "kill -HUP", also=("test-port",))
def edited_and_not_reloaded(lab: Lab, cli: HomeCli) -> None:
    lab.server.reload_sshd(GatewayPorts="no")
    text = "GatewayPorts clientspecified\n"
    lab.server.put("/etc/ssh/sshd_config.d/00-mine.conf", text, mode=0o644)


# --- live ------------------------------------------------------------------------------------


@world("forwards", "ok", "as asked: *:12345", plain=True)
def up(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")


@world("loop", "ok", "comes back here")
def up_and_looped(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")


@world("from-here", "ok", "vps4.example.com:12345 answers from here")
def up_and_open(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")


@world("forwards", "fail", "only half ours", "sudo ss")
def up_on_one_half(lab: Lab, cli: HomeCli) -> None:
    lab.faults.hold_port(PORT, "v4")
    cli("up", "-d", "web", "--timeout", "20")
    cli.wait_until("web", lambda tunnel: tunnel["forwards"][0]["reach"] == "half_bound")


@world("forwards", "fail", "on the server only", also=("gateway-ports", "test-port"))
def up_on_the_server_only(lab: Lab, cli: HomeCli) -> None:
    lab.server.reload_sshd(GatewayPorts="no")
    cli("up", "-d", "web", "--timeout", "20")
    cli.wait_until("web", lambda tunnel: tunnel["forwards"][0]["reach"] == "loopback_only")


@world(
    "gateway-ports",
    "fail",
    "the rules that it began with",
    "sshwrap restart web",
    also=("forwards", "test-port"),
)
def up_since_before_the_reload(lab: Lab, cli: HomeCli) -> None:
    up_on_the_server_only(lab, cli)
    lab.server.reload_sshd(GatewayPorts="clientspecified")


@world("from-here", "fail", "gives no answer", "security group")
def up_behind_the_server_s_firewall(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")
    lab.faults.firewall(PORT)


@world("from-here", "fail", "cannot be reached")
def up_behind_a_firewall_that_says_so(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")
    lab.faults.firewall_reject(PORT)


@world("from-here", "fail", "gives no answer", "security group", plain=True)
def up_behind_the_provider_s_firewall(lab: Lab, cli: HomeCli) -> None:
    cli.up("web")
    lab.faults.upstream_firewall(PORT)


@world("from-here", "fail", "iptables on the server is active", "sudo iptables -I INPUT")
def root_sees_the_server_s_firewall(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={"destination": "root@vps4.example.com"})
    cli.up("web")
    lab.faults.firewall(PORT)


@world("from-here", "fail", "one in front of the server", "security group")
def root_sees_that_it_is_not_the_server_s(lab: Lab, cli: HomeCli) -> None:
    cli.profiles(web={"destination": "root@vps4.example.com"})
    cli.up("web")
    lab.faults.upstream_firewall(PORT)


@world("from-here", "fail", "gives no answer")
def down_behind_the_provider_s_firewall(lab: Lab, cli: HomeCli) -> None:
    close(lab)


@world("from-here", "ok", "vps4.example.com:12345 answers")
def down_and_the_one_port_is_open(lab: Lab, cli: HomeCli) -> None:
    close(lab, f"-I FORWARD -p tcp --dport {PORT} -j ACCEPT")


def close(lab: Lab, *more: str) -> None:
    rules = "\n".join(f"iptables -w {rule}" for rule in (*CLOSED, *more))
    lab.internet.run("sh", "-ec", rules, tools=True)


# --- all of them -----------------------------------------------------------------------------


def worlds(*, plain: bool) -> list[Any]:
    return [pytest.param(one, id=one[0]) for one in WORLDS if one[-1] is plain]


@pytest.mark.parametrize("one", worlds(plain=True))
def test_what_is_seen(lab: Lab, cli: HomeCli, one: Any) -> None:
    found = look(lab, cli, one)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("one", worlds(plain=False))
def test_what_is_seen_of_the_rest(lab: Lab, cli: HomeCli, one: Any) -> None:
    found = look(lab, cli, one)
    assert not found, "\n".join(found)


def look(lab: Lab, cli: HomeCli, one: Any) -> list[str]:
    name, make, check, verdict, says, wrong, _ = one
    cli.profiles(web={})
    make(lab, cli)
    known = (lab.home.root / KNOWN_HOSTS[1:]).read_text()
    report = examine(cli)
    found = disagreements(report, check, verdict, says, wrong)
    if (lab.server.root / "tmp/ran").exists():
        found.append("a session was opened, and the key's own command has run")
    if (lab.home.root / KNOWN_HOSTS[1:]).read_text() != known:
        found.append("known_hosts was written")
    return [f"{name}: {each}\n{report}" for each in found]


def disagreements(
    report: Report, check: str, verdict: str, says: tuple[str, ...], wrong: set[str]
) -> list[str]:
    found = []
    if report[check] != verdict:
        found.append(f"{check} is {report[check]}, not {verdict}")
    else:
        text = report.text(check)
        found += [f"{check} does not say {word!r}:\n{text}" for word in says if word not in text]
    if report.wrong() != wrong:
        found.append(f"wrong: {sorted(report.wrong())}, not {sorted(wrong)}")
    return found


def test_each_check_is_seen_well_and_where_it_can_be_wrong_wrong() -> None:
    seen = {(row.check, row.verdict) for row in ROWS} | {(one[2], one[3]) for one in WORLDS}
    # Every look sees these well, whatever else is asked.
    always = {"ssh-version", "ssh-config", "latency", "tcp", "banner", "host-key", "sign-in"}
    always |= {"identity-file", "test-port", "sshd-configuration"}
    wrong = {name for row in ROWS for name in row.wrong} | {n for one in WORLDS for n in one[5]}
    # A slow way and an old ssh are for tables; the two others are never wrong.
    never = {"ssh-version", "latency", "root", "shell", "loop"}
    for check in CHECKS:
        assert check.id in always or (check.id, "ok") in seen, check.id
        assert check.id in wrong or check.id in never, check.id
