"""profiles.toml -> profiles: who may have written it, what it says, and every fault with its line.

Laws. A file that somebody else could have written is not read. All faults of a file are told at
once, and a file with a fault gives no profile.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import socket
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sshwrap.errors import ExitStatus, UserError
from sshwrap.profile.locate import Lines
from sshwrap.profile.model import (
    Fault,
    Profile,
    check_defaults,
    make_profile,
    merge_defaults,
    profile_warnings,
)
from sshwrap.profile.reader import closest, describe_type

SIZE_MAX_BYTES = 1 << 20

TABLES = ("defaults", "profile")


class NoProfilesFile(UserError):
    """There is no file at `path`: the caller can say how to begin."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: no such file",
            advice="sshwrap run ssh -R '*:12345:localhost:8080' USER@HOST, or write that file",
            status=ExitStatus.BAD_CONFIG,
        )
        self.path = path


class Profiles(dict[str, Profile]):
    """Name -> profile, in the file's order; `warnings` are lines to show, of nothing illegal."""

    def __init__(
        self, path: str, profiles: Mapping[str, Profile], warnings: tuple[str, ...] = ()
    ) -> None:
        super().__init__(profiles)
        self.path = path
        self.warnings = warnings


def read_profiles(path: str | Path, *, environ: Mapping[str, str]) -> Profiles:
    """Raises NoProfilesFile, or UserError (BAD_CONFIG) with every fault, one a line."""
    place = Path(path).absolute()
    return parse_profiles(read_text(place), place, environ=environ)


def parse_profiles(text: str, place: Path, *, environ: Mapping[str, str]) -> Profiles:
    """The profiles of `text`, that stands in the file `place` (absolute); raises as above."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(_syntax_fault(place, text, str(error))) from None
    except ValueError:  # int() refuses thousands of digits (sys.get_int_max_str_digits)
        raise _bad(f"{place}: an integer has too many digits") from None
    except RecursionError:
        raise _bad(f"{place}: arrays or tables are nested too deep") from None
    faults, profiles, warnings = _read_document(document, place, environ)
    if not (faults or warnings):
        return Profiles(str(place), profiles)
    lines = Lines(text)
    if faults:
        raise _bad(_listing(place, lines, faults))
    return Profiles(str(place), profiles, tuple(_listing(place, lines, warnings).split("\n")))


def service_port(name: str) -> int | None:
    """The TCP port of a service name, as ssh asks for it (getservbyname(3))."""
    try:
        return socket.getservbyname(name, "tcp")
    except (OSError, UnicodeError, ValueError):
        return None


# ---- what it says -------------------------------------------------------------------------------


def _read_document(
    document: dict[str, Any], place: Path, environ: Mapping[str, str]
) -> tuple[list[Fault], dict[str, Profile], list[Fault]]:
    faults = [
        Fault((key,), f"unknown table{_table_hint(key, value)}")
        for key, value in document.items()
        if key not in TABLES
    ]
    defaults = _table(document.get("defaults", {}), ("defaults",), faults)
    faults += [
        Fault(("defaults", *fault.path), fault.message)
        for fault in check_defaults(
            defaults, file_dir=str(place.parent), environ=environ, service_port=service_port
        )
    ]
    profiles: dict[str, Profile] = {}
    warnings: list[Fault] = []
    for name, value in _table(document.get("profile", {}), ("profile",), faults).items():
        before = len(faults)
        table = _table(value, ("profile", name), faults)
        if len(faults) > before:
            continue
        made = make_profile(
            name,
            merge_defaults(defaults, table),
            file_dir=str(place.parent),
            environ=environ,
            service_port=service_port,
            profiles_file=str(place),
        )
        if isinstance(made, Profile):
            profiles[name] = made
            warnings += _placed(profile_warnings(made), name, table)
        else:
            faults += _placed(made, name, table)
    return _once(faults), profiles, _once(warnings)


def _table(value: object, path: tuple[str, ...], faults: list[Fault]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        faults.append(Fault(path, f"is a list; write [{'.'.join(path)}] with single brackets"))
    else:
        want = "[profile.NAME]" if path == ("profile",) else f"[{'.'.join(path)}]"
        faults.append(Fault(path, f"want a table {want}, not {describe_type(value)}"))
    return {}


def _placed(faults: list[Fault], name: str, table: Mapping[str, Any]) -> list[Fault]:
    """Faults of a merged table, each where its value stands: in the profile, or in [defaults]."""
    return [Fault((*_home(fault, name, table), *fault.path), fault.message) for fault in faults]


def _home(fault: Fault, name: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    if not fault.path or fault.path[0] not in table:
        return ("defaults",) if fault.path else ("profile", name)
    value = table[str(fault.path[0])]
    if len(fault.path) > 1 and isinstance(value, dict):
        words = {word.lower() for word in value}
        if str(fault.path[1]).lower() not in words:
            return ("defaults",)
    return ("profile", name)


def _once(faults: list[Fault]) -> list[Fault]:
    """A fault of [defaults] is met again in every profile."""
    return list(dict.fromkeys(faults))


def _table_hint(key: str, value: object) -> str:
    close = closest(key, TABLES)
    if close is None:
        example = key if isinstance(value, dict) else "NAME"
        return f"; a profile begins with [profile.{example}]"
    if close == "profile" and isinstance(value, dict) and value:
        return f"; did you mean [profile.{next(iter(value))}]?"
    return f"; did you mean [{close}]?"


def _listing(place: Path, lines: Lines, faults: list[Fault]) -> str:
    placed = sorted(
        ((lines.line_of(fault.path), fault) for fault in faults), key=lambda pair: pair[0]
    )
    return "\n".join(f"{place}:{line}: {fault}" for line, fault in placed)


def _syntax_fault(place: Path, text: str, message: str) -> str:
    """tomllib says "Invalid value (at line 3, column 9)", or "(at end of document)"."""
    reason, _, where = message.rpartition(" (at ")
    if where.startswith("line "):
        line = where[len("line ") :].partition(",")[0]
    else:
        line = str(text.rstrip("\n").count("\n") + 1)
    reason = reason or message
    return f"{place}:{line}: {reason[0].lower()}{reason[1:]}"


# ---- who may have written it --------------------------------------------------------------------


def read_text(place: Path) -> str:
    """The file's text; raises NoProfilesFile or UserError (BAD_CONFIG), one line each."""
    return read_as_it_is(place).replace("\r\n", "\n")


