"""A profile: one ssh with all its forwards, every value parsed and legal; the rules, all at once.

Law. `make_profile` either returns a profile whose every value ssh can be told, or every fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sshwrap.profile.destination import (
    Destination,
    DestinationError,
    check_jumps,
    check_user,
    parse_destination,
)
from sshwrap.profile.forward import (
    Forward,
    ForwardError,
    Kind,
    format_forward,
    parse_forward,
)
from sshwrap.profile.keywords import find_keyword
from sshwrap.profile.listeners import why_both_cannot_be, why_open_to_all
from sshwrap.profile.reader import Fault as Fault
from sshwrap.profile.reader import Path, Reader, format_path

NAME_MAX = 64
# What a running ssh need not be told: an edit of these is taken over without another one.
NOT_FOR_SSH = (
    "description",
    "autostart",
    "profiles_file",
    "probe_interval",
    "run_on_server",
    "reclaim",
    "on_up",
    "on_down",
    "on_failed",
    "notify_after",
)
_ARGVS = ("on_up", "on_down", "on_failed")


@dataclass(frozen=True, slots=True)
class Profile:
    """Keys are ssh_config(5)'s in snake_case; None means that ssh decides. Times are seconds."""

    name: str
    destination: str  # as written: "[user@]host", a Host alias, or "ssh://…"
    description: str | None = None
    remote_forward: tuple[Forward, ...] = ()
    local_forward: tuple[Forward, ...] = ()
    dynamic_forward: tuple[Forward, ...] = ()
    user: str | None = None
    port: int | None = None
    identity_file: tuple[str, ...] = ()  # absolute, or beginning with ~, % or $
    proxy_jump: str | None = None
    server_alive_interval: int = 15
    server_alive_count_max: int = 3
    connect_timeout: int = 10
    ssh_config: str | None = None  # absolute path, for -F, or "none"
    ssh_options: tuple[tuple[str, str], ...] = ()  # any other keyword, in the file's order
    probe_interval: float = 0
    run_on_server: bool = True
    reclaim: bool = True
    restart_max_delay: float = 30
    autostart: bool = True
    on_up: tuple[str, ...] = ()  # argv, its program on PATH or an absolute path; (): none
    on_down: tuple[str, ...] = ()
    on_failed: tuple[str, ...] = ()
    notify_after: float = 60
    profiles_file: str | None = None  # None: from a command line (`run`)

    @property
    def forwards(self) -> tuple[Forward, ...]:
        return self.remote_forward + self.local_forward + self.dynamic_forward


def make_profile(
    name: str,
    table: Mapping[str, Any],
    *,
    file_dir: str,
    environ: Mapping[str, str],
    service_port: Callable[[str], int | None],
    profiles_file: str | None,
) -> Profile | list[Fault]:
    """The profile of a table of TOML, `[defaults]` merged in already, or all its faults.

    Relative paths are relative to `file_dir` (absolute). `environ` answers `${VAR}` in forwards
    and HOME for a `~` in ssh_config; `service_port` knows the names of TCP ports.
    """
    reader = Reader(table)
    if (reason := why_no_name(name)) is not None:
        reader.fault((), reason)
    values = _read(reader, file_dir, environ, service_port)
    if "destination" not in table:
        reader.fault((), 'destination is missing; write destination = "user@host"')
    if reader.faults:
        return reader.faults
    given = {key: value for key, value in values.items() if value is not None}
    return Profile(name=name, profiles_file=profiles_file, **given)


def check_defaults(
    table: Mapping[str, Any],
    *,
    file_dir: str,
    environ: Mapping[str, str],
    service_port: Callable[[str], int | None],
) -> list[Fault]:
    """The faults of a `[defaults]` table by itself."""
    reader = Reader(table)
    _read(reader, file_dir, environ, service_port)
    return reader.faults


