"""`up` and `run`: in front, in the background, or watching what is up already."""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from sshwrap.commands.change import ask_in_parts
from sshwrap.commands.choose import choose
from sshwrap.commands.starting import Starting
from sshwrap.commands.talk import note, show_tunnels, tell_error
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.profile.model import Profile, profile_digest
from sshwrap.supervisor import ipc
from sshwrap.supervisor.order import Order, order_from_json
from sshwrap.supervisor.overview import Keeper, Overview, keepers, overview
from sshwrap.supervisor.profiles import load_profiles
from sshwrap.supervisor.program import SshProgram, find_ssh
from sshwrap.supervisor.resolve import resolve
from sshwrap.supervisor.wanted import all_wanted

RESTART_TIMEOUT = 30.0
PERSON_KINDS = ("failed",)


def up(options: Namespace, places: Places, starting: Starting) -> int:
    """Bring up the named profiles, or all with autostart."""
    profiles = _named_profiles(options, places)
    return _bring_up(profiles, options, places, by="up", starting=starting)


def run(options: Namespace, places: Places, starting: Starting) -> int:
    """The same for a command line of ssh or autossh."""
    from pathlib import Path

    from sshwrap.profile.file import service_port
    from sshwrap.profile.ssh_command import parse_command

    parsed = parse_command(
        options.command,
        environ=os.environ,
        service_port=service_port,
        cwd=str(Path.cwd()),
        name=options.name,
    )
    if not options.quiet:
        for text in parsed.notes:
            note(text)
    profile = parsed.profile
    view = overview(places, os.environ)
    if options.name is None:
        profile = _free_name(profile, view)
    elif any(t["profile"] == profile.name and t["profiles_file"] for t in view.tunnels):
        raise UserError(
            f'"{profile.name}" is a profile of {places.profiles_file}',
            advice="another --name",
            status=ExitStatus.USAGE,
        )
    if options.detach:
        starting.begin()  # not sooner: most faults are in the command line
    return _bring_up([profile], options, places, by="run", starting=starting, view=view)


def _free_name(profile: Profile, view: Overview) -> Profile:
    """`vps`, or `vps-2` where that is another tunnel; the very same command keeps its name."""
    from dataclasses import replace

    taken = {t["profile"]: t for t in view.tunnels}
    name, number = profile.name, 1
    while name in taken:
        same = taken[name].get("_digest") == profile_digest(replace(profile, name=name))
        if same and taken[name]["profiles_file"] is None:
            break
        number += 1
        name = f"{profile.name[:60]}-{number}"
    return replace(profile, name=name)


def wanted_by_run(places: Places) -> dict[str, Profile]:
    """What `run` was asked for and nobody has taken down: it is in no file, and wanted still."""
    found: dict[str, Profile] = {}
    for name, content in all_wanted(places).items():
        try:
            profile = order_from_json(content["order"]).profile
        except (KeyError, TypeError, ValueError):
            continue  # another version's
        if profile.profiles_file is None:
            found[name] = profile
    return found


def _named_profiles(options: Namespace, places: Places) -> list[Profile]:
    from_file = load_profiles(places, os.environ).profiles
    ran = wanted_by_run(places)
    profiles = {**ran, **from_file}
    if options.names:
        chosen = [profiles[name] for name in choose(options.names, profiles)]
    else:
        chosen = [profile for profile in from_file.values() if profile.autostart]
        chosen += [profile for name, profile in ran.items() if name not in from_file]
    if not options.quiet:
        named = tuple(f" profile.{profile.name}." for profile in chosen)
        for warning in from_file.warnings:
            if any(name in warning for name in named):
                note(f"warning: {warning}")
    if not chosen:
        if profiles:
            raise UserError(
                "no profile has autostart", advice="sshwrap up NAME", status=ExitStatus.USAGE
            )
        raise UserError(
            f"{places.profiles_file}: no profiles there",
            advice="sshwrap run ssh -R '*:12345:localhost:8080' root@vps.example.com",
            status=ExitStatus.USAGE,
        )
    return chosen


# --- bringing up ------------------------------------------------------------


