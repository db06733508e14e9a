"""A dead line is known to be dead before the keepalive knows; a slow one is never called so.

For somebody without rights in the home. Each test says what it waits for: that a living line was
put to the test is a fact too, a sign-in beside it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.netlab import runtime
from tests.netlab.lab import Lab, missing_for_delay
from tests.netlab.visitor import now
from tests.support.waiting import wait_for

DOUBTER = "/srv/checkout/tests/netlab/doubter.py"
WITHIN = 60.0


class Doubter:
    def __init__(self, lab: Lab, interval: int, *options: str) -> None:
        argv = (runtime.PYTHON, DOUBTER, "/srv/you/master", str(interval), *options)
        environ = runtime.environment()
        self.program = lab.home.popen(*argv, "tunnel@vps4.example.com", account="you", env=environ)
        self.wait("up", within=20)

    def heard(self) -> list[tuple[float, str, Any]]:
        found = []
        for line in self.program.output().splitlines():
            if line.startswith("["):
                moment, what, words = json.loads(line)
                found.append((moment, what, words))
        return found

    def all(self, what: str) -> list[tuple[float, str, Any]]:
        return [one for one in self.heard() if one[1] == what]

    def wait(self, what: str, count: int = 1, *, within: float = WITHIN) -> tuple[float, str, Any]:
        """The last of the first `count` of them."""

        def said() -> bool:
            assert what in ("dead", "ended") or not self.all("dead"), self.program.output()
            return len(self.all(what)) >= count

        wait_for(said, within=within, what=lambda: f"{what}: {self.program.output()}")
        return self.all(what)[count - 1]

    def is_doubted(self, times: int) -> None:
        """It is said to have woken, again and again, until so many sign-ins were made for it."""

        def doubted() -> bool:
            self.lives()
            if len(self.all("doubt")) == len(self.all("fine")):
                self.program.signal(signal.SIGUSR1)
            return len(self.all("doubt")) >= times

        what = f"{times} sign-ins"
        wait_for(doubted, within=100, what=lambda: f"{what}: {self.program.output()}", every=1.0)

    def lives(self) -> None:
        assert self.all("dead") == self.all("ended") == [], self.program.output()


@pytest.fixture
def doubter(lab: Lab) -> Callable[..., Doubter]:
    asked = (runtime.PYTHON, "-c", "import sshwrap")
    done = lab.home.run(*asked, account="you", env=runtime.environment(), check=False)
    if done.returncode:
        pytest.skip(f"account 'you' cannot run us here: {done.stderr[-200:]}")
    return lambda *arguments: Doubter(lab, *arguments)


@pytest.mark.parametrize("interval", [3, 15])
def test_an_address_change_is_known_soon_after_a_keepalive(
    lab: Lab, doubter: Callable[..., Doubter], interval: int
) -> None:
    one = doubter(interval)
    lab.faults.address_change()
    began = now()
    moment, _, reason = one.wait("dead")
    assert "from another address" in reason
    assert one.all("ended") == [], "ssh knows nothing yet"
    assert moment - began < 2 * interval + 8, "of the keepalive alone: 4 x the interval"


def test_a_router_that_forgot_us_is_known_before_the_keepalive(
    lab: Lab, doubter: Callable[..., Doubter]
) -> None:
    """From the same address, which takes more proof; what is new passes."""
    one = doubter(15)
    found = lab.home.run("ss", "-H", "-t", "-n", "dport = :22", tools=True).stdout.split()
    port = found[3].rpartition(":")[2]
    for what in ("sport", "dport"):
        lab.router.run(
            "sh", "-ec", f"iptables -w -I FORWARD -p tcp --{what} {port} -j DROP", tools=True
        )
    _, _, reason = one.wait("dead")
    assert "from another address" not in reason
    assert len(one.all("doubt")) >= 2
    assert one.all("ended") == []


def test_a_machine_that_woke_does_not_wait_for_the_keepalive(
    lab: Lab, doubter: Callable[..., Doubter]
) -> None:
    one = doubter(600)
    lab.faults.address_change()
    woke = now()
    one.program.signal(signal.SIGUSR1)
    moment, _, _ = one.wait("dead")
    assert moment - woke < 30, "the keepalive would be asked after 600 s"


def test_a_machine_that_woke_with_a_living_line_keeps_it(
    lab: Lab, doubter: Callable[..., Doubter]
) -> None:
    one = doubter(600)
    one.program.signal(signal.SIGUSR1)
    one.wait("fine")
    one.lives()


def test_loss_of_thirty_percent_is_not_death(lab: Lab, doubter: Callable[..., Doubter]) -> None:
    one = doubter(1, "-oServerAliveCountMax=200")
    lab.faults.loss(0.3)
    one.is_doubted(4)
    one.lives()


def test_three_seconds_of_delay_are_not_death(lab: Lab, doubter: Callable[..., Doubter]) -> None:
    if (reason := missing_for_delay()) is not None:
        pytest.skip(reason)
    one = doubter(2, "-oServerAliveCountMax=50")
    lab.faults.delay(3.0)
    one.wait("doubt")  # what is sent now is sent again four times before an answer can come
    one.wait("fine")
    one.is_doubted(3)
    lab.faults.delay(0)
    one.is_doubted(4)
    wait_for(lambda: len(one.all("fine")) == len(one.all("doubt")), within=60, what="it is fine")
    one.lives()


def test_a_stall_of_half_a_minute_is_not_death(lab: Lab, doubter: Callable[..., Doubter]) -> None:
    one = doubter(15)
    lab.faults.silence()
    began = now()
    one.wait("doubt")
    wait_for(lambda: now() - began > 30, within=40, what="half a minute of it")
    lab.faults.speak()
    one.wait("fine")
    one.lives()


def test_an_idle_line_is_hardly_looked_at(lab: Lab, doubter: Callable[..., Doubter]) -> None:
    one = doubter(2)
    up = one.all("up")[0][0]
    wait_for(lambda: now() - up > 10, within=20, what="five keepalives")
    one.program.signal(signal.SIGTERM)
    _, _, looks = one.wait("looks")
    assert 3 <= looks <= 12
    one.lives()
