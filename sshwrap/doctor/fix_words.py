"""What is said of a change that was not made, or was taken back: one row for each reason.

Law. Every word that fix_shell.py or apply.py stops with has its row; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """`summary`: lower case, no final period; `advice`: the one thing to do."""

    summary: str
    advice: str


_HAND = "make the change by hand: docs/doctor.md"
_AGAIN = "run it again: the plan is made anew from what is there now"

WHY: Mapping[str, Words] = {
    # before anything is changed
    "root": Words("the script was not run as root", "use --admin with an account that may be root"),
    "unwritable": Words("a file or folder that is needed cannot be written", _HAND),
    "busy": Words(
        "another doctor is at work on that server",
        "wait for it; a lock whose owner is dead is taken over by itself",
    ),
    "waiting": Words(
        "a change of another doctor waits there for its proof",
        "run it again in a minute",
    ),
    "unfinished": Words(
        "a change that nobody proved was still there, from before a reboot; it was taken back",
        _AGAIN,
    ),
    "managed": Words("the file is made by a tool, and would be made anew", "change it there"),
    "immutable": Words(
        "somebody has made the file immutable",
        "chattr -i takes that away; ask who did it",
    ),
    "changed": Words("the file is not what it was when the plan was made", _AGAIN),
    "broken": Words(
        "sshd refuses its configuration as it is, and would end at a reload",
        "put that right first: sshd -t",
    ),
    "guard": Words("the timer that takes it back could not be started", _HAND),
    # what the new files come to
    "invalid": Words("sshd refuses the changed file", _HAND),
    "more": Words("more would change than is wanted", _HAND),
    "overridden": Words("another line beats the new one", _HAND),
    # once it is installed
    "reload": Words("sshd could not be reloaded", "see what sshd says in the server's log"),
    "unproved": Words("no new sign-in succeeded", "see above what ssh said"),
    "late": Words("the proof came after the server's time was over", "run it again"),
    "cut": Words("the line was cut in the middle", "run it again when the server is reached"),
    # when it is taken back
    "edited": Words(
        "the file was edited by somebody else meanwhile, and stays as it is",
        "look at it yourself",
    ),
    "gone": Words(
        "sshd does not listen there any more, and could not be started",
        "do not close the session that you have: start sshd from it",
    ),
    "none": Words("there is nothing to take back", "nothing to do"),
}
