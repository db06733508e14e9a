"""Forwards changed while the tunnel is up: what listens, who stays, and when it is restarted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.accounts import UID, Account, holding
from tests.support.needs import needs_ipv6, needs_namespaces, needs_sshd
from tests.support.ports import free_port, listeners
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap, Tunnel
from tests.support.targets import Echo, Visitor
from tests.support.waiting import wait_for
from tests.support.web import Web, fetch

pytestmark = needs_sshd

HERE = "127.0.0.1"
LIVE = "on the live connection"


@pytest.fixture
def other_web() -> Web:
    return Web(text="the other page")


@pytest.fixture
def home() -> Iterator[Path]:
    """Of an account that is not root's."""
    folder = Path(tempfile.mkdtemp(prefix="sw-home-", dir="/tmp"))
    folder.chmod(0o755)
    os.chown(folder, UID, UID)
    yield folder
    shutil.rmtree(folder)


def to(web: Web | Echo, port: int | str) -> str:
    return f"{port}:{HERE}:{web.port}"


def edit(cli: Sshwrap, *remote: str, **more: object) -> None:
    cli.profiles(web={"remote_forward": list(remote), **more})


def reload(cli: Sshwrap) -> str:
    """What it says of the tunnel."""
    done = cli("reload")
    assert done.status == 0, done
    (line,) = done.err.splitlines()
    return line.removeprefix("sshwrap: web: ")


def by_spec(tunnel: Tunnel) -> dict[str, Tunnel]:
    return {forward["spec"]: forward for forward in tunnel["forwards"]}


def is_the_same_ssh(cli: Sshwrap, before: Tunnel) -> Tunnel:
    """It never went away for a moment."""
    tunnel = cli.tunnel("web")
    assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
    assert tunnel["ssh_pid"] == before["ssh_pid"]
    assert tunnel["profile_changed"] is False
    assert len(cli.journal("web", "up")) == 1
    return tunnel


def test_open_visitors_stay_whatever_is_taken_back(cli: Sshwrap, web: Web) -> None:
    stays, goes, comes = free_port(), free_port(), free_port()
    with Echo((HERE, 0)) as echo:
        edit(cli, to(echo, stays), to(echo, goes))
        first = cli.up("web")
        with Visitor((HERE, stays)) as one, Visitor((HERE, goes)) as two:
            cli.wait("web", lambda t: [f["connections"]["open"] for f in t["forwards"]] == [1, 1])
            edit(cli, to(web, comes), to(echo, stays))  # and they change places
            text = reload(cli)
            assert (
                text == f"1 forward added ({to(web, comes)}), 1 removed ({to(echo, goes)}), {LIVE}"
            )
            assert [visitor.say("still there") for visitor in (one, two)] == ["still there"] * 2
            assert listeners(goes) == set()
            assert "hello" in fetch(comes)
            tunnel = is_the_same_ssh(cli, first)
            shown = by_spec(tunnel)
            assert list(shown) == [to(web, comes), to(echo, stays)]
            assert {forward["reach"] for forward in shown.values()} == {"as_asked"}
            assert shown[to(echo, stays)]["connections"]["open"] == 1
        cli.wait(
            "web",
            lambda t: (
                by_spec(t)[to(echo, stays)]["connections"] | {"last": 0}
                == {"open": 0, "total": 1, "last": 0}
            ),
        )
        with Visitor((HERE, stays)) as again:
            assert again.say("served") == "served"
    assert [entry["text"] for entry in cli.journal("web", "changed")] == [text]


def test_unchanged_is_not_touched(cli: Sshwrap, web: Web) -> None:
    port = free_port()
    edit(cli, to(web, port))
    first = cli.up("web")
    assert cli("reload").err == "sshwrap: nothing has changed\n"
    edit(cli, f"{port}:[{HERE}]:{web.port}")
    assert cli("reload").err == "sshwrap: nothing has changed\n"  # another spelling alone
    is_the_same_ssh(cli, first)
    assert cli.journal("web", "changed") == []


def test_another_target_on_the_same_port(cli: Sshwrap, web: Web, other_web: Web) -> None:
    port = free_port()
    with other_web:
        edit(cli, to(web, port))
        first = cli.up("web")
        assert "hello" in fetch(port)
        edit(cli, to(other_web, port))
        assert reload(cli).endswith(LIVE)
        assert "the other page" in fetch(port)
        is_the_same_ssh(cli, first)


def test_taken_back_and_asked_for_again(cli: Sshwrap, web: Web) -> None:
    """The same spec again would be granted unasked, had ssh not forgotten it."""
    port, stays = free_port(), free_port()
    edit(cli, to(web, stays), to(web, port))
    first = cli.up("web")
    for _ in range(2):
        edit(cli, to(web, stays))
        assert reload(cli).endswith(LIVE)
        assert listeners(port) == set()
        edit(cli, to(web, stays), to(web, port))
        assert reload(cli).endswith(LIVE)
        assert "hello" in fetch(port)
    is_the_same_ssh(cli, first)


