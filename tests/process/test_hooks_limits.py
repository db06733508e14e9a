"""The limits of a hook, on a loop of the test's own: too long, too many, folded, ended at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sshwrap.paths import find_places
from sshwrap.supervisor import hooks
from sshwrap.supervisor.hooks import Hooks
from sshwrap.supervisor.unit import Unit
from sshwrap.tunnel.events import Deadline, Event, Exited, Moment, Poke, WantDown, WantUp
from tests.support.children import descriptors, has_children
from tests.support.processes import process
from tests.unit.tunnel.things import Life, fresh

ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/"}


class World:
    """Tunnels driven by hand, a clock set by hand, and what the journals hold."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.units: dict[str, Unit] = {}
        self.entries: list[dict[str, Any]] = []
        self.lives: dict[str, Life] = {}
        self.seconds = 0.0
        places = find_places(ENVIRON | {"SSHWRAP_STATE_DIR": str(folder)})
        self.hooks = Hooks(self.loop, places, ENVIRON, self.units, record=self.record, now=self.now)

    def now(self) -> Moment:
        return Moment(1_000.0 + self.seconds, 1_700_000_000.0 + self.seconds)

    def record(self, unit: Unit, entry: Mapping[str, Any]) -> None:
        self.entries.append({**entry, "profile": unit.name})

    def tunnel(self, name: str, **fields: object) -> Life:
        life = self.lives[name] = Life(fresh(**fields))
        order = SimpleNamespace(profile=life.tunnel.profile)
        unit = SimpleNamespace(name=name, tunnel=life.tunnel, order=order)
        self.units[name] = cast(Unit, unit)
        self.do(name, WantUp("up"))
        self.do(name, Deadline())
        return life

    def see(self, name: str) -> None:
        self.units[name].tunnel = self.lives[name].tunnel
        self.hooks.see(self.units[name])

    def do(self, name: str, event: Event) -> None:
        self.lives[name].do(event, self.seconds)
        self.see(name)

    def up(self, name: str) -> None:
        self.lives[name].come_up(self.seconds)
        self.see(name)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(entry["hook"], entry["outcome"]) for entry in self.entries]

    def run_until(self, fact: Any, within: float = 40) -> None:
        deadline = self.loop.time() + within

        def look() -> None:
            if fact() or self.loop.time() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.005, look)

        self.loop.call_soon(look)
        self.loop.run_forever()
        assert fact(), self.entries


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(hooks, "GRACE", 0.2)
    before = descriptors()
    world = World(tmp_path)
    yield world
    world.hooks.close()
    world.run_until(lambda: not has_children())
    world.run_until(lambda: len(descriptors()) <= len(before) + 3)  # the loop's own
    world.loop.close()
    assert descriptors() == before


def script(folder: Path, text: str) -> tuple[str, ...]:
    return ("sh", "-c", text, str(folder / "ran"))


LOOPS = "trap 'echo told >> $0' TERM; echo $$ >> $0; while :; do sleep 0.05; done"


def test_one_that_takes_too_long_is_told_to_end_and_killed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "SECONDS", 0.5)
    world.tunnel("web", on_up=script(tmp_path, LOOPS))
    world.up("web")
    world.run_until(lambda: world.entries)
    assert world.outcomes() == [("on_up", "timed_out")]
    assert world.entries[0]["seconds"] >= 0.5
    pid, *rest = (tmp_path / "ran").read_text().split()
    assert rest == ["told"]
    world.run_until(lambda: process(int(pid)) is None)


def test_what_comes_meanwhile_is_folded(world: World, tmp_path: Path) -> None:
    """Down, up and down again while one runs: the last is told, and one at a time."""
    gate = tmp_path / "gate"
    text = f"echo $SSHWRAP_STATE >> $0; while ! [ -e {gate} ]; do sleep 0.01; done"
    told = script(tmp_path, text)
    world.tunnel("web", on_up=told, on_down=told, notify_after=0)
    world.up("web")
    for _ in range(3):
        world.do("web", Exited(255, None))
        world.do("web", Deadline())
        world.up("web")
    world.do("web", Exited(255, None))
    world.run_until((tmp_path / "ran").exists)
    assert world.entries == []
    gate.touch()
    world.run_until(lambda: len(world.entries) == 2)
    assert (tmp_path / "ran").read_text().split() == ["up", "down"]


def test_what_is_pending_is_dropped_where_nobody_wants_it(world: World, tmp_path: Path) -> None:
    told = script(tmp_path, "echo $SSHWRAP_STATE >> $0; exec sleep 600")
    life = world.tunnel("web", on_up=told, on_down=told, notify_after=0)
    world.up("web")
    world.run_until((tmp_path / "ran").exists)
    world.do("web", Exited(255, None))
    world.do("web", WantDown("down"))
    unit = world.units.pop("web")
    assert life.tunnel.wanted is False
    world.hooks.leave(unit)
    assert world.outcomes() == [("on_up", "cut_short")]
    world.run_until(lambda: not has_children())
    assert (tmp_path / "ran").read_text() == "up\n"
    world.hooks.leave(unit)
    assert len(world.entries) == 1


def test_one_without_hooks_costs_no_process(world: World) -> None:
    world.tunnel("web", notify_after=0)
    world.up("web")
    world.do("web", Exited(255, None))
    assert not has_children()
    assert world.entries == []


def test_what_it_leaves_in_the_background_holds_nothing(world: World, tmp_path: Path) -> None:
    """It has ended when it has ended, whoever still holds its output."""
    text = "sleep 600 & echo $! > $0; echo begun"
    world.tunnel("web", on_up=script(tmp_path, text))
    world.up("web")
    world.run_until(lambda: world.entries)
    assert world.outcomes() == [("on_up", "done")]
    assert world.entries[0]["output"] == ["begun"]
    os.kill(int((tmp_path / "ran").read_text()), signal.SIGKILL)


def test_words_that_no_program_can_be_given_reach_no_tunnel(world: World) -> None:
    """An order comes over a socket, and need not have passed the rules of the file."""
    world.tunnel("web", on_up=("true", "a\0b"))
    world.up("web")
    assert world.outcomes() == [("on_up", "not_started")]


def test_a_restart_is_not_told(world: World, tmp_path: Path) -> None:
    told = script(tmp_path, "echo $SSHWRAP_STATE >> $0")
    world.tunnel("web", on_up=told, on_down=told, notify_after=0)
    world.up("web")
    world.run_until(lambda: len(world.entries) == 1)
    world.do("web", Poke(restart=True))
    world.do("web", Exited(0, None))
    world.do("web", Deadline())
    world.up("web")
    assert not has_children()
    assert (tmp_path / "ran").read_text() == "up\n"
