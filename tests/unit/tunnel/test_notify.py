"""When hooks are due, and what they are told; what flaps, and what a person ends, is silent."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.ssh.catalogue import CATALOGUE, Disposition
from sshwrap.ssh.failure import failure
from sshwrap.tunnel.events import (
    Deadline,
    Event,
    Exited,
    Heard,
    LineDead,
    Looked,
    Poke,
    Renew,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.model import State, Tunnel
from sshwrap.tunnel.notify import FRESH, Due, Hook, fold, watch
from tests.unit.tunnel.things import (
    ANY,
    AS_ASKED,
    CONFIRMED,
    DENIED,
    REFUSED,
    SILENT,
    WEB,
    Life,
    at,
    evidence,
    fresh,
    profile,
)

CHANGED_KEY = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @"
GAVE = "Allocated port {} for remote forward to localhost:8080"
ENDED = Exited(255, None)


class Watched:
    """A life whose hooks are listed: (seconds, hook, environ)."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.life = Life(tunnel)
        self.watch = FRESH
        self.told: list[tuple[float, Hook, dict[str, str]]] = []

    def look(self, seconds: float) -> None:
        self.watch, due = watch(self.watch, self.life.tunnel, at(seconds))
        self.told += [(seconds, one.hook, dict(one.environ)) for one in due]

    def do(self, event: Event, seconds: float) -> Watched:
        self.until(seconds)
        self.life.do(event, seconds)
        self.look(seconds)
        return self

    def until(self, seconds: float) -> Watched:
        """Time passes; the deadlines of the hooks are kept."""
        deadline = self.watch.deadline
        if deadline is not None and deadline - 1_000.0 <= seconds:
            self.look(deadline - 1_000.0)
            assert self.watch.deadline is None or self.watch.deadline > deadline
            return self.until(seconds)
        return self

    def up(self, seconds: float, *lines: str) -> Watched:
        self.until(seconds)
        self.life.come_up(seconds, *lines)
        self.look(seconds)
        return self

    def fails(self, seconds: float, line: str) -> Watched:
        if self.life.tunnel.pid is None:
            self.do(Deadline(), seconds)
        return self.do(Heard(evidence(line)), seconds).do(ENDED, seconds)

    def drops(self, seconds: float) -> Watched:
        return self.do(ENDED, seconds)

    @property
    def hooks(self) -> list[tuple[float, str]]:
        return [(seconds, str(hook)) for seconds, hook, _ in self.told]


def started(*forwards: object, **fields: object) -> Watched:
    made = Watched(fresh(*forwards, **fields))  # type: ignore[arg-type]
    return made.do(WantUp("up"), 0).do(Deadline(), 0)


def test_the_first_coming_up_is_told_once() -> None:
    made = started().up(2).until(9)
    assert made.hooks == [(2, "on_up")]
    assert made.told[0][2] == {
        "SSHWRAP_PROFILE": "web",
        "SSHWRAP_STATE": "up",
        "SSHWRAP_REASON": "",
        "SSHWRAP_FAILURE": "",
        "SSHWRAP_ADDRESS": "vps.example.com:12345",
        "SSHWRAP_ADDRESSES": "vps.example.com:12345",
        "SSHWRAP_ALLOCATED_PORT": "",
        "SSHWRAP_SINCE": "2023-11-14T22:13:22Z",
        "SSHWRAP_DOWN_SECONDS": "2",
        "SSHWRAP_DESTINATION": "root@vps.example.com",
    }


def test_a_line_that_flaps_is_silent() -> None:
    made = started().up(1)
    for begin in range(100, 2_000, 100):
        made.drops(begin).do(Deadline(), begin + 40).up(begin + 59.5)
    assert made.hooks == [(1, "on_up")]
    assert made.life.tunnel.drops == 19


def test_an_outage_is_told_after_its_time_and_its_end_at_once() -> None:
    made = started().up(1).drops(100).do(Deadline(), 100).fails(110, REFUSED).until(400)
    made.do(Deadline(), 500).up(501)
    assert made.hooks == [(1, "on_up"), (160, "on_down"), (501, "on_up")]
    down, up = made.told[1][2], made.told[2][2]
    assert (down["SSHWRAP_STATE"], down["SSHWRAP_DOWN_SECONDS"]) == ("down", "60")
    assert down["SSHWRAP_SINCE"] == "2023-11-14T22:15:00Z"
    assert down["SSHWRAP_FAILURE"] == up["SSHWRAP_FAILURE"] == "refused"
    assert down["SSHWRAP_REASON"] == "vps.example.com refuses the connection"
    assert up["SSHWRAP_REASON"] == down["SSHWRAP_REASON"]
    assert up["SSHWRAP_DOWN_SECONDS"] == "401"


