"""The profiles file as commands use it: read whole or refused whole, remembered for `status`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sshwrap import __version__
from sshwrap.profile.destination import parse_destination
from sshwrap.profile.file import NoProfilesFile, Profiles, parse_profiles, read_text
from sshwrap.profile.model import Profile, profile_digest
from sshwrap.supervisor.overview import stamp_of, write_cache
from sshwrap.tunnel.events import Moment
from sshwrap.tunnel.model import new_tunnel
from sshwrap.tunnel.present import snapshot
from sshwrap.tunnel.traffic import Traffic

if TYPE_CHECKING:
    from sshwrap.paths import Places
    from sshwrap.supervisor.order import Order


@dataclass(frozen=True, slots=True)
class Loaded:
    """`known`: name -> {"digest", "down"}, what status needs of a profile that is not running."""

    profiles: Profiles
    known: dict[str, dict[str, Any]]


def load_profiles(places: Places, environ: Mapping[str, str]) -> Loaded:
    """Raises UserError (BAD_CONFIG) with every fault. No file at all: no profiles."""
    from pathlib import Path

    place = Path(places.profiles_file)
    stamp = stamp_of(places.profiles_file)
    try:
        text = read_text(place)
    except NoProfilesFile:
        return Loaded(Profiles(places.profiles_file, {}), {})
    profiles = parse_profiles(text, place, environ=environ)
    known = {name: _known(profile) for name, profile in profiles.items()}
    # With ${VAR} the same file means another thing in another environment.
    if stamp is not None and "${" not in text and os.path.isdir(places.state_dir):  # noqa: PTH112
        write_cache(places, stamp, known)
    return Loaded(profiles, known)


def load_orders(
    places: Places, environ: Mapping[str, str], names: Sequence[str]
) -> dict[str, Order]:
    """The orders of these profiles, read anew from the file; raises UserError."""
    from sshwrap.errors import ExitStatus, UserError
    from sshwrap.supervisor.program import SshProgram
    from sshwrap.supervisor.resolve import resolve

    profiles = load_profiles(places, environ).profiles
    missing = [name for name in names if name not in profiles]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: not in {places.profiles_file}", status=ExitStatus.USAGE
        )
    _, ssh = SshProgram(places.ssh, environ).version_and_path()
    orders = resolve([profiles[name] for name in names], ssh, environ)
    return {order.profile.name: order for order in orders}


def _known(profile: Profile) -> dict[str, Any]:
    never = Moment(0.0, 0.0)
    hostname = parse_destination(profile.destination).host
    tunnel = new_tunnel(profile, (), hostname, never)
    down = snapshot(
        tunnel,
        Traffic(len(tunnel.forwards)),
        never,
        supervisor_pid=0,
        supervisor_version=__version__,
    )
    down |= {"since": None, "supervisor_pid": None, "supervisor_version": None}
    down |= {"drops_since": None, "_seconds_in_state": None}
    return {"digest": profile_digest(profile), "down": down}
