"""Clients of a tunnel's own control socket: their command lines, and what their end means.

Laws. No client can make a sign-in of its own: one whose socket is gone would otherwise silently do
that, a false "alive". So the user's ssh_config is not read, and the only way to a server is a
program that fails at once. "The socket is gone" says nothing of the line, and is never said of it.
A client's exit status tells nothing where its words do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sshwrap.profile.forward import Forward, format_forward
from sshwrap.ssh.argv import FLAG
from sshwrap.ssh.lines import LineSplitter

# The client wants a destination, which nobody asks for where a master answers.
_NOBODY = "master"


FLOODED = "the account's login shell writes without end"


class Why(StrEnum):
    """Why a question has no answer."""

    GONE = "gone"  # no master at the control socket; says nothing of the line
    SILENT = "silent"  # nothing came within the time given
    REFUSED = "refused"  # no session, or none that runs a command (MaxSessions, nologin)
    FORCED = "forced"  # the server runs something else in every session; none was asked for
    OTHER_ANSWER = "other_answer"  # a session was opened and ran something else
    NO_PROC = "no_proc"  # not Linux, or /proc is hidden
    FAILED = "failed"  # the client could not be started


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer: `reason` for a screen, as it stands behind "unknown, because"; `said`: the words
    of ssh or of the server, "" where it said nothing."""

    why: Why
    reason: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """A forward that the server granted over the control socket; `port` where it was asked for 0.

    Which addresses listen is not told by it, and the same spec again is granted unasked.
    """

    port: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A forward that the server did not grant."""

    said: str


def _client(path: str, ssh: str) -> list[str]:
    options = ("ProxyCommand=false", "BatchMode=yes", "ControlMaster=no")
    argv = [ssh, "-F", "/dev/null", "-T"]
    for option in options:
        argv += ["-o", option]
    # ssh expands % in -S; -o ControlPath= would also break on a space (seen on 9.2).
    return [*argv, "-S", path.replace("%", "%%")]


def session_argv(path: str, command: str, *, ssh: str = "ssh") -> tuple[str, ...]:
    """Runs `command` by the account's login shell, whatever that is: keep it to plain words."""
    return (*_client(path, ssh), "--", _NOBODY, command)


def stdio_argv(path: str, host: str, port: int, *, ssh: str = "ssh") -> tuple[str, ...]:
    """Connects to `host`:`port` from the server."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (*_client(path, ssh), "-W", target, "--", _NOBODY)


def forward_argv(path: str, forward: Forward, *, ssh: str = "ssh") -> tuple[str, ...]:
    """Asks for one more forward. One at a time: of several, one refusal hides the others' ports."""
    return (*_client(path, ssh), "-O", "forward", *_specs((forward,)), "--", _NOBODY)


def cancel_argv(path: str, forwards: Iterable[Forward], *, ssh: str = "ssh") -> tuple[str, ...]:
    """Takes forwards back, each as it was asked for: `*:P` leaves what `0.0.0.0:P` has brought."""
    return (*_client(path, ssh), "-O", "cancel", *_specs(forwards), "--", _NOBODY)


def _specs(forwards: Iterable[Forward]) -> list[str]:
    return [word for one in forwards for word in (FLAG[one.kind], format_forward(one))]


def read_forward(
    status: int | None, out: bytes, err: bytes, *, timed_out: bool = False
) -> Added | Refused | Unknown:
    """What became of `forward_argv`."""
    trouble = no_master(status, err, timed_out=timed_out)
    if trouble is not None:
        return trouble
    if status == 0:
        port = out.strip()
        return Added(int(port) if re.fullmatch(rb"[0-9]{1,5}", port) else None)
    words = said_lines(err)
    said = next((line for line in words if "forwarding request failed" in line), "")
    return Refused(said.rpartition("request failed: ")[2] or "; ".join(words[-2:]))


def no_master(status: int | None, err: bytes, *, timed_out: bool = False) -> Unknown | None:
    """Whether a client found no master that answers, by its words (mux.c, packet.c)."""
    if timed_out:
        return Unknown(Why.SILENT, "no answer over the tunnel in time")
    if status == 0:
        return None
    words = said_lines(err)
    refused = next((line for line in words if "session request failed: " in line), None)
    if refused is not None:  # and then it tried to sign in, which is why this is asked first
        said = refused.rpartition("request failed: ")[2]
        return Unknown(Why.REFUSED, "the server opens no session for this account", said)
    gone = next((line for line in words if _GONE.match(line)), None)
    if gone is not None or (status is None and not words):
        return Unknown(Why.GONE, "the tunnel's control socket is gone", gone or "")
    return None


# The first two where there is no master; the next two from the attempt to sign in that follows,
# through "false"; the last where the master went away in the middle.
_GONE = re.compile(
    r"Control socket connect\("
    r"|ControlPath too long"
    r"|kex_exchange_identification: "
    r"|.*\bUNKNOWN port 65535\b"
    r"|mux_client_\w+: .*(master|hello|packet|mm_)"
    r"|muxclient: master (hello|alive)"
)


def said_lines(text: bytes) -> list[str]:
    """Complete clean lines of what a client or a server said, without blank ones."""
    splitter = LineSplitter()
    return [*splitter.feed(text), *splitter.flush()]