def read_as_it_is(place: Path) -> str:
    """The same with the ends of its lines as they are, for whoever writes it back."""
    try:
        # O_NONBLOCK: a FIFO would keep us waiting for whoever writes to it
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise NoProfilesFile(str(place)) from None
    except (OSError, ValueError) as error:
        raise _bad(f"{place}: cannot be read: {_words(error)}") from None
    try:
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            raise _bad(f"{place}: is a directory, not a file")
        if not stat.S_ISREG(state.st_mode):
            raise _bad(f"{place}: is no regular file")
        _refuse_strangers(place, state)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(SIZE_MAX_BYTES + 1)
    except OSError as error:
        raise _bad(f"{place}: cannot be read: {_words(error)}") from None
    finally:
        os.close(descriptor)
    if len(data) > SIZE_MAX_BYTES:
        raise _bad(f"{place}: is larger than {SIZE_MAX_BYTES >> 20} MiB: no profiles file")
    return _decode(place, data)


def _decode(place: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _bad(f"{place}:1: is UTF-16; save it as UTF-8")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _bad(f"{place}:1: begins with a byte order mark; save it as UTF-8 without one")
    if (at := data.find(b"\0")) >= 0:
        raise _bad(f"{place}:{_line(data, at)}: holds a NUL byte: no text file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        wrong = data[error.start]
        raise _bad(
            f"{place}:{_line(data, error.start)}: is not UTF-8: byte 0x{wrong:02x}"
        ) from None


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _refuse_strangers(place: Path, state: os.stat_result) -> None:
    """Ours or root's, and writable for nobody else (misc.c:secure_permissions of Debian's ssh)."""
    name = shlex.quote(str(place))
    if state.st_uid not in (0, os.geteuid()):
        raise _bad(
            f"{place}: belongs to {_user(state.st_uid)}, not to you or root",
            f"chown {_user(os.geteuid())} {name} && chmod go-w {name}",
        )
    if state.st_mode & stat.S_IWOTH:
        raise _bad(f"{place}: is writable for everybody", f"chmod go-w {name}")
    if state.st_mode & stat.S_IWGRP and not _is_private_group(state.st_gid, state.st_uid):
        raise _bad(f'{place}: is writable for group "{_group(state.st_gid)}"', f"chmod go-w {name}")


def _is_private_group(gid: int, uid: int) -> bool:
    """The owner's own group: of the owner's name, and with nobody else in it."""
    try:
        group, owner = grp.getgrgid(gid), pwd.getpwuid(uid)
    except KeyError:
        return False
    strangers = any(user.pw_gid == gid and user.pw_uid != uid for user in pwd.getpwall())
    return group.gr_name == owner.pw_name and not (strangers or set(group.gr_mem) - {owner.pw_name})


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _words(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text[0].lower() + text[1:]


def _bad(message: str, advice: str | None = None) -> UserError:
    return UserError(message, advice=advice, status=ExitStatus.BAD_CONFIG)
