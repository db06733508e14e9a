"""`show` and `check`: what a profile comes to, and whether the file is sound."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

from sshwrap.commands.choose import choose
from sshwrap.commands.talk import note, tell_error
from sshwrap.commands.up import wanted_by_run
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.profile.keys import KEYS, Type
from sshwrap.profile.model import Profile, forward_to_json
from sshwrap.render.page import page_of, print_lines
from sshwrap.render.show import Value, show_lines
from sshwrap.ssh.argv import build_argv
from sshwrap.supervisor.profiles import load_profiles
from sshwrap.supervisor.program import SshProgram
from sshwrap.supervisor.resolve import clashes, resolve

SCHEMA_VERSION = 1


def show(options: Namespace, places: Places) -> int:
    """The profile with every value's source, and the ssh command line to paste."""
    from_file = load_profiles(places, os.environ).profiles
    profiles = {**wanted_by_run(places), **from_file}
    name = choose([options.name], profiles)[0]
    profile = profiles[name]
    version, ssh = SshProgram(places.ssh, os.environ).version_and_path()
    order = resolve([profile], ssh, os.environ)[0]
    argv = build_argv(
        profile, version, control_path=None, ssh="ssh" if places.ssh == "ssh" else ssh
    )
    sources = _sources(places.profiles_file, name) if name in from_file else _given(profile)
    values = [
        Value(
            key.name, _text(getattr(profile, key.name), key.type), sources.get(key.name, "built in")
        )
        for key in KEYS
        if not key.name.endswith("_forward") and getattr(profile, key.name) not in (None, (), "")
    ]
    values.append(Value("server", order.server, "ssh -G"))
    forwards = [*profile.forwards, *order.added]
    if options.json:
        answer: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "profile": name,
            "profiles_file": profile.profiles_file,
            "values": {
                v.key: {"value": _plain(getattr(profile, v.key)), "source": v.source}
                for v in values
                if v.key != "server"
            },
            "forwards": [forward_to_json(forward) for forward in forwards],
            "hostname": order.hostname,
            "server": order.server,
            "ssh_version": version.text,
            "argv": list(argv),
        }
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        page = page_of(sys.stdout, os.environ)
        print_lines(show_lines(name, values, forwards, argv, page), sys.stdout, page)
    return int(ExitStatus.OK)


def check(options: Namespace, places: Places) -> int:
    """Every fault of the file, and what ssh itself makes of each profile; 78 where there is one."""
    faults: list[str] = []
    double: list[str] = []
    profiles = None
    try:
        profiles = load_profiles(places, os.environ).profiles
        if not profiles:
            raise UserError(
                f"{places.profiles_file}: no profiles there", status=ExitStatus.BAD_CONFIG
            )
        _, ssh = SshProgram(places.ssh, os.environ).version_and_path()
        double = clashes(resolve(list(profiles.values()), ssh, os.environ))
    except UserError as error:
        if error.status is not ExitStatus.BAD_CONFIG:
            raise
        faults = error.message.splitlines()
        if not options.json:
            tell_error(error)
    warnings = [*(profiles.warnings if profiles is not None else ()), *double]
    if options.json:
        answer = {
            "schema_version": SCHEMA_VERSION,
            "ok": not faults,
            "profiles_file": places.profiles_file,
            "profiles": list(profiles or ()),
            "faults": faults,
            "warnings": warnings,
        }
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        for warning in warnings:
            note(f"warning: {warning}")
        if not faults and profiles is not None and not options.quiet:
            count = len(profiles)
            noun = "profile" if count == 1 else "profiles"
            sys.stdout.write(f"{places.profiles_file}: {count} {noun}, no faults\n")
    return int(ExitStatus.BAD_CONFIG if faults else ExitStatus.OK)


def _sources(path: str, name: str) -> dict[str, str]:
    """key -> where its value comes from; a table that both have is merged of both."""
    document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    own, defaults = document["profile"][name], document.get("defaults", {})
    sources = dict.fromkeys(defaults, "defaults") | dict.fromkeys(own, "profile")
    merged = [key for key in own if key in defaults and isinstance(own[key], dict)]
    return sources | dict.fromkeys(merged, "profile and defaults")


def _given(profile: Profile) -> dict[str, str]:
    """Of a tunnel that `run` made: what its command line said."""
    plain = Profile(profile.name, profile.destination)
    given = [k.name for k in KEYS if getattr(profile, k.name) != getattr(plain, k.name)]
    return dict.fromkeys(["destination", *given], "command line")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        pairs = all(isinstance(each, tuple) for each in value) and value
        return dict(value) if pairs else list(value)
    return value


def _text(value: Any, type_: Type) -> str:
    if type_ is Type.ARGV:
        return shlex.join(value)  # where a word ends is to be seen
    plain = _plain(value)
    if isinstance(plain, dict):
        return ", ".join(f"{key} {argument}" for key, argument in plain.items())
    if isinstance(plain, list):
        return ", ".join(str(each) for each in plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return str(plain)
