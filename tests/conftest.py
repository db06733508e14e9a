"""Fixtures of all tests, the server's log beside a failure, and a way to see where a test hangs.

A test that runs past its timeout is ended by SIGALRM with every thread's stack (pytest-timeout's
method "signal"). For what cannot be reached that way, `kill -USR1 PID` prints the stacks at once.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.support.sshd import Sshd
from tests.support.web import Web

SERVERS = pytest.StashKey[list[Sshd]]()
STDERR = pytest.StashKey[object]()


def pytest_configure(config: pytest.Config) -> None:
    # A copy of the descriptor, since pytest puts its own in the place of 2 while a test runs.
    copy = os.fdopen(os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2), "w")
    config.stash[STDERR] = copy
    faulthandler.register(signal.SIGUSR1, file=copy, all_threads=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    faulthandler.unregister(signal.SIGUSR1)
    copy = config.stash[STDERR]
    assert hasattr(copy, "close")
    copy.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"log of sshd on port {server.port}", server.log()[-20_000:]))
    return report


@pytest.fixture
def make_sshd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """`make_sshd(options={…})`: a server that runs; stopped after the test, its log kept by it."""
    servers: list[Sshd] = request.node.stash.setdefault(SERVERS, [])

    def make(**arguments: object) -> Sshd:
        server = Sshd(tmp_path / f"sshd-{len(servers)}", **arguments)  # type: ignore[arg-type]
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(make_sshd: Callable[..., Sshd]) -> Sshd:
    """A server with our defaults; `ssh -F sshd.config server`."""
    return make_sshd()


@pytest.fixture
def web() -> Iterator[Web]:
    """A web service on loopback."""
    with Web() as server:
        yield server