def test_an_outage_begins_with_the_last_proof_of_life() -> None:
    made = started(server_alive_interval=10, server_alive_count_max=3).up(1)
    made.do(Heard(evidence(SILENT)), 100).drops(100).until(119)
    assert made.hooks == [(1, "on_up")]
    assert made.until(120).hooks[1:] == [(120, "on_down")]


def test_without_a_pause_it_is_told_at_once_but_not_before_there_is_a_reason() -> None:
    made = started(notify_after=0)
    assert made.hooks == []
    made.fails(1, REFUSED)
    assert made.hooks == [(1, "on_down")]
    made.do(Deadline(), 2).up(3).do(Poke(restart=True), 10)
    assert made.hooks == [(1, "on_down"), (3, "on_up")]


def test_a_start_that_never_succeeds_is_an_outage_too() -> None:
    made = started().fails(10, REFUSED).until(99)
    assert made.hooks == [(60, "on_down")]


def test_a_slow_start_is_none_until_it_fails() -> None:
    made = started().until(70)
    assert made.hooks == []
    assert made.fails(75, REFUSED).hooks == [(75, "on_down")]


def test_a_person_is_needed_at_once_and_once_for_each_reason() -> None:
    made = started().fails(5, DENIED)
    assert made.hooks == [(5, "on_failed")]
    assert made.told[0][2]["SSHWRAP_STATE"] == "failed"
    made.fails(300, DENIED).fails(900, DENIED)
    assert made.hooks == [(5, "on_failed"), (60, "on_down")]
    made.fails(1_000, CHANGED_KEY).fails(1_100, DENIED).fails(1_200, CHANGED_KEY)
    assert made.hooks[2:] == [(1_000, "on_failed")]
    made.do(Deadline(), 1_300).up(1_301)
    assert made.hooks[3:] == [(1_301, "on_up")]


def test_failing_and_coming_up_in_turn_is_told_once_in_a_pause_and_never_lost() -> None:
    made = started().fails(1, DENIED).do(Deadline(), 10).up(11).drops(12).fails(14, DENIED)
    assert made.hooks == [(1, "on_failed"), (11, "on_up")]
    made.until(300)
    assert made.hooks[2:] == [(61, "on_failed"), (72, "on_down")]


def test_another_port_is_told_and_the_same_one_is_not() -> None:
    made = started(ANY).up(1, GAVE.format(40_001))
    made.drops(10).do(Deadline(), 11).up(12, GAVE.format(40_001))
    made.drops(20).do(Deadline(), 21).up(22, GAVE.format(40_002))
    assert made.hooks == [(1, "on_up"), (22, "on_up")]
    told = made.told[1][2]
    assert told["SSHWRAP_ALLOCATED_PORT"] == "40002"
    assert told["SSHWRAP_ADDRESS"] == "vps.example.com:40002"
    made.drops(30).until(99)
    assert made.told[2][2]["SSHWRAP_ADDRESS"] == "vps.example.com:40002"
    assert made.told[2][2]["SSHWRAP_ALLOCATED_PORT"] == ""


def test_what_a_person_ends_is_not_told_and_its_next_coming_up_is() -> None:
    made = started().up(1).do(WantDown("down"), 10)
    made.life.do(ENDED, 11)
    made.look(500)
    assert made.watch == FRESH
    made.do(WantUp("up"), 600).do(Deadline(), 600).up(601)
    assert made.hooks == [(1, "on_up"), (601, "on_up")]


def test_a_restart_as_asked_is_none() -> None:
    made = started().up(1).do(Poke(restart=True), 10).do(ENDED, 11).do(Deadline(), 11).up(12)
    made.do(Renew(profile(WEB, port=2222), (), "h", restart=True), 20).do(ENDED, 21)
    made.do(Deadline(), 21).up(22)
    assert made.hooks == [(1, "on_up")]


