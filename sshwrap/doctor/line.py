"""What doctor needs of a connection to the server: run a script there, and read what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ran on the server; `status` None where a signal ended it, or the time."""

    status: int | None
    out: bytes
    err: bytes
    timed_out: bool = False


class Line(Protocol):
    """A signed-in connection. No call makes a new sign-in."""

    def run(self, command: str, stdin: bytes, deadline: float) -> Ran:
        """Run `command` by the account's login shell, whatever that is (so: plain words, as
        `sh -s`); `stdin` is fed to it and closed; `deadline` in seconds from now."""
        ...
