"""A profile read anew: what stays, what is changed while the tunnel is up, and what restarts it."""

from __future__ import annotations

from dataclasses import replace
from signal import SIGTERM

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.profile.forward import Forward, Kind, parse_forward
from sshwrap.tunnel.events import (
    Changed,
    ChangeForwards,
    Deadline,
    Exited,
    Heard,
    LineDead,
    Looked,
    Poke,
    Renew,
    Signal,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.model import State, broken_laws
from sshwrap.tunnel.reach import Reach
from sshwrap.tunnel.renewal import TAKEN_OVER, places_before
from tests.unit.tunnel.things import (
    ANY,
    AS_ASKED,
    HALF,
    LOCAL,
    WEB,
    Life,
    evidence,
    fresh,
    profile,
)


def remote(spec: str) -> Forward:
    return parse_forward(Kind.REMOTE, spec, environ={}, service_port=lambda _: None)


OTHER = remote("9090:localhost:90")
MOVED = remote("*:12345:localhost:9999")  # WEB's listener, another target
HERE = Reach("unknown", None, "it listens on this machine, by ssh's word")


def up(*forwards: Forward) -> Life:
    life = Life(fresh(*forwards))
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    life.come_up(1)
    assert life.tunnel.state is State.UP
    life.effects.clear()
    return life


def renew(*forwards: Forward, restart: bool = False, added: tuple[Forward, ...] = ()) -> Renew:
    return Renew(profile(*forwards), added, "vps.example.com", restart=restart)


def changes(life: Life) -> list[ChangeForwards]:
    return [effect for effect in life.effects if isinstance(effect, ChangeForwards)]


def texts(life: Life) -> list[str]:
    return [entry["text"] for entry in life.entries("changed")]


def forwards(life: Life) -> list[Forward]:
    return [state.forward for state in life.tunnel.forwards]


# --- changed while it is up -----------------------------------------------------------------------


def test_forwards_are_changed_and_the_old_ones_count_until_that_is_done() -> None:
    life = up(WEB, LOCAL)
    life.do(renew(WEB, OTHER), 20)
    assert life.effects == [ChangeForwards((LOCAL,), (OTHER,))]
    assert life.tunnel.state is State.UP
    assert forwards(life) == [WEB, LOCAL]
    pid, before = life.tunnel.pid, life.tunnel.forwards[0]
    life.do(Changed((None,), (AS_ASKED,)), 21)
    assert forwards(life) == [WEB, OTHER]
    assert life.tunnel.forwards[0] == before
    new = life.tunnel.forwards[1]
    assert (new.confirmed, new.allocated_port, new.reach) == (True, None, AS_ASKED)
    assert (life.tunnel.pid, life.tunnel.renewing, life.tunnel.drops) == (pid, (), 0)
    assert texts(life) == [
        "1 forward added (9090:localhost:90), 1 removed (9000:localhost:80), on the live connection"
    ]


def test_the_port_that_the_server_chose_is_known_and_said() -> None:
    life = up(WEB)
    life.do(renew(WEB, ANY), 20)
    life.do(Changed((40001,), (HALF,)), 21)
    state = life.tunnel.forwards[1]
    assert (state.forward, state.allocated_port, state.reach) == (ANY, 40001, HALF)
    assert texts(life) == ["1 forward added (0:localhost:8080: port 40001), on the live connection"]


def test_a_new_forward_of_which_another_program_has_half_is_said_once() -> None:
    life = up(WEB)
    life.do(renew(WEB, OTHER), 20)
    life.do(Changed((None,), (HALF,)), 21)
    (entry,) = life.entries("reach")
    assert (entry["forward"], entry["reach"], entry["old"]) == (OTHER.spec, "half_bound", None)
    assert entry["address"] == "vps.example.com:9090"
    life.do(Looked((AS_ASKED, HALF)), 22)  # as it was
    assert len(life.entries("reach")) == 1


def test_a_new_forward_as_asked_is_no_news_of_its_own() -> None:
    life = up(WEB)
    life.do(renew(WEB, OTHER), 20)
    life.do(Changed((None,), (AS_ASKED,)), 21)
    assert life.entries("reach") == []


def test_another_target_is_another_forward() -> None:
    life = up(WEB)
    life.do(renew(MOVED), 20)
    assert life.effects == [ChangeForwards((WEB,), (MOVED,))]


def test_many_are_told_by_their_number() -> None:
    many = [remote(f"{port}:localhost:80") for port in range(7001, 7006)]
    life = up(WEB, *many)
    life.do(renew(WEB), 20)
    life.do(Changed((), ()), 21)
    assert texts(life) == ["5 forwards removed, on the live connection"]


def test_another_spelling_or_order_is_no_change() -> None:
    life = up(WEB, OTHER)
    spelled = replace(WEB, spec="[*]:12345:[localhost]:8080")
    life.do(renew(OTHER, spelled), 20)
    assert life.effects == []
    assert forwards(life) == [OTHER, spelled]
    assert [(s.confirmed, s.reach) for s in life.tunnel.forwards] == [(True, AS_ASKED)] * 2
    assert broken_laws(life.tunnel) == []


def test_what_ssh_config_adds_stays() -> None:
    life = up(WEB)
    life.do(renew(WEB, added=(OTHER,)), 20)
    assert changes(life) == [ChangeForwards((), (OTHER,))]


# --- what could not be changed --------------------------------------------------------------------


def test_trouble_restarts_it_with_the_new_profile_and_says_why() -> None:
    life = up(WEB)
    life.do(renew(OTHER), 20)
    life.do(Changed((), (), "the account runs no commands on the server"), 21)
    assert life.tunnel.state is State.STOPPING
    assert life.effects[-1] == Signal(SIGTERM)
    assert forwards(life) == [OTHER]
    assert texts(life) == [
        "restarted, because its forwards could not be changed on the live connection: "
        "the account runs no commands on the server"
    ]
    life.do(Exited(0, None), 22)
    assert (life.tunnel.state, life.tunnel.drops) == (State.WAITING, 0)


@pytest.mark.parametrize(
    "event",
    [
        Exited(255, None),
        WantDown("down"),
        Poke(restart=True),
        LineDead("another sign-in gets through", 4.0),
        renew(OTHER, restart=True),
    ],
    ids=lambda event: type(event).__name__,
)
def test_whatever_ends_the_connection_first_takes_the_new_profile(event: object) -> None:
    life = up(WEB)
    life.do(renew(OTHER), 20)
    life.do(event, 21)  # type: ignore[arg-type]
    assert life.tunnel.state is not State.UP
    assert (forwards(life), life.tunnel.renewing) == ([OTHER], ())
    assert not life.tunnel.forwards[0].confirmed
    said = [] if isinstance(event, Renew) else [TAKEN_OVER]  # who asks for a restart says so
    assert texts(life) == said
    before = life.tunnel
    life.do(Changed((None,), (AS_ASKED,)), 22)  # too late
    assert life.tunnel == before


def test_before_it_is_up_other_forwards_restart_it() -> None:
    life = Life(fresh(WEB))
    life.do(WantUp("up"), 0)
    life.do(Deadline(), 0)
    states = [life.do(renew(forward), 1).state for forward in (WEB, OTHER)]
    assert states == [State.STARTING, State.STOPPING]


# --- one after the other --------------------------------------------------------------------------


def test_of_those_that_come_meanwhile_the_last_one_is_next() -> None:
    life = up(WEB)
    life.do(renew(WEB, OTHER), 20)
    life.do(renew(WEB, OTHER, ANY), 20)
    life.do(renew(LOCAL, OTHER), 20)
    assert changes(life) == [ChangeForwards((), (OTHER,))]
    life.do(Changed((None,), (AS_ASKED,)), 21)
    assert changes(life)[1:] == [ChangeForwards((WEB,), (LOCAL,))]
    assert forwards(life) == [WEB, OTHER]
    life.do(Changed((None,), (HERE,)), 22)
    assert forwards(life) == [OTHER, LOCAL]
    assert life.tunnel.renewing == ()
    assert len(texts(life)) == 2


def test_back_to_what_it_was_while_it_is_changed() -> None:
    life = up(WEB)
    life.do(renew(WEB, OTHER), 20)
    life.do(renew(WEB), 20)
    life.do(Changed((None,), (AS_ASKED,)), 21)
    assert changes(life)[1:] == [ChangeForwards((OTHER,), ())]
    life.do(Changed((), ()), 22)
    assert forwards(life) == [WEB]


def test_trouble_takes_the_last_one() -> None:
    life = up(WEB)
    life.do(renew(OTHER), 20)
    life.do(renew(ANY), 20)
    life.do(Changed((), (), "no answer"), 21)
    assert (life.tunnel.state, forwards(life)) == (State.STOPPING, [ANY])


# --- where a forward stood before -----------------------------------------------------------------


def test_places() -> None:
    before = fresh(WEB, OTHER)
    assert places_before(before, fresh(WEB, OTHER)) is None
    assert places_before(before, fresh(OTHER, ANY, WEB)) == [1, None, 0]
    assert places_before(before, fresh(MOVED)) == [None]


# --- any order ------------------------------------------------------------------------------------

SETS = st.lists(st.sampled_from([WEB, MOVED, OTHER, ANY, LOCAL]), min_size=1, unique=True)
STEPS = st.one_of(
    SETS.map(lambda chosen: renew(*chosen)),
    st.just("done"),
    st.just(Changed((), (), "no answer")),
    st.just(Poke(restart=False)),
    st.just(Heard(evidence("connect_to localhost port 8080: failed."))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_the_last_profile_is_what_it_ends_with(steps: list[object]) -> None:
    life, last = up(WEB), profile(WEB)
    for each in [*steps, "done", "done"]:
        if each == "done":
            asked = changes(life)
            if not life.tunnel.renewing:
                continue
            number = len(asked[-1].added)
            each = Changed((None,) * number, (AS_ASKED,) * number)
        if isinstance(each, Renew):
            last = each.profile
        life.do(each, 20)  # type: ignore[arg-type]
        assert broken_laws(life.tunnel) == []
    assert life.tunnel.renewing == ()
    assert life.tunnel.profile == last
    assert set(forwards(life)) == set(last.forwards)
