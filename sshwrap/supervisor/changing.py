"""Forwards changed on a live connection: taken back, asked for, and looked at.

Laws. What is taken back is taken back in every spelling that was asked for: of a half-bound forward
that was healed `-O cancel '*:P'` leaves `0.0.0.0:P`. It is taken back before anything is asked for,
since the same listener may have another target now. Success is what listens, never an exit status;
where nobody can look, the tunnel is better restarted. Nothing is undone here: whoever is told of
trouble ends this ssh.

A -L or -D listens on this machine, and ssh, which binds it itself, says whether it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import count
from typing import TYPE_CHECKING

from sshwrap.profile.forward import Forward, Kind, format_forward
from sshwrap.profile.model import NOT_FOR_SSH, Profile
from sshwrap.ssh.look import Look, Owner
from sshwrap.ssh.mux import Added, Refused, Unknown, Why
from sshwrap.tunnel.events import Changed, ChangeForwards
from sshwrap.tunnel.model import ForwardState
from sshwrap.tunnel.reach import UNKNOWN, Reach, judge_reach
from sshwrap.tunnel.renewal import TAKEN_OVER, told
from sshwrap.tunnel.where import port_of

if TYPE_CHECKING:
    import asyncio

    from sshwrap.supervisor.control import Control
    from sshwrap.supervisor.order import Order

CHANGE_SECONDS = 30.0
# sshd acts on a cancel after ssh has said that it is done; a slow line, a busy server.
LOOKS = 12
LOOK_FIRST, LOOK_LONGEST = 0.05, 1.0
HERE = Reach(UNKNOWN, None, "it listens on this machine, by ssh's word")
FORWARDS_OTHER = "ssh_config adds other forwards"
SERVER_ELSEWHERE = "ssh_config finds the server elsewhere"
_OF_SSH_CONFIG = (FORWARDS_OTHER, SERVER_ELSEWHERE)
FORWARD_KEYS = frozenset(f"{kind.value}_forward" for kind in Kind)


class Spellings:
    """Every way in which a listener was asked for on one connection."""

    def __init__(self) -> None:
        self._more: dict[Forward, list[Forward]] = {}

    def also(self, forward: Forward, spelling: Forward) -> None:
        more = self._more.setdefault(told(forward), [])
        if told(spelling) not in map(told, more):
            more.append(spelling)

    def of(self, forward: Forward) -> tuple[Forward, ...]:
        return (forward, *self._more.get(told(forward), ()))

    def forget(self, forward: Forward) -> None:
        self._more.pop(told(forward), None)


class Keys:
    """A key for each forward, by its place: what is under way knows it by that, since its place
    may be another one before the answer comes."""

    def __init__(self, number: int) -> None:
        self._new = count()
        self._keys = [next(self._new) for _ in range(number)]

    def __getitem__(self, place: int) -> int:
        return self._keys[place]

    def place(self, key: int) -> int | None:
        """Where it stands now; None: it was taken back."""
        return self._keys.index(key) if key in self._keys else None

    def rearrange(self, before: Sequence[int | None]) -> None:
        old = self._keys
        self._keys = [next(self._new) if at is None else old[at] for at in before]


class Change:
    """`on_done(changed, look)` once, from the loop, unless it is closed before; `look` None where
    none was needed, or there was trouble. `states` are the tunnel's forwards as they are, `seen`
    what the last look has brought."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        control: Control,
        asked: ChangeForwards,
        states: Sequence[ForwardState],
        spellings: Spellings,
        *,
        seen: Look | Unknown | None,
        key_options: str,
        on_done: Callable[[Changed, Look | None], None],
    ) -> None:
        self._loop = loop
        self._control = control
        self._spellings = spellings
        self._key_options = key_options
        self._on_done = on_done
        removed = {told(forward) for forward in asked.removed}
        self._removed = [s for s in states if told(s.forward) in removed]
        self._kept = [s for s in states if told(s.forward) not in removed]
        self._added: list[ForwardState] = []
        self._to_cancel = [one for forward in asked.removed for one in spellings.of(forward)]
        self._to_add = list(asked.added)
        self._looks = 0
        self._closed = False
        self._timer = loop.call_later(CHANGE_SECONDS, self._trouble, "it took too long")
        self._pause: asyncio.TimerHandle | None = None
        trouble = why_not_live(seen, asked)
        if trouble is not None:
            self._trouble(trouble)
        elif self._to_cancel:
            control.cancel(self._to_cancel, self._cancelled)
        else:
            self._add_next()

    def close(self) -> None:
        self._closed = True
        self._timer.cancel()
        if self._pause is not None:
            self._pause.cancel()

    # --- asked over the control socket ---------------------------------------

    def _cancelled(self, trouble: Unknown | None) -> None:
        if self._closed:
            return
        if trouble is not None:
            self._trouble(trouble.reason)
        else:
            self._add_next()

    def _add_next(self) -> None:
        if not self._to_add:
            self._look()
            return
        forward = self._to_add.pop(0)

        def answered(answer: Added | Refused | Unknown) -> None:
            if self._closed:
                return
            if isinstance(answer, Unknown):
                self._trouble(answer.reason)
            elif isinstance(answer, Refused):
                self._trouble(f"{forward.spec}: {answer.said or 'refused'}")
            else:
                port = answer.port if forward.listen_port == 0 else None
                self._added.append(ForwardState(forward, allocated_port=port))
                self._add_next()

        self._control.add(forward, answered)

    # --- what listens --------------------------------------------------------

    def _look(self) -> None:
        self._pause = None
        here = [*self._kept, *self._added]
        if not any(map(_is_remote, [*self._removed, *self._added])):
            self._done(None)
            return
        listening = [s.forward for s in [*self._removed, *here] if _is_remote(s)]
        ports = {port for s in [*self._removed, *here] if _is_remote(s) and (port := port_of(s))}
        paths = [one.listen_path for one in listening if one.listen_path is not None]
        options = self._key_options
        self._looks += 1
        self._control.look(ports, self._looked, paths=paths, key_options=options)

    def _looked(self, seen: Look | Unknown) -> None:
        if self._closed:
            return
        if isinstance(seen, Unknown):
            why = seen.reason
            if seen.why is not Why.SILENT or self._looks >= LOOKS:
                self._trouble(f"who listens cannot be looked at: {why}")
                return
        else:
            missing = self._still_listening(seen) or self._not_listening(seen)
            if missing is None:
                self._done(seen)
                return
            if self._looks >= LOOKS:
                self._trouble(missing)
                return
        pause = min(LOOK_LONGEST, LOOK_FIRST * 2.0 ** (self._looks - 1))
        self._pause = self._loop.call_later(pause, self._look)

    def _still_listening(self, seen: Look) -> str | None:
        """A listener that should have gone, in words."""
        stays = [*self._kept, *self._added]
        for state in filter(_is_remote, self._removed):
            path, port = state.forward.listen_path, port_of(state)
            if path is not None:
                names = {s.forward.listen_path for s in stays}
                if path not in names and any(
                    one.path == path and one.owner is not Owner.OTHER for one in seen.sockets
                ):
                    return f"{path} still listens on the server"
            elif any(port_of(s) == port for s in self._added):
                continue  # its place was taken by one that the server granted after it
            else:
                left = _addresses(seen, port, self._may_be_ours(state))
                for other in self._kept:
                    if port_of(other) == port and other.reach is not None:
                        left -= set(other.reach.bound or left)
                if left:
                    return f"port {port} still listens on the server"
        return None

    def _may_be_ours(self, state: ForwardState) -> frozenset[str] | None:
        """Where a listener of the account may be ours, by what was seen of it; None: anywhere."""
        bound = state.reach.bound if state.reach is not None else None
        more = len(self._spellings.of(state.forward)) > 1  # granted, and perhaps not looked at yet
        return None if more or not bound else frozenset(bound)

    def _not_listening(self, seen: Look) -> str | None:
        """An added forward that nobody serves, in words."""
        for state in filter(_is_remote, self._added):
            reach = judge_reach(state.forward, state.allocated_port, seen)
            only_ssh_knows = "%" in (state.forward.listen_path or "").replace("%%", "")
            if reach.reach == UNKNOWN and not reach.bound and not only_ssh_knows:
                return f"{state.forward.spec}: {reach.reason}"
        return None

    # --- the end -------------------------------------------------------------

    def _done(self, seen: Look | None) -> None:
        for state in self._removed:
            self._spellings.forget(state.forward)
        reaches = tuple(
            judge_reach(s.forward, s.allocated_port, seen) if _is_remote(s) else HERE
            for s in self._added
        )
        self._tell(Changed(tuple(s.allocated_port for s in self._added), reaches), seen)

    def _trouble(self, text: str) -> None:
        self._tell(Changed((), (), text), None)

    def _tell(self, changed: Changed, seen: Look | None) -> None:
        # A change of nothing is answered as any other: never from within the question.
        self.close()
        self._pause = self._loop.call_later(0.0, self._on_done, changed, seen)