def test_an_edited_pause_holds_from_now_on() -> None:
    made = started().up(1).drops(100)
    assert made.watch.deadline == at(160).mono
    made.do(Renew(profile(WEB, notify_after=20), (), "vps.example.com", restart=False), 105)
    assert made.watch.deadline == at(120).mono


def test_no_word_of_a_server_is_passed_on() -> None:
    evil = "$(reboot) `x`; by"
    made = started().up(1)
    said = f"Received disconnect from 203.0.113.7 port 22:2: {evil}"
    made.do(Heard(evidence(said)), 100).drops(100).until(200)
    cause = made.life.tunnel.failure
    assert cause is not None
    assert evil in cause.summary, "else there is nothing to leave out"
    environ = made.told[1][2]
    assert environ["SSHWRAP_FAILURE"] == "server_disconnected"
    assert environ["SSHWRAP_REASON"] == "vps.example.com ended the session"
    assert "reboot" not in "".join(environ.values())


def test_several_addresses() -> None:
    environ = started(WEB, ANY).up(1, GAVE.format(40_001)).told[0][2]
    assert environ["SSHWRAP_ADDRESS"] == "vps.example.com:12345"
    assert environ["SSHWRAP_ADDRESSES"] == "vps.example.com:12345\nvps.example.com:40001"


def test_what_is_pending_is_folded() -> None:
    up, down, failed = (Due(hook, {}) for hook in Hook)
    later = Due(Hook.DOWN, {"SSHWRAP_DOWN_SECONDS": "9"})
    assert fold((), up) == (up,)
    assert fold((failed, down), up) == (up,)
    assert fold((up,), down) == (down,)
    assert fold((failed,), down) == (failed, down)
    assert fold((down, failed), later) == (failed, later)


STEPS: st.SearchStrategy[Event] = st.sampled_from(
    [
        *(WantUp("up"), WantUp("up"), WantDown("down"), Deadline(), Deadline(), ENDED),
        *(Heard(evidence(CONFIRMED)), Heard(evidence(DENIED)), Heard(evidence(REFUSED))),
        *(Looked((AS_ASKED,)), LineDead("said", 3.0), Poke(True), Poke(False)),
    ]
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(st.tuples(STEPS, st.floats(0, 50)), max_size=60),
    pause=st.sampled_from([0, 1, 60]),
)
def test_the_laws_hold_after_any_events(steps: list[tuple[Event, float]], pause: float) -> None:
    life, now, before = Life(fresh(WEB, notify_after=pause)), 0.0, FRESH
    last: Hook | None = None
    failed_at = -1e9
    for event, passed in [(WantUp("up"), 0.0), *steps]:
        now += passed
        if not (isinstance(event, Exited) and life.tunnel.pid is None):
            life.do(event, now)
        tunnel = life.tunnel
        after, due = watch(before, tunnel, at(now))
        assert watch(after, tunnel, at(now)) == (after, ()), "asked again it has no more to say"
        assert after.deadline is None or after.deadline > at(now).mono
        assert len({one.hook for one in due}) == len(due)
        if not tunnel.wanted:
            assert (after, due) == (FRESH, ())
            last = None
            failed_at = -1e9
        for one in due:
            assert (one.hook is Hook.UP) == (tunnel.state is State.UP)
            assert one.environ["SSHWRAP_STATE"] == str(one.hook).removeprefix("on_")
            if one.hook is Hook.DOWN:
                assert int(one.environ["SSHWRAP_DOWN_SECONDS"]) >= pause - 1
                assert one.environ["SSHWRAP_REASON"]
            if one.hook is Hook.FAILED:
                assert tunnel.state is State.FAILED
                assert now - failed_at >= pause
                failed_at = now
            if one.hook is Hook.UP:
                assert last is not Hook.UP, "the end of nothing that was told"
            last = one.hook
        if tunnel.state is State.UP:
            assert last is Hook.UP, "whoever was told of an outage hears of its end"
        before = after


def test_every_sentence_is_one_without_its_details() -> None:
    for kind, entry in CATALOGUE.items():
        if entry.disposition is not Disposition.CONFIG:
            made = failure(kind, destination="root@vps.example.com", profile="web")
            assert made.summary == made.summary.strip()
            assert "  " not in made.summary, kind
            assert "{" not in made.summary, kind
