"""Our own stale session on the server: recorded while it stands, ended when it holds our port.

Laws. Nothing here waits: the end is one short sign-in beside the loop, killed at its deadline, and
told of once or, closed before, not at all. What may be ended is ssh/end.py's to prove, whether the
record may be used ssh/session_record.py's. A record that cannot be read is none.
"""
# ruff: noqa: PTH110, PTH113, PTH118, PTH123, PTH208
# Reason: the supervisor does without pathlib.

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from sshwrap.ssh.end import Ended, Outcome, end_script, read_end
from sshwrap.ssh.session_record import (
    MOST_BYTES,
    Here,
    Machine,
    SessionRecord,
    record_from_json,
    record_to_json,
    why_unusable,
)
from sshwrap.supervisor.errand import SESSION_BYTES, Done, Errand
from sshwrap.supervisor.wanted import boot_id, remove_file, write_whole

if TYPE_CHECKING:
    import asyncio

    from sshwrap.paths import Places
    from sshwrap.ssh.look import Look
    from sshwrap.supervisor.order import Order

RECLAIM_SECONDS = 10.0

_MACHINE_ID = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_SERIAL = "/sys/firmware/devicetree/base/serial-number"
_CARDS = "/sys/class/net"
_PERMANENT = "0"  # linux/netdevice.h: NET_ADDR_PERM; not made up, by anybody


class Reclaim:
    """Ends the session of `record`; `argv` is of ssh/side.py with ssh/look.py's COMMAND.

    `ports` are those that ought to be free afterwards; `environ` is the whole environment.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        record: SessionRecord,
        ports: Collection[int],
        *,
        loop: asyncio.AbstractEventLoop,
        on_done: Callable[[Ended], None],
        deadline: float = RECLAIM_SECONDS,
    ) -> None:
        nonce = os.urandom(16).hex()
        self._on_done: Callable[[Ended], None] | None = on_done
        self._errand: Errand | None = None

        def done(done: Done) -> None:
            out, err = done.out, done.err
            ended = read_end(
                nonce, done.status, out, err, timed_out=done.timed_out, flooded=done.flooded
            )
            self._tell(ended)

        try:
            self._errand = Errand(
                argv,
                environ,
                loop=loop,
                stdin=end_script(nonce, record, ports),
                deadline=deadline,
                on_done=done,
                most_bytes=SESSION_BYTES,
                dies_with_us=True,
            )
        except OSError as error:
            reason = f'"{argv[0]}" cannot be started'
            loop.call_soon(self._tell, Ended(Outcome.FAILED, reason, str(error)))

    def close(self) -> None:
        """Kill it; nothing is told. What the server has begun by then it may finish."""
        self._on_done = None
        if self._errand is not None:
            self._errand.cancel()

    def _tell(self, ended: Ended) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(ended)


# --- the record ----------------------------------------------------------------------------------


def make_record(order: Order, look: Look, ssh_pid: int, places: Places) -> SessionRecord | None:
    """The session that `look` has seen over the ssh with this pid; None where it saw none."""
    if look.session is None or look.boot_id is None:
        return None
    return SessionRecord(
        profile=order.profile.name,
        destination=order.profile.destination,
        server=order.server,
        session_pid=look.session.pid,
        session_started=look.session.started,
        session_boot_id=look.boot_id,
        session_uid=look.uid,
        machine=this_machine(places),
        ssh_pid=ssh_pid,
        ssh_started=_started(ssh_pid),
        boot_id=boot_id(),
    )


def write_record(places: Places, record: SessionRecord) -> None:
    """Raises OSError; then an older record is still there."""
    write_whole(places.session_file(record.profile), record_to_json(record))


def read_record(places: Places, name: str) -> SessionRecord | None:
    """None where there is none, or a damaged one."""
    path = places.session_file(name)
    if not os.path.isfile(path):  # a pipe would never end
        return None
    try:
        with open(path, "rb") as file:
            return record_from_json(file.read(MOST_BYTES + 1))
    except OSError:
        return None


def remove_record(places: Places, name: str) -> None:
    """Raises OSError where it cannot be removed; no error where there is none."""
    remove_file(places.session_file(name))


def why_not_now(record: SessionRecord, order: Order, places: Places) -> str | None:
    """Why this record may not be used here and now; None: it may."""
    return why_unusable(
        record,
        Here(
            profile=order.profile.name,
            destination=order.profile.destination,
            server=order.server,
            machine=this_machine(places),
            ssh_is_alive=record.boot_id == boot_id()
            and is_alive(record.ssh_pid, record.ssh_started),
        ),
    )


# --- this machine --------------------------------------------------------------------------------


def this_machine(places: Places) -> Machine:
    """What tells it from others; `machine_id` None where there is none (not Linux, no dbus)."""
    found = (_line(path) for path in _MACHINE_ID)
    return Machine(
        machine_id=next((text for text in found if text), None),
        host=os.uname().nodename or "(none)",
        hardware=_hardware(),
        state_dir=os.path.realpath(places.state_dir),
    )


def _hardware() -> tuple[str, ...]:
    """What stays with the machine when its disk is copied; nothing of it in most containers."""
    serial = _line(_SERIAL)
    ids = {f"serial {serial}"} if serial else set()
    try:
        cards = os.listdir(_CARDS)
    except OSError:
        cards = []
    for card in cards[:256]:
        folder = os.path.join(_CARDS, card)
        is_real = os.path.exists(os.path.join(folder, "device"))
        if is_real and _line(os.path.join(folder, "addr_assign_type")) == _PERMANENT:
            address = _line(os.path.join(folder, "address"))
            if address.strip("0:"):
                ids.add(f"card {address}")
    return tuple(sorted(ids))[:64]


def _line(path: str) -> str:
    """The first line of a small file; "" where there is none."""
    try:
        with open(path, errors="replace") as file:
            return file.readline(256).strip("\0 \n")
    except OSError:
        return ""


def is_alive(pid: int, started: int | None) -> bool:
    """Whether the process that had this pid, and began at `started` in this boot, still runs.

    Without a start time (not Linux) whoever has that pid now may be it, if it is ours.
    """
    if started is not None:
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _started(pid: int) -> int | None:
    """In clock ticks since the boot; None where there is no such process but a zombie at most."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read(4096)
        fields = stat.rpartition(b")")[2].split()  # proc(5): the name may hold anything
        return None if fields[0] in b"ZXx" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
