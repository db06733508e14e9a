"""The laws of a tunnel hold after any events in any order, and nobody is ever stuck."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sshwrap.tunnel.events import (
    Changed,
    Deadline,
    Event,
    Exited,
    Heard,
    Knocked,
    LineDead,
    Looked,
    Neighbour,
    Poke,
    PortHeld,
    Reclaimed,
    Reclaiming,
    Renew,
    Spawn,
    Spawned,
    SpawnFailed,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.machine import TRANSITIONS, step
from sshwrap.tunnel.model import State, Tunnel, broken_laws
from sshwrap.tunnel.renewal import differences
from tests.unit.tunnel.things import (
    ANY,
    AS_ASKED,
    AUTHENTICATED,
    CONFIRMED,
    DENIED,
    HALF,
    INTERACTIVE,
    LOCAL,
    ON_LOOPBACK,
    REFUSED,
    SILENT,
    TAKEN,
    THROTTLED,
    UNSEEN,
    WEB,
    Life,
    at,
    evidence,
    fresh,
    profile,
)

LINES = (AUTHENTICATED, INTERACTIVE, CONFIRMED, REFUSED, DENIED, TAKEN, SILENT, THROTTLED)

NEIGHBOURED = Exited(255, None, Neighbour("web", 12345))

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(WantUp("up")),
    st.just(WantDown("down")),
    st.just(Deadline()),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=5).map(lambda x: Heard(evidence(*x))),
    st.sampled_from(
        [Exited(255, None), Exited(0, None), Exited(None, 9), Exited(None, 15), NEIGHBOURED]
    ),
    st.builds(
        lambda forwards, restart: Renew(profile(*forwards), (), "h", restart=restart),
        st.sampled_from([(WEB,), (ANY,), (WEB, ANY), (WEB, LOCAL)]),
        st.booleans(),
    ),
    st.sampled_from([None, "the server refuses it"]).map(lambda said: Changed((), (), said)),
    st.booleans().map(Poke),
    st.lists(st.sampled_from([AS_ASKED, ON_LOOPBACK, HALF, UNSEEN]), max_size=3).map(
        lambda reaches: Looked(tuple(reaches))
    ),
    st.builds(
        Knocked,
        st.integers(0, 3),
        st.sampled_from(["open", "refused", "timeout", "unknown"]),
        st.sampled_from([None, 31.0]),
    ),
    st.floats(0, 100).map(lambda silent: LineDead("said", silent)),
    st.just(Reclaiming()),
    st.booleans().map(lambda free: Reclaimed("ended", "text", free)),
    st.sampled_from(["uid 0", "uid 7"]).map(PortHeld),
)
BEGINNINGS: st.SearchStrategy[tuple[Event, ...]] = st.sampled_from(
    [
        (),
        (WantUp("up"), Deadline()),
        (WantUp("up"), Deadline(), Heard(evidence(CONFIRMED)), Looked((AS_ASKED, UNSEEN))),
        (WantUp("up"), Deadline(), Heard(evidence(TAKEN)), Exited(255, None)),
        (WantUp("up"), Deadline(), Heard(evidence(TAKEN)), NEIGHBOURED),
        (WantUp("up"), Deadline(), Heard(evidence(DENIED)), Exited(255, None)),
    ]
)


def fitting(event: Event, tunnel: Tunnel) -> Event | None:
    """The event as the supervisor could tell it now; None where it could not."""
    if isinstance(event, Exited) and tunnel.pid is None:
        return None  # nothing there that could exit
    if isinstance(event, Changed) and tunnel.renewing and event.trouble is None:
        added = differences(tunnel, tunnel.renewing[0])[1]
        return Changed((None,) * len(added), (AS_ASKED,) * len(added))
    return event


@settings(max_examples=150, deadline=None)
@given(
    beginning=BEGINNINGS,
    events=st.lists(
        st.tuples(EVENTS, st.floats(0, 100), st.floats(0, 0.999), st.booleans()), max_size=40
    ),
)
def test_the_laws_hold_after_any_events(
    beginning: tuple[Event, ...],
    events: list[tuple[Event, float, float, bool]],
) -> None:
    tunnel, now = fresh(WEB, LOCAL), 0.0
    for event, passed, jitter, spawns in [
        *((event, 1.0, 0.0, True) for event in beginning),
        *events,
    ]:
        now += passed
        before = tunnel
        fits = fitting(event, before)
        if fits is None:
            continue
        tunnel, effects = step(tunnel, fits, at(now), jitter)
        queue = [fits]
        if any(isinstance(effect, Spawn) for effect in effects):
            answer = Spawned(7) if spawns else SpawnFailed("no")
            assert (tunnel.state, type(answer).__name__) in TRANSITIONS
            queue.append(answer)
            held = step(tunnel, answer, at(now), jitter)
            assert held[0].state in TRANSITIONS[(tunnel.state, type(answer).__name__)]
            tunnel = held[0]
        else:
            allowed = TRANSITIONS.get((before.state, type(event).__name__), {before.state})
            assert tunnel.state in allowed, (before.state, event)
        assert broken_laws(tunnel) == [], (before, queue)
        assert tunnel.deadline in (None, before.deadline) or tunnel.deadline >= at(now).mono
        assert [s.forward.spec for s in tunnel.forwards] == [
            forward.spec for forward in tunnel.profile.forwards
        ]


@settings(max_examples=100, deadline=None)
@given(BEGINNINGS, st.lists(st.tuples(EVENTS, st.floats(0, 100)), max_size=30))
def test_whatever_happened_it_can_be_had_up_and_down(
    beginning: tuple[Event, ...],
    events: list[tuple[Event, float]],
) -> None:
    """Nobody is ever stuck: from any state a person gets what a person asks for."""
    life, now = Life(fresh(WEB, LOCAL)), 0.0
    for event, passed in [*((event, 1.0) for event in beginning), *events]:
        now += passed
        fits = fitting(event, life.tunnel)
        if fits is not None:
            life.do(fits, now)
    life.do(WantDown("down"), now)
    if life.tunnel.pid is not None:
        life.do(Exited(None, 9), now)
    assert life.tunnel.state is State.DOWN
    life.do(WantUp("up"), now)
    life.do(Deadline(), now)
    life.come_up(now)
    assert life.tunnel.state is State.UP
