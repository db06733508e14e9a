"""Whom doctor examines: profiles by name or pattern, those not as asked, or a destination alone.

Laws. A word that is a profile's name is that profile; one that is nearly a name is a mistake, and
asked back; any other is a destination as ssh(1) takes it. Nothing is written.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sshwrap.commands.choose import choose
from sshwrap.commands.up import wanted_by_run
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.profile.destination import DestinationError, parse_destination
from sshwrap.profile.model import Profile
from sshwrap.supervisor.overview import Overview, overview
from sshwrap.supervisor.profiles import load_profiles


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined: a profile, or a destination alone. `tunnel`: its snapshot, where some
    supervisor keeps it."""

    profile: Profile
    has_profile: bool
    tunnel: dict[str, Any] | None
    neighbours: int  # profiles that go to this server


@dataclass(frozen=True, slots=True)
class Subjects:
    """`why_none`: where nobody was named and nothing is amiss, one line that says so."""

    found: tuple[Subject, ...]
    why_none: str = ""


def find_subjects(options: Namespace, places: Places) -> Subjects:
    """Raises UserError: usage (2), or faults of the profiles file (78)."""
    view = overview(places, os.environ)
    if isinstance(view.fault, UserError):
        raise view.fault
    profiles = {**wanted_by_run(places), **load_profiles(places, os.environ).profiles}
    tunnels = {tunnel["profile"]: tunnel for tunnel in view.tunnels}
    name = options.name
    if name is None:
        chosen = _not_as_asked(profiles, tunnels)
        if not chosen:
            return Subjects((), _why_none(profiles, tunnels))
    elif name in profiles or any(sign in name for sign in "*?["):
        chosen = [profiles[one] for one in choose([name], profiles)]
    else:
        profile = _of_destination(name, profiles)
        return Subjects((Subject(profile, False, None, _neighbours(profile, profiles.values())),))
    everybody = profiles.values()
    return Subjects(
        tuple(
            Subject(one, True, _kept(view, one.name), _neighbours(one, everybody)) for one in chosen
        )
    )


def _not_as_asked(
    profiles: Mapping[str, Profile], tunnels: Mapping[str, Mapping[str, Any]]
) -> list[Profile]:
    if not profiles:
        raise UserError(
            "no profiles yet",
            advice="sshwrap doctor root@vps.example.com    (a server alone can be looked at)",
            status=ExitStatus.USAGE,
        )
    wrong = [one for name, one in profiles.items() if name in tunnels and not tunnels[name]["ok"]]
    return wrong or (list(profiles.values()) if len(profiles) == 1 else [])


def _why_none(profiles: Collection[str], tunnels: Mapping[str, Mapping[str, Any]]) -> str:
    is_wanted = any(one["wanted"] for one in tunnels.values())
    text = "everything that is wanted is up, and as asked" if is_wanted else "nothing is wanted up"
    names = list(profiles)
    listed = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
    return f"{text}; to look at one: sshwrap doctor NAME, of {listed}"


def _of_destination(word: str, profiles: Mapping[str, Profile]) -> Profile:
    """`[user@]host`, or a Host of ssh_config; a word that is nearly a profile's name is none."""
    is_plain = not any(sign in word for sign in "@.:/")
    if is_plain and get_close_matches(word, profiles, n=1):
        choose([word], profiles)  # raises, with what was meant
    try:
        host = parse_destination(word).host
    except DestinationError as error:
        fault = f'no profile "{word}", and no destination: {error}'
        raise UserError(fault, status=ExitStatus.USAGE) from None
    return Profile(host, word)


def _kept(view: Overview, name: str) -> dict[str, Any] | None:
    keeper = view.keeper_of(name)
    return None if keeper is None else keeper.tunnels[name]


def _neighbours(profile: Profile, profiles: Collection[Profile]) -> int:
    def place(one: Profile) -> tuple[str, int | None]:
        named = parse_destination(one.destination)
        return named.host, one.port or named.port

    return max(1, sum(place(one) == place(profile) for one in profiles))
