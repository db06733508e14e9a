"""Liveness by a second sign-in: does the server let us in on a new connection, now?

Laws. It asks for no forward and, without a command, for no session: no shell is needed, and no
forced command is run. What it proves is the way to the server and the server, not the death of an
older line: that takes the older one's data, still unacknowledged when this one is through. Answered
once, from the loop, or not at all once closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from sshwrap.ssh.side import has_signed_in, said_inside, why_not
from sshwrap.supervisor.errand import SESSION_BYTES, Done, Errand

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`words` are ssh's where the server has not let us in ("" where it said nothing); `client` the
    address from which the server saw us come, where it was asked."""

    got_through: bool
    words: str = ""
    client: str | None = None


class SignIn:
    """`argv` is of ssh/side.py, its command none or `echo $SSH_CONNECTION`; `environ` is the whole
    environment; `deadline` is in seconds from now (side_seconds)."""

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        loop: asyncio.AbstractEventLoop,
        deadline: float,
        on_answer: Callable[[SignedIn], None],
        on_over: Callable[[], None] | None = None,
    ) -> None:
        self._on_answer: Callable[[SignedIn], None] | None = on_answer
        self._on_over = on_over  # answered or closed: called once
        self._errand: Errand | None = None
        try:
            self._errand = Errand(
                argv,
                environ,
                loop=loop,
                deadline=deadline,
                on_done=self._done,
                most_bytes=SESSION_BYTES,
                dies_with_us=True,
            )
        except OSError as error:
            words = f'"{argv[0]}" cannot be started: {error}'
            loop.call_soon(self._tell, SignedIn(False, words))

    @property
    def pid(self) -> int | None:
        """None where it could not be started."""
        return None if self._errand is None else self._errand.pid

    def close(self) -> None:
        """Kill it; nothing is told."""
        self._on_answer = None
        self._leave()
        if self._errand is not None:
            self._errand.cancel()

    def _done(self, done: Done) -> None:
        # Its exit tells nothing: what it is refused in the end is what makes it end.
        if has_signed_in(done.out):
            self._tell(SignedIn(True, client=_client(said_inside(done.out))))
        else:
            self._tell(SignedIn(False, why_not(done.out, done.err)))

    def _tell(self, answer: SignedIn) -> None:
        on_answer, self._on_answer = self._on_answer, None
        self._leave()
        if on_answer is not None:
            on_answer(answer)

    def _leave(self) -> None:
        on_over, self._on_over = self._on_over, None
        if on_over is not None:
            on_over()


def _client(lines: Sequence[str]) -> str | None:
    """The address in what `echo $SSH_CONNECTION` has said: ours and the server's, with ports."""
    for line in lines:
        words = line.split()
        if len(words) == 4 and words[1].isdecimal() and words[3].isdecimal():
            try:
                return str(ip_address(words[0].partition("%")[0]))
            except ValueError:
                continue
    return None