def merge_defaults(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Lists replace, tables merge; a user or port in the destination beats the default one."""
    merged = dict(defaults)
    if isinstance(text := table.get("destination"), str):
        try:
            named = parse_destination(text)
        except DestinationError:
            named = Destination("")
        for key, value in (("user", named.user), ("port", named.port)):
            if value is not None:
                merged.pop(key, None)
    for key, value in table.items():
        inherited = merged.get(key)
        if isinstance(value, dict) and isinstance(inherited, dict):
            given = {find_keyword(word) or word.lower() for word in value}
            kept = {
                word: argument
                for word, argument in inherited.items()
                if (find_keyword(word) or word.lower()) not in given
            }
            merged[key] = {**kept, **value}
        else:
            merged[key] = value
    return merged


def profile_warnings(profile: Profile) -> list[Fault]:
    """What is legal and worth a second look."""
    warnings = []
    for kind in Kind:
        key = f"{kind.value}_forward"
        for index, forward in enumerate(getattr(profile, key)):
            if (reason := why_open_to_all(forward)) is not None:
                warnings.append(Fault((key, index), reason))
    warnings += [
        Fault(
            ("ssh_options", keyword),
            "no keyword of ssh_config(5) that this version of sshwrap knows; ssh will tell",
        )
        for keyword in dict(profile.ssh_options)
        if find_keyword(keyword) is None
    ]
    return warnings


def why_no_name(name: str) -> str | None:
    """Names are `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`; None where `name` is one."""
    if not name:
        return "name is empty"
    if len(name) > NAME_MAX:
        return f"name has {len(name)} characters, {NAME_MAX} at most"
    if not (name.isascii() and name[0].isalnum()):
        return "name does not begin with a letter or digit (A-Z a-z 0-9)"
    if not all(char.isalnum() or char in "._-" for char in name):
        return "name holds another character than A-Z a-z 0-9 . _ -"
    return None


# ---- the rules ----------------------------------------------------------------------------------


def _read(
    reader: Reader,
    file_dir: str,
    environ: Mapping[str, str],
    service_port: Callable[[str], int | None],
) -> dict[str, Any]:
    """Every key but the name; None where absent or faulty."""
    reader.refuse_unknown_keys()
    forwards = {
        f"{kind.value}_forward": _forwards(reader, kind, environ, service_port) for kind in Kind
    }
    _refuse_clashes(reader, forwards)
    values: dict[str, Any] = {
        "destination": reader.string("destination"),
        "description": reader.string("description"),
        **{key: tuple(forward for _, forward in found) for key, found in forwards.items()},
        "user": reader.string("user"),
        "port": reader.integer("port"),
        "identity_file": tuple(
            _absolute(path, file_dir) for _, path in reader.strings("identity_file")
        ),
        "proxy_jump": reader.string("proxy_jump"),
        "server_alive_interval": reader.integer("server_alive_interval"),
        "server_alive_count_max": reader.integer("server_alive_count_max"),
        "connect_timeout": reader.integer("connect_timeout"),
        "ssh_config": _ssh_config(reader, file_dir, environ),
        "ssh_options": reader.options("ssh_options"),
        "probe_interval": reader.number("probe_interval"),
        "run_on_server": reader.boolean("run_on_server"),
        "reclaim": reader.boolean("reclaim"),
        "restart_max_delay": reader.number("restart_max_delay"),
        "autostart": reader.boolean("autostart"),
        **{key: _argv(reader, key, file_dir, environ) for key in _ARGVS},
        "notify_after": reader.number("notify_after"),
    }
    _check_places(reader, values)
    return values


def _forwards(
    reader: Reader,
    kind: Kind,
    environ: Mapping[str, str],
    service_port: Callable[[str], int | None],
) -> list[tuple[Path, Forward]]:
    found = []
    for path, spec in reader.strings(f"{kind.value}_forward"):
        try:
            forward = parse_forward(kind, spec, environ=environ, service_port=service_port)
        except ForwardError as error:
            reader.fault(path, str(error))
        else:
            found.append((path, forward))
    return found


def _refuse_clashes(reader: Reader, forwards: dict[str, list[tuple[Path, Forward]]]) -> None:
    earlier: list[tuple[Path, Forward]] = []
    for path, forward in (pair for found in forwards.values() for pair in found):
        for other_path, other in earlier:
            if (reason := why_both_cannot_be(other, forward)) is not None:
                reader.fault(
                    path, f'"{forward.spec}" asks for {reason} as {format_path(other_path)}'
                )
                break
        earlier.append((path, forward))


def _check_places(reader: Reader, values: dict[str, Any]) -> None:
    """Destination, user, port and jump: legal each, and not two for one thing."""
    named = None
    for key, check in (
        ("destination", parse_destination),
        ("user", check_user),
        ("proxy_jump", check_jumps),
    ):
        if values[key] is None:
            continue
        try:
            answer = check(values[key])
        except DestinationError as error:
            reader.fault((key,), str(error))
        else:
            named = answer if isinstance(answer, Destination) else named
    for key in ("user", "port"):
        there = getattr(named, key, None)
        if there is not None and values[key] is not None:
            reader.fault((key,), f'destination names one already: "{there}"')
    if values["proxy_jump"] is not None and "ProxyCommand" in dict(values["ssh_options"]):
        reader.fault(("proxy_jump",), "ssh_options.ProxyCommand is there too; ssh takes one")


def _ssh_config(reader: Reader, file_dir: str, environ: Mapping[str, str]) -> str | None:
    """ssh leaves the `~` of -F to the shell, so it is ours to expand."""
    path = reader.string("ssh_config")
    if path is None or path == "none":
        return path
    if not path.startswith("~"):
        return _absolute(path, file_dir)
    return _of_home(reader, ("ssh_config",), path, environ)


def _argv(
    reader: Reader, key: str, file_dir: str, environ: Mapping[str, str]
) -> tuple[str, ...] | None:
    """No shell reads it, so a `~` at the beginning of the program is ours to expand."""
    argv = reader.argv(key)
    if not argv:
        return argv
    program = argv[0]
    if program.startswith("~"):
        found = _of_home(reader, (key, 0), program, environ)
        return None if found is None else (found, *argv[1:])
    if "/" in program and not program.startswith("/"):
        while program.startswith("./"):
            program = program[2:]
        program = f"{file_dir.rstrip('/')}/{program}"
    return (program, *argv[1:])


def _of_home(reader: Reader, path: Path, text: str, environ: Mapping[str, str]) -> str | None:
    home = environ.get("HOME", "")
    if text.startswith("~/") and home.startswith("/"):
        return home.rstrip("/") + text[1:]
    reader.fault(path, f'"{text}": write the whole path')
    return None


def _absolute(path: str, file_dir: str) -> str:
    if path.startswith(("/", "~", "%", "$")) or path == "none":
        return path
    while path.startswith("./"):
        path = path[2:]
    return f"{file_dir.rstrip('/')}/{path}"


# ---- over the supervisor's socket, and on disk --------------------------------------------------


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """Plain lists, dictionaries and numbers; `profile_from_json` gives the same profile back."""
    return asdict(profile)


def profile_from_json(data: Mapping[str, Any]) -> Profile:
    """Raises ValueError where `data` is not what `profile_to_json` writes.

    A key that this version does not know is left out: a newer sshwrap may have written it.
    """
    known = {field.name for field in fields(Profile)}
    values = {key: value for key, value in data.items() if key in known}
    try:
        for kind in Kind:
            key = f"{kind.value}_forward"
            values[key] = tuple(forward_from_json(item) for item in values.get(key, ()))
        for key in ("identity_file", *_ARGVS):
            values[key] = tuple(values.get(key, ()))
        values["ssh_options"] = tuple(
            (keyword, argument) for keyword, argument in values.get("ssh_options", ())
        )
        return Profile(**values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"no profile: {error}") from None


def forward_to_json(forward: Forward) -> dict[str, Any]:
    return asdict(forward)


def forward_from_json(data: Mapping[str, Any]) -> Forward:
    """Raises ValueError where `data` is not what `forward_to_json` writes."""
    known = {field.name for field in fields(Forward)}
    try:
        values = {key: value for key, value in data.items() if key in known}
        return Forward(**{**values, "kind": Kind(data["kind"])})
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"no forward: {error}") from None


def profile_digest(profile: Profile) -> str:
    """16 hex digits that change when a running tunnel would have to be told something else.

    The spelling of a forward does not matter, nor does what is no matter of ssh's.
    """
    import hashlib  # 3 ms, and `status` has no need of it
    import json

    data = profile_to_json(profile)
    for key in NOT_FOR_SSH:
        del data[key]
    for kind in Kind:
        key = f"{kind.value}_forward"
        data[key] = [format_forward(forward) for forward in getattr(profile, key)]
    data["restart_max_delay"] = float(profile.restart_max_delay)
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()[:16]
