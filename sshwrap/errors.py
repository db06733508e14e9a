"""What ends a command: an error a person can act on, and the exit status that programs read."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Documented in README.md and docs/commands.md; other programs are written to it."""

    OK = 0  # as wanted
    NOT_AS_WANTED = 1
    USAGE = 2  # usage, or no such profile
    NO_SSH = 69  # no usable ssh
    NEEDS_PERSON = 77
    BAD_CONFIG = 78
    INTERRUPTED = 130


class UserError(Exception):
    """Something a person can put right; `cli.main` prints it and returns its status.

    `message` is one line (or several, one a fault): lower case, the object first, the offending
    text quoted. `said` is ssh's or the system's own words; `advice` the one thing to do.
    """

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        said: str | None = None,
        status: ExitStatus = ExitStatus.NOT_AS_WANTED,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.said = said
        self.status = status
