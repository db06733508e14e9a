"""A lab for each test, with everybody's words beside a failure; skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.netlab.lab import Lab, missing

LABS = pytest.StashKey[list[Lab]]()


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

    def make(*, server: str | None = None, nat: bool = True, ipv6: bool = True) -> Lab:
        try:
            lab = Lab(tmp_path / f"lab-{len(labs)}", server=server, nat=nat, ipv6=ipv6)
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
