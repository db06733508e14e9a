"""A journal entry as one clean line: for a pipe, systemd, NO_COLOR, and above the live view.

Laws. One entry, one line, whatever it holds; an entry of another version, or one that somebody
edited, still gives a line and never an error. What will happen next stands beside what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sshwrap.render.block import quoted
from sshwrap.render.forward import OWN_LOOPBACK, half_text, where, wide_text
from sshwrap.render.page import Page
from sshwrap.render.words import BUT, UP, clock, count, duration, parse_time, until
from sshwrap.tunnel.snapshot import WRONG_REACH

Stamp = Literal["none", "clock", "date"]

NOTICEABLE = 2  # seconds between the last proof of life and the news, before it is worth a word
WANTED_BY = {
    "up": "asked for",
    "run": "asked for",
    "restart": "a restart was asked for",
    "start": "still wanted from before",
}
UNWANTED_BY = {"down": "as asked", "ctrl-c": "ended by Ctrl-C"}


def plain_line(entry: Mapping[str, Any], page: Page, *, stamp: Stamp = "clock") -> str:
    """ "10:30:51  cam  down: no answer; trying again in 1 s"; not cut, not wrapped.

    `stamp`: "date" where lines of many days come together (a file), "none" where whoever takes
    the line has its own (systemd).
    """
    parts = [_stamp(entry, stamp), text_of(entry, "profile"), entry_text(entry)]
    return page.clean("  ".join(part for part in parts if part))


def entry_text(entry: Mapping[str, Any]) -> str:
    """What happened, in one sentence that begins with the new state."""
    word, text = entry_words(entry)
    return f"{word}: {text}" if text else word


def entry_words(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The new state (or what the news is about), and the sentence about it."""
    match text_of(entry, "event"):
        case "wanted":
            by = text_of(entry, "by")
            return "starting", WANTED_BY.get(by, by)
        case "unwanted":
            by = text_of(entry, "by")
            return "down", UNWANTED_BY.get(by, by)
        case "up":
            return up_word(entry), "; ".join([*forward_ends(entry), *back_after(entry)])
        case "down":
            return "down", "; ".join([summary(entry), *last_seen(entry), *next_try(entry)])
        case "attempt_failed":
            word = f"try {number(entry, 'attempt') or 0:.0f} failed"
            return word, "; ".join([summary(entry), *next_try(entry)])
        case "needs_person":
            return "needs you", "; ".join([summary(entry), *advice(entry), *next_look(entry)])
        case "target":
            return "target", target_text(entry)
        case "port":
            return "port", port_text(entry)
        case "holder":
            return "port", text_of(entry, "text")
        case "reach":
            return reach_word(entry), reach_text(entry)
        case "from_here":
            return "from here", from_here_text(entry)
        case "reclaim":
            word = "reclaimed" if text_of(entry, "outcome") == "ended" else "reclaim"
            return word, text_of(entry, "text")
        case "changed" | "dead" | "doubt" | "lost" as word:
            return word, text_of(entry, "text")
        case "notice":
            return "ssh", text_of(entry, "text").removeprefix("ssh: ")
        case other:
            return "unknown", f'"{other}", written by another version'


def forward_ends(entry: Mapping[str, Any]) -> list[str]:
    """ "ADDRESS → TARGET" of every forward."""
    forwards = [each for each in list_of(entry, "forwards") if isinstance(each, Mapping)]
    return [f"{text_of(each, 'address') or '?'} → {connect_name(each)}" for each in forwards]


def up_word(entry: Mapping[str, Any]) -> str:
    forwards = [each for each in list_of(entry, "forwards") if isinstance(each, Mapping)]
    return BUT if any(text_of(each, "reach") in WRONG_REACH for each in forwards) else UP


def back_after(entry: Mapping[str, Any]) -> list[str]:
    """How long it was away and how many tries it took, as far as that is worth a word."""
    after, attempts = number(entry, "after"), int(number(entry, "attempts") or 1)
    words = []
    if after is not None and entry.get("first") is not True:
        words.append(f"back after {duration(after) if after >= 1 else 'less than 1 s'}")
    elif after is not None and after >= NOTICEABLE:
        words.append(f"after {duration(after)}")
    if attempts > 1:
        words.append(count(attempts, "try", "tries"))
    return [", ".join(words)] if words else []


