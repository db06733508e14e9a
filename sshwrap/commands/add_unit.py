"""Units of systemd that run autossh or ssh -> the profiles they come to.

Law. All of them or none: every unit that cannot be read is said at once.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.file import SIZE_MAX_BYTES, service_port
from sshwrap.profile.model import NAME_MAX
from sshwrap.profile.ssh_command import Parsed, parse_command
from sshwrap.profile.unit_file import Unit, UnitError, read_unit


@dataclass(frozen=True, slots=True)
class FromUnit:
    parsed: Parsed
    notes: tuple[str, ...]
    stop: str


def read_units(paths: Sequence[str], environ: Mapping[str, str]) -> list[FromUnit]:
    """Raises UserError (USAGE) with every fault."""
    found: list[FromUnit] = []
    faults: list[str] = []
    for path in paths:
        try:
            found.append(_read(Path(path).absolute(), environ))
        except (UnitError, UserError) as error:
            faults += [f"{path}: {line}" for line in str(error).splitlines()]
    if faults:
        raise UserError("\n".join([*faults, "nothing was written"]), status=ExitStatus.USAGE)
    return found


def _read(path: Path, environ: Mapping[str, str]) -> FromUnit:
    is_users = "systemd/user" in str(path)
    me = pwd.getpwuid(os.geteuid()).pw_name
    home = environ.get("HOME", "") if is_users else "/root"
    runs_as = me if is_users else "root"
    text = _text(path)
    if text is None:
        raise UnitError("cannot be read")
    for drop_in in sorted(Path(f"{path}.d").glob("*.conf")):
        text += "\n" + (_text(drop_in) or "")
    unit = read_unit(
        text,
        file_name=path.name,
        specifiers={"h": home, "u": runs_as, "H": os.uname().nodename},
        read_file=lambda place: _text(Path(place)),
    )
    words = list(unit.words)
    if words[:1] and Path(words[0]).name == "env":
        del words[0]
    programs = [word for word in words if "=" not in word]
    if not programs or Path(programs[0]).name not in ("ssh", "autossh"):
        raise UnitError(f'runs "{(programs or [""])[0]}", neither ssh nor autossh')
    parsed = parse_command(
        words,
        environ={"HOME": home, **unit.variables},
        service_port=service_port,
        cwd=unit.directory or (home if is_users else "/"),
        name=_name(path),
    )
    if unit.description:
        described = replace(parsed.profile, description=unit.description)
        parsed = replace(parsed, profile=described)
    unit_name = path.name
    stop = f"systemctl --user disable --now {unit_name}"
    if not is_users:
        stop = f"sudo systemctl disable --now {unit_name}"
    return FromUnit(parsed, (*unit.notes, *_about_user(unit, parsed, runs_as, me)), stop)


def _about_user(unit: Unit, parsed: Parsed, runs_as: str, me: str) -> list[str]:
    user = unit.user or runs_as
    if user == me:
        return []
    notes = [f"User={user}: dropped: here its keys, known hosts and ssh_config are those of {me}"]
    destination = parsed.profile.destination
    if parsed.profile.user is None and "@" not in destination:
        notes.append(
            f"{destination} names no account: {user} signed in as {user} (or as ssh_config has it),"
            f" {me} will as {me}"
        )
    return notes


def _name(path: Path) -> str:
    """autossh@vps.service: autossh-vps"""
    stem = path.name.rpartition(".")[0] or path.name
    legal = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem)
    return legal.strip("._-")[:NAME_MAX] or "tunnel"


def _text(path: Path) -> str | None:
    try:
        if not path.is_file():
            template = path.with_name(f"{path.name.partition('@')[0]}@{path.suffix}")
            if "@" not in path.name or not template.is_file():
                return None
            path = template
        with path.open("rb") as file:
            return file.read(SIZE_MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
