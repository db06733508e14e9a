"""sshd_config(5): read without loss, which line wins for whom, and the edits that doctor makes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file: `block` is the Match line that it stands under ("Match User root"), ""
    outside of any."""

    file: str
    line: int
    argument: str
    block: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a keyword's value comes from; `winner` None: sshd's own default."""

    keyword: str
    winner: Place | None
    beaten: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Criteria:
    """A connection, as `sshd -T -C` takes it."""

    user: str
    host: str
    address: str
    local_address: str
    local_port: int
    groups: tuple[str, ...] = ()
