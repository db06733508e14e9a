"""What is seen of a tunnel: the look before it is up, knocks from here, a dead line, a reclaim."""

from __future__ import annotations

from dataclasses import replace
from signal import SIGTERM

import pytest

from sshwrap.tunnel.events import (
    Deadline,
    Exited,
    Heard,
    Knocked,
    LineDead,
    Look,
    Looked,
    Poke,
    PortHeld,
    Reclaimed,
    Reclaiming,
    Record,
    Signal,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.hearing import LOOK_PATIENCE
from sshwrap.tunnel.machine import STABLE_AFTER
from sshwrap.tunnel.model import State
from sshwrap.tunnel.reach import Reach
from sshwrap.tunnel.seen import RECLAIM_PATIENCE
from tests.unit.tunnel.things import (
    ANY,
    AS_ASKED,
    AUTHENTICATED,
    CONFIRMED,
    HALF,
    INTERACTIVE,
    LOCAL,
    ON_LOOPBACK,
    TAKEN,
    UNSEEN,
    WEB,
    Life,
    at,
    evidence,
    fresh,
)


def starting(*forwards: object) -> Life:
    life = Life(fresh(*forwards))  # type: ignore[arg-type]
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    return life


def confirmed(*forwards: object) -> Life:
    """By ssh at 1 s, and nobody has seen yet who listens."""
    life = starting(*forwards)
    life.do(Heard(evidence(AUTHENTICATED, INTERACTIVE, CONFIRMED)), 1)
    life.effects.clear()
    return life


def up(reach: Reach = AS_ASKED, *forwards: object) -> Life:
    """From 1 s on."""
    life = confirmed(*forwards)
    life.do(Looked((reach,) * len(life.tunnel.forwards)), 1)
    life.effects.clear()
    return life


def waiting_for_the_port() -> Life:
    """At 2 s, with a time to try again of its own."""
    life = starting()
    life.do(Heard(evidence(TAKEN)), 2)
    life.do(Exited(255, None), 2)
    life.effects.clear()
    assert life.tunnel.state is State.WAITING
    return life


# --- the look -----------------------------------------------------------------


def test_what_the_look_has_seen_is_there_when_it_is_up() -> None:
    life = confirmed()
    life.do(Looked((AS_ASKED,)), 1.04)
    assert life.tunnel.state is State.UP
    assert life.tunnel.forwards[0].reach == AS_ASKED
    (entry,) = life.entries("up")
    assert [forward["reach"] for forward in entry["forwards"]] == ["as_asked"]
    assert life.tunnel.since == at(1.04)
    assert life.tunnel.deadline == at(1.04 + STABLE_AFTER).mono


def test_a_tunnel_that_serves_does_not_wait_for_a_look_for_ever() -> None:
    life = confirmed()
    assert life.tunnel.deadline == at(1 + LOOK_PATIENCE).mono
    life.do(Deadline(), 1 + LOOK_PATIENCE)
    assert life.tunnel.state is State.UP
    assert life.tunnel.forwards[0].reach is None
    (entry,) = life.entries("up")
    assert entry["forwards"][0]["reach"] == "checking"
    life.do(Looked((AS_ASKED,)), 7)
    assert life.tunnel.forwards[0].reach == AS_ASKED
    assert life.records() == ["up"]  # that it is as asked is what everybody thinks already


def test_a_look_before_the_confirmation_makes_nothing_up() -> None:
    """It is of an ssh before this one."""
    life = starting()
    life.do(Looked((AS_ASKED,)), 1)
    assert (life.tunnel.state, life.tunnel.forwards[0].reach) == (State.STARTING, None)


def test_lines_after_the_confirmation_ask_for_no_second_look() -> None:
    life = confirmed()
    life.do(Heard(evidence(INTERACTIVE, CONFIRMED)), 1.1)
    assert life.effects == []
    assert life.tunnel.deadline == at(1 + LOOK_PATIENCE).mono


def test_the_lines_after_the_confirmation_are_kept_where_they_may_explain_an_end() -> None:
    life = confirmed()
    life.do(Heard(evidence("Connection to vps.example.com closed by remote host.")), 1.1)
    life.do(Exited(255, None), 1.2)
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.kind == "dropped"
    assert life.tunnel.drops == 0  # it has never been up
    assert not life.tunnel.confirmed


def test_down_while_it_is_looked_at() -> None:
    life = confirmed()
    life.do(WantDown("down"), 2)
    assert life.tunnel.state is State.STOPPING
    life.do(Looked((AS_ASKED,)), 2.1)
    assert life.tunnel.state is State.STOPPING
    life.do(Exited(0, None), 2.2)
    assert life.tunnel.state is State.DOWN
    assert life.tunnel.forwards[0].reach is None


@pytest.mark.parametrize("reach", [ON_LOOPBACK, HALF, Reach("exposed", ("0.0.0.0",), None)])
def test_a_port_that_is_not_as_asked_is_told_once_it_is_up(reach: Reach) -> None:
    life = confirmed()
    life.do(Looked((reach,)), 1)
    assert life.records() == ["up", "reach"]
    (entry,) = life.entries("reach")
    assert entry == {
        "event": "reach",
        "forward": WEB.spec,
        "address": "vps.example.com:12345",
        "reach": reach.reach,
        "reason": reach.reason,
        "bound": list(reach.bound or ()),
        "old": None,
    }
    life.do(Looked((reach,)), 2)
    assert len(life.entries("reach")) == 1


def test_a_healed_port_is_told_and_what_was_never_wrong_is_not() -> None:
    life = up(HALF)
    life.do(Looked((AS_ASKED,)), 5)
    (entry,) = life.entries("reach")
    assert (entry["old"], entry["reach"]) == ("half_bound", "as_asked")
    life.do(Looked((UNSEEN,)), 6)
    life.do(Looked((AS_ASKED,)), 7)
    assert len(life.entries("reach")) == 1


def test_each_forward_has_a_reach_of_its_own() -> None:
    life = confirmed(WEB, replace(WEB, spec="*:81:localhost:80", listen_port=81))
    life.do(Looked((AS_ASKED, ON_LOOPBACK)), 1)
    reaches = [state.reach.reach for state in life.tunnel.forwards if state.reach is not None]
    assert reaches == ["as_asked", "loopback_only"]
    assert [entry["forward"] for entry in life.entries("reach")] == ["*:81:localhost:80"]


def test_a_look_at_other_forwards_tells_nothing_of_these() -> None:
    life = up()
    life.do(Looked((HALF, HALF)), 2)
    assert life.effects == []
    assert life.tunnel.forwards[0].reach == AS_ASKED


def test_what_was_seen_of_an_ssh_is_forgotten_with_it() -> None:
    life = up()
    life.do(Knocked(0, "open", 31.0), 2)
    life.do(Exited(255, None), 50)
    state = life.tunnel.forwards[0]
    assert (state.reach, state.from_here, state.from_here_ms) == (None, "unknown", None)


def test_a_local_forward_is_looked_at_too() -> None:
    """It has an answer, "by ssh's word", and the same way to "up"."""
    life = confirmed(LOCAL)
    life.do(Looked((UNSEEN,)), 1)
    assert life.tunnel.state is State.UP


# --- from here ----------------------------------------------------------------


def test_an_answer_from_here_is_kept_and_no_news() -> None:
    life = up()
    life.do(Knocked(0, "open", 31.0), 2)
    state = life.tunnel.forwards[0]
    assert (state.from_here, state.from_here_ms) == ("open", 31.0)
    life.do(Knocked(0, "unknown", None), 3)
    assert life.tunnel.forwards[0].from_here == "unknown"
    assert life.effects == []


@pytest.mark.parametrize("outcome", ["refused", "timeout"])
def test_no_answer_from_here_is_told_once_and_so_is_its_end(outcome: str) -> None:
    life = up()
    for seconds in (2, 62):
        life.do(Knocked(0, outcome, None), seconds)
    life.do(Knocked(0, "open", 31.0), 122)
    told = [(entry["old"], entry["from_here"]) for entry in life.entries("from_here")]
    assert told == [("unknown", outcome), (outcome, "open")]
    assert life.entries("from_here")[0]["address"] == "vps.example.com:12345"
    assert life.entries("from_here")[0]["forward"] == WEB.spec


def test_a_knock_for_a_forward_that_is_no_more_means_nothing() -> None:
    life = up()
    before = life.tunnel
    assert life.do(Knocked(1, "refused", None), 2) == before
    assert life.effects == []


def test_the_address_has_the_port_that_the_server_gave() -> None:
    allocated = "Allocated port 40001 for remote forward to localhost:8080"
    life = starting(ANY)
    life.come_up(1, AUTHENTICATED, allocated)
    life.do(Knocked(0, "refused", None), 2)
    assert life.entries("from_here")[0]["address"] == "vps.example.com:40001"


# --- a dead line ----------------------------------------------------------------


def dead(life: Life, seconds: float, silent: float) -> None:
    life.do(LineDead("2.1 KiB unanswered for 4 s, and a new sign-in got through", silent), seconds)


def test_a_dead_line_is_ended_and_counts_as_a_drop() -> None:
    life = up()
    life.do(Deadline(), 1 + STABLE_AFTER)
    dead(life, 100, silent=4)
    assert life.tunnel.state is State.STOPPING
    assert life.effects == [Signal(SIGTERM)]
    life.do(Exited(0, None), 100.2)
    assert (life.tunnel.state, life.tunnel.drops) == (State.WAITING, 1)
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.kind == "line_dead"
    (down,) = life.entries("down")
    assert down["failure"]["kind"] == "line_dead"
    assert down["up_for"] == pytest.approx(99.2)


def test_after_a_stable_run_a_dead_line_is_replaced_at_once() -> None:
    life = up()
    life.do(Deadline(), 1 + STABLE_AFTER)
    dead(life, 100, silent=4)
    life.do(Exited(None, 9), 100.2)
    assert life.tunnel.deadline == at(100.2).mono


def test_a_line_that_dies_young_backs_off() -> None:
    life = up()
    dead(life, 3, silent=1)
    life.do(Exited(None, 15), 3.2)
    assert life.tunnel.deadline is not None
    assert life.tunnel.deadline > at(3.2).mono


def test_the_outage_of_a_dead_line_begins_with_its_last_proof_of_life() -> None:
    life = up()
    dead(life, 100, silent=4)
    life.do(Exited(0, None), 100)
    assert life.tunnel.away_since == at(96)
    assert life.entries("down")[0]["last_seen"] == "2023-11-14T22:14:56.000Z"


def test_a_dead_line_that_nobody_wants_any_more_is_no_drop() -> None:
    life = up()
    dead(life, 100, silent=4)
    life.do(WantDown("down"), 100.1)
    life.do(Exited(0, None), 100.2)
    assert (life.tunnel.state, life.tunnel.drops) == (State.DOWN, 0)
    assert life.records() == ["unwanted"]


def test_down_and_up_again_while_a_dead_line_ends() -> None:
    life = up()
    dead(life, 100, silent=4)
    life.do(WantDown("down"), 100.1)
    life.do(WantUp("up"), 100.2)
    life.do(Exited(0, None), 100.3)
    assert (life.tunnel.state, life.tunnel.drops) == (State.WAITING, 0)
    assert life.tunnel.deadline == at(100.3).mono
    life.do(Deadline(), 100.3)
    life.come_up(101)
    life.do(WantDown("down"), 105)
    life.do(Exited(0, None), 105)
    assert life.tunnel.drops == 0


# --- our own dead session holds the port ----------------------------------------


def test_while_our_dead_session_is_asked_to_go_the_next_try_waits_for_it() -> None:
    life = waiting_for_the_port()
    life.do(Reclaiming(), 2)
    assert life.tunnel.reclaiming
    assert life.tunnel.deadline == at(2 + RECLAIM_PATIENCE).mono
    life.do(Reclaimed("ended", "our dead session still held port 12345: ended it", free=True), 3)
    assert not life.tunnel.reclaiming
    assert life.tunnel.deadline == at(3).mono
    assert life.entries("reclaim") == [
        {
            "event": "reclaim",
            "outcome": "ended",
            "text": "our dead session still held port 12345: ended it",
        }
    ]


def test_a_port_that_is_not_free_is_asked_for_again_soon() -> None:
    life = waiting_for_the_port()
    life.do(Reclaiming(), 2)
    life.do(Reclaimed("not_ours", "not ours", free=False), 3)
    assert life.tunnel.deadline is not None
    assert 0.5 <= life.tunnel.deadline - at(3).mono <= 5


def test_a_reclaim_without_an_answer_does_not_hold_the_tunnel() -> None:
    life = waiting_for_the_port()
    life.do(Reclaiming(), 2)
    life.do(Deadline(), 2 + RECLAIM_PATIENCE)
    assert (life.tunnel.state, life.tunnel.reclaiming) == (State.STARTING, False)
    life.do(Reclaimed("ended", "late", free=True), 20)
    assert life.tunnel.state is State.STARTING
    assert life.entries("reclaim") == []


def test_down_in_the_middle_of_a_reclaim() -> None:
    life = waiting_for_the_port()
    life.do(Reclaiming(), 2)
    life.do(WantDown("down"), 2.5)
    assert (life.tunnel.state, life.tunnel.reclaiming) == (State.DOWN, False)
    life.do(Reclaimed("ended", "late", free=True), 3)
    assert life.tunnel.state is State.DOWN
    assert life.records() == ["unwanted"]


def test_a_poke_does_not_wait_for_a_reclaim() -> None:
    life = waiting_for_the_port()
    life.do(Reclaiming(), 2)
    life.do(Poke(restart=False), 3)
    assert (life.tunnel.state, life.tunnel.reclaiming) == (State.WAITING, False)
    assert life.tunnel.deadline == at(3).mono


def test_whose_the_port_is_is_told_once_and_forgotten_when_it_is_had() -> None:
    life = waiting_for_the_port()
    for text in ("root's nginx has it", "root's nginx has it", "somebody else has it"):
        life.do(PortHeld(text), 2.5)
    assert [entry["text"] for entry in life.entries("holder")] == [
        "root's nginx has it",
        "somebody else has it",
    ]
    assert life.tunnel.holder == "somebody else has it"
    life.do(Deadline(), 4)
    life.come_up(5)
    assert life.tunnel.holder is None


def test_an_order_to_look_is_no_record() -> None:
    life = starting()
    life.do(Heard(evidence(AUTHENTICATED, CONFIRMED)), 1)
    assert [type(effect) for effect in life.effects] == [Record, Look]
