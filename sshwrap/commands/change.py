"""`down`, `restart` and `reload`: what changes tunnels that some supervisor keeps."""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

from sshwrap.commands.branch import refuse_own_branch
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
CHANGE_WITHIN = 60.0  # forwards changed live, each within what the supervisor gives it
NAMES_SHOWN = 5  # of those that were not touched


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
    if not options.yes:
        refuse_own_branch("down", [t for t in view.tunnels if t["profile"] in names])
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
    if not options.yes:
        refuse_own_branch("restart", [t for t in view.tunnels if t["profile"] in names])
    orders = _orders_of(places, view, names)
    for keeper in view.keepers:
        mine = [orders[name] for name in names if name in keeper.tunnels]
        if mine:
            ask_in_parts(keeper, {"op": "restart"}, mine)
    verdicts = wait_for_verdicts(view.keepers, names, RESTART_TIMEOUT)
    show_tunnels(list(verdicts.tunnels.values()), sys.stdout)
    return int(verdicts.exit_status())


def reload(options: Namespace, places: Places) -> int:
    """Take over what was edited, and say of each what became of it. A faulty file changes nothing
    and says so."""
    view = overview(places, os.environ)
    _refuse_silent(view)
    running = [name for keeper in view.keepers for name in keeper.tunnels]
    names = choose(options.names, running, what="running tunnel") if options.names else running
    orders = _orders_of(places, view, names, missing_is_fault=False)
    said: dict[str, str | None] = {}
    for keeper in view.keepers:
        mine = [order for name, order in orders.items() if name in keeper.tunnels]
        if mine:
            said |= _reload(keeper, mine)
    gone = [name for name in names if name not in orders]
    late = [name for name, text in said.items() if text is None]
    if not options.quiet:
        for name, text in said.items():
            note(f"{name}: {text or f'no verdict within {CHANGE_WITHIN:g} s'}")
        for name in gone:
            note(f"{name}: no longer in the profiles file, and still up; sshwrap down {name}")
        if said:
            _tell_untouched([name for name in orders if name not in said])
        elif not gone:
            note("nothing has changed")
    return int(ExitStatus.NOT_AS_WANTED if late else ExitStatus.OK)


def _reload(keeper: Keeper, orders: Sequence[Order]) -> dict[str, str | None]:
    """What became of each that was edited, in the words of its journal; None: not in time."""
    names = [order.profile.name for order in orders]
    request = {"v": ipc.VERSION, "op": "watch", "names": names}
    said: dict[str, list[str]] = {}
    renewing: set[str] = set()
    try:
        watching = ipc.stream(keeper.path, request, STOP_WITHIN)
    except ipc.IpcError as error:
        raise UserError(
            f"the supervisor (pid {keeper.pid}) did not do it", said=str(error)
        ) from None
    try:
        messages = watching.receive()  # from here on it tells: what is done at once is news too
        for answer in ask_in_parts(keeper, {"op": "reload"}, orders):
            said |= {name: [] for name in answer["changed"]}
        deadline = time.monotonic() + CHANGE_WITHIN
        while True:
            for message in messages:
                for entry in message.get("events", ()):
                    if entry["event"] == "changed" and entry["profile"] in said:
                        said[entry["profile"]].append(entry["text"])
                for tunnel in message.get("tunnels", ()):
                    change = renewing.add if tunnel.get("_renewing") else renewing.discard
                    change(tunnel["profile"])
            pending = {name for name in said if name in renewing or not said[name]}
            if not pending or watching.ended or not _more(watching, deadline):
                break
            messages = watching.ready()
    except ipc.IpcError as error:
        raise UserError("the supervisor does not make sense", said=str(error)) from None
    finally:
        watching.close()
    return {
        name: None if name in pending else "; then ".join(texts) for name, texts in said.items()
    }


def _more(watching: ipc.Stream, deadline: float) -> bool:
    left = deadline - time.monotonic()
    return left > 0 and bool(select.select([watching], [], [], left)[0])


def _tell_untouched(names: Sequence[str]) -> None:
    if names:
        who = ", ".join(names) if len(names) <= NAMES_SHOWN else f"{len(names)} others"
        note(f"{who}: unchanged")


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
            orders.update({name: kept_order(places, name) for name in mine})
            continue
        place = Places(file, places.state_dir, places.ssh)
        present = load_profiles(place, os.environ).profiles
        still = mine if missing_is_fault else [name for name in mine if name in present]
        orders.update(load_orders(place, os.environ, still))
    return orders


def _refuse_silent(view: Overview) -> None:
    for pid, why in view.silent.items():
        raise UserError(f"a supervisor (pid {pid}) {why}", advice=f"kill {pid}")


def kept_order(places: Places, name: str) -> Order:
    """What a tunnel of `run` was started with; raises UserError."""
    content = read_wanted(places, name)
    if content is None:
        raise UserError(f"{name}: what it was started with cannot be read")
    return order_from_json(content["order"])
