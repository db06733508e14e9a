"""The command beside a real sshd; what it wrote stands beside a failure."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.children import World
from tests.support.masters import masters
from tests.support.signals import heeding_ctrl_c
from tests.support.sshd import Sshd
from tests.support.sshwrap_cli import Sshwrap
from tests.support.stale import MakePlace, Place, account_home, user_places


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heeded() -> Iterator[None]:
    """Whoever runs the tests may do so in the background."""
    with heeding_ctrl_c():
        yield


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For Unix sockets: the folders of pytest are too deep for them.

    Before `cli` among a test's arguments it outlives whoever uses it.
    """
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make_cli(tmp_path: Path) -> Iterator[Callable[[Sshd], Sshwrap]]:
    """`make_cli(server)`: a user of that server; after the test nothing of it is left."""
    made: list[Sshwrap] = []

    def make(server: Sshd) -> Sshwrap:
        made.append(Sshwrap(tmp_path / f"user-{len(made)}", server))
        return made[-1]

    yield make
    faults = []
    for cli in made:
        try:
            cli.close()
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, "\n".join(faults)


@pytest.fixture
def cli(make_cli: Callable[[Sshd], Sshwrap], sshd: Sshd) -> Sshwrap:
    """A user of the server `sshd`."""
    return make_cli(sshd)


# --- a session that is left behind, and who ends it ---


@pytest.fixture
def world() -> Iterator[World]:
    with masters() as world:
        yield world


@pytest.fixture
def home() -> Iterator[Path]:
    with account_home() as home:
        yield home


@pytest.fixture
def make_place(world: World) -> Iterator[MakePlace]:
    with user_places(world) as make:
        yield make


@pytest.fixture
def place(make_place: MakePlace, sshd: Sshd) -> Place:
    """As whoever runs this, root or not."""
    return make_place(sshd)
