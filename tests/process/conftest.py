"""A user with a fake ssh; and every n-th of these tests, where there is a run for each of n shares.

They fork in pytest's own process, which has to have one thread, so pytest-xdist is not for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import FakeCli
from tests.support.shares import share
from tests.support.signals import heeding_ctrl_c

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = os.environ.get("SSHWRAP_SHARE")  # "1/2", as scripts/test.py sets it
    if not asked:
        return
    ours = share(asked, [item.nodeid for item in items if HERE in item.path.parents])
    left = [item for item in items if HERE in item.path.parents and item.nodeid not in ours]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heeded() -> Iterator[None]:
    """Whoever runs the tests may do so in the background."""
    with heeding_ctrl_c():
        yield


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[FakeCli]:
    """With no profile yet; after the test nothing of it may be left."""
    with FakeCli(tmp_path / "u") as cli:
        yield cli
