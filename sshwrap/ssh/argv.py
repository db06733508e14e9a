"""(Profile, version, control path) -> ssh's command line; the only place that knows its options.

Laws. First value wins in ssh, so what a tunnel depends on stands before what a person may set, and
both stand before ssh_config: nobody's ControlMaster, LogLevel, RemoteCommand, … can take the tunnel
away or blind its reader. The destination stands behind `--`. Nothing is quoted: argv is no shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sshwrap.profile.forward import Kind, format_forward
from sshwrap.ssh.version import has_fork_after_authentication, has_log_verbose

if TYPE_CHECKING:
    from sshwrap.profile.model import Profile
    from sshwrap.ssh.version import Version

FLAG = {Kind.REMOTE: "-R", Kind.LOCAL: "-L", Kind.DYNAMIC: "-D"}

# Where ssh writes its log. Its stdout is a pipe of ours (no session, so nothing else is written
# there), while stdin, stderr and the controlling terminal are the pty: the server's banner and a
# ProxyJump's ssh write to the terminal and so can never be taken for ssh's own words.
LOG_PATH = "/dev/stdout"


def build_argv(
    profile: Profile, version: Version, *, control_path: str | None, ssh: str = "ssh"
) -> tuple[str, ...]:
    """The command line of a tunnel; `control_path` None makes no control socket (for pasting)."""
    argv = [ssh, "-N", "-T", "-n", "-v", "-E", LOG_PATH]
    if control_path is not None:
        # ssh expands % in -S; -o ControlPath= would also break on a space (seen on 9.2).
        argv += ["-S", control_path.replace("%", "%%")]
    for keyword, argument in _ours(profile, version, master=control_path is not None):
        argv += ["-o", f"{keyword}={argument}"]
    argv += connection_argv(profile)
    for forward in profile.forwards:
        argv += [FLAG[forward.kind], format_forward(forward)]
    return (*argv, "--", profile.destination)


def build_resolve_argv(profile: Profile, *, ssh: str = "ssh") -> tuple[str, ...]:
    """`ssh -G` for this destination without our own forwards: what ssh_config says and adds.

    `-v` names the configuration files on stderr; `ClearAllForwardings=no` because the tunnel has
    it, and a `yes` in ssh_config would hide the forwards that the tunnel will carry; `-N` because
    ssh refuses a ForkAfterAuthentication of ssh_config where there is nothing to run.
    """
    head = [ssh, "-G", "-v", "-N", "-T", "-o", "ClearAllForwardings=no"]
    return (*head, *connection_argv(profile), "--", profile.destination)


def _ours(profile: Profile, version: Version, *, master: bool) -> list[tuple[str, str]]:
    options = [
        ("LogLevel", "DEBUG1"),
        ("BatchMode", "yes"),
        ("ExitOnForwardFailure", "yes"),
        ("ClearAllForwardings", "no"),
        ("ServerAliveInterval", str(profile.server_alive_interval)),
        ("ServerAliveCountMax", str(profile.server_alive_count_max)),
        ("ConnectTimeout", str(profile.connect_timeout)),
        ("ConnectionAttempts", "1"),  # trying again is our work, and we say so
    ]
    if master:
        # Master of a socket of our own: a user's master would take the forward and leave us with
        # an ssh that exits 0 at once.
        options += [("ControlMaster", "yes"), ("ControlPersist", "no")]
    else:
        options += [("ControlMaster", "no"), ("ControlPath", "none")]
    options += [
        ("PermitLocalCommand", "no"),
        ("RemoteCommand", "none"),
        ("RequestTTY", "no"),
        ("ForwardAgent", "no"),
        ("ForwardX11", "no"),
        ("Tunnel", "no"),
    ]
    if has_log_verbose(version):
        options.append(("LogVerbose", "none"))
    if has_fork_after_authentication(version):
        options += [("ForkAfterAuthentication", "no"), ("SessionType", "none")]
    return options


def connection_argv(profile: Profile) -> list[str]:
    """What says which server, by which way and as whom; the same for every sign-in of a profile."""
    argv: list[str] = []
    if profile.ssh_config is not None:
        argv += ["-F", profile.ssh_config]
    if profile.port is not None:
        argv += ["-p", str(profile.port)]
    if profile.user is not None:
        argv += ["-l", profile.user]
    if profile.proxy_jump is not None:
        argv += ["-J", profile.proxy_jump]
    for path in profile.identity_file:
        argv += ["-i", path]
    given = {keyword.lower() for keyword, _ in profile.ssh_options}
    if profile.identity_file and "identitiesonly" not in given:
        # An agent with many keys is otherwise cut off: "Too many authentication failures".
        argv += ["-o", "IdentitiesOnly=yes"]
    for keyword, argument in profile.ssh_options:
        argv += ["-o", f"{keyword}={argument}"]
    return argv
