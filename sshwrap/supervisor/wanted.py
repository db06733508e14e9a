"""What somebody wants up, kept on disk: `up` writes it, only `down` (or Ctrl-C in front) takes it.

Laws. A crash or a reboot loses nothing: what was wanted is still wanted, and status can say since
when nobody keeps it. Written whole or not at all. A damaged file counts as one that is not there.
`status --json` passes here: nothing is imported that it does not need anyway.
"""
# ruff: noqa: PTH105, PTH108, PTH123
# Reason: pathlib alone would cost a good part of what `status --json` may cost.

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sshwrap.paths import Places

VERSION = 1
SHOWN = frozenset(
    {"profile", "description", "profiles_file", "state", "wanted", "destination", "forwards"}
)
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str | None:
    """Which run of this machine it is; None where the system does not say (not Linux)."""
    try:
        with open(BOOT_ID) as file:
            return file.read().strip()
    except OSError:
        return None


def write_wanted(places: Places, name: str, content: dict[str, Any]) -> None:
    """Raises OSError (a full disk, say); then the older content is still there."""
    path = places.wanted_file(name)
    text = json.dumps({"v": VERSION, "boot": boot_id(), **content}) + "\n"
    write_whole(path, text)


def write_whole(path: str, text: str) -> None:
    """Replace a small file of ours (0600) in one step; raises OSError."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        remove_file(temporary)
        raise


def read_wanted(places: Places, name: str) -> dict[str, Any] | None:
    try:
        with open(places.wanted_file(name)) as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("v") != VERSION:
        return None
    sound = isinstance(content.get("pid"), int) and isinstance(content.get("order"), dict)
    return content if sound and is_down(content.get("down")) else None


def is_down(content: object) -> bool:
    """Whether it can be shown: the snapshot of a tunnel that is down, as we once wrote it."""
    return (
        isinstance(content, dict)
        and content.keys() >= SHOWN
        and isinstance(content["forwards"], list)
    )


def all_wanted(places: Places) -> dict[str, dict[str, Any]]:
    found = {name: read_wanted(places, name) for name in places.wanted_names()}
    return {name: content for name, content in found.items() if content is not None}


def remove_wanted(places: Places, name: str) -> None:
    remove_file(places.wanted_file(name))


def remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
