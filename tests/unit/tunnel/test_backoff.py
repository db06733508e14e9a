"""When the next try is: by what went wrong and how often, and never by a clock that can be set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.ssh.catalogue import CATALOGUE
from sshwrap.ssh.failure import Disposition, failure
from sshwrap.tunnel import backoff
from sshwrap.tunnel.backoff import next_delay
from sshwrap.tunnel.events import Deadline, Exited, Heard, Moment, Spawned, WantUp
from sshwrap.tunnel.machine import step
from sshwrap.tunnel.model import State, Tunnel
from sshwrap.tunnel.present import snapshot
from sshwrap.tunnel.traffic import Traffic
from tests.unit.tunnel.things import REFUSED, evidence, fresh

RETRY, SLOW, PORT = "refused", "throttled", "port_taken"
PERSON, CONFIG = "host_key_unknown", "bad_option"


def delay(kind: str, streak: int = 1, **given: Any) -> float | None:
    defaults: dict[str, Any] = {
        "streak_seconds": 0.0,
        "after_stable": False,
        "ever_up": False,
        "max_delay": 30.0,
        "jitter": 0.0,
    }
    return next_delay(
        failure(kind, destination="vps.example.com", profile="web"),
        streak=streak,
        **defaults | given,
    )


def delays(kind: str, count: int, **given: Any) -> list[float | None]:
    return [delay(kind, number, **given) for number in range(1, count + 1)]


def test_the_kinds_used_here_have_their_dispositions() -> None:
    assert {kind: CATALOGUE[kind].disposition for kind in (RETRY, SLOW, PORT, PERSON, CONFIG)} == {
        RETRY: Disposition.RETRY,
        SLOW: Disposition.SLOW,
        PORT: Disposition.PORT,
        PERSON: Disposition.PERSON,
        CONFIG: Disposition.CONFIG,
    }


class TestNetwork:
    def test_it_doubles_up_to_the_profile_s_own_limit(self) -> None:
        full = delays(RETRY, 9, jitter=1.0)
        assert full == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        assert delays(RETRY, 9) == [0.75 * (each or 0) for each in full]
        assert delays(RETRY, 4, max_delay=1.0, jitter=1.0) == [0.5, 1, 1, 1]
        assert delay(RETRY, 100_000, jitter=1.0) == 30

    def test_at_once_after_a_stable_run(self) -> None:
        assert delays(RETRY, 5, after_stable=True, jitter=0.9) == [0.0] * 5


class TestThrottled:
    def test_never_sooner_than_the_penalty_even_after_a_stable_run(self) -> None:
        assert delays(SLOW, 7) == [20, 40, 80, 160, 320, 600, 600]
        assert delay(SLOW, after_stable=True) == 20
        assert delay(SLOW, 100_000, jitter=1.0) == 750

    def test_a_short_limit_of_the_profile_is_not_the_server_s(self) -> None:
        assert delay(SLOW, max_delay=1.0) == 20


class TestPort:
    def test_soon_for_three_minutes_then_seldom(self) -> None:
        assert delay(PORT, 100, streak_seconds=179.9) == 1.0
        assert delay(PORT, 1, heard_when_free=True) == 27.0
        assert delay(PORT, 100, streak_seconds=179.9, jitter=1.0) == 1.5
        assert delay(PORT, 100, streak_seconds=180.0) == 27.0
        assert delay(PORT, 100, streak_seconds=1e6, jitter=1.0) == pytest.approx(33.0)


class TestPerson:
    def test_one_minute_five_then_every_fifteen(self) -> None:
        assert delays(PERSON, 5) == [60, 300, 900, 900, 900]
        assert delay(PERSON, jitter=1.0) == pytest.approx(66)

    def test_a_key_that_worked_before_is_tried_sooner(self) -> None:
        assert delays("permission_denied", 7, ever_up=True) == [20, 40, 80, 160, 300, 900, 900]
        assert delays("permission_denied", 3) == [60, 300, 900]
        assert delays(PERSON, 3, ever_up=True) == [
            60,
            300,
            900,
        ]  # a key of a host is no key of ours

    def test_a_faulty_option_waits_for_a_person_without_end(self) -> None:
        assert delays(CONFIG, 3, ever_up=True, after_stable=True) == [None, None, None]


@settings(max_examples=50)
@given(
    st.sampled_from(sorted(CATALOGUE)),
    st.integers(1, 10_000),
    st.floats(0, 1e7),
    st.booleans(),
    st.booleans(),
    st.floats(0.1, 86_400),
    st.floats(0, 1, exclude_max=True),
)
def test_nobody_is_ever_given_up(
    kind: str,
    streak: int,
    seconds: float,
    after_stable: bool,
    ever_up: bool,
    max_delay: float,
    jitter: float,
) -> None:
    found = delay(
        kind,
        streak,
        streak_seconds=seconds,
        after_stable=after_stable,
        ever_up=ever_up,
        max_delay=max_delay,
        jitter=jitter,
    )
    disposition = CATALOGUE[kind].disposition
    assert (found is None) == (disposition is Disposition.CONFIG)
    if found is not None:
        bound = max_delay if disposition is Disposition.RETRY else backoff.PERSON[-1] * 1.1
        assert 0.0 <= found <= max(bound, backoff.THROTTLED_MOST * 1.25)
        assert found > 0 or after_stable
        if disposition is Disposition.SLOW:
            assert found >= backoff.THROTTLED_LEAST


class TestAClockThatJumps:
    """The wall clock goes wherever it likes between two events; only what is shown may follow."""

    @staticmethod
    def refused_three_times(walls: list[float]) -> list[Tunnel]:
        """`walls[n]` is what the wall clock says at the n-th event, each 10 s after the last."""
        moments = iter([Moment(10.0 * n, wall) for n, wall in enumerate(walls)])
        tunnel, _ = step(fresh(), WantUp("up"), next(moments))
        seen = []
        for pid in (101, 102, 103):
            for event in (
                Deadline(),
                Spawned(pid),
                Heard(evidence(REFUSED)),
                Exited(255, None),
            ):
                tunnel, _ = step(tunnel, event, next(moments), 0.5)
            seen.append(tunnel)
        return seen

    @settings(max_examples=20)
    @given(st.lists(st.floats(0, 4e9), min_size=13, max_size=13))
    def test_it_decides_nothing(self, walls: list[float]) -> None:
        steady = self.refused_three_times([1.7e9] * 13)
        for here, there in zip(self.refused_three_times(walls), steady, strict=True):
            assert (here.state, here.deadline) == (there.state, there.deadline)
            assert (here.streak, here.attempt) == (there.streak, there.attempt)

    def test_durations_on_screens_do_not_follow_it(self) -> None:
        back = self.refused_three_times([1.7e9] * 12 + [1.6e9])[-1]
        shown = snapshot(
            back,
            Traffic(1),
            Moment(125.0, 1.6e9),
            supervisor_pid=1,
            supervisor_version="0",
        )
        assert shown["_seconds_in_state"] == 125.0
        assert shown["_seconds_to_attempt"] == 0.0
        assert shown["state"] == str(State.WAITING)
