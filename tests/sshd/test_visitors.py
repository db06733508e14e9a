"""Who came, how many are there, and where the latest came from: by ssh's own words."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.needs import needs_ipv6, needs_sshd
from tests.support.ports import free_port
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.targets import Echo, Visitor, connect, socks_connect

pytestmark = needs_sshd

HERE = "127.0.0.1"


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo((HERE, 0)) as service:
        yield service


def counted(cli: Sshwrap, *counts: tuple[int, int]) -> list[dict[str, Any]]:
    """The connections of each forward once they are (open, total) so."""
    tunnel = cli.wait(
        "web",
        lambda t: (
            [(f["connections"]["open"], f["connections"]["total"]) for f in t["forwards"]]
            == list(counts)
        ),
        what=f"open and total: {counts}",
    )
    assert (tunnel["state"], tunnel["drops"]) == ("up", 0)
    return [forward["connections"] for forward in tunnel["forwards"]]


def by_socks(proxy: int, port: int, host: str = HERE) -> Visitor:
    return Visitor((HERE, proxy), through=socks_connect((HERE, proxy), host, port))


def test_remote_forwards_beside_each_other(cli: Sshwrap, echo: Echo) -> None:
    one, two = free_port(), free_port()
    cli.profiles(web={"remote_forward": [f"{p}:{HERE}:{echo.port}" for p in (one, two)]})
    cli.up("web")
    assert counted(cli, (0, 0), (0, 0))[0]["last"] is None
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(Visitor((HERE, one))) for _ in range(5)]
        second = [stack.enter_context(Visitor((HERE, two))) for _ in range(3)]
        connections = counted(cli, (5, 5), (3, 3))
        assert [shown["last"]["address"] for shown in connections] == [HERE, HERE]
        assert connections[0]["last"]["at"].endswith("Z")
        for visitor in (*first[:2], second[0]):
            visitor.close()
        counted(cli, (3, 5), (2, 3))
        assert first[4].say("still here") == "still here"
    counted(cli, (0, 5), (0, 3))


def test_all_at_once(cli: Sshwrap, echo: Echo) -> None:
    """Sixty that open and close while others do."""
    port = free_port()
    cli.profiles(web={"remote_forward": f"{port}:{HERE}:{echo.port}"})
    cli.up("web")
    faults: list[BaseException] = []

    def visit() -> None:
        try:
            for _ in range(6):
                with Visitor((HERE, port)) as visitor:
                    assert visitor.say("x" * 1000) == "x" * 1000
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=visit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert faults == []
    counted(cli, (0, 60))


def test_the_latest_address_is_the_visitors(cli: Sshwrap, echo: Echo) -> None:
    port = free_port()
    cli.profiles(web={"remote_forward": f"{HERE}:{port}:{HERE}:{echo.port}"})
    cli.up("web")
    for number, address in enumerate(("127.0.0.5", "127.0.0.77"), 1):
        client = socket.create_connection((HERE, port), 10, source_address=(address, 0))
        with Visitor((HERE, port), through=client):
            assert counted(cli, (1, number))[0]["last"]["address"] == address
        counted(cli, (0, number))


def test_a_target_that_is_down_is_visited_in_vain(cli: Sshwrap, echo: Echo) -> None:
    """Every second visitor of a profile finds nobody; those of the other forward are not mixed."""
    good, bad, nobody = free_port(), free_port(), free_port()
    cli.profiles(web={"remote_forward": [f"{good}:{HERE}:{echo.port}", f"{bad}:{HERE}:{nobody}"]})
    cli.up("web")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Visitor((HERE, good)))
            with pytest.raises((OSError, EOFError)):
                Visitor((HERE, bad))
        counted(cli, (4, 4), (0, 4))
        targets = [forward["target"] for forward in cli.tunnel("web")["forwards"]]
        assert targets == ["ok", "refused"]
    counted(cli, (0, 4), (0, 4))


@needs_ipv6
def test_port_0(cli: Sshwrap, echo: Echo) -> None:
    cli.profiles(web={"remote_forward": [f"0:{HERE}:{echo.port}", f"[::1]:0:{HERE}:{echo.port}"]})
    ports = [forward["allocated_port"] for forward in cli.up("web")["forwards"]]
    with Visitor((HERE, ports[0])), Visitor((HERE, ports[0])), Visitor(("::1", ports[1])):
        connections = counted(cli, (2, 2), (1, 1))
    assert connections[1]["last"]["address"] == "::1"
    counted(cli, (0, 2), (0, 1))


def test_one_port_on_two_addresses(
    make_sshd: Callable[..., Sshd], make_cli: Callable[[Sshd], Sshwrap], echo: Echo
) -> None:
    cli = make_cli(make_sshd(options={"GatewayPorts": "clientspecified"}))
    port = free_port()
    hosts = ("127.0.0.1", "127.0.0.2")
    cli.profiles(web={"remote_forward": [f"{h}:{port}:{HERE}:{echo.port}" for h in hosts]})
    cli.up("web")
    with Visitor(("127.0.0.2", port)):
        counted(cli, (0, 0), (1, 1))
        with Visitor(("127.0.0.1", port)):
            counted(cli, (1, 1), (1, 1))


def test_unix_sockets(cli: Sshwrap, echo: Echo, short_folder: Path) -> None:
    there, here, port = short_folder / "there", short_folder / "here", free_port()
    with Echo(here):
        cli.profiles(web={"remote_forward": [f"{there}:{HERE}:{echo.port}", f"{port}:{here}"]})
        cli.up("web")
        with Visitor(there), Visitor(there), Visitor((HERE, port)):
            connections = counted(cli, (2, 2), (1, 1))
            assert connections[0]["last"] is None  # ssh does not say who comes by a socket
            assert connections[1]["last"]["address"] == HERE
        counted(cli, (0, 2), (0, 1))


def test_remote_socks(cli: Sshwrap, echo: Echo) -> None:
    proxy = free_port()
    cli.profiles(web={"remote_forward": str(proxy)})
    cli.up("web")
    with by_socks(proxy, echo.port), by_socks(proxy, echo.port):
        assert counted(cli, (2, 2))[0]["last"]["address"] == HERE
    counted(cli, (0, 2))
    with connect((HERE, proxy)):  # one who says nothing is there all the same
        counted(cli, (1, 3))
    counted(cli, (0, 3))


def test_local_and_dynamic(cli: Sshwrap, echo: Echo) -> None:
    local, dynamic = free_port(), free_port()
    cli.profiles(
        web={
            "local_forward": f"{local}:{HERE}:{echo.port}",
            "dynamic_forward": str(dynamic),
        }
    )
    cli.up("web")
    with Visitor((HERE, local)), by_socks(dynamic, echo.port):
        client = socket.create_connection((HERE, local), 10, source_address=("127.0.0.7", 0))
        with Visitor((HERE, local), through=client):
            # ssh names such a visitor when it has gone.
            assert [shown["last"] for shown in counted(cli, (2, 2), (1, 1))] == [None, None]
        assert counted(cli, (1, 2), (1, 1))[0]["last"]["address"] == "127.0.0.7"
    # The other one of the local forward came before: it is not the latest.
    connections = counted(cli, (0, 2), (0, 1))
    assert [shown["last"]["address"] for shown in connections] == ["127.0.0.7", HERE]


def test_every_kind_at_once(cli: Sshwrap, echo: Echo) -> None:
    remote, local, dynamic, remote_socks = (free_port() for _ in range(4))
    cli.profiles(
        web={
            "remote_forward": [f"{remote}:{HERE}:{echo.port}", str(remote_socks)],
            "local_forward": f"{local}:{HERE}:{echo.port}",
            "dynamic_forward": str(dynamic),
        }
    )
    cli.up("web")
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Visitor((HERE, remote)))
            stack.enter_context(by_socks(remote_socks, echo.port))
            stack.enter_context(Visitor((HERE, local)))
            stack.enter_context(by_socks(dynamic, echo.port))
        counted(cli, (2, 2), (2, 2), (2, 2), (2, 2))
    counted(cli, (0, 2), (0, 2), (0, 2), (0, 2))


def test_open_ones_end_with_their_ssh_and_totals_stay(cli: Sshwrap, echo: Echo, sshd: Sshd) -> None:
    port = free_port()
    cli.profiles(web={"remote_forward": f"{port}:{HERE}:{echo.port}"})
    cli.up("web")
    with Visitor((HERE, port)):
        counted(cli, (1, 1))
        sshd.kill_sessions()
        tunnel = cli.wait("web", lambda t: t["state"] == "up" and t["drops"] == 1)
        connections = tunnel["forwards"][0]["connections"]
        assert (connections["open"], connections["total"]) == (0, 1)
        assert connections["last"]["address"] == HERE
