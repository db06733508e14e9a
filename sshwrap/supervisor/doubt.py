"""Doubts about the line of one running ssh, sooner than its own keepalive has them.

Laws. Nothing waits, and an idle line costs one question to the kernel for each keepalive. ssh's
connection is only looked at; what is sent over it is a liveness question, where somebody else
doubts. `on_dead` is called once, from the loop, with everything of ours ended before; never after
`close`. Where the kernel shows nothing of the connection (not Linux; a ProxyJump) there is no
doubt of our own, and for one from outside the old line has to stay silent before and after a new
sign-in, for as long as that took (`patience`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sshwrap.ssh.mux import Unknown, Why
from sshwrap.supervisor.unacked import SshSocket
from sshwrap.tunnel import doubt as core
from sshwrap.tunnel.doubt import Seen

if TYPE_CHECKING:
    import asyncio

ALIVE_SECONDS = 3.0
WATCH_SECONDS = 0.1  # between looks at a sign-in: what is lost on it delays it by 0.2 s at least
BLIND_LOOKS = 3  # then the connection is not to be seen
BLIND_ROUNDS = 5  # for one reason; after that it is for the keepalive
BLIND_PAUSE = 5.0


class Socket(Protocol):
    """What SshSocket is."""

    @property
    def local(self) -> bytes | None: ...
    @property
    def remote(self) -> tuple[str, int]: ...
    def look(self) -> Seen | None: ...


class Answer(Protocol):
    """`client`: the address from which the server has seen this sign-in come, as a number; None
    where it was not asked."""

    @property
    def got_through(self) -> bool: ...
    @property
    def client(self) -> str | None: ...


class SignIn(Protocol):
    """`pid` of its ssh; None where that could not be started."""

    @property
    def pid(self) -> int | None: ...
    def close(self) -> None: ...


class Alive(Protocol):
    """`Control.alive`: None is an answer."""

    def __call__(self, on_answer: Callable[[Unknown | None], None], *, deadline: float) -> None: ...


class Doubt:
    """One for each running ssh, made when it is up; `close` it when that ends.

    `interval` is of ssh's keepalives, 0 for none. `client` is as in Answer, of this ssh.
    `on_doubt` says that a sign-in is being made because of what; None that the line has answered.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: Socket | None,
        *,
        interval: float,
        alive: Alive,
        sign_in: Callable[[Callable[[Answer], None]], SignIn],
        on_dead: Callable[[str], None],
        on_doubt: Callable[[str | None], None],
        client: str | None = None,
        watch: Callable[[int, str, int], Socket] = SshSocket,
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._alive = alive
        self._sign_in = sign_in
        self._on_dead = on_dead
        self._on_doubt = on_doubt
        self._client = client
        self._watch = watch
        self._state = core.Doubt(interval)
        self._unseen = 0  # looks in a row that showed nothing
        self._timer: asyncio.TimerHandle | None = None
        self._trial: _Trial | None = None
        self._blind: _Blind | None = None
        self._told = False
        self._closed = False
        if socket is not None:
            self._look_in(min(interval or core.INTERVAL, core.CLOSE))

    def suspect(self, why: core.Why) -> None:
        """Somebody has a reason to doubt the line: it is looked at now."""
        if self._closed:
            return
        self._state = core.suspected(self._state, why, self._loop.time())
        if self._blind is not None:
            return
        self._unseen = 0
        self._look()
        self._ask(why)

    def _ask(self, why: core.Why) -> None:
        if self._closed:  # that look was enough
            return
        if self._socket is None or self._unseen:
            self._doubt_blindly(why)
        else:
            # Data to be acknowledged; if an answer comes, so much the better.
            self._alive(self._answered, deadline=ALIVE_SECONDS)

    def close(self) -> None:
        """Look and ask no more, and tell nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._blind is not None:
            self._blind.close()
        self._end_trial()

    # --- with the kernel's help ----------------------------------------------

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """See what the kernel has, and do what follows from it."""
        if self._socket is None:
            return
        now = self._loop.time()
        seen = self._socket.look()
        if seen is None:
            self._unseen += 1
            if self._unseen < BLIND_LOOKS:
                self._look_in(self._state.interval or core.INTERVAL)
            return
        self._unseen = 0
        self._state, step = core.looked(self._state, seen, now)
        self._look_in(step.pause)
        if step.dead is not None:
            self._dead(step.dead)
            return
        if self._trial is not None and self._state.signing_in is None:
            self._end_trial()  # it has answered meanwhile
        if step.sign_in:
            because = self._state.reason or core.Why.UNHEARD
            self._begin_trial(self._tried, because)
        elif self._told and self._state.is_quiet:
            self._tell(None)

    def _tried(self, result: core.SignedIn) -> None:
        self._trial = None
        self._state = core.signed_in(self._state, result, self._loop.time())
        self._look()

    def _answered(self, trouble: Unknown | None) -> None:
        """Over the old line; silence is seen by the kernel's numbers, and better."""
        if trouble is None and not self._closed:
            self._state = core.acquitted(self._state, self._loop.time())
            self._end_trial()
            self._look()

    # --- without -------------------------------------------------------------

    def _doubt_blindly(self, why: core.Why) -> None:
        def over(dead: str | None, answered: bool) -> None:
            self._blind = None
            self._state = core.acquitted(self._state, self._loop.time())
            if dead is not None:
                self._dead(dead)
            elif answered and self._told:
                self._tell(None)

        begin = partial(self._begin_trial, why=why)
        self._blind = _Blind(self._loop, why, self._alive, begin, over)

    # --- both ----------------------------------------------------------------

    def _begin_trial(self, on_result: Callable[[core.SignedIn], None], why: core.Why) -> None:
        def done(result: core.SignedIn) -> None:
            self._trial = None
            on_result(result)

        self._trial = _Trial(self._loop, self._socket, self._client, self._watch, done)
        self._tell(f"signing in beside it because {why}")
        if self._trial is not None and not self._closed:
            self._trial.begin(self._sign_in)

    def _end_trial(self) -> None:
        trial, self._trial = self._trial, None
        if trial is not None:
            trial.close()

    def _tell(self, words: str | None) -> None:
        self._told = words is not None
        self._on_doubt(words)

    def _dead(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_dead(reason)


class _Trial:
    """One sign-in beside the old line, watched for what is lost on it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        old: Socket | None,
        client: str | None,
        watch: Callable[[int, str, int], Socket],
        on_result: Callable[[core.SignedIn], None],
    ) -> None:
        self._loop = loop
        self._old = old
        self._client = client
        self._make_watch = watch
        self._on_result = on_result
        self._sign_in: SignIn | None = None
        self._new: Socket | None = None
        self._seen: Seen | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def begin(self, sign_in: Callable[[Callable[[Answer], None]], SignIn]) -> None:
        self._sign_in = sign_in(self._answered)
        pid = self._sign_in.pid
        if self._old is not None and pid is not None:
            # The same server alone: of another one of the same name it would tell nothing.
            self._new = self._make_watch(pid, *self._old.remote)
            self._timer = self._loop.call_later(WATCH_SECONDS, self._look)

    def close(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sign_in is not None:
            self._sign_in.close()

    def _look(self) -> None:
        if self._new is not None:
            self._seen = self._new.look() or self._seen
            self._timer = self._loop.call_later(WATCH_SECONDS, self._look)

    def _answered(self, answer: Answer) -> None:
        if self._over:
            return
        self.close()
        seen = self._seen
        self._on_result(
            core.SignedIn(
                answer.got_through,
                is_clean=seen is not None and seen.resent == 0,
                elsewhere=self._is_elsewhere(answer.client),
                round_trip=seen.round_trip if seen is not None else 0.0,
            )
        )

    def _is_elsewhere(self, client: str | None) -> bool:
        if client is not None and self._client is not None and client != self._client:
            return True
        ours = (self._old and self._old.local, self._new and self._new.local)
        return None not in ours and ours[0] != ours[1]


class _Blind:
    """Ask over the old line, sign in beside it, ask the old one again: silent, through, silent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        why: core.Why,
        alive: Alive,
        begin: Callable[[Callable[[core.SignedIn], None]], None],
        on_over: Callable[[str | None, bool], None],
    ) -> None:
        self._loop = loop
        self._why = why
        self._alive = alive
        self._begin = begin
        self._on_over = on_over
        self._rounds = 0
        self._began = 0.0
        self._took = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._ask()

    def close(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _ask(self) -> None:
        self._rounds += 1
        self._alive(self._first, deadline=ALIVE_SECONDS)

    def _first(self, trouble: Unknown | None) -> None:
        if self._is_silent(trouble):
            self._began = self._loop.time()
            self._begin(self._signed_in)

    def _signed_in(self, result: core.SignedIn) -> None:
        if self._over:
            return
        self._took = self._loop.time() - self._began
        if result.got_through:
            self._alive(self._second, deadline=core.patience(self._why, self._took))
        elif self._rounds < BLIND_ROUNDS:
            pause = max(0.0, BLIND_PAUSE * self._rounds - self._took)
            self._timer = self._loop.call_later(pause, self._ask)
        else:
            self._end(None, answered=False)

    def _second(self, trouble: Unknown | None) -> None:
        if self._is_silent(trouble):
            waited = core.patience(self._why, self._took)
            self._end(core.silent_reason(waited, self._took), answered=False)

    def _is_silent(self, trouble: Unknown | None) -> bool:
        """Else it is over: with an answer, or where none could be asked for."""
        if self._over:
            return False
        if trouble is not None and trouble.why is Why.SILENT:
            return True
        self._end(None, answered=trouble is None)
        return False

    def _end(self, dead: str | None, *, answered: bool) -> None:
        self.close()
        self._on_over(dead, answered)
