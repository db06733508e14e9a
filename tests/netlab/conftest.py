"""A lab for each test, with everybody's words beside a failure; skipped with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netlab.home_cli import HomeCli, can_run
from tests.netlab.lab import Lab, missing

HERE = Path(__file__).parent
SECONDS = 400  # for a test, which waits for several facts of which each may be late
MATRIX = "one test on many servers: SSHWRAP_SLOW=1 runs it, as `make matrix` does"
LABS = pytest.StashKey[list[Lab]]()
SLOW = "takes long: SSHWRAP_SLOW=1 runs it, as `make netlab` does"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: only where SSHWRAP_SLOW is set")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    runs_slow = bool(os.environ.get("SSHWRAP_SLOW"))
    for item in items:
        if HERE not in item.path.parents:
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))
        for mark, reason in (("slow", SLOW), ("matrix", MATRIX)):
            if not runs_slow and item.get_closest_marker(mark) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for lab in item.stash.get(LABS, []):
            for log in sorted(lab.folder.glob("*/*.log")):
                said = log.read_text(errors="replace")[-4000:]
                report.sections.append((f"{log.parent.name}: {log.name}", said))
    return report


@pytest.fixture
def make_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """`make_lab(nat=False)`: hosts that are up; gone after the test, their logs kept by it."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    labs: list[Lab] = request.node.stash.setdefault(LABS, [])

    def make(*, server: str | None = None, **options: bool) -> Lab:
        try:
            lab = Lab(tmp_path / f"lab-{len(labs)}", server=server, **options)
        except FileNotFoundError as error:  # a system that nobody has built here
            pytest.skip(str(error))
        labs.append(lab)
        return lab.start()

    yield make
    for lab in labs:
        lab.end()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """A lab whose server runs the machine's own sshd with GatewayPorts, and a page at home."""
    lab = make_lab()
    lab.server.start_sshd(GatewayPorts="clientspecified")
    lab.serve_page()
    return lab


@pytest.fixture
def cli(lab: Lab) -> Iterator[HomeCli]:
    """The command in that lab's home, for somebody without rights there."""
    with home_cli(lab) as cli:
        yield cli


@contextmanager
def home_cli(lab: Lab, account: str = "you") -> Iterator[HomeCli]:
    with HomeCli(lab, account) as cli:
        if (reason := can_run(lab.home, cli)) is not None:
            pytest.skip(f"account {account!r} cannot run us here: {reason}")
        yield cli
