"""A busy log: ssh writes it line by line, and the loop does not wake up for each of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshwrap.supervisor.child import _BUSY_PAUSE, Source
from tests.support.children import World, clean_world

COUNT = 400

# A line each half millisecond, each by a write of its own, as ssh does it.
WRITER = f"""
import os, select
for number in range({COUNT}):
    os.write(1, b"line %d\\n" % number)
    select.select([], [], [], 0.0005)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with clean_world(tmp_path) as world:
        yield world


def test_lines_that_come_one_by_one_are_read_many_at_a_time(world: World) -> None:
    begun = world.loop.time()
    watched = world.start([sys.executable, "-S", "-c", WRITER])
    world.run_to_end(watched)
    seconds = world.loop.time() - begun
    assert watched.log == [f"line {number}" for number in range(COUNT)]
    batches = [source for source, _ in watched.batches]
    # Never more than two in a pause, however slowly the writer came by its turns; it needs half a
    # second where it has them all, which is a quarter of its lines.
    assert batches.count(Source.LOG) < 10 + 2 * seconds / _BUSY_PAUSE


def test_a_child_that_is_given_up_while_its_log_rests_leaves_nothing(world: World) -> None:
    watched = world.start([sys.executable, "-S", "-c", WRITER])
    world.run_until(lambda: len(watched.log) > COUNT / 10)
    watched.child.close()
    told = len(watched.told)
    world.turn()
    assert len(watched.told) == told
