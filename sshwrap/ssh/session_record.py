"""The record of a tunnel's session on the server, and whether it may be used here and now.

Laws. A record is a permission to end a process, so any doubt makes it none: what is damaged, of
another version or out of bounds is no record, and one that came here with a copied disk or a shared
home is not used. It never says whether the session still stands: only the server can (ssh/end.py).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from sshwrap.ssh.lines import clean

VERSION = 1
MOST_BYTES = 16384
_MOST_CHARACTERS = 4096
_MOST_HARDWARE = 64
_MOST_PID = 2**31 - 1
_NAMES_OF_NOBODY = {"localhost", "localhost.localdomain", "(none)"}
BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What tells one machine from another.

    A cloned disk has the machine id, and often the name, of the other one. `hardware` (serial
    number, permanent addresses of network cards) it has not; but a card can be taken out.
    """

    machine_id: str | None
    host: str
    hardware: tuple[str, ...]
    state_dir: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """Times are in clock ticks since the boot that stands beside them.

    `session_…` is sshd's process that owns the listeners, `ssh_…` our own client of it;
    `ssh_started` and `boot_id` are None where this system does not tell them (not Linux).
    """

    profile: str
    destination: str
    server: str  # where ssh_config resolved that to
    session_pid: int
    session_started: int
    session_boot_id: str
    session_uid: int
    machine: Machine
    ssh_pid: int
    ssh_started: int | None
    boot_id: str | None


@dataclass(frozen=True, slots=True)
class Here:
    """This machine and this profile now. `ssh_is_alive`: our own ssh of that record."""

    profile: str
    destination: str
    server: str
    machine: Machine
    ssh_is_alive: bool


def record_to_json(record: SessionRecord) -> str:
    return json.dumps({"v": VERSION, **asdict(record)}) + "\n"


def record_from_json(text: str | bytes) -> SessionRecord | None:
    """What `record_to_json` made; None for anything else."""
    if len(text) > MOST_BYTES:
        return None
    try:
        content = json.loads(text)
        return _record(content) if isinstance(content, dict) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _record(content: dict[str, Any]) -> SessionRecord:
    if _integer(content.pop("v"), VERSION, VERSION) != VERSION:
        raise ValueError
    _exactly(content, SessionRecord)
    machine = content["machine"]
    _exactly(machine, Machine)
    hardware = machine["hardware"]
    if not isinstance(hardware, list) or len(hardware) > _MOST_HARDWARE:
        raise TypeError
    return SessionRecord(
        profile=_text(content["profile"]),
        destination=_text(content["destination"]),
        server=_text(content["server"]),
        # 1 is init, and kill knows what is below as groups
        session_pid=_integer(content["session_pid"], 2, _MOST_PID),
        session_started=_integer(content["session_started"], 1, 2**63),
        session_boot_id=_boot_id(content["session_boot_id"]),
        session_uid=_integer(content["session_uid"], 0, 2**32 - 1),
        machine=Machine(
            machine_id=None if machine["machine_id"] is None else _text(machine["machine_id"]),
            host=_text(machine["host"]),
            hardware=tuple(_text(one) for one in hardware),
            state_dir=_text(machine["state_dir"]),
        ),
        ssh_pid=_integer(content["ssh_pid"], 2, _MOST_PID),
        ssh_started=(
            None if content["ssh_started"] is None else _integer(content["ssh_started"], 1, 2**63)
        ),
        boot_id=None if content["boot_id"] is None else _boot_id(content["boot_id"]),
    )


def _exactly(content: object, kind: type[SessionRecord | Machine]) -> None:
    if not isinstance(content, dict) or content.keys() != {one.name for one in fields(kind)}:
        raise TypeError


def _integer(value: object, least: int, most: int) -> int:
    if type(value) is not int:  # a bool is one to isinstance
        raise TypeError
    if not least <= value <= most:
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not 0 < len(value) <= _MOST_CHARACTERS:
        raise ValueError
    return value


def _boot_id(value: object) -> str:
    text = _text(value)
    if not BOOT_ID.fullmatch(text):
        raise ValueError
    return text


def why_unusable(record: SessionRecord, here: Here) -> str | None:
    """Why this record proves nothing here, as it stands behind "because"; None: it may be used."""
    ours, theirs = here.machine, record.machine
    shared = set(theirs.hardware) & set(ours.hardware)
    if theirs.machine_id != ours.machine_id:
        return "the record was made on another machine"
    if theirs.host != ours.host:
        return f'the record was made on "{clean(theirs.host)}", and this is "{clean(ours.host)}"'
    if theirs.hardware and ours.hardware and not shared:
        return "the record was made on other hardware (a copied disk?)"
    if ours.machine_id is None and not shared and ours.host in _NAMES_OF_NOBODY:
        return "nothing tells this machine from any other"
    if theirs.state_dir != ours.state_dir:
        return f'the record was made for "{clean(theirs.state_dir)}"'
    of = (record.profile, record.destination, record.server)
    if of != (here.profile, here.destination, here.server):
        return "the record is of {} to {} ({})".format(*map(clean, of))
    if here.ssh_is_alive:
        return f"our ssh of that session still runs, as pid {record.ssh_pid}"
    return None
