"""A profile read anew: what of a tunnel stays, and what of its forwards is changed while it is up.

Laws. A forward is the same where ssh would be told the same, however it is written. What is taken
over on a live connection is the tunnel's only when it is done: until then the old profile counts.
Whatever ends that connection first is answered with the newest profile. Of several that come
meanwhile the last one is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sshwrap.profile.forward import Forward
from sshwrap.tunnel.entries import reach_entry
from sshwrap.tunnel.events import Changed, ChangeForwards, Effect, Record, Renew
from sshwrap.tunnel.model import ForwardState, State, Tunnel, forward_states
from sshwrap.tunnel.snapshot import WRONG_REACH

SPECS_SHOWN = 3  # of those added, and of those removed; of more their number will do
TAKEN_OVER = "the edited profile was taken over"

Result = tuple[Tunnel, tuple[Effect, ...]]


def told(forward: Forward) -> Forward:
    """What ssh is told of it: not how it was written, nor where."""
    return replace(forward, spec="", source="")


def renewed(tunnel: Tunnel, event: Renew) -> Tunnel:
    """The tunnel with the new profile; a forward that is in both keeps what is known of it."""
    old = {told(s.forward): s for s in tunnel.forwards}
    fresh = forward_states(event.profile, event.added)
    kept = [old.get(told(s.forward)) for s in fresh]
    return replace(
        tunnel,
        profile=event.profile,
        hostname=event.hostname,
        forwards=tuple(
            new if state is None else replace(state, forward=new.forward)
            for new, state in zip(fresh, kept, strict=True)
        ),
        # With other forwards it is another tunnel to whoever reads: told in full when it is up.
        was_up=tunnel.was_up and None not in kept,
    )


def differences(
    tunnel: Tunnel, event: Renew
) -> tuple[tuple[ForwardState, ...], tuple[Forward, ...]]:
    """The forwards that the new profile has no more, and those that it has besides."""
    had = {told(s.forward) for s in tunnel.forwards}
    wanted = [s.forward for s in forward_states(event.profile, event.added)]
    has = {told(forward) for forward in wanted}
    removed = tuple(s for s in tunnel.forwards if told(s.forward) not in has)
    return removed, tuple(forward for forward in wanted if told(forward) not in had)


def changes_live(tunnel: Tunnel, event: Renew) -> bool:
    """Whether it is answered by changing forwards on the live connection."""
    if tunnel.state is not State.UP or event.restart:
        return False
    return bool(tunnel.renewing) or any(differences(tunnel, event))


def taken_over(tunnel: Tunnel, event: Renew | Changed) -> tuple[Tunnel, tuple[Effect, ...], bool]:
    """The tunnel, what is to be done, and whether it needs another ssh."""
    if isinstance(event, Changed):
        return _changed(tunnel, event)
    if tunnel.state is State.UP and not event.restart:
        if tunnel.renewing:  # the last one wins
            return replace(tunnel, renewing=(tunnel.renewing[0], event)), (), False
        return *_begun(tunnel, event), False
    differs = event.restart or any(differences(tunnel, event))
    has_ssh = tunnel.state in (State.STARTING, State.UP)
    return replace(renewed(tunnel, event), renewing=()), (), has_ssh and differs


def settled(tunnel: Tunnel, effects: tuple[Effect, ...]) -> Result:
    """What is up no more takes over at once what was being changed on its connection."""
    if not tunnel.renewing or tunnel.state is State.UP:
        return tunnel, effects
    tunnel = renewed(replace(tunnel, renewing=()), tunnel.renewing[-1])
    return tunnel, (*effects, _record(TAKEN_OVER))


def places_before(before: Tunnel, after: Tunnel) -> list[int | None] | None:
    """Where each forward of `after` stood in `before`; None: all of them where they stand now."""
    old = [told(s.forward) for s in before.forwards]
    new = [told(s.forward) for s in after.forwards]
    if old == new:
        return None
    return [old.index(forward) if forward in old else None for forward in new]


# --- on a live connection ---------------------------------------------------


def _begun(tunnel: Tunnel, event: Renew) -> Result:
    removed, added = differences(tunnel, event)
    if not removed and not added:
        return renewed(tunnel, event), ()
    return replace(tunnel, renewing=(event,)), (ChangeForwards(_forwards(removed), added),)


def _changed(tunnel: Tunnel, event: Changed) -> tuple[Tunnel, tuple[Effect, ...], bool]:
    if not tunnel.renewing:  # of a change that something else has overtaken
        return tunnel, (), False
    if event.trouble is not None:
        tunnel = renewed(replace(tunnel, renewing=()), tunnel.renewing[-1])
        text = "restarted, because its forwards could not be changed on the live connection"
        return tunnel, (_record(f"{text}: {event.trouble}"),), True
    now, *later = tunnel.renewing
    removed, added = differences(tunnel, now)
    states = tuple(
        ForwardState(forward, confirmed=True, allocated_port=port, reach=reach)
        for forward, port, reach in zip(added, event.ports, event.reaches, strict=True)
    )
    record = _record(_words(_forwards(removed), states))
    both = replace(tunnel, forwards=(*tunnel.forwards, *states), renewing=())
    wrong = tuple(
        # Of each the same entry as of one that came up wrong: it is new, so nothing was before it.
        Record(reach_entry(replace(state, reach=None), state.reach, now.hostname))
        for state in states
        if state.reach is not None and state.reach.reach in WRONG_REACH
    )
    tunnel, effects = renewed(both, now), (record, *wrong)
    if not later:
        return tunnel, effects, False
    tunnel, more, restart = taken_over(tunnel, later[0])
    return tunnel, (*effects, *more), restart


def _forwards(states: Sequence[ForwardState]) -> tuple[Forward, ...]:
    return tuple(s.forward for s in states)


def _words(removed: Sequence[Forward], added: Sequence[ForwardState]) -> str:
    parts: list[str] = []
    for word, specs in (
        ("added", [_spec(state) for state in added]),
        ("removed", [forward.spec for forward in removed]),
    ):
        if specs:
            noun = "" if parts else " forward" if len(specs) == 1 else " forwards"
            shown = f" ({', '.join(specs)})" if len(specs) <= SPECS_SHOWN else ""
            parts.append(f"{len(specs)}{noun} {word}{shown}")
    return f"{', '.join(parts)}, on the live connection"


def _spec(state: ForwardState) -> str:
    port = state.allocated_port
    return state.forward.spec if port is None else f"{state.forward.spec}: port {port}"


def _record(text: str) -> Record:
    return Record({"event": "changed", "text": text})