def why_not_live(seen: Look | Unknown | None, asked: ChangeForwards) -> str | None:
    """Why it need not be tried: nobody could look at what came of it; None where one can."""
    if all(forward.kind is not Kind.REMOTE for forward in (*asked.removed, *asked.added)):
        return None
    if isinstance(seen, Unknown) and seen.why not in (Why.SILENT, Why.GONE):
        return f"who listens cannot be looked at: {seen.reason}"
    return None


# --- what was edited --------------------------------------------------------


def edited(old: Order, new: Order) -> tuple[str, ...]:
    """What a running ssh would have to be told, by its keys; what only ssh_config says, in words.
    () where it is told all of it already."""
    found = [
        field.name
        for field in fields(Profile)
        if field.name not in NOT_FOR_SSH
        and _plain(getattr(old.profile, field.name)) != _plain(getattr(new.profile, field.name))
    ]
    if _plain(old.added) != _plain(new.added):
        found.append(FORWARDS_OTHER)
    if (old.hostname, old.server) != (new.hostname, new.server) and not found:
        found.append(SERVER_ELSEWHERE)
    return tuple(found)


def words_of(keys: Sequence[str], *, has_ssh: bool, in_place: bool) -> str:
    """One sentence for the journal: a profile read anew that is not changed live. `in_place`: a
    running ssh need not know."""
    if not keys:
        return "restarted as asked"
    if not has_ssh or in_place:
        return TAKEN_OVER
    names = [key for key in keys if key not in _OF_SSH_CONFIG]
    why = [key for key in keys if key in _OF_SSH_CONFIG]
    if names:
        said = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        why.insert(0, f"{said} {'was' if len(names) == 1 else 'were'} edited")
    return f"restarted, because {' and '.join(why)}"


def _plain(value: object) -> object:
    """As ssh is told it: the spelling of a forward does not matter."""
    if isinstance(value, tuple) and value and isinstance(value[0], Forward):
        return [format_forward(one) for one in value]
    return value


# --- the small parts --------------------------------------------------------


def _is_remote(state: ForwardState) -> bool:
    return state.forward.kind is Kind.REMOTE


def _addresses(seen: Look, port: int | None, may_be_ours: frozenset[str] | None) -> set[str]:
    """Where we listen on that port, or may: not all that is the account's can be told apart."""
    return {
        one.address
        for one in seen.listeners
        if one.port == port
        and one.owner is not Owner.OTHER
        and (one.owner is Owner.OURS or may_be_ours is None or one.address in may_be_ours)
    }
