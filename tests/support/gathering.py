"""Doctor's questions to a server of a test, and the facts that come of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sshwrap.doctor.facts import Facts, Known, Tried, Unknown
from sshwrap.doctor.gather import Question, gather
from sshwrap.doctor.line import Line
from sshwrap.profile.model import Profile
from tests.support.masters import remote
from tests.support.sshd import Sshd


class Doctor:
    """Gathers of one server, and closes its lines."""

    def __init__(self, control_dir: Path) -> None:
        self.control_dir = control_dir
        self.told: list[Facts] = []
        self.line: Line | None = None
        self.on_told: Callable[[Facts], None] = lambda _: None

    def ask(self, server: Sshd, *specs: str, profile: Any = None, **more: Any) -> Facts:
        forwards = tuple(remote(spec) for spec in specs)
        given = {"remote_forward": forwards, "ssh_config": str(server.config), **(profile or {})}
        question = Question(
            Profile("web", given.pop("destination", server.alias), **given),
            {"PATH": os.environ["PATH"], "HOME": str(self.control_dir)},
            str(self.control_dir),
            **more,
        )
        self.told = []

        def tell(facts: Facts) -> None:
            self.told.append(facts)
            self.on_told(facts)

        facts, self.line = gather(question, tell)
        try:
            assert facts.round_trips <= 12
            assert facts.seconds < 15
            assert self.told[-1] == facts
        finally:
            if self.line is not None:
                self.line.close()
        assert list(self.control_dir.iterdir()) == []
        return facts


def known(fact: Any) -> Any:
    assert isinstance(fact, Known), fact
    return fact.value


def unknown(fact: Any) -> str:
    assert isinstance(fact, Unknown), fact
    return fact.reason


def spare(facts: Facts) -> Tried:
    return next(one for one in known(facts.live.tried) if one.is_spare)


def keywords(facts: Facts) -> dict[str, Any]:
    return dict(known(facts.server.effective))
