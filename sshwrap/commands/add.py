"""`add`: the command line that people already have becomes a profile of the file.

Laws. Nothing is written before the whole new text has been read as a profiles file and found
sound. What was not carried over is said, a line each. Nobody's port is opened to everybody unasked.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sshwrap.commands.save import alone, save
from sshwrap.commands.talk import note
from sshwrap.commands.up import wanted_by_run
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.profile.fields import printable
from sshwrap.profile.file import NoProfilesFile, parse_profiles, read_as_it_is, service_port
from sshwrap.profile.forward import Forward, format_forward
from sshwrap.profile.locate import Lines
from sshwrap.profile.model import Profile, why_no_name
from sshwrap.profile.ssh_command import GATEWAY_NOTE, Parsed, parse_command
from sshwrap.profile.write import format_table, profile_table, with_profile

SSH = ("ssh", "autossh")
EXAMPLE = "sshwrap add web ssh -R '*:12345:localhost:8080' root@vps.example.com"


@dataclass(frozen=True, slots=True)
class New:
    """A profile to be written; `stop` is a command that ends what ran it until now."""

    profile: Profile
    table: Mapping[str, Any]
    stop: str = ""


def add(options: Namespace, places: Places) -> int:
    news = _from_units(options) if options.from_unit else [_from_words(options)]
    _write(news, options, places)
    return int(ExitStatus.OK)


def _from_words(options: Namespace) -> New:
    name, command = options.name, list(options.command)
    begins_with_ssh = bool(command) and Path(command[0]).name in SSH
    if name is None or (name in SSH and not begins_with_ssh):
        word = f' before "{printable(name or command[0])}"' if name or command else ""
        raise _usage(f"no NAME{word}", EXAMPLE)
    if (reason := why_no_name(name)) is not None:
        raise _usage(f'"{printable(name[:80])}": {reason}', EXAMPLE)
    if not command:
        raise _usage(f"{name}: no ssh command behind it", EXAMPLE)
    if strange := next((word for word in command if not _is_unicode(word)), None):
        raise _usage(f'"{ascii(strange)[1:-1]}" is not UTF-8, and a profiles file is')
    parsed = parse_command(
        command,
        environ=os.environ,
        service_port=service_port,
        cwd=str(Path.cwd()),
        name=name,
    )
    return _new(parsed, options)


def _from_units(options: Namespace) -> list[New]:
    from sshwrap.commands.add_unit import read_units

    if options.name is not None or options.command:
        raise _usage("--from-unit takes the names from the files", "leave NAME out")
    found = []
    for unit in read_units(options.from_unit, os.environ):
        for text in unit.notes:
            _note(f"{unit.parsed.profile.name}: {text}", options)
        new = _new(unit.parsed, options, f"{unit.parsed.profile.name}: ")
        found.append(replace(new, stop=unit.stop))
    names = [new.profile.name for new in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _usage(f'two of these units would be profile "{twice}"', "one at a time")
    return found


def _new(parsed: Parsed, options: Namespace, prefix: str = "") -> New:
    for text in parsed.notes:
        if text != GATEWAY_NOTE:
            _note(prefix + text, options)
    profile = _for_everybody(parsed, options, prefix)
    return New(profile, profile_table(profile, parsed.given))


# ---- for everybody ------------------------------------------------------------------------------


def _for_everybody(parsed: Parsed, options: Namespace, prefix: str) -> Profile:
    """-g on -R is without effect, but whoever wrote it may have meant everybody."""
    profile = parsed.profile
    open_ended = [one for one in profile.remote_forward if _names_no_address(one)]
    if parsed.gateway_ports:
        _note(f"{prefix}-g has no effect on -R, it is for -L and -D", options)
    if not open_ended or not (parsed.gateway_ports or options.public):
        return profile
    wider = [(one, _widened(one)) for one in open_ended]
    if not options.public and not _is_meant(wider, options):
        return profile
    for one, other in wider:
        _note(
            f'{prefix}"{one.spec}" is written as "{other.spec}", for everybody (and the server\'s'
            " GatewayPorts must allow it)",
            options,
        )
    new = dict(wider)
    return replace(profile, remote_forward=tuple(new.get(f, f) for f in profile.remote_forward))


def _names_no_address(forward: Forward) -> bool:
    # A SOCKS proxy for everybody is an open door: whoever wants that has to write it out.
    is_open = forward.listen_port is not None and forward.listen_host is None
    return is_open and not forward.is_socks


def _widened(forward: Forward) -> Forward:
    wider = replace(forward, listen_host="*")
    return replace(wider, spec=format_forward(wider))


def _is_meant(wider: list[tuple[Forward, Forward]], options: Namespace) -> bool:
    if options.no_input or not (sys.stdin.isatty() and sys.stderr.isatty()):
        for one, _ in wider:
            note(f'"{one.spec}": its address is left to the server; for everybody add --public')
        return False
    shown = ", ".join(f'"{printable(other.spec)}"' for _, other in wider)
    sys.stderr.write(f"Is everybody meant to reach it? Then {shown} is written. [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# ---- the file -----------------------------------------------------------------------------------


def _write(news: list[New], options: Namespace, places: Places) -> None:
    path = places.profiles_file
    names = [new.profile.name for new in news]
    if options.dry_run:
        _made(news, options, places)
        sys.stdout.write("\n".join(format_table(new.profile.name, new.table) for new in news))
        _note(f"{path}: nothing was written (--dry-run)", options)
        return
    with alone(path):
        save(path, _made(news, options, places))
    ran = [name for name in wanted_by_run(places) if name in names]
    stops = [*dict.fromkeys(new.stop for new in news if new.stop)]
    stops += [f"sshwrap down {' '.join(ran)}"] if ran else []
    sys.stdout.write(f"{path}: {', '.join(names)} written\n")
    steps = [*stops, f"sshwrap up -d {' '.join(names)}"]
    sys.stdout.write(f"next: {' && '.join(steps)}\n")


def _made(news: list[New], options: Namespace, places: Places) -> str:
    """The new text of the whole file, sound; raises UserError."""
    place = Path(places.profiles_file)
    try:
        before = text = read_as_it_is(place)
    except NoProfilesFile:
        before = text = ""
    known = _names_in(before, place)
    there = [new.profile.name for new in news if new.profile.name in known]
    if there and not options.replace:
        line = Lines(before).line_of(("profile", there[0]))
        raise _usage(
            f'{place}:{line}: "{there[0]}" is a profile already',
            "the same with --replace, or another name",
        )
    for new in news:
        made = with_profile(text, new.profile.name, new.table)
        if made is None:
            raise UserError(
                f"{place}: profile {new.profile.name} cannot be written there without touching"
                " something else; nothing was changed",
                advice="the same with --dry-run, then put it there yourself",
            )
        text = made
    try:
        profiles = parse_profiles(text, place, environ=os.environ)
    except UserError as error:
        if before:
            parse_profiles(before, place, environ=os.environ)  # its own faults, with their lines
        error.message += "\nnothing was written"
        raise
    for warning in profiles.warnings:
        if any(f"profile.{new.profile.name}." in warning for new in news):
            _note(f"warning: {warning}", options)
    for new in news:
        _tell_defaults(new.profile, profiles[new.profile.name], options)
    return text


def _names_in(text: str, place: Path) -> frozenset[str]:
    import tomllib

    try:
        profiles = tomllib.loads(text).get("profile", {})
    except (ValueError, RecursionError):
        parse_profiles(text, place, environ=os.environ)  # says what and where
        raise
    return frozenset(profiles) if isinstance(profiles, dict) else frozenset()


def _tell_defaults(asked: Profile, written: Profile, options: Namespace) -> None:
    """What the command line did not say, and the file's own [defaults] do."""
    for key in Profile.__dataclass_fields__:
        if key != "profiles_file" and getattr(asked, key) != getattr(written, key):
            _note(f"{asked.name}: {key} comes from [defaults] of the file", options)


def _note(text: str, options: Namespace) -> None:
    if not options.quiet:
        note(text)


def _is_unicode(word: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in word)


def _usage(message: str, advice: str | None = None) -> UserError:
    return UserError(message, advice=advice, status=ExitStatus.USAGE)