def _bring_up(
    profiles: Sequence[Profile],
    options: Namespace,
    places: Places,
    *,
    by: str,
    starting: Starting,
    view: Overview | None = None,
) -> int:
    ssh = find_ssh(places.ssh, os.environ)

    def meanwhile() -> None:
        SshProgram(places.ssh, os.environ).version_and_path()
        if not options.detach:
            import_module("sshwrap.commands.front")  # asyncio, above all

    orders = resolve(profiles, ssh, os.environ, meanwhile=meanwhile)
    found = view.keepers if view is not None else keepers(places)[0]
    _refuse_doubles(orders, found)
    _refuse_namesakes(orders, found, by)
    kept: dict[str, Keeper] = {}
    for keeper in found:
        kept.update(
            {order.profile.name: keeper for order in orders if order.profile.name in keeper.tunnels}
        )
    if options.detach:
        return _hand_over(orders, kept, options, by, starting)
    mine = [order for order in orders if order.profile.name not in kept]
    for keeper in dict.fromkeys(kept.values()):
        theirs = [order for order in orders if kept.get(order.profile.name) is keeper]
        _renew(keeper, theirs, by, quiet=options.quiet)
    if mine:
        from sshwrap.commands.front import run_front

        _say_server_decides(mine, options)
        what = "sshwrap " + " ".join([by, *(order.profile.name for order in mine)])
        talk = {"quiet": options.quiet, "verbose": options.verbose}
        return run_front(mine, places, by=by, what=what, **talk)
    from sshwrap.commands.watch import watch

    return watch(places, [order.profile.name for order in orders], quiet=options.quiet)


def _renew(keeper: Keeper, orders: list[Order], by: str, *, quiet: bool) -> None:
    """Up already: an edited profile is taken over, and one that waits is due now."""
    errors: dict[str, Any] = {}
    for answer in ask_in_parts(keeper, {"op": "up", "by": by}, orders):
        errors |= answer["errors"]
    for order in orders:
        name = order.profile.name
        error = errors.get(name)
        if error is not None:
            raise UserError(error["message"], advice=error["advice"])
        if quiet:
            continue
        where = "in the background" if keeper.kind == "background" else f"by pid {keeper.pid}"
        edited = keeper.tunnels[name].get("_digest") != order.digest
        change = "; the edited profile is taken over" if edited else ""
        note(f"{name}: already kept up {where}{change}")


def _hand_over(
    orders: list[Order],
    kept: Mapping[str, Keeper],
    options: Namespace,
    by: str,
    starting: Starting,
) -> int:
    _say_server_decides(orders, options)
    back = starting.keeper()
    for keeper in dict.fromkeys(kept.values()):
        if keeper.path != back.path:
            theirs = [order for order in orders if kept.get(order.profile.name) is keeper]
            _renew(keeper, theirs, by, quiet=options.quiet)
    mine = [o for o in orders if kept.get(o.profile.name, back).path == back.path]
    errors: dict[str, Any] = {}
    if mine:
        for answer in ask_in_parts(back, {"op": "up", "by": by}, mine):
            errors |= answer["errors"]
        for error in errors.values():
            tell_error(UserError(error["message"], advice=error["advice"]))
    starting.handed_over()
    names = [order.profile.name for order in orders if order.profile.name not in errors]
    verdicts = wait_for_verdicts([back, *kept.values()], names, options.timeout)
    show_tunnels(list(verdicts.tunnels.values()), sys.stdout)
    if not options.quiet:
        verdicts.tell(options.timeout)
    return int(ExitStatus.NOT_AS_WANTED if errors else verdicts.exit_status())


def _refuse_doubles(orders: Sequence[Order], found: Iterable[Keeper]) -> None:
    """Two tunnels that ask one server for one listener through ssh_config would fight for ever."""
    seen: dict[tuple[str, str, int | None, str | None], tuple[str, str]] = {}
    for order in orders:
        for forward in order.added:
            _refuse_double(
                seen,
                order.profile.name,
                (order.hostname, forward.listen_host or "", forward.listen_port),
                forward.listen_path,
                forward.source,
            )
    names = {order.profile.name for order in orders}
    for keeper in found:
        for name, tunnel in keeper.tunnels.items():
            if name in names:
                continue
            for shown in tunnel["forwards"]:
                host = tunnel.get("_hostname", "")
                key = (host, shown["listen_host"] or "", shown["listen_port"])
                if shown["source"] != "profile":
                    _refuse_double(seen, name, key, shown["listen_path"], shown["source"])


def _refuse_namesakes(orders: Sequence[Order], found: Iterable[Keeper], by: str) -> None:
    """A tunnel of that name from another file is another tunnel: it is not ours to change."""
    for keeper in found:
        for order in orders:
            tunnel = keeper.tunnels.get(order.profile.name)
            if tunnel is None:
                continue
            same_file = tunnel["profiles_file"] == order.profile.profiles_file
            # Two commands of `run` under one name are two tunnels; the same one again is not.
            other_run = order.profile.profiles_file is None and by == "run"
            other_run = other_run and tunnel.get("_digest") != order.digest
            if same_file and not other_run:
                continue
            name = order.profile.name
            source = tunnel["profiles_file"] or "sshwrap run"
            raise UserError(
                f'{name}: a tunnel of that name is already kept up, from "{source}"',
                advice=f"sshwrap down {name}, or another name",
            )