def test_a_port_that_the_server_chooses(cli: Sshwrap, web: Web, other_web: Web) -> None:
    stays = free_port()
    with other_web:
        edit(cli, to(web, stays), to(web, 0))
        first = cli.up("web")
        old = first["forwards"][1]["allocated_port"]
        assert "hello" in fetch(old)
        edit(cli, to(web, stays), to(other_web, 0))
        text = reload(cli)
        assert listeners(old) == set()
        tunnel = is_the_same_ssh(cli, first)
        new = tunnel["forwards"][1]["allocated_port"]
        assert f"({to(other_web, 0)}: port {new})" in text
        assert tunnel["forwards"][1]["address"] == f"{HERE}:{new}"
        assert "the other page" in fetch(new)
        edit(cli, to(web, stays))
        assert reload(cli).endswith(LIVE)
        assert listeners(new) == set()


@needs_ipv6
def test_a_healed_half_goes_as_a_whole(cli: Sshwrap, web: Web) -> None:
    port, stays = free_port(), free_port()
    edit(cli, to(web, stays), to(web, port))
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HERE, port))
        held.listen()
        cli("up", "-d", "web")
        first = cli.wait("web", lambda t: by_spec(t)[to(web, port)]["reach"] == "half_bound")
    cli.wait("web", lambda t: by_spec(t)[to(web, port)]["reach"] == "as_asked")
    assert listeners(port) == {HERE, "::1"}
    edit(cli, to(web, stays))
    assert reload(cli).endswith(LIVE)
    assert listeners(port) == set()
    edit(cli, to(web, stays), to(web, port))
    assert reload(cli).endswith(LIVE)
    assert listeners(port) == {HERE, "::1"}
    is_the_same_ssh(cli, first)


@needs_namespaces
@needs_ipv6
def test_of_an_account_whose_listeners_cannot_be_told_apart(
    make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web, home: Path
) -> None:
    """By the uid alone: a program of the account that holds a half is not ours to take back."""
    cli = make_cli(Account(make_sshd, home, "/bin/sh").sshd)
    port, half, comes = free_port(), free_port(), free_port()
    with holding(half, uid=UID):
        edit(cli, to(web, port), to(web, half))
        cli("up", "-d", "web")
        first = cli.wait("web", lambda t: t["forwards"][1]["reach"] == "half_bound")
        edit(cli, to(web, comes))
        assert reload(cli).endswith(LIVE)
        assert listeners(port) == set()
        assert listeners(half) == {HERE}
        assert "hello" in fetch(comes)
        assert is_the_same_ssh(cli, first)["forwards"][0]["reach"] == "as_asked"


@pytest.mark.parametrize(
    ("gateway_ports", "reach", "bound"),
    [
        ("no", "loopback_only", {HERE, "::1"}),
        ("clientspecified", "as_asked", {"127.0.0.2"}),
    ],
)
def test_another_bind_address(
    make_sshd: Callable[..., Sshd],
    make_cli: Callable[[Sshd], Sshwrap],
    web: Web,
    gateway_ports: str,
    reach: str,
    bound: set[str],
) -> None:
    cli = make_cli(make_sshd(options={"GatewayPorts": gateway_ports}))
    port, stays = free_port(), free_port()
    edit(cli, to(web, stays), f"{HERE}:{to(web, port)}")
    first = cli.up("web")
    edit(cli, to(web, stays), f"127.0.0.2:{to(web, port)}")
    assert reload(cli).endswith(LIVE)
    tunnel = is_the_same_ssh(cli, first)
    assert tunnel["forwards"][1]["reach"] == reach
    assert set(tunnel["forwards"][1]["bound"]) <= bound
    assert listeners(port) <= bound
    assert listeners(port)


def test_local_and_dynamic_forwards(cli: Sshwrap, web: Web) -> None:
    stays, local, socks = free_port(), free_port(), free_port()
    edit(cli, to(web, stays))
    first = cli.up("web")
    edit(cli, to(web, stays), local_forward=to(web, local), dynamic_forward=str(socks))
    assert reload(cli).startswith("2 forwards added (")
    assert "hello" in fetch(local)
    assert listeners(socks)
    edit(cli, to(web, stays))
    assert reload(cli).startswith("2 forwards removed (")
    assert listeners(local) | listeners(socks) == set()
    is_the_same_ssh(cli, first)


def test_up_does_the_same_and_shows_what_is_there_then(cli: Sshwrap, web: Web) -> None:
    port, other = free_port(), free_port()
    edit(cli, to(web, port))
    first = cli.up("web")
    edit(cli, to(web, other))
    done = cli("up", "-d", "web")
    assert done.status == 0
    assert f"{HERE}:{other}" in done.out
    assert f"{HERE}:{port}" not in done.out
    is_the_same_ssh(cli, first)


