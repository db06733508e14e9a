"""The background supervisor, one for each state directory: start it, and be it.

Laws. It is a process of its own, executed anew: small, and without the caller's terminal, working
directory or descriptors. The caller goes on when it answers, or hears in one line why it does not.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sshwrap.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sshwrap.paths import Places

START_TIMEOUT = 15.0
_READY = b"ready"
_BUSY = b"busy"


def start(places: Places, environ: Mapping[str, str]) -> int:
    """Start one and return the reading end of the pipe on which it says that it answers."""
    reading, writing = os.pipe()
    settings = {
        "SSHWRAP_STATE_DIR": places.state_dir,
        "SSHWRAP_PROFILES": places.profiles_file,
        "SSHWRAP_SSH": places.ssh,
    }
    try:
        subprocess.Popen(
            [sys.executable, "-m", "sshwrap.supervisor", str(writing)],
            env={**environ, **settings},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        raise UserError("the background supervisor cannot be started", said=str(error)) from None
    finally:
        os.close(writing)
    return reading


def wait_ready(reading: int) -> bool:
    """Wait until it answers; False where another one was there first. Raises UserError."""
    said = b""
    try:
        while select.select([reading], [], [], START_TIMEOUT)[0]:
            data = os.read(reading, 4096)
            said += data
            if not data or said.endswith(b"\n"):
                break
    finally:
        os.close(reading)
    word = said.strip()
    if word in (_READY, _BUSY):
        return word == _READY
    raise UserError(
        "the background supervisor did not start",
        said=word.decode(errors="replace")[:300] or None,
        advice="sshwrap up    (in front, it says why)",
    )


def main(ready_fd: int) -> int:
    """Be the background supervisor: say "ready" on that descriptor, then serve."""
    from sshwrap.paths import find_places
    from sshwrap.supervisor.lock import try_lock

    def say(word: bytes) -> None:
        try:
            os.write(ready_fd, word + b"\n")
        except OSError:
            pass  # the caller has gone; what it asked for is wanted all the same
        os.close(ready_fd)

    os.umask(0o077)
    try:
        places = find_places(os.environ)
        places.prepare_state_dir()
        lock = try_lock(places.background_lock, "background supervisor")
        if lock is None:
            say(_BUSY)
            return 0
        _import_without_openssl()
        from sshwrap.supervisor.program import SshProgram
        from sshwrap.supervisor.service import Service

        service = Service(
            places,
            os.environ,
            kind="background",
            socket_path=places.background_socket,
            lock=lock,
            what="background supervisor",
            ends_when_idle="NOTIFY_SOCKET" not in os.environ,
        )
    except UserError as error:
        say(" ".join(filter(None, [error.message, error.said])).encode())
        return int(error.status)
    except Exception as error:  # a bug, and stderr is /dev/null: whoever waits has to hear of it
        say(f"{type(error).__name__}: {error}".replace("\n", " ").encode())
        raise
    say(_READY)
    try:
        # Now, while the caller still reads its profiles, instead of when the first tunnel is due.
        SshProgram(places.ssh, os.environ).version_and_path()
    except UserError:
        pass  # whoever asks for a tunnel is told
    service.run()
    lock.release()
    return service.exit_status


def _import_without_openssl() -> None:
    """asyncio and hashlib load OpenSSL where they find it, and do as well where they do not.

    It is a sixth of the memory of a supervisor, and nothing here speaks TLS.
    """
    left_out: list[str] = ["ssl"]
    if any(map(find_spec, ("_sha256", "_sha2"))):  # some systems build Python without its own
        left_out.append("_hashlib")
    hidden: dict[str, Any] = dict.fromkeys(left_out)
    sys.modules.update(hidden)
    try:
        import_module("asyncio")
        import_module("hashlib")
    finally:
        for name in left_out:
            del sys.modules[name]
