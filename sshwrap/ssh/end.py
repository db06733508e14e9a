"""The end of our own stale session on the server: what is asked of `sh -s` there, how it is read.

Laws. The recorded process and nothing else, ever: boot, start time, owner and name have to be those
of the record; it must not be above the script itself, have a terminal, or run anything for anybody.
All of it is proved again before each signal, by the shell alone, so that next to no time passes in
between; a proof that cannot be had is one that fails. Nothing else is changed, and no root needed.
`sh` reads all of the script before it does any of it: half a script does nothing. The answer stands
between two lines that hold a number nobody could know before; half an answer is none, and to ask
once more is always safe.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sshwrap.ssh.mux import FLOODED, said_lines
from sshwrap.ssh.session_record import BOOT_ID
from sshwrap.ssh.side import has_signed_in, said_inside, why_not

if TYPE_CHECKING:
    from sshwrap.ssh.session_record import SessionRecord

# Of a fiftieth of a second and what a fork takes. A process that has ended listens no more (the
# kernel closes its files first), so the ports are waited for in case there is more to it only.
_TERM_STEPS, _KILL_STEPS, _PORT_STEPS = 90, 45, 20


class Outcome(StrEnum):
    """What became of the recorded session."""

    ENDED = "ended"  # by us
    GONE = "gone"  # before we came: the record is of no more use
    NOT_OURS = "not_ours"  # a proof failed: nothing was done
    NO_SHELL = "no_shell"  # signed in, and nothing that we ask for is run
    FAILED = "failed"  # not signed in, no answer, or it cannot be ended: worth another try


@dataclass(frozen=True, slots=True)
class Taken:
    """A port on which somebody listens after it, and whose uid that is."""

    port: int
    uid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """`reason`: a piece of a sentence for screens; `said`: the words of ssh or of the server.

    `taken`: of the ports asked about those that are not free, where the answer came that far.
    """

    outcome: Outcome
    reason: str
    said: str = ""
    taken: tuple[Taken, ...] = ()


def end_script(nonce: str, record: SessionRecord, ports: Collection[int]) -> bytes:
    """The script; raises ValueError for a record that no session can be proved by."""
    if record.session_pid < 2 or not BOOT_ID.fullmatch(record.session_boot_id):
        raise ValueError(f"no session: {record.session_pid}, {record.session_boot_id!r}")
    hexes = "|".join(f"{port:04X}" for port in sorted(ports))
    return _SCRIPT.format(
        nonce=nonce,
        pid=int(record.session_pid),
        started=int(record.session_started),
        boot=record.session_boot_id,
        uid=int(record.session_uid),
        pattern=f"^ *[0-9]+: [0-9A-F]+:({hexes}) [0-9A-F]+:0000 0A " if ports else "^-$",
        term_steps=_TERM_STEPS,
        kill_steps=_KILL_STEPS,
        port_steps=_PORT_STEPS,
    ).encode()


# /proc/PID/stat behind the name, which may hold anything: state, parent, group, session, terminal …
# and as the twentieth the start time. What a dead line has left of a look of our own (`sh -s` that
# waits for its script) is nobody's, and ends by itself as soon as its sshd does.
_SCRIPT = r"""
step() {{
    if sleep 0.02; then steps=$((steps + 1)); else sleep 1; steps=$((steps + 50)); fi
}}
stands() {{
    stat= state=
    read -r stat < /proc/{pid}/stat || return 1
    set -- ${{stat##*) }}
    state=$1 terminal=$5 found=${{20}}
    [ "$found" = {started} ] || return 1
    case $state in Z | X | x) return 1 ;; esac
}}
proved() {{
    boot= name= owners= parent= ours= title= why=
    read -r boot < /proc/sys/kernel/random/boot_id
    [ -n "$boot" ] || {{ why=unseen; return 1; }}
    [ "$boot" = {boot} ] || {{ why=rebooted; return 1; }}
    while read -r key value rest; do
        case $key in Uid:) ours=$value ;; esac
    done < "/proc/$$/status"
    [ "$ours" = {uid} ] || {{ why=account; return 1; }}
    if ! stands; then
        why=gone
        if [ -z "$stat" ]; then kill -0 {pid} && why=unseen
        elif [ "$found" != {started} ]; then why=reused
        fi
        return 1
    fi
    while read -r key value b c d rest; do
        case $key in Name:) name=$value ;; Uid:) owners="$value $b $c $d" ;; esac
    done < /proc/{pid}/status
    [ "$owners" = '{uid} {uid} {uid} {uid}' ] || {{ why=owner; return 1; }}
    case $name in sshd*) ;; *) why=name; return 1 ;; esac
    at=$$
    while [ "${{at:-0}}" -gt 1 ]; do
        [ "$at" = {pid} ] && {{ why=ourselves; return 1; }}
        parent=
        while read -r key value rest; do
            case $key in PPid:) parent=$value ;; esac
        done < "/proc/$at/status"
        at=$parent
    done
    [ "$at" = 1 ] || [ "$at" = 0 ] || {{ why=unseen; return 1; }}
    title=$(tr '\0' ' ' < /proc/{pid}/cmdline)
    case $terminal:$title in
        0:) why=unseen; return 1 ;;
        0:*@pts/* | 0:*@tty*) why=terminal; return 1 ;;
        0:*) ;;
        *) why=terminal; return 1 ;;
    esac
    for file in /proc/[0-9]*/stat; do
        row=
        read -r row < "$file" || continue
        set -- ${{row##*) }}
        [ "$2" = {pid} ] || continue
        case $1 in Z | X | x) continue ;; esac
        child=${{file%/stat}}
        case $5:$(tr '\0' ' ' < "$child/cmdline") in
            '0:sh -s ' | 0:*' -c sh -s ') ;;
            *) why=busy; return 1 ;;
        esac
    done
    stands || {{ why=gone; return 1; }}
}}
stop() {{
    proved || {{ echo "no $why"; return 1; }}
    if ! kill -"$1" {pid}; then
        if stands; then echo denied; else echo 'no gone'; fi
        return 1
    fi
    echo "sent $1"
    steps=0
    while stands && [ "$steps" -lt "$2" ]; do step; done
    stands || {{ ended=yes; echo ended; return 1; }}
}}
holders() {{
    cat /proc/net/tcp /proc/net/tcp6 | grep -E '{pattern}' |
        while read -r a local b c d e f uid rest; do echo "taken $uid ${{local##*:}}"; done
}}
end_session() {{
    echo
    echo 'begin {nonce}'
    ended=
    stop TERM {term_steps} && stop KILL {kill_steps} && echo stays
    steps=0
    while [ -n "$ended" ] && [ "$steps" -lt {port_steps} ]; do
        case $(holders) in *'taken {uid} '*) step ;; *) break ;; esac
    done
    holders
    echo 'end {nonce}'
}}
end_session 2> /dev/null
exit 0
"""

_NO = {
    "gone": (Outcome.GONE, "our old session has ended by itself"),
    "reused": (Outcome.GONE, "our old session has ended, and its pid is another process now"),
    "rebooted": (Outcome.GONE, "the server has restarted since, or another one answers"),
    "account": (Outcome.NOT_OURS, "the sign-in is another account's than the old session was"),
    "owner": (Outcome.NOT_OURS, "the recorded process is another account's"),
    "name": (Outcome.NOT_OURS, "the recorded process is no sshd"),
    "ourselves": (Outcome.NOT_OURS, "the recorded process is the one that asks"),
    "terminal": (Outcome.NOT_OURS, "somebody has a terminal in the recorded session"),
    "busy": (Outcome.NOT_OURS, "something runs in the recorded session"),
    "unseen": (Outcome.NOT_OURS, "the server's /proc does not show whose the old session is"),
}


def read_end(
    nonce: str,
    status: int | None,
    out: bytes,
    err: bytes,
    *,
    timed_out: bool = False,
    flooded: bool = False,
) -> Ended:
    """The answer to `end_script`, by what ssh (ssh/side.py) wrote; `flooded`: it was ended because
    that was too much."""
    lines = out.decode("utf-8", "replace").split("\n")
    begin, end = f"begin {nonce}", f"end {nonce}"
    if begin in lines and end in lines[lines.index(begin) :]:
        answer = lines[lines.index(begin) + 1 :]
        return _read(answer[: answer.index(end)])
    if begin in lines:
        return Ended(Outcome.FAILED, "the line broke before the answer was complete")
    if not has_signed_in(out):
        reason = "the second sign-in took too long" if timed_out else "the second sign-in failed"
        return Ended(Outcome.FAILED, reason, why_not(out, err)[:200])
    if flooded:
        return Ended(Outcome.NO_SHELL, FLOODED)
    if timed_out or status is None:
        return Ended(Outcome.FAILED, "the server did not answer in time")
    reason = "the server ran nothing of what it was asked (no shell, or a forced command)"
    words = [*said_lines(err), *said_inside(out)]
    return Ended(Outcome.NO_SHELL, reason, words[-1][:200] if words else "")


def _read(answer: Sequence[str]) -> Ended:
    words = [line.split(" ") for line in answer]
    taken = tuple(sorted({one for one in map(_taken, words) if one}, key=lambda one: one.port))
    sent = [word[1] for word in words if word[0] == "sent" and len(word) == 2]
    why = next((word[1] for word in words if word[0] == "no" and len(word) == 2), None)
    if ["ended"] in words or (sent and why == "gone"):
        how = ", which took a KILL" if "KILL" in sent else ""
        return Ended(Outcome.ENDED, f"ended our old session on the server{how}", taken=taken)
    if sent and why is not None:
        return Ended(Outcome.FAILED, "the old session was told to end and has not yet", taken=taken)
    if why in _NO:
        outcome, reason = _NO[why]
        return Ended(outcome, reason, taken=taken)
    if ["denied"] in words:
        return Ended(Outcome.FAILED, "the account may not end its own old session", taken=taken)
    if ["stays"] in words:
        return Ended(Outcome.FAILED, "the old session does not end, not even by KILL", taken=taken)
    return Ended(Outcome.FAILED, "the server's answer makes no sense")


def _taken(words: Sequence[str]) -> Taken | None:
    match words:
        case ["taken", uid, port] if re.fullmatch(r"[0-9]{1,10}", uid):
            if re.fullmatch(r"[0-9A-F]{4}", port):
                return Taken(int(port, 16), int(uid))
    return None
