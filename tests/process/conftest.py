"""A user with a fake ssh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import FakeCli
from tests.support.signals import heeding_ctrl_c


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
