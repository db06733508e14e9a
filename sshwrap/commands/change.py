"""`down`, `restart` and `reload`: what changes tunnels that some supervisor keeps."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from sshwrap.commands.choose import choose
from sshwrap.commands.talk import note, show_tunnels
from sshwrap.errors import ExitStatus, UserError
from sshwrap.paths import Places
from sshwrap.supervisor import ipc
from sshwrap.supervisor.lock import is_locked
from sshwrap.supervisor.order import Order, order_from_json, order_to_json
from sshwrap.supervisor.overview import Keeper, Overview, overview
from sshwrap.supervisor.profiles import load_orders, load_profiles
from sshwrap.supervisor.wanted import read_wanted, remove_wanted

PART_BYTES = ipc.REQUEST_BYTES // 4
STOP_WITHIN = 15.0  # TERM, then KILL after 5 s, and the answer


def ask(keeper: Keeper, request: dict[str, Any], *, timeout: float = STOP_WITHIN) -> dict[str, Any]:
    """One request to a supervisor; its refusal, or its silence, is a UserError."""
    try:
        answer = ipc.request(keeper.path, {"v": ipc.VERSION, **request}, timeout)
    except ipc.IpcError as error:
        raise UserError(
            f"the supervisor (pid {keeper.pid}) did not do it", said=str(error)
        ) from None
    if not answer.get("ok"):
        refusal = answer.get("error", {})
        raise UserError(
            str(refusal.get("message", "refused")),
            said=refusal.get("said"),
            advice=refusal.get("advice"),
            status=ExitStatus(refusal.get("status", 1)),
        )
    return answer


def ask_in_parts(
    keeper: Keeper, request: dict[str, Any], orders: Iterable[Order]
) -> list[dict[str, Any]]:
    """The same request with some of the orders at a time, each within what a line may hold."""
    parts: list[list[dict[str, Any]]] = [[]]
    size = 0
    for order in orders:
        content = order_to_json(order)
        size += len(ipc.encode(content))
        if size > PART_BYTES and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(content)
    return [ask(keeper, {**request, "orders": part}) for part in parts]


def down(options: Namespace, places: Places) -> int:
    """No name: all that are wanted. Returns when their ssh has ended."""
    view = overview(places, os.environ)
    wanted = [t["profile"] for t in view.tunnels if t["wanted"] or t["state"] != "down"]
    known = [t["profile"] for t in view.tunnels]
    names = choose(options.names, known) if options.names else wanted
    if not names and not options.quiet:
        note("nothing is wanted up")
    again: set[str] = set()
    for keeper in view.keepers:
        mine = [name for name in names if name in keeper.tunnels]
        if mine:
            answer = ask(keeper, {"op": "down", "names": mine, "by": "down"})
            again.update(answer.get("again", ()))
    for name in names:
        _forget(places, view, name)
        if not options.quiet:
            was = f"{name}: down" if name in wanted else f"{name}: was down already"
            note(f"{name}: somebody wants it up again" if name in again else was)
    return int(ExitStatus.OK)


def _forget(places: Places, view: Overview, name: str) -> None:
    """Take back that it is wanted, where no supervisor was there to do it."""
    if view.keeper_of(name) is not None:
        return
    content = read_wanted(places, name)
    if content is not None and is_locked(places.profile_lock(name)):
        pid = content.get("pid", "unknown")
        raise UserError(f"{name}: its supervisor (pid {pid}) does not answer", advice=f"kill {pid}")
    remove_wanted(places, name)


def restart(options: Namespace, places: Places) -> int:
    """Read the profiles anew and start their ssh anew; returns at each one's first verdict."""
    from sshwrap.commands.up import RESTART_TIMEOUT, wait_for_verdicts

    view = overview(places, os.environ)
    kept = [t["profile"] for t in view.tunnels if t["wanted"]]
    names = choose(options.names, kept, what="tunnel that is wanted,") if options.names else kept
    if not names:
        raise UserError("nothing is wanted up", advice="sshwrap up", status=ExitStatus.USAGE)
    _refuse_silent(view)
    alone = [name for name in names if view.keeper_of(name) is None]
    if alone:
        raise UserError(
            f"{', '.join(alone)}: no supervisor keeps it",
            advice=f"sshwrap up -d {' '.join(alone)}",
        )
    orders = _orders_of(places, view, names)
    for keeper in view.keepers:
        mine = [orders[name] for name in names if name in keeper.tunnels]
        if mine:
            ask_in_parts(keeper, {"op": "restart"}, mine)
    verdicts = wait_for_verdicts(view.keepers, names, RESTART_TIMEOUT)
    show_tunnels(list(verdicts.tunnels.values()), sys.stdout)
    return int(verdicts.exit_status())


def reload(options: Namespace, places: Places) -> int:
    """Take over what was edited. A faulty file changes nothing and says so."""
    view = overview(places, os.environ)
    _refuse_silent(view)
    running = [name for keeper in view.keepers for name in keeper.tunnels]
    names = choose(options.names, running, what="running tunnel") if options.names else running
    orders = _orders_of(places, view, names, missing_is_fault=False)
    changed: list[str] = []
    for keeper in view.keepers:
        mine = [order for name, order in orders.items() if name in keeper.tunnels]
        for answer in ask_in_parts(keeper, {"op": "reload"}, mine) if mine else ():
            changed += answer["changed"]
    gone = [name for name in names if name not in orders]
    if not options.quiet:
        for name in changed:
            note(f"{name}: takes over the edited profile")
        for name in gone:
            note(f"{name}: no longer in the profiles file, and still up; sshwrap down {name}")
        if not changed and not gone:
            note("nothing has changed")
    return int(ExitStatus.OK)


def _orders_of(
    places: Places, view: Overview, names: list[str], *, missing_is_fault: bool = True
) -> dict[str, Order]:
    """The orders of these tunnels, each read anew from the file it came from.

    `run` has no file: its tunnels stay as they are. What its file no longer has is a fault, or
    left out.
    """
    orders: dict[str, Order] = {}
    files: dict[str | None, list[str]] = {}
    for tunnel in view.tunnels:
        if tunnel["profile"] in names:
            files.setdefault(tunnel["profiles_file"], []).append(tunnel["profile"])
    for file, mine in files.items():
        if file is None:
            orders.update({name: _kept_order(places, name) for name in mine})
            continue
        place = Places(file, places.state_dir, places.ssh)
        present = load_profiles(place, os.environ).profiles
        still = mine if missing_is_fault else [name for name in mine if name in present]
        orders.update(load_orders(place, os.environ, still))
    return orders


def _refuse_silent(view: Overview) -> None:
    for pid, why in view.silent.items():
        raise UserError(f"a supervisor (pid {pid}) {why}", advice=f"kill {pid}")


def _kept_order(places: Places, name: str) -> Order:
    content = read_wanted(places, name)
    if content is None:
        raise UserError(f"{name}: what it was started with cannot be read")
    return order_from_json(content["order"])
