"""All there is to know of every profile: what runs, what is wanted, what the file has.

Laws. A supervisor that is gone or silent is said, never guessed around. Each is asked once, with a
bound. Imported by `status --json`: TOML is parsed only where the file has changed since somebody
last did (the known cache).
"""
# ruff: noqa: PTH116, PTH123
# Reason: pathlib alone would cost a good part of what `status --json` may cost.

from __future__ import annotations

import json
import os
import time

from sshwrap import __version__
from sshwrap.supervisor import ipc
from sshwrap.supervisor.lock import holder, is_locked
from sshwrap.supervisor.wanted import all_wanted, boot_id, is_down, write_whole
from sshwrap.tunnel.snapshot import is_ok

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sshwrap.paths import Places

ANSWER_WITHIN = 1.0
CACHE_VERSION = 1


class Keeper:
    """A supervisor that answers: its socket, "background" or "front", its pid, its tunnels.

    Made of its answer to "status"; raises ipc.Broken where that is not what this version answers.
    """

    __slots__ = ("kind", "path", "pid", "tunnels", "version")

    def __init__(self, path: str, answer: dict[str, Any]) -> None:
        self.path = path
        try:
            if answer["v"] != ipc.VERSION or not answer["ok"]:
                error = answer.get("error") or {}
                raise ipc.Broken(error.get("message") or f"it speaks version {answer['v']}")
            self.kind = str(answer["kind"])
            self.pid = int(answer["pid"])
            self.version = str(answer["version"])
            self.tunnels: dict[str, dict[str, Any]] = {
                tunnel["profile"]: tunnel for tunnel in answer["tunnels"]
            }
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ipc.Broken("it speaks another version") from None


class Overview:
    """`tunnels`: a snapshot a profile, the file's order first. `keepers`: who answers, with what.

    `silent`: supervisors that are there and cannot be asked, pid -> what they do instead. `fault`:
    the profiles file cannot be read; what runs is shown all the same.
    """

    __slots__ = ("fault", "has_file", "keepers", "silent", "tunnels")

    def __init__(self) -> None:
        self.tunnels: list[dict[str, Any]] = []
        self.keepers: list[Keeper] = []
        self.silent: dict[int, str] = {}
        self.fault: Exception | None = None
        self.has_file = True

    def keeper_of(self, name: str) -> Keeper | None:
        return next((keeper for keeper in self.keepers if name in keeper.tunnels), None)


def keepers(places: Places) -> tuple[list[Keeper], dict[int, str]]:
    """Every supervisor that answers, and those that live and do not: pid -> what they do."""
    sockets = [(places.background_socket, places.background_lock)]
    sockets += [(places.front_socket(pid), places.front_lock(pid)) for pid in places.front_pids()]
    found: list[Keeper] = []
    silent: dict[int, str] = {}
    for path, lock in sockets:
        try:
            answer = _ask(path, lock)
            if answer is not None:
                found.append(Keeper(path, answer))
        except ipc.Gone:
            silent[_pid_of(lock)] = "lives and cannot be asked (its socket is gone)"
        except ipc.Silent:
            silent[_pid_of(lock)] = f"has not answered for {ANSWER_WITHIN:g} s"
        except ipc.IpcError as error:
            silent[_pid_of(lock)] = f"cannot be asked ({error})"
    return found, silent


def _ask(path: str, lock: str) -> dict[str, Any] | None:
    """Its answer, or None where there is no supervisor; raises IpcError.

    One that has just been started holds its lock a moment before it has its socket.
    """
    deadline = time.monotonic() + ANSWER_WITHIN
    while True:
        try:
            return ipc.request(path, {"v": ipc.VERSION, "op": "status"}, ANSWER_WITHIN)
        except ipc.Gone:
            if not is_locked(lock):
                return None
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def _pid_of(lock: str) -> int:
    return int((holder(lock) or {}).get("pid", 0))


