"""The tunnel's life, transition by transition, and its laws under any order of events."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

import pytest

from sshwrap.ssh.evidence import Progress, keep_words
from sshwrap.ssh.failure import Disposition
from sshwrap.tunnel.events import (
    Deadline,
    Exited,
    Heard,
    HoldDestination,
    Knocked,
    LineDead,
    Look,
    Looked,
    Neighbour,
    Poke,
    Reclaimed,
    Reclaiming,
    Record,
    Renew,
    Signal,
    Spawned,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.machine import START_TIMEOUT, step
from sshwrap.tunnel.model import UNKNOWN_KEPT, State
from tests.unit.tunnel.things import (
    ANY,
    AS_ASKED,
    AUTHENTICATED,
    CONFIRMED,
    DENIED,
    INTERACTIVE,
    LOCAL,
    REFUSED,
    SILENT,
    TAKEN,
    THROTTLED,
    Life,
    at,
    evidence,
    fresh,
    on_terminal,
    profile,
)


def started(*forwards: object, ever_up: bool = False) -> Life:
    life = Life(fresh(*forwards, ever_up=ever_up))  # type: ignore[arg-type]
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    assert life.tunnel.state is State.STARTING
    return life


def brought_up(*, stable: bool = True) -> Life:
    life = started()
    life.come_up(1, AUTHENTICATED, INTERACTIVE)
    assert life.tunnel.state is State.UP
    if stable:
        life.do(Deadline(), 11)
    life.effects.clear()
    return life


def failed_with(line: str, *, ever_up: bool = False, seconds: float = 1) -> Life:
    life = started(ever_up=ever_up)
    life.do(Heard(evidence(line)), seconds)
    life.do(Exited(255, None), seconds)
    return life


def delay(life: Life, seconds: float) -> float:
    assert life.tunnel.deadline is not None
    return life.tunnel.deadline - at(seconds).mono


def test_up_means_that_ssh_confirmed_every_forward_and_that_we_have_looked() -> None:
    life = started()
    life.do(Heard(evidence(AUTHENTICATED, INTERACTIVE)), 1)
    assert (life.tunnel.confirmed, Look() in life.effects) == (False, False)
    life.do(Heard(evidence(CONFIRMED)), 2)
    assert (life.tunnel.state, life.tunnel.confirmed) == (State.STARTING, True)
    assert all(state.confirmed for state in life.tunnel.forwards)
    assert life.effects.count(Look()) == 1
    life.do(Looked((AS_ASKED,)), 2.1)
    assert life.tunnel.state is State.UP
    assert life.records() == ["wanted", "up"]


def test_with_local_forwards_alone_the_main_loop_is_the_word() -> None:
    life = started(LOCAL)
    life.do(Heard(evidence(AUTHENTICATED)), 1)
    assert not life.tunnel.confirmed
    life.do(Heard(evidence(INTERACTIVE)), 1)
    assert life.tunnel.confirmed
    assert Look() in life.effects


def test_a_remote_forward_of_ssh_config_is_awaited_too() -> None:
    """ssh says how many replies it awaits, also those that we did not ask for."""
    life = started(LOCAL)
    expecting = "debug1: ssh_init_forwarding: expecting replies for 1 forwards"
    life.do(Heard(evidence(AUTHENTICATED, expecting, INTERACTIVE)), 1)
    assert not life.tunnel.confirmed
    life.do(Heard(evidence(CONFIRMED)), 1)
    assert life.tunnel.confirmed


def test_a_drop_after_a_stable_run_is_repaired_at_once() -> None:
    life = brought_up()
    life.do(Exited(255, None), 500)
    assert life.tunnel.state is State.WAITING
    assert delay(life, 500) == 0
    assert (life.tunnel.drops, life.records()) == (1, ["down"])


def test_a_drop_soon_after_it_came_up_backs_off() -> None:
    life = brought_up(stable=False)
    life.do(Exited(255, None), 1.3)
    assert delay(life, 1.3) > 0


@pytest.mark.parametrize(("status", "signal"), [(0, None), (255, None), (None, 15), (None, 9)])
def test_an_exit_that_nobody_ordered_is_a_drop_whatever_its_status(
    status: int | None, signal: int | None
) -> None:
    life = brought_up()
    life.do(Exited(status, signal), 500)
    assert life.tunnel.state is State.WAITING
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.disposition is Disposition.RETRY


def test_a_network_failure_doubles_the_wait_up_to_the_limit() -> None:
    life = started()
    waits, now = [], 0.0
    for _ in range(10):
        life.do(Heard(evidence(REFUSED)), now)
        life.do(Exited(255, None), now, 0.999999)
        waits.append(round(delay(life, now), 2))
        now += delay(life, now)
        life.do(Deadline(), now)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_the_attempts_are_counted_from_the_last_time_it_was_up() -> None:
    life = failed_with(REFUSED)
    life.do(Deadline(), 2)
    assert life.tunnel.attempt == 2
    life.come_up(3)
    (up,) = life.entries("up")
    assert (up["attempts"], up["after"]) == (2, 3)
    life.do(Deadline(), 13)
    assert life.tunnel.attempt == 0


def test_the_reason_stays_while_it_tries_again_and_goes_when_it_is_up() -> None:
    life = failed_with(REFUSED)
    life.do(Deadline(), 2)
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.kind == "refused"
    life.do(Heard(evidence(CONFIRMED)), 3)
    assert life.tunnel.failure is not None
    life.do(Looked((AS_ASKED,)), 3)
    assert life.tunnel.failure is None


def test_an_outage_begins_with_the_last_proof_of_life() -> None:
    """ssh gives up after interval x (count + 1): 60 s by default."""
    life = brought_up()
    life.do(Heard(evidence(SILENT)), 500)
    life.do(Exited(255, None), 500)
    (down,) = life.entries("down")
    assert down["failure"]["kind"] == "keepalive_timeout"
    assert life.tunnel.away_since == at(440)
    assert down["last_seen"] == "2023-11-14T22:20:40.000Z"


def test_a_silence_longer_than_it_was_up_does_not_begin_before_it_was_up() -> None:
    life = brought_up(stable=False)
    life.do(Heard(evidence(SILENT)), 5)
    life.do(Exited(255, None), 5)
    assert life.tunnel.away_since == at(1)


def test_a_taken_port_is_tried_again_soon_then_slower_and_for_ever() -> None:
    life = failed_with(TAKEN)
    assert life.tunnel.state is State.WAITING
    now, waits = 1.0, []
    for _ in range(400):
        waits.append(delay(life, now))
        now += waits[-1]
        life.do(Deadline(), now)
        life.do(Heard(evidence(TAKEN)), now)
        life.do(Exited(255, None), now)
    assert 1 <= waits[0] <= 5
    assert waits[-1] > 20
    assert sum(wait for wait in waits if wait < 6) == pytest.approx(180, abs=6)


def test_a_port_that_another_profile_has_is_said_with_its_name_and_not_tried_each_second() -> None:
    life = Life(fresh())
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    life.do(Heard(evidence(TAKEN)), 1)
    life.do(Exited(255, None, Neighbour("cam", 12345)), 1)
    (entry,) = life.entries("attempt_failed")
    assert entry["failure"]["kind"] == "port_taken"
    assert entry["failure"]["summary"] == 'port 12345 is already forwarded by profile "cam"'
    assert entry["failure"]["said"] == TAKEN
    assert entry["failure"]["advice"].endswith("sshwrap down cam")
    assert delay(life, 1) > 20
    life.do(Poke(restart=False), 5)  # which it is told when that lets go of the port
    assert delay(life, 5) == 0


def test_a_neighbour_is_no_reason_where_ssh_says_another() -> None:
    life = Life(fresh())
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    life.do(Heard(evidence(REFUSED)), 1)
    life.do(Exited(255, None, Neighbour("cam", 12345)), 1)
    assert life.entries("attempt_failed")[0]["failure"]["kind"] == "refused"


def test_a_throttled_server_is_left_alone_with_all_its_tunnels() -> None:
    life = failed_with(THROTTLED)
    holds = [e.seconds for e in life.effects if isinstance(e, HoldDestination)]
    assert len(holds) == 1
    assert holds[0] >= 20
    assert delay(life, 1) >= 20


def test_a_refused_key_needs_a_person_and_is_looked_at_again_slowly() -> None:
    life = failed_with(DENIED)
    assert life.tunnel.state is State.FAILED
    assert life.records() == ["wanted", "needs_person"]
    now, waits = 1.0, []
    for _ in range(5):
        waits.append(delay(life, now))
        now += waits[-1]
        life.do(Deadline(), now)
        assert life.tunnel.state is State.STARTING
        life.do(Heard(evidence(DENIED)), now)
        life.do(Exited(255, None), now)
    assert waits == [60, 300, 900, 900, 900]


def test_a_key_that_worked_before_is_tried_again_sooner() -> None:
    life = failed_with(DENIED, ever_up=True)
    assert delay(life, 1) == 20


def test_a_bad_option_waits_for_a_changed_profile_alone() -> None:
    life = started()
    life.do(Heard(on_terminal("command-line: line 0: Bad configuration option: foo")), 1)
    life.do(Exited(255, None), 1)
    assert (life.tunnel.state, life.tunnel.deadline) == (State.FAILED, None)
    life.do(Renew(profile(), (), "vps.example.com", restart=True), 50)
    assert (life.tunnel.state, life.tunnel.deadline) == (State.WAITING, at(50).mono)


def test_a_start_without_an_end_is_ended() -> None:
    life = started()
    assert delay(life, 0) == START_TIMEOUT
    life.do(Deadline(), START_TIMEOUT)
    assert life.tunnel.state is State.STOPPING
    assert Signal(SIGTERM) in life.effects
    life.do(Exited(None, 15), START_TIMEOUT + 1)
    assert life.tunnel.state is State.WAITING
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.kind == "start_timeout"


def test_a_process_that_does_not_heed_term_is_killed() -> None:
    life = brought_up()
    life.do(WantDown("down"), 20)
    assert life.effects == [Record({"event": "unwanted", "by": "down"}), Signal(SIGTERM)]
    life.do(Deadline(), 25)
    assert life.effects[-1] == Signal(SIGKILL)
    assert life.tunnel.state is State.STOPPING
    life.do(Exited(None, 9), 25)
    assert (life.tunnel.state, life.tunnel.drops) == (State.DOWN, 0)


def test_wanted_again_while_it_stops() -> None:
    life = brought_up()
    life.do(WantDown("down"), 20)
    life.do(WantUp("up"), 21)
    life.do(Exited(0, None), 22)
    assert (life.tunnel.state, life.tunnel.deadline) == (State.WAITING, at(22).mono)


def test_up_makes_a_waiting_tunnel_due() -> None:
    life = failed_with(DENIED)
    life.do(WantUp("up"), 5)
    assert (life.tunnel.state, life.tunnel.deadline) == (State.WAITING, at(5).mono)
    assert life.records() == ["wanted", "needs_person"]


def test_a_poke_makes_due_what_waits_and_restarts_only_on_demand() -> None:
    life = failed_with(DENIED)
    life.do(Poke(restart=False), 5)
    assert life.tunnel.deadline == at(5).mono
    life = brought_up()
    life.do(Poke(restart=False), 20)
    assert life.tunnel.state is State.UP
    life.do(Poke(restart=True), 20)
    assert life.tunnel.state is State.STOPPING
    life.do(Exited(0, None), 20)
    assert (life.tunnel.state, life.tunnel.drops) == (State.WAITING, 0)


def test_a_spawn_that_fails_is_tried_again() -> None:
    life = Life(fresh(), spawns=False)
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    assert life.tunnel.state is State.WAITING
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.said == "no such file"
    assert delay(life, 0) > 0


def test_the_allocated_port_is_asked_for_anew_and_a_change_is_told() -> None:
    life = started(ANY)
    allocated = "Allocated port {} for remote forward to localhost:8080"
    life.come_up(1, AUTHENTICATED, allocated.format(40001))
    assert life.tunnel.forwards[0].allocated_port == 40001
    life.do(Exited(255, None), 100)
    life.do(Deadline(), 100)
    assert life.tunnel.forwards[0].allocated_port is None
    life.come_up(101, allocated.format(40001))
    life.do(Exited(255, None), 200)
    life.do(Deadline(), 200)
    life.come_up(201, allocated.format(40002))
    ports = [(entry["old"], entry["new"]) for entry in life.entries("port")]
    assert ports == [(None, 40001), (40001, 40002)]


def test_a_changed_profile_restarts_what_runs() -> None:
    life = brought_up()
    life.do(Renew(profile(ANY), (), "vps.example.com", restart=True), 20)
    assert life.tunnel.state is State.STOPPING
    assert [s.forward for s in life.tunnel.forwards] == [ANY]
    life.do(Exited(0, None), 20)
    assert (life.tunnel.state, life.tunnel.drops) == (State.WAITING, 0)


def test_every_failure_before_the_first_success_is_remembered_with_its_words() -> None:
    life = failed_with(REFUSED)
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.said == REFUSED
    assert life.tunnel.failure_at == at(1).wall


def test_what_nobody_is_waiting_for_means_nothing() -> None:
    tunnel = fresh()
    events = (
        *(Deadline(), Heard(evidence(CONFIRMED)), WantDown("x"), Spawned(1), Exited(0, None)),
        *(Looked((AS_ASKED,)), Knocked(0, "open", 1.0), LineDead("x", 1.0)),
        *(Reclaiming(), Reclaimed("ended", "x", free=True)),
    )
    for event in events:
        assert step(tunnel, event, at(0)) == (tunnel, ())


def test_a_talkative_server_does_not_push_out_what_matters() -> None:
    life = started()
    words = [keep_words(f"welcome {n}", from_terminal=True) for n in range(500)]
    life.do(Heard(tuple(word for word in words if word is not None)), 1)
    life.do(Heard(evidence(AUTHENTICATED, CONFIRMED)), 1)
    life.do(Heard(tuple(word for word in words if word is not None)), 2)
    kinds = [each.kind for each in life.tunnel.evidence]
    assert kinds.count("unknown") <= UNKNOWN_KEPT
    assert Progress.AUTHENTICATED in kinds
    life.do(Exited(255, None), 3)
    assert life.tunnel.failure is not None
    assert life.tunnel.failure.kind != "permission_denied"


def test_the_try_at_once_does_not_count_among_the_waits() -> None:
    life = brought_up()
    life.do(Exited(255, None), 500)
    assert delay(life, 500) == 0
    life.do(Deadline(), 500)
    life.do(Heard(evidence(REFUSED)), 500)
    life.do(Exited(255, None), 500, 0.999999)
    assert delay(life, 500) == pytest.approx(0.5, abs=0.01)
