"""`python host_init.py PLAN`: the first process of a host, in namespaces that are all its own.

Laws. It lays the host's files over the machine's, says "ready", reaps, and ends when whoever
started it is gone: its standard input then has an end, and the kernel takes everything that runs
in the host, its network and its mounts with it. Nothing of a host has a name outside but the
cgroups that it was told to make, and those it removes itself: they outlive their processes.

PLAN is JSON: `name`; `work`, an empty folder; `lower`, the system whose copy is the host's root, or
null for the machine's own tree under an /etc that may be written; `binds`, [from, to] pairs;
`cgroups`, folders that are not there yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path


def main() -> None:
    plan = json.loads(sys.argv[1])
    socket.sethostname(plan["name"])
    work = plan["work"]
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", work)
    # Read before /proc of this host is there: what the copied system has is no host's own.
    for name, text in (("boot_id", str(uuid.uuid4())), ("machine_id", uuid.uuid4().hex)):
        Path(work, name).write_text(text + "\n")
    root = own_root(plan["lower"], work) if plan["lower"] else "/"
    if root == "/":
        overlay("/etc", work, "/etc")
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("--bind", f"{work}/boot_id", f"{root}/proc/sys/kernel/random/boot_id")
    Path(root, "etc/machine-id").write_text(Path(work, "machine_id").read_text())
    for source, target in plan["binds"]:
        mount("--bind", source, root + target)
    cgroups = [make_cgroup(Path(folder)) for folder in plan["cgroups"]]
    os.chroot(root)
    os.chdir("/")
    signal.signal(signal.SIGCHLD, reap)
    reap()
    print("ready", flush=True)
    while os.read(0, 4096):
        pass
    if cgroups:
        remove(cgroups)


def own_root(lower: str, work: str) -> str:
    """A copy-on-write system without the copied one's people, keys and running programs."""
    root = f"{work}/root"
    Path(root).mkdir()
    overlay(lower, work, root)
    for name, mode in (("tmp", "1777"), ("run", "755"), ("home", "755"), ("root", "700")):
        Path(root, name).mkdir(exist_ok=True)
        mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", f"{root}/{name}")
    mount("--rbind", "/dev", f"{root}/dev")
    return root


def overlay(lower: str, work: str, target: str) -> None:
    for name in ("upper", "scratch"):
        Path(work, name).mkdir(mode=0o755)
    layers = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/scratch"
    mount("-t", "overlay", "-o", layers, "overlay", target)


def make_cgroup(folder: Path) -> tuple[int, str]:
    """Its parent, open (a path will not lead there any more), and its name."""
    folder.mkdir()
    return os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY), folder.name


def remove(cgroups: list[tuple[int, str]]) -> None:
    """With all that runs in the host; what cannot be removed within ten seconds is left."""
    deadline = time.monotonic() + 10
    while cgroups and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all but ourselves
        reap()
        cgroups = [one for one in cgroups if not is_removed(*one)]
        select.select([], [], [], 0.01)


def is_removed(parent: int, name: str) -> bool:
    """OSError is that somebody is about to end there, or has just removed a folder himself."""
    with contextlib.suppress(OSError):
        for _, folders, _, here in os.fwalk(name, topdown=False, dir_fd=parent):
            for folder in folders:
                os.rmdir(folder, dir_fd=here)
        os.rmdir(name, dir_fd=parent)
    try:
        os.stat(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    return False


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, stdin=subprocess.DEVNULL)


def reap(*_: object) -> None:
    """All that ended, whosever child it was: the orphans of a host become ours."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