def test_hang_ups_one_after_the_other(cli: Sshwrap, web: Web) -> None:
    """Each takes what is in the file by then; the last one counts."""
    ports = [free_port() for _ in range(5)]
    edit(cli, to(web, ports[0]))
    front = cli.front("up", "web")
    first = cli.wait("web", "up")
    for port in ports[1:]:
        edit(cli, to(web, port))
        front.signal(signal.SIGHUP)
    cli.wait("web", lambda t: [f["listen_port"] for f in t["forwards"]] == ports[-1:])
    wait_for(lambda: [bool(listeners(port)) for port in ports] == [False] * 4 + [True])
    is_the_same_ssh(cli, first)
    assert all(entry["text"].endswith(LIVE) for entry in cli.journal("web", "changed"))
    front.wait_for_words(LIVE)


def test_a_faulty_file_changes_nothing(cli: Sshwrap, web: Web) -> None:
    port, other = free_port(), free_port()
    edit(cli, to(web, port))
    first = cli.up("web")
    edit(cli, to(web, other), "80800:localhost:80")
    done = cli("reload")
    assert done.status == 78
    assert '"80800" is not 0-65535' in done.err
    os.kill(first["supervisor_pid"], signal.SIGHUP)
    assert "80800" in cli.wait_for_entry("web", "notice")["text"]
    tunnel = cli.tunnel("web")
    assert (tunnel["ssh_pid"], list(by_spec(tunnel))) == (first["ssh_pid"], [to(web, port)])
    assert listeners(other) == set()
    assert "hello" in fetch(port)


# --- another ssh -------------------------------------------------------------------------------


def restarted(cli: Sshwrap, before: Tunnel) -> Tunnel:
    tunnel = cli.wait("web", lambda t: t["state"] == "up" and t["ssh_pid"] != before["ssh_pid"])
    assert tunnel["drops"] == 0
    return tunnel


def test_what_is_no_forward_restarts_it_and_it_alone(cli: Sshwrap, web: Web) -> None:
    port, other = free_port(), free_port()
    more = {"beside": {"remote_forward": to(web, other)}}
    cli.profiles(web={"remote_forward": to(web, port)}, **more)
    first, beside = cli.up("web", "beside"), cli.tunnel("beside")
    edited = {"server_alive_interval": 9, "connect_timeout": 7}
    cli.profiles(web={"remote_forward": to(web, port), **edited}, **more)
    done = cli("reload")
    assert done.err.splitlines() == [
        "sshwrap: web: restarted, because server_alive_interval and connect_timeout were edited",
        "sshwrap: beside: unchanged",
    ]
    restarted(cli, first)
    assert cli.tunnel("beside")["ssh_pid"] == beside["ssh_pid"]


@pytest.mark.parametrize("why", ["forced command", "run_on_server"])
def test_where_nobody_can_look(cli: Sshwrap, web: Web, sshd: Sshd, why: str) -> None:
    port, other = free_port(), free_port()
    more: dict[str, object] = {}
    if why == "run_on_server":
        more = {"run_on_server": False}
    else:
        key = sshd.authorized_keys.read_text()
        sshd.authorized_keys.write_text(f'command="/bin/false" {key}')
    edit(cli, to(web, port), **more)
    first = cli.up("web")
    edit(cli, to(web, other), **more)
    text = reload(cli)
    assert text.startswith("restarted, because its forwards could not be changed on the live")
    assert "run_on_server is false" in text or "runs a command of its own" in text
    restarted(cli, first)
    assert "hello" in fetch(other)
    wait_for(lambda: listeners(port) == set(), what="nobody listens at the old one")


@needs_namespaces
def test_an_account_without_a_shell(
    make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], web: Web, home: Path
) -> None:
    cli = make_cli(Account(make_sshd, home, "/usr/sbin/nologin").sshd)
    port, other = free_port(), free_port()
    edit(cli, to(web, port))
    first = cli.up("web")
    edit(cli, to(web, other))
    assert reload(cli).endswith(": the account runs no commands on the server")
    restarted(cli, first)
    assert "hello" in fetch(other)


def test_an_added_port_is_anothers(cli: Sshwrap, web: Web) -> None:
    """What ssh is told next is all of the new profile: it waits for the port, and says so."""
    port, other = free_port(), free_port()
    edit(cli, to(web, port))
    first = cli.up("web")
    with socket.socket() as held, socket.socket(socket.AF_INET6) as held_6:
        held.bind((HERE, other))
        held.listen()
        try:
            held_6.bind(("::1", other))
            held_6.listen()
        except OSError:  # no IPv6 here
            pass
        edit(cli, to(web, port), to(web, other))
        text = reload(cli)
        assert re.search(f"{other}:.*: remote port forwarding failed for listen port", text), text
        cli.wait("web", lambda t: t["failure"] and t["failure"]["kind"] == "port_taken")
    restarted(cli, first)
    assert "hello" in fetch(other)


def test_the_control_socket_is_gone(cli: Sshwrap, web: Web) -> None:
    port, other = free_port(), free_port()
    edit(cli, to(web, port))
    first = cli.up("web")
    for control in Path(cli.places().control_dir).iterdir():
        control.unlink()
    edit(cli, to(web, other))
    assert "the tunnel's control socket is gone" in reload(cli)
    restarted(cli, first)
    assert "hello" in fetch(other)
