"""A second sign-in beside a tunnel: its command line, and what its words prove.

Laws. It asks for no forward, joins nobody's control socket and makes none, and so can neither take
the tunnel's place nor be mistaken for it. ssh's own log goes to stdout, where nothing stands before
the sign-in but that: the server's banner and a ProxyJump's ssh speak on stderr, and can never prove
a sign-in. First value wins in ssh, so what is needed stands before what a person may set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sshwrap.ssh.argv import LOG_PATH, connection_argv
from sshwrap.ssh.evidence import Progress, classify_line
from sshwrap.ssh.mux import said_lines
from sshwrap.ssh.version import has_fork_after_authentication, has_log_verbose

if TYPE_CHECKING:
    from sshwrap.profile.model import Profile
    from sshwrap.ssh.version import Version

CONNECT_SECONDS = 10  # at most: who asks has somebody waiting
# Connects to where hardly ever anybody listens, from the server: ssh signs in, is refused this, and
# ends. No session is opened, so no shell is needed and no forced command of the key is run.
NOTHING = ("-W", "127.0.0.1:1")


def side_argv(
    profile: Profile, version: Version, command: str | None, *, ssh: str = "ssh"
) -> tuple[str, ...]:
    """Signs in as the tunnel does and runs `command` by the account's login shell, whatever that
    is: keep it to plain words. None: signs in and ends, without a session."""
    argv = [ssh, "-T", "-E", LOG_PATH]
    if command is None:
        argv += NOTHING
    for keyword, argument in _ours(profile, version):
        argv += ["-o", f"{keyword}={argument}"]
    argv += [*connection_argv(profile), "--", profile.destination]
    return (*argv, *(() if command is None else (command,)))


def side_seconds(profile: Profile) -> float:
    """What `side_argv` without a command may take: ConnectTimeout ends with the key exchange."""
    return min(profile.connect_timeout, CONNECT_SECONDS) + 5.0


def _ours(profile: Profile, version: Version) -> list[tuple[str, str]]:
    options = [
        ("LogLevel", "VERBOSE"),  # the least that says that the sign-in is done
        ("BatchMode", "yes"),
        ("ClearAllForwardings", "yes"),
        ("ControlMaster", "no"),
        ("ControlPath", "none"),  # nobody's master: the tunnel's own line may be the dead one
        ("ConnectTimeout", str(min(profile.connect_timeout, CONNECT_SECONDS))),
        ("ConnectionAttempts", "1"),
        ("PermitLocalCommand", "no"),
        ("RemoteCommand", "none"),
        ("ForwardAgent", "no"),
        ("ForwardX11", "no"),
        ("Tunnel", "no"),
    ]
    if has_log_verbose(version):
        options.append(("LogVerbose", "none"))
    if has_fork_after_authentication(version):
        options += [
            ("ForkAfterAuthentication", "no"),
            ("SessionType", "default"),
            ("StdinNull", "no"),
        ]
    return options


def has_signed_in(out: bytes) -> bool:
    """Whether the server has let us in, by the stdout of `side_argv`."""
    return _signed_in_at(said_lines(out)) is not None


def said_inside(out: bytes) -> list[str]:
    """What was said there from the sign-in on: by the session, and by ssh if that failed."""
    lines = said_lines(out)
    at = _signed_in_at(lines)
    later = [] if at is None else lines[at + 1 :]
    return [line for line in later if not line.startswith(_STATISTICS)]


def why_not(out: bytes, err: bytes) -> str:
    """The words that tell best why it has not let us in; "" where there are none."""
    log = said_lines(out)
    words = [line for line in log if not _is_vague(line)] or said_lines(err) or log
    return words[-1] if words else ""


_STATISTICS = ("Transferred: sent ", "Bytes per second: ")  # ssh.c, when it ends


def _signed_in_at(lines: Sequence[str]) -> int | None:
    for index, line in enumerate(lines):
        found = classify_line(line)
        if found is not None and found.kind == Progress.AUTHENTICATED:
            return index
    return None


def _is_vague(line: str) -> bool:
    """Said of a way that closed by itself, of which a ProxyJump's ssh has told more."""
    return "UNKNOWN port 65535" in line or line.startswith("kex_exchange_identification: Conn")