def target_text(entry: Mapping[str, Any]) -> str:
    connect = text_of(entry, "connect")
    if text_of(entry, "target") == "ok":
        return f"{connect} answers again"
    said = text_of(entry, "said")
    return f"nothing answers on {connect}; the tunnel is fine" + (f" ({said})" if said else "")


def reach_word(entry: Mapping[str, Any]) -> str:
    reach = text_of(entry, "reach")
    return BUT if reach in WRONG_REACH else "as asked" if reach == "as_asked" else "reach"


def reach_text(entry: Mapping[str, Any]) -> str:
    """Which forward listens where; what is wrong with that, and what to do."""
    name = text_of(entry, "address") or text_of(entry, "forward")
    bound = [each for each in list_of(entry, "bound") if isinstance(each, str)]
    reason = text_of(entry, "reason")
    do = f"; do: sshwrap doctor {text_of(entry, 'profile')}"
    match text_of(entry, "reach"):
        case "loopback_only":
            return f"{name} is {OWN_LOOPBACK}{do} --fix"
        case "half_bound":
            return f"{name} is {half_text(bound, reason)}"
        case "exposed":
            return f"{name} is {wide_text(bound)}{do}"
        case "as_asked":
            return f"{name} listens " + (f"on {where(bound)}" if bound else "where it should")
        case _:
            return f"not seen where {name} listens" + (f": {reason}" if reason else "")


def from_here_text(entry: Mapping[str, Any]) -> str:
    name = text_of(entry, "address") or text_of(entry, "forward")
    match text_of(entry, "from_here"):
        case "open":
            again = text_of(entry, "old") in ("refused", "timeout")
            return f"{name} answers" + (" again" if again else "")
        case "refused":
            return f"{name} refuses"
        case "timeout":
            return f"no answer from {name}: a firewall, most likely"
        case _:
            return f"not known whether {name} answers"


def port_text(entry: Mapping[str, Any]) -> str:
    old, new = number(entry, "old"), number(entry, "new")
    before = f", it was {old:.0f}" if old is not None else ""
    return f"the server gave port {new or 0:.0f} for {text_of(entry, 'forward')}{before}"


def connect_name(forward: Mapping[str, Any]) -> str:
    connect = text_of(forward, "connect")
    return "SOCKS proxy" if connect == "socks" else connect


def summary(entry: Mapping[str, Any]) -> str:
    """Why, in one sentence; with ssh's own words where the catalogue has no row for them."""
    failure = failure_of(entry)
    why, said = text_of(failure, "summary") or "no reason known", text_of(failure, "said")
    if text_of(failure, "kind") == "unknown" and said and said not in why:
        return f"{why} ({quoted(said)})"
    return why


def last_seen(entry: Mapping[str, Any]) -> list[str]:
    """When there was last a sign of life, where that is noticeably before the news itself."""
    at, seen = parse_time(entry.get("at")), parse_time(entry.get("last_seen"))
    if at is None or seen is None or (at - seen).total_seconds() < NOTICEABLE:
        return []
    return [f"no sign of life since {clock(seen)}"]


def next_try(entry: Mapping[str, Any]) -> list[str]:
    retry = number(entry, "retry_in")
    return [f"trying again {until(retry)}"] if retry is not None else []


def next_look(entry: Mapping[str, Any]) -> list[str]:
    retry = number(entry, "retry_in")
    return [f"looks again by itself {until(retry)}"] if retry is not None else []


def advice(entry: Mapping[str, Any]) -> list[str]:
    text = text_of(failure_of(entry), "advice")
    return [f"do: {text}"] if text else []


def failure_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    failure = entry.get("failure")
    return failure if isinstance(failure, Mapping) else {}


def text_of(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e12 else None  # also what is not a number


def list_of(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []


def _stamp(entry: Mapping[str, Any], stamp: Stamp) -> str:
    if stamp == "none":
        return ""
    at = parse_time(entry.get("at"))
    if at is None:
        return "??:??:??"
    return f"{at.astimezone():%Y-%m-%d} {clock(at)}" if stamp == "date" else clock(at)