def _refuse_double(
    seen: dict[tuple[str, str, int | None, str | None], tuple[str, str]],
    name: str,
    listener: tuple[str, str, int | None],
    path: str | None,
    source: str,
) -> None:
    key = (*listener, path)
    if listener[2] == 0:
        return  # the server gives each its own
    if key in seen and seen[key][0] != name:
        other, line = seen[key]
        raise UserError(
            f'{name} and {other}: ssh_config gives both the same forward ("{line}"), '
            "and only one of them can have it",
            advice="move that line into one profile's remote_forward",
            status=ExitStatus.BAD_CONFIG,
        )
    seen[key] = (name, source)


def _say_server_decides(orders: Sequence[Order], options: Namespace) -> None:
    """Nobody is told to open a port; who wants it open should know how."""
    if options.quiet:
        return
    for order in orders:
        for forward in order.profile.remote_forward:
            if forward.listen_host is None and forward.listen_port:
                note(
                    f"{order.profile.name}: port {forward.listen_port} names no address, so the "
                    "server decides, as a rule for itself only; "
                    f"for everybody, write *:{forward.spec} (and its GatewayPorts has to allow it)"
                )


# --- verdicts ---------------------------------------------------------------


class Verdicts:
    """The first verdict of each tunnel: up, in need of a person, or a first failure."""

    def __init__(self, names: Sequence[str]) -> None:
        self.tunnels: dict[str, dict[str, Any]] = {}
        self.pending = dict.fromkeys(names)

    def take(self, tunnel: dict[str, Any]) -> None:
        name = tunnel["profile"]
        if name not in self.pending and name not in self.tunnels:
            return
        self.tunnels[name] = tunnel
        tried = tunnel["state"] == "waiting" and tunnel["failure"] is not None
        if tunnel.get("_reclaiming") or tunnel.get("_seconds_to_attempt") == 0.0:
            tried = False  # what it knows by now it is just mending
        if tunnel.get("_renewing"):
            return  # up, with what was asked for before
        if tunnel["state"] == "up" and tunnel.get("_knocking"):
            return  # whether it answers from here is part of the verdict
        if tunnel["state"] in ("up", "failed", "down") or (tried and tunnel["attempt"] > 0):
            self.pending.pop(name, None)

    def exit_status(self) -> ExitStatus:
        tunnels = self.tunnels.values()
        if not self.pending and all(t["state"] == "up" and t["ok"] for t in tunnels):
            return ExitStatus.OK
        if not self.pending and all(t["state"] == "failed" for t in tunnels):
            return ExitStatus.NEEDS_PERSON
        return ExitStatus.NOT_AS_WANTED

    def tell(self, timeout: float) -> None:
        settled = ("up", "failed", "down")
        trying = [name for name, t in self.tunnels.items() if t["state"] not in settled]
        ended = [name for name, t in self.tunnels.items() if t["state"] == "down"]
        if ended:
            note(f"{', '.join(ended)}: taken down meanwhile")
        if self.pending:
            note(f"{', '.join(self.pending)}: no verdict within {timeout:g} s")
        if trying:
            note(
                f"{', '.join(trying)}: still trying in the background; "
                f"sshwrap logs {' '.join(trying)} -f"
            )


def wait_for_verdicts(found: Sequence[Keeper], names: Sequence[str], timeout: float) -> Verdicts:
    """Watch these supervisors until every name has had its first verdict, or time is up."""
    verdicts = Verdicts(names)
    deadline = time.monotonic() + timeout
    request = {"v": ipc.VERSION, "op": "watch", "names": list(names)}
    streams: list[ipc.Stream] = []
    try:
        for path in dict.fromkeys(keeper.path for keeper in found):
            try:
                streams.append(ipc.stream(path, request))
            except ipc.IpcError:
                continue  # another one may have it; who has none is pending
        while verdicts.pending and streams:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for ready in select.select(streams, [], [], left)[0]:
                for message in ready.ready():
                    for tunnel in message.get("tunnels", ()):
                        verdicts.take(tunnel)
                if ready.ended:
                    streams.remove(ready)
    except ipc.Broken as error:
        raise UserError("the supervisor does not make sense", said=str(error)) from None
    finally:
        for stream in streams:
            stream.close()
    return verdicts
