"""Change sshd_config on the server, prove it by a new sign-in, or have it taken back.

Laws. The server acts alone from the moment it is told until it has an answer: a line that is cut
leaves it as it was, or as wanted with the timer running that takes it back. A change is confirmed
only after a new sign-in has succeeded. Nothing is retried here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sshwrap.doctor.apply_root import Root
from sshwrap.doctor.fix_script import (
    HOME,
    Answer,
    Last,
    Order,
    decide_script,
    install_script,
    last_script,
    read_answer,
    read_last,
)
from sshwrap.doctor.line import Ran
from sshwrap.ssh.lines import bounded, clean

INSTALL_SECONDS = 50.0  # less than the server waits for its proof
DECIDE_SECONDS = 30.0
Prove = Callable[[], str | None]  # a new sign-in: None where it is as wanted, else why it is not


class Result(StrEnum):
    APPLIED = "applied"
    UNTOUCHED = "untouched"  # nothing was changed
    UNDONE = "undone"  # it was changed, and is as before
    UNSURE = "unsure"  # nothing is known but that the server takes it back by itself


@dataclass(frozen=True, slots=True)
class Outcome:
    """`why`: a word of fix_words.WHY, "" where it is applied; `said`: sshd's, the system's or the
    proof's words; `change`: what `--undo` knows it by; `steps` that the server has told of."""

    result: Result
    why: str = ""
    said: str = ""
    change: str = ""
    steps: tuple[str, ...] = ()


def apply_order(
    order: Order,
    root: Root,
    prove: Prove,
    nonce: str,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Make the change. `nonce`: hexadecimal, 8 to 64 digits, never used before. `tell` hears of
    each step: "installed", "reloaded", "proved", "confirmed". ValueError as `install_script`."""
    ran = root.run(install_script(order, nonce), INSTALL_SECONDS)
    answer = read_answer(nonce, ran.out)
    for step in answer.steps:
        tell(step)
    if not answer.is_whole:
        return _after_a_cut(order, root, answer, ran, nonce)
    if answer.why:
        is_as_before = answer.undone or "armed" not in answer.steps
        result = Result.UNSURE
        if is_as_before:
            result = Result.UNDONE if "installed" in answer.steps else Result.UNTOUCHED
        return Outcome(result, answer.why, answer.said, answer.change, answer.steps)
    said = prove()
    if said is not None:
        return take_back(root, answer, nonce, "unproved", said, order.home)
    tell("proved")
    decided = _decide(root, answer.change, "confirm", nonce, order.home)
    if decided.confirmed:
        tell("confirmed")
        return Outcome(Result.APPLIED, change=answer.change, steps=answer.steps)
    if decided.why == "late":
        return Outcome(Result.UNDONE, "late", change=answer.change, steps=answer.steps)
    why, said = decided.why or "cut", decided.said
    return take_back(root, answer, nonce, why, said, order.home)


def take_back(
    root: Root, answer: Answer, nonce: str, why: str, said: str, home: str = HOME
) -> Outcome:
    """At once, rather than when the server's time is over."""
    decided = _decide(root, answer.change, "now", nonce, home)
    # "late": the server has done it by itself meanwhile.
    is_undone = decided.undone or decided.why == "late"
    result = Result.UNDONE if is_undone else Result.UNSURE
    return Outcome(result, why, said, answer.change, answer.steps)


def last_change(root: Root, nonce: str, home: str = HOME) -> Last | Outcome:
    """What `--undo` would take back; an Outcome (UNTOUCHED, "none") where there is nothing."""
    ran = root.run(last_script(nonce, home), DECIDE_SECONDS)
    found = read_last(nonce, ran.out)
    if isinstance(found, Last):
        return found
    return Outcome(Result.UNTOUCHED, found.why or "cut", found.said or _words(ran))


def _after_a_cut(order: Order, root: Root, answer: Answer, ran: Ran, nonce: str) -> Outcome:
    if answer.change:
        return take_back(root, answer, nonce, "cut", _words(ran), order.home)
    return Outcome(Result.UNSURE, "cut", _words(ran), steps=answer.steps)


def _decide(root: Root, change: str, decision: str, nonce: str, home: str) -> Answer:
    ran = root.run(decide_script(change, decision, nonce, home), DECIDE_SECONDS)
    return read_answer(nonce, ran.out)


def _words(ran: Ran) -> str:
    lines = [clean(line).strip() for line in ran.err.decode("utf-8", "replace").splitlines()]
    return bounded("; ".join(line for line in lines if line), 400)