def overview(places: Places, environ: Mapping[str, str]) -> Overview:
    result = Overview()
    result.keepers, result.silent = keepers(places)
    running: dict[str, dict[str, Any]] = {}
    for keeper in result.keepers:
        running.update(keeper.tunnels)
    known = _known(places, environ, result)
    wanted = all_wanted(places)
    names = [*known, *sorted((running.keys() | wanted.keys()) - known.keys())]
    for name in names:
        profile = known.get(name)
        tunnel = running.get(name)
        if tunnel is not None:
            if tunnel["profiles_file"] == places.profiles_file and result.fault is None:
                digest = None if profile is None else profile["digest"]
                tunnel["profile_changed"] = digest != tunnel.get("_digest")
        elif name in wanted:
            tunnel = _left_alone(name, wanted[name], result.silent)
        elif profile is not None:
            tunnel = profile["down"]
        if tunnel is not None:
            result.tunnels.append(tunnel)
    return result


def _left_alone(name: str, content: dict[str, Any], silent: dict[int, str]) -> dict[str, Any]:
    """Wanted, and no supervisor that answers has it."""
    tunnel: dict[str, Any] = content["down"]
    pid = int(content.get("pid", 0))
    since = None
    if pid in silent:
        summary = f"its supervisor (pid {pid}) {silent[pid]}; what the tunnel does is not known"
        advice = f"kill {pid}; sshwrap up -d {name}"
    elif content.get("boot") not in (None, boot_id()):
        uptime = _uptime()
        since = None if uptime is None else time.time() - uptime
        ago = "" if uptime is None else f" {_rough(uptime)} ago"
        summary = f"down since this machine restarted{ago}"
        advice = f"sshwrap up -d {name}"
    elif isinstance(content.get("ended"), int | float):
        since = content["ended"]
        summary = f"its supervisor (pid {pid}) was ended, and nobody keeps this tunnel"
        advice = f"sshwrap up -d {name}"
    else:
        summary = f"its supervisor (pid {pid}) is gone, and nobody keeps this tunnel"
        advice = f"sshwrap up -d {name}"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tunnel["wanted"] = True
    tunnel["state"] = "down"
    tunnel["_digest"] = content.get("digest")
    tunnel["supervisor_pid"] = pid if pid in silent else None
    tunnel["since"] = (
        None if since is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    )
    tunnel["_seconds_in_state"] = None if since is None else time.time() - since
    tunnel["failure"] = {
        "kind": "supervisor_gone",
        "summary": summary,
        "said": "",
        "advice": advice,
        "at": at,
    }
    tunnel["ok"] = is_ok(tunnel)
    return tunnel


def _uptime() -> float | None:
    try:
        with open("/proc/uptime") as file:
            return float(file.read().split()[0])
    except (OSError, ValueError):
        return None


def _rough(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


# --- the known cache --------------------------------------------------------


def _known(
    places: Places, environ: Mapping[str, str], result: Overview
) -> dict[str, dict[str, Any]]:
    """name -> {"digest", "down"} of the profiles file, from the cache where that is still true."""
    stamp = _stamp(places.profiles_file)
    if stamp is None:
        result.has_file = False
        return {}
    cached = _read_cache(places, stamp)
    if cached is not None:
        return cached
    from sshwrap.errors import UserError
    from sshwrap.supervisor.profiles import load_profiles

    try:
        return load_profiles(places, environ).known
    except UserError as error:
        result.fault = error
        return {}


def stamp_of(path: str) -> list[Any] | None:
    """What the cache is valid for: this program, this user and this very content of the file."""
    return _stamp(path)


def write_cache(places: Places, stamp: list[Any], profiles: dict[str, dict[str, Any]]) -> None:
    content = {"v": CACHE_VERSION, "stamp": stamp, "profiles": profiles}
    try:
        write_whole(places.known_cache, json.dumps(content))
    except OSError:
        pass  # it is only slower without


def _read_cache(places: Places, stamp: list[Any]) -> dict[str, dict[str, Any]] | None:
    try:
        with open(places.known_cache) as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("v") != CACHE_VERSION:
        return None
    profiles = content.get("profiles")
    if content.get("stamp") != stamp or not isinstance(profiles, dict):
        return None
    sound = all(
        isinstance(each, dict) and isinstance(each.get("digest"), str) and is_down(each.get("down"))
        for each in profiles.values()
    )
    return profiles if sound else None


def _stamp(path: str) -> list[Any] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # The mode and the owner are checked when the file is read: a change of either shows in ctime.
    times = [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]
    return [__version__, path, os.geteuid(), *times]
