"""The life of one tunnel: every transition is in this file and nowhere else.

`step(tunnel, event, now) -> (tunnel, effects)` is pure: it knows no clock, no process and no file.
`wanted` is the operator's will, `state` the world's; they are separate fields. There is a process
in starting, up and stopping, and in no other state. Up is only ever said after ssh confirmed every
forward; an exit that we did not order is a drop, whatever its status. TRANSITIONS is the table of
the states that each event may lead to; the tests hold `step` to it and docs/architecture.md draws
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from signal import SIGKILL, SIGTERM
from typing import Any

from sshwrap.profile.forward import Kind
from sshwrap.ssh.failure import Disposition, Failure
from sshwrap.tunnel.backoff import next_delay
from sshwrap.tunnel.causes import failure_of, judge, last_words
from sshwrap.tunnel.entries import down_entry, failure_entry, up_entry
from sshwrap.tunnel.events import (
    Changed,
    Deadline,
    Effect,
    Event,
    Exited,
    Heard,
    HoldDestination,
    Knocked,
    LineDead,
    Looked,
    Moment,
    Poke,
    PortHeld,
    Reclaimed,
    Reclaiming,
    Record,
    Renew,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    WantDown,
    WantUp,
)
from sshwrap.tunnel.hearing import heard_starting, heard_up
from sshwrap.tunnel.model import (
    WITH_CHILD,
    State,
    Streak,
    Tunnel,
    unconfirmed,
)
from sshwrap.tunnel.renewal import settled, taken_over
from sshwrap.tunnel.seen import reclaimed, reclaiming, with_answer, with_holder, with_reach

START_TIMEOUT = 60.0  # a name look-up and a sign-in have no limit of their own in ssh
STABLE_AFTER = 10.0
KILL_AFTER = 5.0

Result = tuple[Tunnel, tuple[Effect, ...]]


def step(tunnel: Tunnel, event: Event, now: Moment, jitter: float = 0.0) -> Result:
    """What becomes of the tunnel and what is to be done. `jitter` in [0, 1) spreads the waits."""
    handler = _HANDLERS.get((tunnel.state, type(event)))
    if handler is None:  # the event means nothing in this state
        return tunnel, ()
    return settled(*handler(tunnel, event, now, jitter))


# --- wanted -----------------------------------------------------------------


def _want_up(tunnel: Tunnel, event: WantUp, now: Moment, jitter: float) -> Result:
    if tunnel.wanted:  # it is being restarted already
        return tunnel, ()
    record = Record({"event": "wanted", "by": event.by})
    tunnel = replace(tunnel, wanted=True, away_since=now)
    if tunnel.state is State.STOPPING:
        return tunnel, (record,)
    return _due_now(tunnel, now), (record,)


def _want_up_again(tunnel: Tunnel, event: WantUp, now: Moment, jitter: float) -> Result:
    return _due_now(tunnel, now), ()


def _want_down(tunnel: Tunnel, event: WantDown, now: Moment, jitter: float) -> Result:
    record = Record({"event": "unwanted", "by": event.by})
    tunnel = replace(tunnel, wanted=False)
    if tunnel.state in WITH_CHILD:
        return _stop(tunnel, now, why=None, first=(record,))
    return _down(tunnel, now), (record,)


def _want_down_stopping(tunnel: Tunnel, event: WantDown, now: Moment, jitter: float) -> Result:
    if not tunnel.wanted:
        return tunnel, ()
    record = Record({"event": "unwanted", "by": event.by})
    return replace(tunnel, wanted=False, ordered=None, away_since=None), (record,)


# --- waiting and failed -----------------------------------------------------


def _spawn(tunnel: Tunnel, event: Deadline, now: Moment, jitter: float) -> Result:
    return replace(tunnel, deadline=None), (Spawn(),)


def _spawned(tunnel: Tunnel, event: Spawned, now: Moment, jitter: float) -> Result:
    profile = tunnel.profile
    # Someone who allows a slow connect means it.
    timeout = max(START_TIMEOUT, 2.0 * profile.connect_timeout + 30.0)
    return (
        replace(
            tunnel,
            state=State.STARTING,
            since=now,
            pid=event.pid,
            deadline=now.mono + timeout,
            attempt=tunnel.attempt + 1,
            evidence=(),
            ordered=None,
            stable=False,
            awaits_replies=any(s.forward.kind is Kind.REMOTE for s in tunnel.forwards),
            confirmed=False,
            reclaiming=False,
        ),
        (),
    )


def _spawn_failed(tunnel: Tunnel, event: SpawnFailed, now: Moment, jitter: float) -> Result:
    cause = failure_of(tunnel, "spawn_failed", event.said)
    return _failed_attempt(replace(tunnel, attempt=tunnel.attempt + 1), cause, now, jitter)


def _poke_waiting(tunnel: Tunnel, event: Poke, now: Moment, jitter: float) -> Result:
    # Due, and no more: it may fail again, and then the waits go on growing.
    return replace(_due_now(tunnel, now), attempt=tunnel.attempt, streak=tunnel.streak), ()


# --- with a process ---------------------------------------------------------


def _looked_starting(tunnel: Tunnel, event: Looked, now: Moment, jitter: float) -> Result:
    if not tunnel.confirmed:
        return tunnel, ()
    tunnel, news = with_reach(tunnel, event, now, jitter)
    tunnel, up = _came_up(tunnel, now)
    return tunnel, (*up, *news)


def _line_dead(tunnel: Tunnel, event: LineDead, now: Moment, jitter: float) -> Result:
    cause = failure_of(tunnel, "line_dead", "", reason=event.why)
    tunnel = replace(tunnel, cut=tunnel.since, silent=event.silent)
    return _stop(tunnel, now, why=cause)


def _start_timeout(tunnel: Tunnel, event: Deadline, now: Moment, jitter: float) -> Result:
    if tunnel.confirmed:  # it serves, and who listens is seen when it is seen
        return _came_up(tunnel, now)
    return _stop(tunnel, now, why=failure_of(tunnel, "start_timeout", last_words(tunnel)))


def _stable(tunnel: Tunnel, event: Deadline, now: Moment, jitter: float) -> Result:
    return replace(tunnel, deadline=None, stable=True, attempt=0, streak=Streak()), ()


def _kill(tunnel: Tunnel, event: Deadline, now: Moment, jitter: float) -> Result:
    return replace(tunnel, deadline=now.mono + KILL_AFTER), (Signal(SIGKILL),)


def _restart_on_poke(tunnel: Tunnel, event: Poke, now: Moment, jitter: float) -> Result:
    if not event.restart:
        return tunnel, ()
    return _stop(tunnel, now, why=None)


def _exited_starting(tunnel: Tunnel, event: Exited, now: Moment, jitter: float) -> Result:
    cause = judge(tunnel, event, was_up=False)
    tunnel = replace(tunnel, pid=None)
    return _failed_attempt(tunnel, cause, now, jitter, heard_when_free=event.neighbour is not None)


def _exited_up(tunnel: Tunnel, event: Exited, now: Moment, jitter: float) -> Result:
    cause = judge(tunnel, event, was_up=True)
    silent = 0.0
    if cause.kind == "keepalive_timeout":
        # ssh gives up after interval x (count + 1) from the last byte, not x count.
        profile = tunnel.profile
        silent = profile.server_alive_interval * (profile.server_alive_count_max + 1.0)
    return _dropped(tunnel, cause, tunnel.since, silent, now, jitter)


def _dropped(
    tunnel: Tunnel, cause: Failure, since: Moment, silent: float, now: Moment, jitter: float
) -> Result:
    """It had been up `since` then, and its last proof of life was `silent` seconds ago."""
    up_for = now.mono - since.mono
    silent = min(silent, up_for)
    after_stable = tunnel.stable
    tunnel = replace(
        tunnel,
        pid=None,
        drops=tunnel.drops + 1,
        attempt=0,  # they are counted from the last time it was up
        # The outage begins with the last proof of life, not when it was noticed.
        away_since=Moment(now.mono - silent, now.wall - silent),
    )
    tunnel, delay, held = _plan_retry(tunnel, cause, now, jitter, after_stable=after_stable)
    entry = down_entry(cause, up_for=up_for, last_seen=now.wall - silent, retry_in=delay)
    return tunnel, (Record(entry), *held)


def _exited_stopping(tunnel: Tunnel, event: Exited, now: Moment, jitter: float) -> Result:
    tunnel = replace(tunnel, pid=None, forwards=unconfirmed(tunnel))
    if not tunnel.wanted:
        return _down(tunnel, now), ()
    if tunnel.ordered is not None and tunnel.cut is not None:
        return _dropped(tunnel, tunnel.ordered, tunnel.cut, tunnel.silent, now, jitter)
    if tunnel.ordered is not None:
        return _failed_attempt(tunnel, tunnel.ordered, now, jitter)
    return _due_now(tunnel, now), ()


# --- a profile read anew ----------------------------------------------------


def _renew(tunnel: Tunnel, event: Renew | Changed, now: Moment, jitter: float) -> Result:
    tunnel, effects, needs_another = taken_over(tunnel, event)
    if tunnel.state in (State.WAITING, State.FAILED):
        return _due_now(tunnel, now), effects
    if needs_another:
        return _stop(tunnel, now, why=None, first=effects)
    return tunnel, effects


# --- the small parts --------------------------------------------------------


def _due_now(tunnel: Tunnel, now: Moment) -> Tunnel:
    return replace(
        tunnel,
        state=State.WAITING,
        since=tunnel.since if tunnel.state is State.WAITING else now,
        deadline=now.mono,
        attempt=0,
        streak=Streak(),
        ordered=None,
        confirmed=False,
        cut=None,
        reclaiming=False,
        away_since=tunnel.away_since or now,
    )


def _down(tunnel: Tunnel, now: Moment) -> Tunnel:
    return replace(
        tunnel,
        state=State.DOWN,
        since=now,
        deadline=None,
        pid=None,
        attempt=0,
        streak=Streak(),
        failure=None,
        failure_at=None,
        holder=None,
        ordered=None,
        evidence=(),
        stable=False,
        confirmed=False,
        cut=None,
        reclaiming=False,
        away_since=None,
    )


def _stop(
    tunnel: Tunnel, now: Moment, *, why: Failure | None, first: tuple[Effect, ...] = ()
) -> Result:
    stopping = replace(
        tunnel,
        state=State.STOPPING,
        since=now,
        deadline=now.mono + KILL_AFTER,
        ordered=why,
        away_since=(tunnel.away_since or now) if tunnel.wanted else None,
    )
    return stopping, (*first, Signal(SIGTERM))


def _came_up(tunnel: Tunnel, now: Moment) -> Result:
    away = tunnel.away_since or now
    entry = up_entry(tunnel, after=max(0.0, now.mono - away.mono))
    tunnel = replace(
        tunnel,
        state=State.UP,
        since=now,
        deadline=now.mono + STABLE_AFTER,
        failure=None,
        failure_at=None,
        holder=None,
        ever_up=True,
        was_up=True,
        away_since=None,
    )
    return tunnel, (Record(entry),)


def _failed_attempt(
    tunnel: Tunnel,
    cause: Failure,
    now: Moment,
    jitter: float,
    *,
    heard_when_free: bool = False,
) -> Result:
    tunnel, delay, held = _plan_retry(
        tunnel, cause, now, jitter, after_stable=False, heard_when_free=heard_when_free
    )
    entry: dict[str, Any] = {
        "event": "attempt_failed",
        "failure": failure_entry(cause),
        "attempt": tunnel.attempt,
        "retry_in": delay,
    }
    if tunnel.state is State.FAILED:
        entry["event"] = "needs_person"
    return tunnel, (Record(entry), *held)


def _plan_retry(
    tunnel: Tunnel,
    cause: Failure,
    now: Moment,
    jitter: float,
    *,
    after_stable: bool,
    heard_when_free: bool = False,
) -> tuple[Tunnel, float | None, tuple[Effect, ...]]:
    streak = tunnel.streak
    if streak.disposition is not cause.disposition:
        streak = Streak(cause.disposition, 0, now.mono)
    streak = replace(streak, count=streak.count + 1)
    delay = next_delay(
        cause,
        streak=streak.count,
        streak_seconds=now.mono - streak.since,
        after_stable=after_stable,
        heard_when_free=heard_when_free,
        ever_up=tunnel.ever_up,
        max_delay=tunnel.profile.restart_max_delay,
        jitter=jitter,
    )
    person = cause.disposition in (Disposition.PERSON, Disposition.CONFIG)
    tunnel = replace(
        tunnel,
        state=State.FAILED if person else State.WAITING,
        since=now,
        pid=None,
        forwards=unconfirmed(tunnel),
        deadline=None if delay is None else now.mono + delay,
        failure=cause,
        failure_at=now.wall,
        ordered=None,
        evidence=(),
        stable=False,
        confirmed=False,
        cut=None,
        reclaiming=False,
        # The try at once is not one of 0.5, 1, 2 … seconds.
        streak=Streak() if delay == 0.0 else streak,
        away_since=tunnel.away_since or now,
    )
    held: tuple[Effect, ...] = ()
    if cause.disposition is Disposition.SLOW and delay is not None:
        held = (HoldDestination(delay),)
    return tunnel, None if delay is None else round(delay, 3), held


# --- the table --------------------------------------------------------------

_D, _W, _S, _U = State.DOWN, State.WAITING, State.STARTING, State.UP
_X, _F = State.STOPPING, State.FAILED
_RETRIED = (_W, _F)  # by what the failure needs: the network, or a person

_TABLE: tuple[tuple[State, type[Event], Callable[..., Result], tuple[State, ...]], ...] = (
    (_D, WantUp, _want_up, (_W,)),
    (_D, Renew, _renew, (_D,)),
    (_W, WantUp, _want_up_again, (_W,)),
    (_W, WantDown, _want_down, (_D,)),
    (_W, Deadline, _spawn, (_W,)),
    (_W, Spawned, _spawned, (_S,)),
    (_W, SpawnFailed, _spawn_failed, _RETRIED),
    (_W, Renew, _renew, (_W,)),
    (_W, Reclaiming, reclaiming, (_W,)),
    (_W, Reclaimed, reclaimed, (_W,)),
    (_W, PortHeld, with_holder, (_W,)),
    (_W, Poke, _poke_waiting, (_W,)),
    (_S, WantDown, _want_down, (_X,)),
    (_S, Deadline, _start_timeout, (_X, _U)),
    (_S, Heard, heard_starting, (_S,)),
    (_S, Looked, _looked_starting, (_S, _U)),
    (_S, Exited, _exited_starting, _RETRIED),
    (_S, Renew, _renew, (_S, _X)),
    (_S, Poke, _restart_on_poke, (_S, _X)),
    (_U, WantDown, _want_down, (_X,)),
    (_U, Deadline, _stable, (_U,)),
    (_U, Heard, heard_up, (_U,)),
    (_U, Looked, with_reach, (_U,)),
    (_U, Knocked, with_answer, (_U,)),
    (_U, LineDead, _line_dead, (_X,)),
    (_U, Exited, _exited_up, _RETRIED),
    (_U, Renew, _renew, (_U, _X)),
    (_U, Changed, _renew, (_U, _X)),
    (_U, Poke, _restart_on_poke, (_U, _X)),
    (_X, WantUp, _want_up, (_X,)),
    (_X, WantDown, _want_down_stopping, (_X,)),
    (_X, Deadline, _kill, (_X,)),
    (_X, Exited, _exited_stopping, (_D, _W, _F)),
    (_X, Renew, _renew, (_X,)),
    (_F, WantUp, _want_up_again, (_W,)),
    (_F, WantDown, _want_down, (_D,)),
    (_F, Deadline, _spawn, (_F,)),
    (_F, Spawned, _spawned, (_S,)),
    (_F, SpawnFailed, _spawn_failed, _RETRIED),
    (_F, Renew, _renew, (_W,)),
    (_F, Poke, _poke_waiting, (_W,)),
)
_HANDLERS = {(state, event): handler for state, event, handler, _ in _TABLE}
TRANSITIONS = {(state, event.__name__): frozenset(to) for state, event, _, to in _TABLE}
